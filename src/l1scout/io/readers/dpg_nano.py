"""L1-DPG nano: triggered events with the L1 muons of five crossings; ``hwCharge`` is a bit."""

from l1scout.io.nano import Flavour, L1NanoReader
from l1scout.io.reader import READERS


class DpgNanoReader(L1NanoReader):
    """Reads L1-DPG nano files."""

    name, title = "dpg-nano", "L1-DPG nano"
    flavour = Flavour.DPG
    triggered = True


READERS.register("dpg-nano")(DpgNanoReader())
