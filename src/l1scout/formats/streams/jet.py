"""Jets of the calorimeter trigger (demultiplexer of layer 2), Run 3.

Up to twelve in a crossing, in the order of the trigger. Records: see `formats.calo_objects`. (In older DMA
data the links jet1 and jet2 are exchanged, which no word states: only the order of jets in a crossing
changes.) What the records' header and link words hold otherwise is in no public source; encoders write 0.
"""

from l1scout.formats.calo_objects import DMA_SOURCE, CaloObjectStream, object_table, object_word
from l1scout.formats.stream import STREAMS

TCP_SOURCE = 22
JET = object_word("jet", 11, hwDisplaced=1, hwQual=2)


class JetStream(CaloObjectStream):
    """Jets of the calorimeter trigger, of up to twelve in a crossing."""

    name = "jet"
    title = "jets of the calorimeter trigger"
    source_ids = (DMA_SOURCE, TCP_SOURCE)
    layouts = {"Run 3": (JET,)}  # noqa: RUF012
    nano = object_table("L1Jet", JET, "hwQual")
    word, links = JET, ("jet1", "jet2")


JETS: JetStream = STREAMS.register("jet")(JetStream())
