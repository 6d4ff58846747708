"""Orbits across pieces of a capture: every orbit with all of its words from all links, once."""

from collections.abc import Iterable, Iterator

from l1scout.link.capture import Capture, join


def windows(pieces: Iterable[Capture]) -> Iterator[tuple[Capture, range]]:
    """Give each orbit a stretch of memory in which it lies whole.

    With skew, the end of an orbit comes up to 32 BX after the next orbit signal. The orbits within
    a piece are read where they are; for the one that ends in the next piece, the few orbits around
    the seam are copied together. The last orbit of the last piece is given too, although its end
    may be missing: whether it is whole is for the receiver to see. Pieces that do not follow on
    each other are not joined.

    Yields
    ------
    capture : Capture
    orbits : range
        Numbers, counted from 0 in `capture`, of the orbits to read there.
    """
    tail: Capture | None = None
    for piece in pieces:
        if tail is not None:
            follows = tail.first_orbit + tail.orbits == piece.first_orbit
            yield (join(tail, piece.part(0, 1)) if follows else tail), range(1)
        if piece.orbits > 1:
            yield piece, range(piece.orbits - 1)
        tail = piece.part(piece.orbits - 1, piece.orbits) if piece.orbits else None
    if tail is not None:
        yield tail, range(1)
