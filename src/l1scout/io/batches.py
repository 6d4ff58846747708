"""Objects of several files with the number of orbits in which they were looked for."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData
from l1scout.io.input_file import InputFile
from l1scout.io.packet_files import are_of_one_run, read_as_one
from l1scout.io.quality import ReadQuality
from l1scout.io.read import read_events
from l1scout.io.reader import reader_of

JOINED = 50
"""Orbits of a batch, if a file gives them one by one."""


def read_batches(
    paths: Iterable[Path],
    *,
    quality: ReadQuality | None = None,
    intermediate: bool = False,
    **options: Any,
) -> Iterator[OrbitData]:
    """Read files one after the other, in constant memory; packets of different sources are read as one.

    Orbits that were read before, in any of the files, and files with the same bytes as an earlier one are
    left out, and so are orbits that are flagged (a link was missing or disagreed). None of these is counted
    in ``n_orbits``. Run-2 packets do not tell empty orbits: ``n_orbits`` counts those with a muon.

    Parameters
    ----------
    paths : iterable of Path
    quality : ReadQuality, optional
        Gets the account of all files: what was left out and why, and whether the crossings are independent.
        Ask it for ``warnings()`` after the last batch, and ``check()`` before a result is used.
    intermediate : bool
        Give intermediate muons, too; see `read_events`.
    options
        See `read_events`.

    Yields
    ------
    OrbitData
        At least 50 orbits, but for the end of a file; a chunk of rows where orbits are not counted.

    Raises
    ------
    InputError
        If a file is missing, unknown or damaged.
    """
    quality = quality if quality is not None else ReadQuality()
    quality.skip_flagged = quality.count_occupied = True
    if isinstance(paths, Sequence) and not options.get("flavour") and are_of_one_run(paths):
        for events in _joined(read_as_one(paths, quality, intermediate=intermediate)):
            quality.add(events.main)
            yield events
        return
    for path in paths:
        with InputFile(path, **options) as file:
            reader_of(file)
            if quality.is_duplicate_file(path):
                continue
            quality.files += 1
            for events in _joined(read_events(file, quality=quality, intermediate=intermediate)):
                quality.add(events.main)
                yield events


def _joined(chunks: Iterable[OrbitData]) -> Iterator[OrbitData]:
    """Join the chunks of a file until they have `JOINED` orbits."""
    held: list[OrbitData] = []
    for events in chunks:
        if events.main.n_orbits is None or events.offline is not None:
            yield events
            continue
        if held and not _follows(held[-1], events):
            yield _join(held)
            held = []
        held.append(events)
        if sum(h.main.n_orbits or 0 for h in held) >= JOINED:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(held: Sequence[OrbitData]) -> OrbitData:
    """Join data end to end, stream by stream."""
    streams = {name: concatenate([data.streams[name] for data in held]) for name in held[0].streams}
    flags = [data.selections for data in held if data.selections is not None]
    return OrbitData(streams, None, held[0].origin, concatenate(flags) if flags else None)


def _follows(before: OrbitData, after: OrbitData) -> bool:
    """Return whether data can be joined: in order of time, of one run, with the same streams and columns."""
    return list(before.streams) == list(after.streams) and all(
        _is_later(before.streams[name], after.streams[name]) for name in before.streams
    )


def _is_later(before: OrbitBatch, after: OrbitBatch) -> bool:
    if set(before.columns) != set(after.columns):
        return False
    if not len(before) or not len(after):
        return True
    return bool(before.run[-1] == after.run[0] and before.orbit[-1] <= after.orbit[0])
