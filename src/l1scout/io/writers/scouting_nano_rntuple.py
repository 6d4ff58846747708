"""L1 scouting nano as RNTuple: fields have the flat names that branches of CMS's files have."""

from l1scout.io.format_writer import WRITERS
from l1scout.io.writers.scouting_nano import ScoutingNanoWriter


class ScoutingNanoRNTupleWriter(ScoutingNanoWriter):
    """Writes L1 scouting nano files as RNTuple."""

    name, title, suffixes = "scouting-nano-rntuple", "L1 scouting nano (RNTuple)", ()
    rntuple = True


WRITERS.register("scouting-nano-rntuple")(ScoutingNanoRNTupleWriter())
