"""Is the response straight? Measured luminosity over that of another luminometer, against it."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.bunch_luminosity import Luminosity
from l1scout.analysis.common.vdm import ADEQUATE
from l1scout.errors import InputError
from l1scout.statistics import Measured

_MU = "muons_per_colliding_crossing"


@dataclass(frozen=True)
class Reference:
    """Luminosity by another luminometer, in any unit.

    Parameters
    ----------
    by : {"section", "bx"}
        What each value is of: a lumisection (or slice of time), or a bunch (1..3564) over the whole run.
    values : dict of int to float
    """

    by: Literal["section", "bx"]
    values: dict[int, float]


def read_reference(path: Path) -> Reference:
    """Read a CSV file with a column ``section`` or ``bx`` and a column ``reference``; others are ignored.

    Lines that begin with ``#`` are comments.

    Raises
    ------
    InputError
        If it is not that, names a place twice, or has a value that is not above 0.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(file)
        comments = [k for k, line in enumerate(lines) if line.startswith("#")]
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as CSV ({getattr(error, 'strerror', None) or error})"
        raise InputError(msg) from error
    names = set(rows[0]) if rows else set()
    by: Literal["section", "bx"] = "bx" if "bx" in names else "section"
    if not {by, "reference"} <= names:
        msg = f"{path}: a column section or bx and a column reference expected"
        raise InputError(msg)
    values: dict[int, float] = {}
    for k, row in enumerate(rows, 2 + len(comments)):
        try:
            at, value = int(row[by]), float(row["reference"])
        except (TypeError, ValueError):
            at, value = -1, -1.0
        if at < 0 or at in values or not 0 < value < np.inf:
            msg = f"{path}, line {k}: a {by} that is not there twice and a reference above 0 expected"
            raise InputError(msg)
        values[at] = value
    return Reference(by, values)


@dataclass(frozen=True)
class Linearity:
    """A straight line through a response: ``response = level (1 + slope (mu - centre))``.

    Parameters
    ----------
    level, slope : Measured
        Slope relative, a unit of pile-up.
    centre, chi2 : float
    dof : int
    """

    level: Measured
    slope: Measured
    centre: float
    chi2: float
    dof: int

    @property
    def p_value(self) -> float:
        """Probability of a larger chi2."""
        from scipy.stats import chi2

        return float(chi2.sf(self.chi2, self.dof))


def linearity(
    mu: NDArray[np.float64], error: NDArray[np.float64], reference: NDArray[np.float64]
) -> Linearity:
    """Fit measured over reference luminosity against the reference, with uncertainties.

    Parameters
    ----------
    mu, error : ndarray, shape (n,)
        Measured, n >= 3, with its statistical uncertainty.
    reference : ndarray, shape (n,)
        Pile-up by another luminometer, or known in a simulation.

    Raises
    ------
    InputError
        If there are less than three points, or all at one pile-up.
    """
    if mu.size < 3 or np.ptp(reference) <= 0 or reference.min() <= 0 or error.min() <= 0:
        msg = "linearity needs three or more points of different pile-up above 0, with uncertainties"
        raise InputError(msg)
    ratio, weight = mu / reference, (reference / error) ** 2
    centre = float((weight * reference).sum() / weight.sum())
    x = reference - centre
    level = float((weight * ratio).sum() / weight.sum())
    slope = float((weight * x * ratio).sum() / (weight * x * x).sum())
    chi2 = float((weight * (ratio - level - slope * x) ** 2).sum())
    return Linearity(
        Measured(level, float(weight.sum() ** -0.5)),
        Measured(slope / level, float((weight * x * x).sum() ** -0.5) / abs(level)),
        centre,
        chi2,
        mu.size - 2,
    )


def against(state: Luminosity, reference: Reference, method: str = "zero") -> dict[str, Any]:
    """Compare with a reference, at every section or bunch that both have.

    Returns
    -------
    dict
        ``points`` (rows: section or bx, reference, muons_per_colliding_crossing and its stat; of a bunch, or
        the mean of all bunches of a section), ``level``, ``slope`` (relative, per unit of the reference)
        and ``centre`` of the line,
        ``chi2``, ``dof``, ``p_value``, and a ``warning`` if the line does not describe the points.

    Raises
    ------
    InputError
        If less than three have both, or the data are of several runs.
    """
    fitted, bx = state.background(method), state.scheme.bx
    found: dict[int, Measured] = {}
    if reference.by == "bx":
        whole = state.whole(method, fitted)
        found = {b: Measured(float(whole.mu[b - 1]), float(whole.stat[b - 1])) for b in bx.tolist()}
    else:
        if len({at.run for at in state.counts.muons}) > 1:
            msg = "sections of several runs: give the data of one, or a reference by bx"
            raise InputError(msg)
        for at in state.counts.muons:
            total = state.section(at, method, fitted).total(bx)[0]
            found[at.number] = Measured(total.value / bx.size, total.error / bx.size)
    points = [
        {reference.by: k, "reference": reference.values[k], _MU: m.value, f"{_MU}_stat": m.error}
        for k, m in sorted(found.items())
        if k in reference.values and 0 < m.error < np.inf
    ]
    mu, error, wanted = (np.array([p[n] for p in points]) for n in (_MU, f"{_MU}_stat", "reference"))
    line = linearity(mu, _expected(mu, error, wanted, method), wanted)
    bad = f"a straight line does not describe the response (p = {line.p_value:.1g}): do not use its slope"
    return ({"warning": bad} if line.p_value < ADEQUATE else {}) | {
        "method": method,
        "orbits": state.live.orbits,
        "level": vars(line.level),
        "slope": vars(line.slope),
        "centre": line.centre,
        "chi2": line.chi2,
        "dof": line.dof,
        "p_value": line.p_value,
        "points": points,
    }


def _expected(
    mu: NDArray[np.float64], error: NDArray[np.float64], reference: NDArray[np.float64], method: str
) -> NDArray[np.float64]:
    """Errors at what a straight response would give: those at what was counted favour low counts."""
    variance = np.expm1 if method == "zero" else np.positive
    expected = reference * (mu.sum() / reference.sum()) if mu.size else mu
    with np.errstate(all="ignore"):
        factor = np.sqrt(variance(expected) / variance(mu))
    return np.where(np.isfinite(factor) & (mu > 0), error * factor, error)
