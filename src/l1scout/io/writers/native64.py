"""Phase-2 events in the format "native64" with Puppi candidates."""

from l1scout.formats.wire_formats.native64 import NATIVE64
from l1scout.io.event_writer import EventWriter
from l1scout.io.format_writer import WRITERS


class Native64Writer(EventWriter):
    """Writes Puppi candidates."""

    name, title, suffixes = NATIVE64.name, NATIVE64.title, (f".{NATIVE64.suffix}",)
    form = NATIVE64
    left_out = f"of which {NATIVE64.stream.absent}"


WRITERS.register(NATIVE64.name)(Native64Writer())
