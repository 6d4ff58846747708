"""Tau candidates of the calorimeter trigger, Run 3.

Up to twelve in a crossing, in the order of the trigger. Records: see `formats.calo_objects`.
"""

from l1scout.formats.calo_objects import DMA_SOURCE, CaloObjectStream, object_table, object_word
from l1scout.formats.stream import STREAMS

TCP_SOURCE = 25
TAU = object_word("tau", 9, hwIso=2)


class TauStream(CaloObjectStream):
    """Tau candidates, of up to twelve in a crossing."""

    name = "tau"
    title = "taus of the calorimeter trigger"
    source_ids = (DMA_SOURCE, TCP_SOURCE)
    layouts = {"Run 3": (TAU,)}  # noqa: RUF012
    nano = object_table("L1Tau", TAU, "hwIso")
    word, links = TAU, ("tau1", "tau2")


TAUS: TauStream = STREAMS.register("tau")(TauStream())
