"""Look-up tables of the Global Muon Trigger, as text."""

from l1scout.io.look_up_table import LookUpTableReader, TableKind
from l1scout.io.reader import READERS


class GmtLutReader(LookUpTableReader):
    """Describes look-up tables of the Global Muon Trigger."""

    name, title = "gmt-lut", "GMT look-up table"
    kind = TableKind.GMT


READERS.register("gmt-lut")(GmtLutReader())
