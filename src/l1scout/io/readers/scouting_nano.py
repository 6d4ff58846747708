"""L1 scouting nano: non-empty crossings; ``hwCharge`` is a sign."""

from l1scout.io.nano import Flavour, L1NanoReader
from l1scout.io.reader import READERS


class ScoutingNanoReader(L1NanoReader):
    """Reads L1 scouting nano files."""

    name, title = "scouting-nano", "L1 scouting nano"
    flavour = Flavour.SCOUTING
    counts_orbits = True


READERS.register("scouting-nano")(ScoutingNanoReader())
