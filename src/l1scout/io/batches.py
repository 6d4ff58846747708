"""Muons with the number of orbits in which they were looked for: DMA packets, or what `read_events` reads."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from l1scout.formats.packets import Found, read_packets
from l1scout.io.kinds import Kind, detect
from l1scout.io.packets import detect_packets
from l1scout.io.read import read_events
from l1scout.orbits import Events, OrbitBatch, concatenate

JOINED = 50
"""Orbits of a batch, if a file gives them one by one."""


def read_batches(paths: Iterable[Path], *, flavour: str | None = None) -> Iterator[Events]:
    """Read files one after the other, in constant memory; `flavour` as in `l1scout.io.read_events`.

    Of DMA packets, orbits that are flagged (a link was missing or disagreed) are left out, and not
    counted in ``n_orbits``. Run-2 packets do not tell empty orbits: ``n_orbits`` counts those with a muon.

    Yields
    ------
    Events
        At least 50 orbits, but for the end of a file; a chunk of rows where orbits are not counted.

    Raises
    ------
    InputError
        If a file is missing, unknown or damaged.
    """
    for path in paths:
        kind = detect(path, flavour=flavour)
        chunks = _packets(path) if kind is Kind.DMA_PACKETS else read_events(path, kind=kind)
        held: list[OrbitBatch] = []
        for events in chunks:
            if events.l1.n_orbits is None or events.offline is not None:
                yield events
                continue
            if held and not _follows(held[-1], events.l1):
                yield Events(concatenate(held), None, str(path))
                held = []
            held.append(events.l1)
            if sum(b.n_orbits or 0 for b in held) >= JOINED:
                yield Events(concatenate(held), None, str(path))
                held = []
        if held:
            yield Events(concatenate(held), None, str(path))


def _follows(before: OrbitBatch, after: OrbitBatch) -> bool:
    """Whether two batches can be one: in order of time, of one run, with the same columns."""
    if set(before.columns) != set(after.columns):
        return False
    if not len(before) or not len(after):
        return True
    return bool(before.run[-1] == after.run[0] and before.orbit[-1] <= after.orbit[0])


def _packets(path: Path) -> Iterator[Events]:
    form = detect_packets(path)
    if form is None:
        return
    found, seen = Found(), 0
    with path.open("rb") as stream:
        for part in read_packets(stream, form, found):
            orbits, seen = found.orbits - seen, found.orbits
            muons = part.muons
            if part.flagged.size:
                muons = muons.select(~np.isin(muons.orbit, part.flagged)[muons.row])
            good = orbits - part.flagged.size
            yield Events(replace(muons, n_orbits=max(good, 0)), None, str(path))
