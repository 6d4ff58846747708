"""Anomaly scores by model: how many crossings have which, and those of the highest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.menu_tables import poisson_interval
from l1scout.analysis.common.muons import OfOrigin
from l1scout.analysis.common.top_crossings import TopCrossings
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.streams.anomaly import LEVELS, SCORE

BINS_PER_OCTAVE = 4


class ScoredBy(NamedTuple):
    """A model, by what its scores state."""

    level: int
    model_id: int

    def as_dict(self) -> dict[str, Any]:
        """For rows of tables."""
        known = self.level < len(LEVELS)
        return {"level": LEVELS[self.level] if known else str(self.level), "model_id": self.model_id}


def spectrum_edges() -> NDArray[np.int64]:
    """Return the first hwScore of each bin, and what comes after the last: quarters of octaves, and 0."""
    octaves = SCORE["hwScore"].width
    steps = np.arange(BINS_PER_OCTAVE * octaves + 1) / BINS_PER_OCTAVE
    return np.unique(np.r_[0, np.floor(2.0**steps)]).astype(np.int64)


@dataclass
class AnomalyCounts(OfOrigin):
    """Counts of scores: an `l1scout.analysis._analysis.AnalysisState`.

    Parameters
    ----------
    top : int
        Crossings of each model that are listed.
    live : LiveTime

    Attributes
    ----------
    counts : dict of ScoredBy to ndarray of int64, shape (262144,)
        Crossings by hwScore.
    tops : dict of ScoredBy to TopCrossings
    """

    top: int
    live: LiveTime = field(default_factory=LiveTime)
    counts: dict[ScoredBy, NDArray[np.int64]] = field(default_factory=dict)
    tops: dict[ScoredBy, TopCrossings] = field(default_factory=dict)

    def add(self, batch: OrbitBatch, prescale: float = 1.0, objects: OrbitData | None = None) -> None:
        """Take in scores, and the objects of their crossings if there are any.

        Raises
        ------
        InputError
            If a hwScore is none that a word can hold.
        """
        high = SCORE["hwScore"].high
        if batch.n_objects and not 0 <= batch["hwScore"].min() <= batch["hwScore"].max() <= high:
            msg = f"hwScore of {batch['hwScore'].min()} to {batch['hwScore'].max()}, beyond 0 to {high}"
            raise InputError(msg)
        self.origins |= batch.origins
        self.live.add(batch, prescale)
        models = np.stack([batch["level"], batch["modelId"]], axis=1)
        for level, model_id in np.unique(models, axis=0).tolist():
            chosen = np.flatnonzero((models == (level, model_id)).all(axis=1))
            scores, model = batch["hwScore"][chosen], ScoredBy(level, model_id)
            self._counts(model)[:] += np.bincount(scores, minlength=SCORE["hwScore"].high + 1)
            self._tops(model).add(batch, chosen, objects)

    def _counts(self, model: ScoredBy) -> NDArray[np.int64]:
        return self.counts.setdefault(model, np.zeros(SCORE["hwScore"].high + 1, np.int64))

    def _tops(self, model: ScoredBy) -> TopCrossings:
        return self.tops.setdefault(model, TopCrossings(self.top))

    def merge(self, other: "AnomalyCounts") -> None:
        """Add scores that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        for model, counts in other.counts.items():
            self._counts(model)[:] += counts
        for model, tops in other.tops.items():
            self._tops(model).merge(tops)

    def _models(self) -> Iterator[tuple[ScoredBy, NDArray[np.int64]]]:
        yield from sorted(self.counts.items(), key=lambda item: item[0])

    def models(self) -> list[dict[str, Any]]:
        """Return a row for each model."""
        return [
            model.as_dict()
            | {"crossings": int(counts.sum()), "highest_hw_score": int(np.flatnonzero(counts)[-1])}
            for model, counts in self._models()
        ]

    def thresholds(self, wanted: Sequence[int]) -> list[dict[str, Any]]:
        """Return a row for each model and threshold; by default powers of two up to the highest score."""
        rows = []
        for model, counts in self._models():
            highest = int(np.flatnonzero(counts)[-1])
            chosen = sorted(set(wanted)) or [0, *(1 << k for k in range(highest.bit_length()))]
            for threshold in chosen:
                n = int(counts[threshold:].sum())
                ends = (float(end[0]) for end in poisson_interval(np.array([n])))
                names = ("rate_hz", "rate_low_hz", "rate_high_hz")
                rates = (self.live.rate(count) for count in (n, *ends))
                row = {"hw_score": threshold, "crossings": n, **dict(zip(names, rates, strict=True))}
                rows.append(model.as_dict() | row)
        return rows

    def spectrum(self) -> list[dict[str, Any]]:
        """Return a row for each model and bin, up to the highest bin that is not empty."""
        edges, rows = spectrum_edges(), []
        for model, counts in self._models():
            binned = np.add.reduceat(counts, edges[:-1])
            for k in range(int(np.flatnonzero(binned)[-1]) + 1):
                row = {"low": int(edges[k]), "high": int(edges[k + 1]) - 1, "crossings": int(binned[k])}
                rows.append(model.as_dict() | row)
        return rows

    def highest(self) -> list[dict[str, Any]]:
        """Return a row for each crossing of highest score of each model."""
        return [model.as_dict() | top for model in sorted(self.tops) for top in self.tops[model].rows()]
