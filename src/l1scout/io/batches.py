"""Muons with the number of orbits in which they were looked for: DMA packets, or what `read_events` reads."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.io.dma_packets import read_dma
from l1scout.io.kinds import Kind, detect
from l1scout.io.quality import ReadQuality
from l1scout.io.read import ROWS, read_events

JOINED = 50
"""Orbits of a batch, if a file gives them one by one."""


def read_batches(
    paths: Iterable[Path],
    *,
    quality: ReadQuality | None = None,
    intermediate: bool = False,
    flavour: str | None = None,
) -> Iterator[OrbitData]:
    """Read files one after the other, in constant memory.

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
    flavour : {"dpg", "scouting"}, optional
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
    quality.skip_flagged = True
    for path in paths:
        kind = detect(path, flavour=flavour)
        if quality.is_duplicate_file(path):
            continue
        quality.files += 1
        for events in _joined(_chunks(path, kind, quality, intermediate=intermediate), str(path)):
            quality.add(events.muons)
            yield events


def _chunks(path: Path, kind: Kind, quality: ReadQuality, *, intermediate: bool) -> Iterator[OrbitData]:
    if kind is not Kind.DMA_PACKETS:
        return read_events(path, kind=kind, quality=quality, intermediate=intermediate)
    chunks = read_dma(path, ROWS, quality, count_empty=True)
    return chunks if intermediate else map(final_only, chunks)


def _joined(chunks: Iterable[OrbitData], source: str) -> Iterator[OrbitData]:
    """Join the chunks of a file until they have `JOINED` orbits."""
    held: list[OrbitBatch] = []
    for events in chunks:
        if events.muons.n_orbits is None or events.offline is not None:
            yield events
            continue
        if held and not _follows(held[-1], events.muons):
            yield OrbitData.of_muons(concatenate(held), None, source)
            held = []
        held.append(events.muons)
        if sum(b.n_orbits or 0 for b in held) >= JOINED:
            yield OrbitData.of_muons(concatenate(held), None, source)
            held = []
    if held:
        yield OrbitData.of_muons(concatenate(held), None, source)


def _follows(before: OrbitBatch, after: OrbitBatch) -> bool:
    """Whether two batches can be one: in order of time, of one run, with the same columns."""
    if set(before.columns) != set(after.columns):
        return False
    if not len(before) or not len(after):
        return True
    return bool(before.run[-1] == after.run[0] and before.orbit[-1] <= after.orbit[0])
