"""Packets of the Phase-2 scouting boards in the format "native64", with tracker muons.

As `native64`, which see. Files are recognised by their words: all muons are valid, their spare bits and the
half word after an odd number of them are empty, and no event has a word too many.
"""

from l1scout.formats.event_format import EventFormat
from l1scout.formats.streams.tkmuon import TRACKER_MUONS
from l1scout.formats.wire_format import WIRE_FORMATS


class Native64TrackerMuons(EventFormat):
    """Events of tracker muons."""

    name = "native64-tkmuon"
    title = "Phase-2 events of tracker muons in the format native64"
    stream = TRACKER_MUONS
    streams = (TRACKER_MUONS.name,)
    suffix = "native64mu"


NATIVE64_TKMUON: Native64TrackerMuons = WIRE_FORMATS.register("native64-tkmuon")(Native64TrackerMuons())
