"""Files of several boards read as one: what they have of the same orbits is joined."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io.batches import read_batches
from l1scout.io.built_data import build_data
from l1scout.io.quality import ReadQuality


def read_together(
    files: Sequence[Path], quality: ReadQuality | None = None, **options: Any
) -> Iterator[OrbitData]:
    """Read files, of which those with the same streams follow each other, and others are of the same orbits.

    Parameters
    ----------
    files : sequence of Path
    quality : ReadQuality, optional
        Gets the account; of files of several boards that of the muons, or the first, and what is damaged of
        all.
    options
        As `l1scout.io.batches.read_batches` takes them.

    Raises
    ------
    InputError
        If a file is missing, unknown or damaged, two boards have the same stream, or data that are to be
        joined do not tell which orbits were seen.
    """
    quality = quality if quality is not None else ReadQuality()
    boards: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        first = next(_completed(read_batches([path], **options)), None)
        if first is not None:
            boards.setdefault(tuple(first.streams), []).append(path)
    if len(boards) < 2:
        yield from _completed(read_batches(files, quality=quality, **options))
        return
    names = list(chain(*boards))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{files[0]} and others: {', '.join(twice)} is in files of several boards: read them one by one"
        raise InputError(msg)
    main = next((streams for streams in boards if MUON in streams), next(iter(boards)))
    own = {streams: quality if streams == main else ReadQuality() for streams in boards}
    parts = {
        next(iter(STREAMS[streams[0]].source_ids), -1 - k): _completed(
            read_batches(paths, quality=own[streams], **options)
        )
        for k, (streams, paths) in enumerate(boards.items())
    }
    yield from build_data(parts, name=", ".join(path.name for path in files))
    for other in own.values():
        if other is not quality:
            quality.damage(other.damaged_parts, other.damaged_bytes)
            quality.bytes += other.bytes
            quality.files += other.files


def _completed(chunks: Iterator[OrbitData]) -> Iterator[OrbitData]:
    """Put together what chunks in a row have of the same orbits: packets give one stream after the other."""
    held: OrbitData | None = None
    for data in chunks:
        if held is not None and _are_beside(held, data):
            held = replace(held, streams={**held.streams, **data.streams})
            continue
        if held is not None:
            yield held
        held = data
    if held is not None:
        yield held


def _are_beside(held: OrbitData, data: OrbitData) -> bool:
    """Return whether two chunks have different streams of the same orbits."""
    if set(held.streams) & set(data.streams) or held.offline is not None or data.offline is not None:
        return False
    seen, also = held.main.orbits_seen(), data.main.orbits_seen()
    return seen is not None and also is not None and np.array_equal(seen, also)
