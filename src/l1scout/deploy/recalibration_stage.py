"""Recalibration as a stage of its own: data in, the same data with a network's values of each muon out."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData

RECALIBRATED_COLUMNS = ("ptRecal", "etaRecal", "phiRecal", "isRecal")


class RecalibrationStage:
    """Adds what a network makes of each final muon; a `l1scout.core.flow.Stage`.

    Muons get the columns ``ptRecal`` (GeV), ``etaRecal``, ``phiRecal`` (rad) and ``isRecal`` (bool): the
    trigger's own values where a muon is not recalibrated, NaN for intermediate muons. Other streams
    pass unchanged.

    Parameters
    ----------
    recalibrate : callable
        `l1scout.deploy.recalibrate.Recalibrator`, or what answers as it does.

    Attributes
    ----------
    muons, recalibrated : int
        Final muons seen, and those that the network answered for.
    """

    def __init__(self, recalibrate: Callable[[Mapping[str, NDArray[Any]]], Any]) -> None:
        self._recalibrate = recalibrate
        self.muons = self.recalibrated = 0

    def step(self, item: OrbitData) -> Iterator[OrbitData]:
        """Recalibrate the muons of some orbits (InputError if they lack a column that the network needs)."""
        yield item.with_muons(self._with_answers(item.muons)) if MUON in item.streams else item

    def finish(self) -> Iterator[OrbitData]:
        """Return nothing: nothing is held back."""
        return iter(())

    def _with_answers(self, muons: OrbitBatch) -> OrbitBatch:
        columns: Mapping[str, NDArray[Any]] = {n: c for n, c in muons.columns.items() if c.dtype.kind in "iu"}
        final = None
        if "intermediate" in columns:
            final = np.flatnonzero(columns["intermediate"] == 0)
            columns = {n: c[final] for n, c in columns.items()}
        answer = self._recalibrate(columns)
        self.muons += answer.pt.size
        self.recalibrated += int(np.count_nonzero(answer.recalibrated))
        values = dict(
            zip(
                RECALIBRATED_COLUMNS,
                (answer.pt, answer.eta, answer.phi, answer.recalibrated),
                strict=True,
            )
        )
        if final is not None:
            for name, found in values.items():
                every = np.full(muons.n_objects, False if found.dtype == bool else np.nan, found.dtype)
                every[final] = found
                values[name] = every
        return muons.with_columns(**values)
