"""Columns of objects as records hold them: those that are missing, and those that have no place."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.formats.records import LINKS
from l1scout.formats.stream import STREAMS
from l1scout.lhc import lumisection

_ONES = ("hwChargeValid", "valid", "station")
"""Columns that are 1, not 0, where data do not have them."""


def lost_in_records(data: OrbitData) -> Iterator[str]:
    """Name what the records of source ids cannot hold: streams without any, further columns, values."""
    for name, batch in data.streams.items():
        stream = STREAMS[name]
        if not stream.source_ids:
            yield f"stream {name}"
            continue
        known = stream.empty().columns
        yield from (f"{name}.{column}" for column in batch.columns if column not in known)
        if name == "stub" and "tag" in batch.columns and not _tags_follow(batch):
            yield "stub.tag where it does not follow from the order of stubs"
        if not np.array_equal(batch.lumisection, lumisection(batch.orbit)):
            yield "lumisections that do not follow from the orbit"
        if batch.lost_orbits:
            yield f"number of lost orbits of {name}"


def _tags_follow(batch: OrbitBatch) -> bool:
    """Return whether a stub's tag says that it is the first of its sector, station and wheel."""
    if not batch.n_objects:
        return True
    place = np.stack([batch.row, batch["sector"], batch["station"], batch["wheel"]])
    first = np.zeros(batch.n_objects, np.bool_)
    first[np.unique(place, axis=1, return_index=True)[1]] = True
    return bool(np.array_equal(first, batch["tag"] != 0))


def as_recorded(name: str, batch: OrbitBatch) -> OrbitBatch:
    """Return a batch with the columns that `Stream.encode` takes, and rows that have objects.

    Muons that do not state in which of their link's two slots they were are in the first ones, up to eight.
    """
    known = STREAMS[name].empty().columns
    seen = batch.orbits_seen()
    batch = batch.take(np.flatnonzero(batch.counts), n_orbits=batch.n_orbits)
    batch = batch if seen is None else batch.with_orbits(seen)
    columns: dict[str, Any] = {n: batch.columns[n] for n in known if n in batch.columns}
    for column, like in known.items():
        if column not in columns:
            value = 1 if column in _ONES else 0
            columns[column] = np.full(batch.n_objects, value, like.dtype)
    if name == MUON and "second" not in batch.columns:
        rank = np.arange(batch.n_objects) - batch.offsets[batch.row]
        columns["second"] = (rank >= LINKS).astype(np.int16)
    return replace(batch, columns=columns)


def recorded_streams(data: OrbitData) -> dict[str, OrbitBatch]:
    """Return the streams of data that have source ids, and so records."""
    return {name: batch for name, batch in data.streams.items() if STREAMS[name].source_ids}


def recorded_sources(held: Mapping[str, OrbitBatch]) -> dict[int, list[str]]:
    """Return the sources with which streams are written, and the streams of each."""
    made: dict[int, list[str]] = {}
    for name, batch in held.items():
        stream = STREAMS[name]
        partial = not stream.sources(stream.empty())  # a source stands for a part of the detector
        for source in stream.source_ids if partial else stream.sources(batch):
            made.setdefault(source, []).append(name)
    return made
