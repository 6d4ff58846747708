"""L1 scouting nano: non-empty crossings; ``hwCharge`` is a sign."""

from l1scout.formats.stream import STREAMS
from l1scout.io.nano import Flavour, L1NanoReader
from l1scout.io.reader import READERS


class ScoutingNanoReader(L1NanoReader):
    """Reads L1 scouting nano files: muons, the objects of other streams, and flags of selections."""

    name, title = "scouting-nano", "L1 scouting nano"
    flavour = Flavour.SCOUTING
    streams = tuple(name for name, stream in STREAMS.items() if stream.nano is not None)
    counts_orbits = True


READERS.register("scouting-nano")(ScoutingNanoReader())
