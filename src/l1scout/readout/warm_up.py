"""Compile kernels before a board connects: else its first packets wait, and it drops orbits."""

import io
from dataclasses import replace

from l1scout.formats.frame_checksums import checksum_of_frames
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat

_DAMAGE = b"\x55" * 256


def compile_kernels(wire_format: WireFormat) -> None:
    """Do once, with a small packet, all that `SegmentWriter.step` does with packets of a format.

    Parameters
    ----------
    wire_format : WireFormat
        One without an `example_packet` is left as it is.
    """
    for form in WIRE_FORMATS.values():  # the alarm about a wrong format looks for the right one
        form.recognises(io.BytesIO(form.example_packet()))
    example = wire_format.example_packet()
    for packet, _ in wire_format.split(io.BytesIO(example + _DAMAGE + example)):
        orbits = wire_format.find_orbits(packet)
        # the packet's own memory, and a copy as of packets that are held back: for kernels not the same type
        for one in (orbits, replace(orbits, rows=orbits.rows.copy())):
            for chosen in (one, one.select(one.orbit >= 0)):
                frames = wire_format.frame(chosen, run=1, source=1)
                if wire_format.has_checksums:
                    checksum_of_frames(frames.words, frames.starts)
