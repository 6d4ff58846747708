"""Barrel muons of a run that went through the detector: each has a GMT word and the stubs of which it is."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import BlockLayout
from l1scout.formats.streams.muon import BMTF_INDEX
from l1scout.simulate.chain import trigger_tables
from l1scout.simulate.finders import assign
from l1scout.simulate.generator import Generator
from l1scout.simulate.run import draw_words
from l1scout.simulate.stubs import Stubs, stubs
from l1scout.simulate.transport import transport

NO_PARTICLE = -1
_WORD = ("hwPt", "hwPhi", "hwEta", "hwCharge", "hwQual")


class _Particles(NamedTuple):
    """Stubs of particles, and which of them the track finder makes a muon of."""

    stubs: Stubs
    found: NDArray[np.bool_]


class BarrelMuons:
    """Draws the muons of a run: those of the barrel by the whole simulation, others as `run.draw_words` does.

    A column ``particle`` says which particle a muon is, for `stubs`; it is -1 outside the barrel.
    """

    def __init__(self) -> None:
        self._drawn: list[_Particles] = []

    @cached_property
    def _tables(self) -> Any:
        return trigger_tables()

    def __call__(self, random: np.random.Generator, n: int, form: BlockLayout) -> dict[str, NDArray[Any]]:
        """Draw the fields of `n` muons."""
        columns = draw_words(random, n, form)
        barrel = np.flatnonzero(np.isin(columns["tfMuonIndex"], BMTF_INDEX))
        columns["particle"] = np.full(n, NO_PARTICLE, np.int32)
        before = sum(part.found.size for part in self._drawn)
        done = 0
        finder, gmt = self._tables
        while done < barrel.size:
            start = Generator().draw(random, 4 * (barrel.size - done) + 64).start
            digits = stubs(transport(start, random), random)
            found = assign(digits, finder, random)
            kept = np.flatnonzero(found.hwPt > 0)[: barrel.size - done]
            end = int(kept[-1]) + 1 if kept.size else 0
            at = barrel[done : done + kept.size]
            for name in _WORD:
                columns[name][at] = getattr(found, name)[kept]
            columns["particle"][at] = before + kept
            is_muon = np.zeros(end, np.bool_)
            is_muon[kept] = True
            self._drawn.append(_Particles(Stubs._make(part[:end] for part in digits), is_muon))
            before, done = before + end, done + kept.size
        sector = (columns["hwPhi"][barrel] + 24) // 48 % 12
        columns["tfMuonIndex"][barrel] = BMTF_INDEX.start + 3 * sector
        if "hwPtUnconstrained" in columns:
            columns["hwPtUnconstrained"][barrel] = np.minimum(columns["hwPt"][barrel], 255)
        own = {name: column[barrel] for name, column in columns.items()}
        columns["hwPhiAtVtx"][barrel], columns["hwEtaAtVtx"][barrel] = gmt.to_vertex(own)
        return columns

    def take(self) -> tuple[Stubs, NDArray[np.bool_]]:
        """Return the stubs of all particles drawn since the last call, and which of them became muons."""
        drawn, self._drawn = self._drawn, []
        none = np.zeros((0, 4), np.int64)
        parts = [part.stubs for part in drawn] or [Stubs(none, none, none, none, none, none > 0)]
        joined = Stubs._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
        return joined, np.concatenate([np.zeros(0, np.bool_), *(part.found for part in drawn)])
