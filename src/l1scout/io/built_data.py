"""Data of several sources as one: what each was read from, joined by the number of the orbit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import (
    OrbitBatch,
    concatenate,
    final_muons,
    joint_simulated,
)
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.core.provenance import joint_origin
from l1scout.errors import InputError
from l1scout.formats.decoded import batch_of_records
from l1scout.formats.frame_table import FrameTable
from l1scout.formats.raw import RawFile
from l1scout.formats.raw_objects import decode_shared_frames
from l1scout.formats.stream import STREAMS, streams_of_sources
from l1scout.io.frame_parts import FramePart
from l1scout.io.orbit_building import BuiltOrbits, Fragments, OrbitBuilder, Prescale, SourceCounts
from l1scout.lhc import lumisection

ORBITS = 50
"""Orbits of a batch at least, but for the last."""


@dataclass
class BuildAccount:
    """What became of all orbits; see `OrbitBuilder`.

    Parameters
    ----------
    orbits, complete, forced : int
    max_bytes : int
        Held at most.
    corrupt, corrupt_bytes : int
        Frames whose records could not be decoded to their end, and what is left of them.
    counts : mapping of int to SourceCounts
    """

    orbits: int = 0
    complete: int = 0
    forced: int = 0
    max_bytes: int = 0
    corrupt: int = 0
    corrupt_bytes: int = 0
    counts: Mapping[int, SourceCounts] = field(default_factory=dict)


class DataBuilder:
    """Makes one `OrbitData` of those of several sources.

    A stream has the orbits in which all of its sources were seen: of twelve sources of stubs, none may be
    missing. Objects of other orbits are left out of it, so that its rates are right, and these orbits are
    counted in ``lost_orbits``, unless the source was not to have them.

    Parameters
    ----------
    account : BuildAccount
    prescales : mapping of int to Prescale
    name : str
        What the data are named after.
    """

    def __init__(self, account: BuildAccount, prescales: Mapping[int, Prescale], name: str) -> None:
        self._account, self._prescales, self._name = account, prescales, name
        sources = list(account.counts)
        self._sources = {
            stream.name: [source for source in sources if source in stream.source_ids]
            for stream in streams_of_sources(sources)
        }
        self._empty: dict[str, OrbitBatch] = {}

    def join(self, groups: list[BuiltOrbits]) -> OrbitData:
        """Return the objects of orbits that were closed one group after the other."""
        orbit = np.concatenate([group.orbit for group in groups])
        parts = {
            source: [part for group in groups for part in group.parts[source]] for source in groups[0].parts
        }
        origins = [part.content.origin for of_source in parts.values() for part in of_source]
        contents = {id(p.content): p.content for of_source in parts.values() for p in of_source}
        decoded = self._decode(parts)
        origins_of = [data.origins for data in contents.values() if isinstance(data, OrbitData)]
        origins_of += [batch.origins for batches in decoded.values() for batch in batches]
        simulated = joint_origin(set[bool | None]().union(*origins_of))
        streams = {
            name: self._stream(
                name, {source: parts[source] for source in sources}, orbit, decoded.get(name, []), simulated
            )
            for name, sources in self._sources.items()
        }
        version = origins[0].version if origins else None
        return OrbitData(streams, None, Origin(self._name, None, version))

    def _decode(self, parts: Mapping[int, list[Fragments]]) -> dict[str, list[OrbitBatch]]:
        """Decode the frames among the parts: sources that have the same streams together."""
        frames: dict[tuple[str, ...], list[FrameTable]] = {}
        headers: dict[tuple[str, ...], RawFile] = {}
        for source, of_source in parts.items():
            names = tuple(name for name, sources in self._sources.items() if source in sources)
            for part in of_source:
                if isinstance(part.content, FramePart):
                    whole = part.place.size == part.content.table.orbit.size
                    table = part.content.table
                    frames.setdefault(names, []).append(table if whole else table.select(part.place))
                    headers[names] = part.content.header
        made: dict[str, list[OrbitBatch]] = {}
        for names, own in frames.items():
            found = decode_shared_frames(
                FrameTable.join(own), [STREAMS[name] for name in names], headers[names]
            )
            for k, (name, one) in enumerate(found.items()):
                made[name] = [one.objects]
                if not k:  # what they share is damaged once
                    self._account.corrupt += one.corrupt
                    self._account.corrupt_bytes += one.corrupt_bytes
        return made

    def _stream(
        self,
        name: str,
        parts: Mapping[int, list[Fragments]],
        orbit: NDArray[np.int64],
        found: list[OrbitBatch],
        simulated: bool | None,
    ) -> OrbitBatch:
        """Make a stream of what its sources have, `found` of which is decoded already."""
        found, seen, expected = found.copy(), orbit, np.ones(orbit.size, np.bool_)
        whole = True
        for source, of_source in parts.items():
            own = np.concatenate([np.zeros(0, np.int64), *(part.orbit for part in of_source)])
            whole &= own.size == seen.size
            seen = np.intersect1d(seen, own, assume_unique=True) if own.size < orbit.size else seen
            keep, of = self._prescales.get(source, (1, 1))
            expected &= orbit % of < keep
            batches = [
                _part(part.content.streams[name], part.orbit)
                for part in of_source
                if isinstance(part.content, OrbitData)
            ]
            if batches:
                found.append(concatenate(batches) if len(batches) > 1 else batches[0])
        if found and name not in self._empty:
            none = np.zeros(0, np.int64)
            self._empty[name] = found[0].span(0, 0, none).take(none, n_orbits=0)  # copies, not views
        elif not found:
            found = [self._empty[name] if name in self._empty else final_muons(STREAMS[name].empty())]
        joined = found[0] if len(found) == 1 else _merged(found)
        if not (whole or len(parts) == 1):  # orbits that another of the stream's sources lacks
            joined = joined.take(np.flatnonzero(np.isin(joined.orbit, seen)))
        lost = np.setdiff1d(orbit[expected], seen, assume_unique=True).size
        return joined.with_orbits(seen).stating(lost_orbits=lost, simulated=simulated)


def _part(batch: OrbitBatch, orbit: NDArray[np.int64]) -> OrbitBatch:
    """Return the rows of some orbits, a view if they follow each other."""
    if batch.n_orbits == orbit.size:
        return batch
    seen = batch.orbits_seen()
    first = 0 if seen is None else int(np.searchsorted(seen, orbit[0]))
    if seen is None or not np.array_equal(seen[first : first + orbit.size], orbit):
        return batch.of_orbits(orbit)
    low, high = np.searchsorted(batch.orbit, [orbit[0], orbit[-1] + 1]).tolist()
    return batch.span(low, high, orbit)


def _merged(batches: list[OrbitBatch]) -> OrbitBatch:
    """Put the rows of several sources in order of time; in a crossing, sources are in order."""
    orbit, bx, counts = (
        np.concatenate([getattr(b, name) for b in batches]) for name in ("orbit", "bx", "counts")
    )
    columns = {name: np.concatenate([b[name] for b in batches]) for name in batches[0].columns}
    if not orbit.size:
        return batches[0]
    merged = batch_of_records(orbit, bx, counts, columns)
    run = next(int(b.run[0]) for b in batches if len(b))
    return replace(
        merged,
        run=np.full(len(merged), run, np.int64),
        lumisection=lumisection(merged.orbit),
        simulated=joint_simulated(batches),
    )


def build_data(
    sources: Mapping[int, Iterator[OrbitData | FramePart]],
    *,
    prescales: Mapping[int, Prescale] | None = None,
    name: str = "several sources",
    orbits: int = ORBITS,
    account: BuildAccount | None = None,
) -> Iterator[OrbitData]:
    """Join the data of several sources, of one run and each in order, in the memory of some batches of each.

    The source that is furthest behind is read next, so that none is waited for in vain.

    Parameters
    ----------
    sources : mapping of int to iterator of OrbitData or FramePart
        By source id.
    prescales : mapping of int to Prescale, optional
        Sources that have only some orbits.
    name : str
    orbits : int
        Of a batch at least.
    account : BuildAccount, optional
        Is kept up to date.

    Yields
    ------
    OrbitData
        With all streams of the sources; each stream states the orbits in which it was seen.

    Raises
    ------
    InputError
        If data do not tell which orbits were seen.
    """
    prescales, account = prescales or {}, account or BuildAccount()
    builder = OrbitBuilder(list(sources), prescales=prescales, at_least=orbits)
    account.counts = builder.counts
    joiner, held = DataBuilder(account, prescales, name), list[BuiltOrbits]()
    while (source := builder.behind()) is not None:
        data = next(sources[source], None)
        held += builder.end(source) if data is None else builder.step(_fragments(source, data))
        account.max_bytes = max(account.max_bytes, builder.held_bytes)
        account.orbits, account.complete, account.forced = builder.orbits, builder.complete, builder.forced
        if sum(group.orbit.size for group in held) >= orbits:
            yield joiner.join(held)
            held = []
    if held:
        yield joiner.join(held)


def _fragments(source: int, data: OrbitData | FramePart) -> Fragments:
    if isinstance(data, FramePart):
        return Fragments.of(source, data.orbit, data, data.size)
    seen = data.main.orbits_seen()
    if seen is None:
        msg = f"{data.source}: does not tell which orbits were seen: it cannot be joined with other sources"
        raise InputError(msg)
    columns = (column for batch in data.streams.values() for column in batch.columns.values())
    rows = sum(40 * len(batch) for batch in data.streams.values())
    return Fragments.of(source, seen, data, rows + sum(column.nbytes for column in columns))
