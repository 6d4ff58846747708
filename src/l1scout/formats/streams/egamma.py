"""Electron and photon candidates (e/gamma) of the calorimeter trigger, Run 3.

Up to twelve in a crossing, in the order of the trigger. Records: see `formats.calo_objects`.
"""

from l1scout.formats.calo_objects import DMA_SOURCE, CaloObjectStream, object_table, object_word
from l1scout.formats.stream import STREAMS

TCP_SOURCE = 23
EGAMMA = object_word("e/gamma object", 9, hwIso=2)


class EGammaStream(CaloObjectStream):
    """Electron and photon candidates, of up to twelve in a crossing."""

    name = "egamma"
    title = "electrons and photons of the calorimeter trigger"
    source_ids = (DMA_SOURCE, TCP_SOURCE)
    layouts = {"Run 3": (EGAMMA,)}  # noqa: RUF012
    nano = object_table("L1EG", EGAMMA, "hwIso")
    word, links = EGAMMA, ("egamma1", "egamma2")


EGAMMAS: EGammaStream = STREAMS.register("egamma")(EGammaStream())
