"""How good a muon measurement is: the nine metrics of the reference paper, and the same in bins.

Residuals are L1 minus offline: phi in rad, eta, and pT relative to the offline pT. The RMS is about
zero, not about the mean, and no residual is left out however large it is ("overflows counted").
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Residuals = Mapping[str, NDArray[np.float64]]
"""Residuals of ``phi``, ``eta`` and ``pt``, each of shape (muons,)."""

VARIABLES = ("phi", "eta", "pt")
CORE = {"phi": 0.008, "eta": 0.0015, "pt": 0.01}
"""A muon is in the core if its residual is smaller (reference paper, Table 1): rad, 1, relative."""
TAIL = {"phi": 0.1, "eta": 0.05, "pt": 0.15}
"""A muon is in the tail if its residual is larger (reference paper, Table 1): rad, 1, relative."""
KINDS = ("rms", "core", "tail")

_ONE_SIGMA = (0.158655, 0.841345)


def wrap(phi: ArrayLike) -> NDArray[np.float64]:
    """Angle in [-pi, pi) of any angle in rad."""
    turns = (np.asarray(phi, np.float64) + np.pi) % (2 * np.pi) - np.pi
    return np.where(turns >= np.pi, -np.pi, turns)


def residuals(pt: ArrayLike, eta: ArrayLike, phi: ArrayLike, reco: Mapping[str, NDArray[Any]]) -> Residuals:
    """L1 minus offline.

    Parameters
    ----------
    pt, eta, phi : array_like of float, shape (muons,)
        L1 values at the vertex: GeV, 1, rad.
    reco : mapping
        ``recoPt`` (GeV), ``recoEta``, ``recoPhi`` (rad) of the same muons.
    """
    offline_pt = reco["recoPt"].astype(np.float64)
    return {
        "phi": wrap(np.asarray(phi, np.float64) - reco["recoPhi"]),
        "eta": np.asarray(eta, np.float64) - reco["recoEta"],
        "pt": (np.asarray(pt, np.float64) - offline_pt) / offline_pt,
    }


@dataclass(frozen=True)
class Measured:
    """A number and its statistical uncertainty (NaN where a publication gives none)."""

    value: float
    error: float = float("nan")

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN."""
        return {n: x if x == x else None for n, x in (("value", self.value), ("error", self.error))}


@dataclass(frozen=True)
class Scores:
    """The nine metrics: RMS, share of the core and share of the tail of each variable.

    Each is a mapping from ``phi``, ``eta`` and ``pt``; shares are from 0 to 1. The same class holds
    the nine ratios of a model and the raw trigger.
    """

    rms: Mapping[str, Measured]
    core: Mapping[str, Measured]
    tail: Mapping[str, Measured]

    def __iter__(self) -> Iterator[tuple[str, str, Measured]]:
        """Go through kind, variable and number: the order of the published tables."""
        for kind in KINDS:
            for variable in VARIABLES:
                yield kind, variable, getattr(self, kind)[variable]

    def as_dict(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """For JSON."""
        return {k: {v: getattr(self, k)[v].as_dict() for v in VARIABLES} for k in KINDS}


def rms(x: NDArray[np.float64]) -> Measured:
    """Root mean square about zero; the uncertainty follows from the fourth moment of the sample."""
    square = x * x
    value = float(np.sqrt(square.mean()))
    return Measured(value, float(square.std() / np.sqrt(x.size) / (2 * value)) if value else 0.0)


def share(mask: NDArray[np.bool_]) -> Measured:
    """Share of True, with Wilson's binomial half-width: not zero where none or all are True."""
    n, p = mask.size, float(mask.mean())
    return Measured(p, float(np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)))


def half_width(x: NDArray[np.float64]) -> Measured:
    """Half the width of the central 68 % interval: the resolution without its tails.

    The uncertainty is that of the order statistics at its two ends.
    """
    step = np.array([np.sqrt(q * (1 - q) / x.size) for q in _ONE_SIGMA])
    q = np.array(_ONE_SIGMA)
    low, high = np.quantile(x, q)
    ends = np.quantile(x, np.clip(q + step, 0, 1)) - np.quantile(x, np.clip(q - step, 0, 1))
    return Measured(float(high - low) / 2, float(np.hypot(*(ends / 2))) / 2)


def mean(x: NDArray[np.float64]) -> Measured:
    """Mean and its uncertainty."""
    return Measured(float(x.mean()), float(x.std() / np.sqrt(x.size)))


def scores(residuals: Residuals) -> Scores:
    """Nine metrics of a sample of at least one muon."""
    return Scores(
        {v: rms(residuals[v]) for v in VARIABLES},
        {v: share(np.abs(residuals[v]) < CORE[v]) for v in VARIABLES},
        {v: share(np.abs(residuals[v]) > TAIL[v]) for v in VARIABLES},
    )


def paired_ratio(a: NDArray[Any], b: NDArray[Any]) -> Measured:
    """Ratio of the means of two columns of the same muons, with their correlation in the uncertainty."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if not mean_b:
        return Measured(float("nan"))
    ratio = mean_a / mean_b
    return Measured(ratio, float(np.std(a - ratio * b) / np.sqrt(a.size) / abs(mean_b)))


def rms_ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> Measured:
    """Ratio of the RMS about zero of two residuals of the same muons."""
    square = paired_ratio(a * a, b * b)
    value = float(np.sqrt(square.value))
    return Measured(value, square.error / (2 * value) if value else square.error)


def ratios(model: Residuals, raw: Residuals) -> Scores:
    """Nine ratios model / raw trigger on the same muons: below 1 is better for RMS and tail, above for core.

    Uncertainties count the correlation of the two.
    """
    return Scores(
        {v: rms_ratio(model[v], raw[v]) for v in VARIABLES},
        {v: paired_ratio(np.abs(model[v]) < CORE[v], np.abs(raw[v]) < CORE[v]) for v in VARIABLES},
        {v: paired_ratio(np.abs(model[v]) > TAIL[v], np.abs(raw[v]) > TAIL[v]) for v in VARIABLES},
    )
