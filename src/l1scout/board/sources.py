"""Where the board's words come from: link captures and pattern files, as fast as can be or in real time."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.flow import Sink
from l1scout.core.provenance import data_label, joint_origin
from l1scout.errors import InputError
from l1scout.formats import pattern
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.formats.wire_format import WireFormat
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.link.capture import MAGIC, Capture, read_captures
from l1scout.link.frames import PAYLOAD_WORDS
from l1scout.link.transmit import Transmitter

_INTERMEDIATE_LINKS = range(24, 28)


def is_capture(path: Path) -> bool:
    """Say whether a file begins as a link capture does (InputError if it cannot be read)."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error


def pattern_captures(path: Path) -> Iterator[Capture]:
    """Send the crossings of an MP7 pattern, from BX 1 of orbit 0 on, over eight links without skew.

    Links 0-3 (final muons) and 24-27 (the first intermediate ones) of the pattern where it has them.

    Raises
    ------
    InputError
        If it is no pattern file.
    """
    found = pattern.read(path)
    frames = found.crossings()
    orbits = max(-(-len(frames) // BX_PER_ORBIT), 1)
    words = np.zeros((LINKS, orbits * BX_PER_ORBIT, FRAMES_PER_BX), np.uint32)
    for link, number in enumerate((*pattern.FINAL_LINKS, *_INTERMEDIATE_LINKS)):
        if number in found.links:
            words[link, : len(frames)] = frames[:, :, found.links.index(number)]
    payload = words.reshape(LINKS, orbits, PAYLOAD_WORDS).swapaxes(0, 1)
    transmitter = Transmitter(RUN2)
    yield transmitter.send_words(np.ascontiguousarray(payload), 0)
    yield transmitter.idle(orbits)


def captures(path: Path) -> Iterator[Capture]:
    """Read a link capture or a pattern file (InputError if it is neither)."""
    return read_captures(path) if is_capture(path) else pattern_captures(path)


def paced(pieces: Iterable[Capture]) -> Iterator[Capture]:
    """Hand over captures no earlier than the LHC would: each when its last orbit is over."""
    start, orbits = time.monotonic(), 0
    for piece in pieces:
        orbits += piece.orbits
        time.sleep(max(start + orbits / ORBIT_FREQUENCY_HZ - time.monotonic(), 0.0))
        yield piece


def replay_packets(
    path: Path, form: WireFormat, sink: Sink[memoryview], *, real_time: bool
) -> dict[str, Any]:
    """Send a file of packets again, as it is; a packet that finds the sink not ready is dropped.

    In real time, packets go when the orbits are over that their trailers count.

    Returns
    -------
    dict
        ``data``: ``simulated``, ``real`` or ``unknown``, as the packets state; ``packets`` and ``bytes``
        sent, packets ``dropped``, ``skipped`` bytes without a trailer.
    """
    done: dict[str, Any] = {"data": "unknown", "packets": 0, "bytes": 0, "dropped": 0, "skipped": 0}
    start, first = time.monotonic(), -1
    origins = set[bool | None]()
    with path.open("rb") as stream:
        for packet, skipped in form.split(stream):
            done["skipped"] += skipped
            if not packet:
                continue
            trailer, orbits_there = form.trailer(packet), form.find_orbits(packet)
            if len(orbits_there.orbit):
                origins.add(orbits_there.simulated)
            if real_time and trailer:
                orbits = trailer.orbits + trailer.dropped
                first = orbits if first < 0 else first
                # a damaged counter must not stop the replay for ever
                due = start + min(max(orbits - first, 0), 1 << 18) / ORBIT_FREQUENCY_HZ
                time.sleep(max(due - time.monotonic(), 0.0))
            if sink.ready():
                sink.step(packet)
                done["packets"], done["bytes"] = done["packets"] + 1, done["bytes"] + len(packet)
            else:
                done["dropped"] += 1
    done["data"] = data_label(joint_origin(origins))
    return done
