"""Muons with the number of orbits in which they were looked for: DMA packets, or what `read_events` reads."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from l1scout.formats.packets import Found, read_packets
from l1scout.io.kinds import Kind, detect
from l1scout.io.packets import detect_packets
from l1scout.io.read import read_events
from l1scout.orbits import Events


def read_batches(paths: Iterable[Path]) -> Iterator[Events]:
    """Read files one after the other, in constant memory.

    Of DMA packets, orbits that are flagged (a link was missing or disagreed) are left out, and not
    counted in ``n_orbits``. Run-2 packets do not tell empty orbits: ``n_orbits`` counts those with a muon.

    Yields
    ------
    Events
        One packet, or a chunk of rows.

    Raises
    ------
    InputError
        If a file is missing, unknown or damaged.
    """
    for path in paths:
        kind = detect(path)
        if kind is Kind.DMA_PACKETS:
            yield from _packets(path)
        else:
            yield from read_events(path, kind=kind)


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
