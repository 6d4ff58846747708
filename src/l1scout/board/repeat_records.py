"""A board of several sources that never ends: records of some orbits again and again, as later ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.board.repeat import RepeatedOrbits, check_size
from l1scout.errors import InputError
from l1scout.formats.packets import PacketOrbits, Readable, Trailer
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import STREAMS, encode_source, streams_of_sources
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS, encode_packet


@dataclass(frozen=True)
class _SourceOrbits:
    """Orbits of one source: their records, and the words of these that hold the number of the orbit."""

    source: int
    orbit: NDArray[np.int64]
    marks: NDArray[np.uint32]
    words: NDArray[np.uint32]
    bounds: NDArray[np.int64]
    crossings: NDArray[np.int64]
    orbit_words: NDArray[np.int64]


class RepeatedRecords(RepeatedOrbits[tuple[_SourceOrbits, ...]]):
    """Sends the packets of a stream without end, those of all sources for the same orbits together.

    Damaged packets, and those with records that cannot be renumbered, are left out. All sources of a board
    send the same orbits: those that not all have are left out, too.

    Parameters
    ----------
    stream : Readable
        Packets of the format `objects`, at most 1 GiB.
    sources : sequence of int
        Source ids of the board.
    first_orbit : int
        Number of the first orbit that is sent.
    keep, of : int
        Send the first `keep` orbits of every `of`, by number; a packet then has only orbits that follow each
        other. `of` = 1 sends all.

    Raises
    ------
    InputError
        If there are no packets of these sources, or they are too many; or if `keep` is more than `of`.
    """

    def __init__(
        self, stream: Readable, sources: Sequence[int], first_orbit: int = 0, *, keep: int = 1, of: int = 1
    ) -> None:
        if keep > of:
            msg = f"{keep} of {of} orbits: no more can be sent than there are"
            raise InputError(msg)
        groups: dict[tuple[int, ...], dict[int, _SourceOrbits]] = {}
        total = 0
        for packet, _ in OBJECT_PACKETS.split(stream):
            if not packet:
                continue
            source, orbits = OBJECT_PACKETS.source_of(packet), OBJECT_PACKETS.find_orbits(packet)
            if source is None or source not in sources or orbits.found.corrupt or not len(orbits.orbit):
                continue
            total += len(packet)
            check_size(total)
            if read := _read(source, orbits):
                groups.setdefault(tuple(orbits.orbit.tolist()), {})[source] = read
        whole = [tuple(group[s] for s in sources) for group in groups.values() if len(group) == len(sources)]
        if not whole:
            listed = f"{sources[0]} to {sources[-1]}" if len(sources) > 1 else f"{sources[0]}"
            msg = f"no packets of source {listed} to repeat"
            raise InputError(msg)
        first, last = int(whole[0][0].orbit[0]), int(whole[-1][0].orbit[-1])
        last = first + (last - first + 1) // of * of - 1 if last - first + 1 >= of else last
        chosen = [_kept(group, np.arange(first, last + 1), first_orbit - first, keep, of) for group in whole]
        kept = [part for parts in chosen for part in parts]
        starts = [int(group[0].orbit[0]) for group in kept]
        spans = np.diff([*starts, last + 1]).tolist() if kept else []
        if not kept or min(spans) <= 0:
            msg = f"no {keep} of {of} orbits among those to repeat"
            raise InputError(msg)
        spans[0] += starts[0] - first
        pieces = [(group, group[0].orbit.size, span) for group, span in zip(kept, spans, strict=True)]
        super().__init__(pieces, first, last, first_orbit)

    def _packet(self, piece: tuple[_SourceOrbits, ...]) -> memoryview:
        trailer, out = Trailer(0, self.dropped, self.delivered), []
        self._told = self.dropped
        for part in piece:
            words = part.words.copy()
            number = words[part.orbit_words] + np.uint32(self._by & ORBIT_MASK)
            words[part.orbit_words] = number & np.uint32(ORBIT_MASK)
            bounds = part.bounds.tolist()
            out.append(
                encode_packet(
                    part.source,
                    [
                        (orbit + self._by, marks | self._marks, words[a:b], crossings)
                        for orbit, marks, a, b, crossings in zip(
                            part.orbit.tolist(),
                            part.marks.tolist(),
                            bounds[:-1],
                            bounds[1:],
                            part.crossings.tolist(),
                            strict=True,
                        )
                    ],
                    trailer,
                )
            )
        joined = b"".join(out)
        self.packets, self.bytes = self.packets + len(out), self.bytes + len(joined)
        return memoryview(joined)

    def last_trailer(self) -> bytes | None:
        """Return packets without orbits, one of each source, if orbits were dropped after the last ones."""
        if self.dropped == self._told:
            return None
        trailer = Trailer(0, self.dropped, self.delivered)
        return b"".join(encode_packet(part.source, [], trailer) for part in self._pieces[0][0])


def _read(source: int, orbits: PacketOrbits) -> _SourceOrbits | None:
    """Return the records of a packet; None if they are not as we would write them."""
    parts = [orbits.rows[first:end, 0] for first, end in orbits.spans.tolist()]
    bounds = np.r_[0, np.cumsum([part.size for part in parts])].astype(np.int64)
    words = np.concatenate([np.zeros(0, np.uint32), *parts])
    batches = {name: part.objects for name, part in OBJECT_PACKETS.decode(orbits).items()}
    again, crossings, starts = encode_source(batches, source)
    if not np.array_equal(again, words):
        return None
    stream = STREAMS[streams_of_sources([source])[0].name]
    at = starts[:-1] + stream.orbit_word(source)
    first, end = (np.searchsorted(crossings.orbit, orbits.orbit, side) for side in ("left", "right"))
    return _SourceOrbits(source, orbits.orbit, orbits.marks, words, bounds, end - first, at)


def _kept(
    group: tuple[_SourceOrbits, ...], numbers: NDArray[np.int64], by: int, keep: int, of: int
) -> list[tuple[_SourceOrbits, ...]]:
    """Cut a group into stretches of orbits that are to be sent, by the numbers with which they are.

    `numbers` are those of a pass.
    """
    orbit = group[0].orbit
    wanted = np.flatnonzero(((orbit + by) % of < keep) & np.isin(orbit, numbers))
    cuts = np.flatnonzero(np.diff(wanted) != 1) + 1
    return [tuple(_cut(part, run) for part in group) for run in np.split(wanted, cuts) if run.size]


def _cut(part: _SourceOrbits, run: NDArray[np.int64]) -> _SourceOrbits:
    """Return consecutive orbits of a source."""
    first, end = int(run[0]), int(run[-1]) + 1
    low, high = int(part.bounds[first]), int(part.bounds[end])
    inside = (part.orbit_words >= low) & (part.orbit_words < high)
    return _SourceOrbits(
        part.source,
        part.orbit[first:end],
        part.marks[first:end],
        part.words[low:high],
        part.bounds[first : end + 1] - low,
        part.crossings[first:end],
        part.orbit_words[inside] - low,
    )
