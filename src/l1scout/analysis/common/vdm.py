"""Calibration from a van der Meer scan: two beams are moved apart, and the muons per crossing followed.

For beams that are Gaussian in x and y, mu falls as a Gaussian of width Sigma (the convolved beam size)
with the separation, and sigma_vis = 2 pi Sigma_x Sigma_y mu_peak / (N1 N2), with N1 and N2 protons a bunch
(S. van der Meer, CERN-ISR-PO-68-31). Zero counting: the likelihood is binomial in every step, so that tails
without a muon count too.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import OfOrigin, final
from l1scout.analysis.common.schemes import Scheme
from l1scout.analysis.common.seen_orbits import seen_orbits
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.statistics import Measured

MM2_TO_UB = 1e28
"""A square millimetre in microbarn (1e-34 m^2)."""

ADEQUATE = 1e-3
"""Smallest p-value of a fit that is given without a warning."""


@dataclass(frozen=True)
class Scan:
    """A fitted scan of one plane.

    Parameters
    ----------
    peak : Measured
        Muons per crossing at the best overlap, without the constant.
    width, centre : Measured
        mm.
    constant : Measured
        Muons per crossing without collisions.
    correlation : float
        Of peak and width.
    deviance : float
        -2 ln of the likelihood over that of a perfect fit; about `dof` if the model is right.
    dof : int
    """

    peak: Measured
    width: Measured
    centre: Measured
    constant: Measured
    correlation: float
    deviance: float
    dof: int

    @property
    def p_value(self) -> float:
        """Probability of a worse description; NaN without degrees of freedom."""
        from scipy.stats import chi2

        return float(chi2.sf(self.deviance, self.dof))


def fit_scan(
    separation: NDArray[np.float64], occupied: NDArray[np.int64], crossings: NDArray[np.float64]
) -> Scan:
    """Fit a Gaussian and a constant to the steps of a scan.

    Parameters
    ----------
    separation : ndarray, shape (steps,)
        mm; five steps or more.
    occupied, crossings : ndarray, shape (steps,)
        Crossings of the colliding bunches with a muon, and all of them.

    Raises
    ------
    InputError
        If there are too few steps or muons, or no peak is found.
    """
    from iminuit import Minuit
    from iminuit.cost import multinomial_chi2

    if separation.size < 5 or occupied.sum() < 100 or np.any(occupied >= crossings):
        msg = "a van der Meer scan needs five steps or more, 100 muons, and crossings without any"
        raise InputError(msg)
    share = occupied / crossings
    counted = np.r_[occupied, crossings - occupied].astype(np.float64)

    def deviance(peak: float, width: float, centre: float, constant: float) -> float:
        mu = constant + peak * np.exp(-0.5 * ((separation - centre) / width) ** 2)
        empty = np.exp(-np.maximum(mu, 1e-12))
        return float(multinomial_chi2(counted, np.r_[crossings * (1 - empty), crossings * empty]))

    top = -np.log1p(-share.max())
    weight = np.maximum(share - share.min(), 1e-9)
    middle = float((weight * separation).sum() / weight.sum())
    spread = float(np.sqrt((weight * (separation - middle) ** 2).sum() / weight.sum()))
    minuit = Minuit(deviance, peak=top, width=max(spread, 1e-6), centre=middle, constant=0.01 * top)
    minuit.errordef = Minuit.LEAST_SQUARES  # of -2 ln L
    minuit.limits["peak"], minuit.limits["width"] = (0, None), (1e-9, None)
    minuit.limits["constant"] = (0, None)
    minuit.migrad().hesse()
    if not minuit.valid or minuit.covariance is None:
        msg = "the van der Meer scan cannot be fitted: no peak over the separations given"
        raise InputError(msg)
    measured = {n: Measured(minuit.values[n], minuit.errors[n]) for n in minuit.parameters}
    correlation = float(minuit.covariance.correlation()["peak", "width"])
    return Scan(
        measured["peak"],
        measured["width"],
        measured["centre"],
        measured["constant"],
        correlation,
        float(minuit.fval),
        separation.size - 4,
    )


def expected_mu(separation: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
    """Muons per crossing that the fit says, at separations in mm."""
    distance = (separation - scan.centre.value) / scan.width.value
    return np.asarray(scan.constant.value + scan.peak.value * np.exp(-0.5 * distance**2))


def visible_cross_section(x: Scan, y: Scan, protons: tuple[Measured, Measured]) -> tuple[Measured, float]:
    """Visible cross section in microbarn: statistical uncertainty, and that of the protons a bunch.

    The peak is that of both scans, weighted; centres of the two must not differ between the scans.
    """
    errors = [np.hypot(s.peak.error, 1e-12) for s in (x, y)]
    share = np.array([e**-2.0 for e in errors])
    share /= share.sum()
    peak = float(share[0] * x.peak.value + share[1] * y.peak.value)
    value = (
        2 * np.pi * x.width.value * y.width.value * peak / (protons[0].value * protons[1].value) * MM2_TO_UB
    )
    variance = 0.0
    for part, scan in zip(share, (x, y), strict=True):
        a, b = part * scan.peak.error / peak, scan.width.error / scan.width.value
        variance += a * a + b * b + 2 * scan.correlation * a * b
    current = np.hypot(protons[0].error / protons[0].value, protons[1].error / protons[1].value)
    return Measured(float(value), float(value * np.sqrt(variance))), float(value * current)


@dataclass(frozen=True)
class Steps:
    """What a scan did.

    Parameters
    ----------
    first, last : ndarray of int64, shape (steps,)
        Orbits of each step.
    separation : ndarray, shape (steps,)
        mm.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    separation: NDArray[np.float64]


def read_scan(path: Path) -> tuple[dict[str, Steps], tuple[Measured, Measured]]:
    """Read what a scan did.

    JSON with ``x`` and ``y``, each a list of [first orbit, last orbit, mm], and ``protons``, for each
    beam [protons a bunch, uncertainty].

    Raises
    ------
    InputError
        If it is not that.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        planes = {}
        for plane in ("x", "y"):
            rows = np.asarray(content[plane], np.float64)
            first, last = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
            planes[plane] = Steps(first, last, rows[:, 2])
        one, two = (Measured(float(n), float(e)) for n, e in content["protons"])
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        msg = (
            f"{path}: not a van der Meer scan, which has x and y (lists of [first orbit, last orbit, "
            "separation in mm]) and protons (for each beam [protons per bunch, uncertainty])"
        )
        raise InputError(msg) from error
    return planes, (one, two)


@dataclass
class VdmScan(OfOrigin):
    """State: counts crossings with a muon, by step of a scan, in the colliding BX.

    Parameters
    ----------
    scheme : Scheme
    planes : dict of str to Steps
        ``x`` and ``y``.
    live : LiveTime
    min_hw_pt, min_quality : int
        Smallest hwPt and hwQual.
    """

    scheme: Scheme
    planes: dict[str, Steps]
    live: LiveTime = field(default_factory=LiveTime)
    min_hw_pt: int = 1
    min_quality: int = 0

    def __post_init__(self) -> None:
        self.occupied = {p: np.zeros(s.first.size, np.int64) for p, s in self.planes.items()}
        self.orbits = {p: np.zeros(s.first.size, np.int64) for p, s in self.planes.items()}

    def add(self, batch: OrbitBatch, prescale: float = 1.0) -> None:
        """Take in a batch of the scan (the orbits that count: `l1scout.analysis.common.seen_orbits`)."""
        self.live.add(batch, prescale)
        self.origins |= batch.origins
        muons = final(batch, self.min_hw_pt, self.min_quality)
        orbit = muons.orbit[(muons.counts > 0) & self.scheme.mask[muons.bx]]
        for plane, steps in self.planes.items():
            ends = np.stack([steps.first, steps.last + 1])
            self.occupied[plane] += np.diff(np.searchsorted(orbit, ends), axis=0)[0]
            for covered in seen_orbits(batch)[0]:
                seen = covered.before(ends.reshape(-1)).reshape(2, -1)
                self.orbits[plane] += np.diff(seen, axis=0)[0]

    def merge(self, other: "VdmScan") -> None:
        """Add data that follow these."""
        self.live.merge(other.live)
        self.origins |= other.origins
        for plane in self.planes:
            self.occupied[plane] += other.occupied[plane]
            self.orbits[plane] += other.orbits[plane]

    def points(self, plane: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Separation, crossings with a muon, and all crossings, of the steps that were seen."""
        seen = self.orbits[plane] > 0
        crossings = (self.orbits[plane][seen] * self.scheme.bx.size).astype(np.float64)
        return self.planes[plane].separation[seen], self.occupied[plane][seen], crossings

    def result(self, protons: tuple[Measured, Measured]) -> dict[str, Any]:
        """Fit both planes; gather what is printed and written (InputError if a fit fails)."""
        fits = {plane: fit_scan(*self.points(plane)) for plane in ("x", "y")}
        sigma, syst = visible_cross_section(fits["x"], fits["y"], protons)
        names = {
            "peak": "peak_muons_per_colliding_crossing",
            "width": "width_mm",
            "centre": "centre_mm",
            "constant": "constant_muons_per_colliding_crossing",
        }
        rows = [
            {"plane": plane}
            | {name: getattr(f, n).value for n, name in names.items()}
            | {f"{name}_error": getattr(f, n).error for n, name in names.items()}
            | {"deviance": f.deviance, "dof": f.dof, "p_value": f.p_value}
            for plane, f in fits.items()
        ]
        bad = [plane for plane, f in fits.items() if f.dof and f.p_value < ADEQUATE]
        warning = f"a Gaussian and a constant do not describe the scan in {' and '.join(bad)}"
        return ({"warning": f"{warning}: do not use sigma_vis"} if bad else {}) | {
            "orbits": self.live.orbits,
            "sigma_vis_ub": {"value": sigma.value, "stat": sigma.error, "syst": syst},
            "planes": rows,
        }
