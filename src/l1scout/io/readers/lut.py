"""Look-up tables of anything else, as text."""

from l1scout.io.look_up_table import LookUpTableReader, TableKind
from l1scout.io.reader import READERS


class LutReader(LookUpTableReader):
    """Describes look-up tables of which the text does not tell the use."""

    name, title = "lut", "look-up table, unknown kind"
    kind = TableKind.OTHER


READERS.register("lut")(LutReader())
