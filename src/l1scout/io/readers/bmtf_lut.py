"""Look-up tables of the barrel muon track finder, as text."""

from l1scout.io.look_up_table import LookUpTableReader, TableKind
from l1scout.io.reader import READERS


class BmtfLutReader(LookUpTableReader):
    """Describes look-up tables of the barrel muon track finder."""

    name, title = "bmtf-lut", "BMTF look-up table"
    kind = TableKind.BMTF


READERS.register("bmtf-lut")(BmtfLutReader())
