"""Packets of the Phase-2 scouting boards in the format "native64", with Puppi candidates.

See `formats.events64` for what is documented. The format states neither the kind of its objects nor checksums
or counters: words that tracker muons have, and nothing else would, are those of `native64-tkmuon`; all others
are candidates. Ours: a packet is the events of one orbit; a segment begins each orbit with an orbit header
that states its size, and leaves out crossings without candidates, so that empty orbits remain visible.
"""

from l1scout.formats.event_format import EventFormat
from l1scout.formats.streams.puppi import PUPPI
from l1scout.formats.streams.tkmuon import TRACKER_MUONS
from l1scout.formats.wire_format import WIRE_FORMATS


class Native64(EventFormat):
    """Events of Puppi candidates."""

    name = "native64"
    title = "Phase-2 events of Puppi candidates in the format native64"
    stream, others = PUPPI, (TRACKER_MUONS,)
    streams = (PUPPI.name,)
    suffix = "native64"


NATIVE64: Native64 = WIRE_FORMATS.register("native64")(Native64())
