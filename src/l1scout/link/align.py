"""Orbits across pieces of a capture: every orbit with all of its words from all links, once."""

from collections.abc import Iterable, Iterator

from l1scout.link.capture import Capture, join
from l1scout.link.frames import LATENCY_WORDS, LINE_WORDS, MAX_SKEW_WORDS

_HEAD = LATENCY_WORDS + MAX_SKEW_WORDS + LINE_WORDS // 8
"""Words after an orbit signal in which the orbit before it surely ends: with the gap, and doubled words."""


def windows(pieces: Iterable[Capture]) -> Iterator[tuple[Capture, range]]:
    """Give each orbit a stretch of memory in which it lies whole.

    With skew, the end of an orbit comes up to 32 BX after the next orbit signal. The orbits within
    a piece are read where they are; for the one that ends in the next piece, the words around the
    seam are copied together. The last orbit of the last piece is given too, although its end may be
    missing: whether it is whole is for the receiver to see. Pieces that do not follow on each other
    are not joined. Two pieces are in memory at a time.

    Yields
    ------
    capture : Capture
    orbits : range
        Numbers, counted from 0 in `capture`, of the orbits to read there.
    """
    last: Capture | None = None
    for piece in pieces:
        if not piece.orbits:
            continue
        if last is not None:
            if last.first_orbit + last.orbits == piece.first_orbit:
                yield join(last, piece, _HEAD), range(1)
            else:
                yield last, range(last.orbits - 1, last.orbits)
        if piece.orbits > 1:
            yield piece, range(piece.orbits - 1)
        last = piece
    if last is not None:
        yield last, range(last.orbits - 1, last.orbits)
