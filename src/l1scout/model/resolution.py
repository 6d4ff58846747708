"""Predicted uncertainty of a recalibrated muon: a small table over the trigger's integers.

The trigger's integers are all that is known of a muon, so its uncertainty is a function of them: what
68.27 % of the corrected residuals are smaller than, in bins of hwPt, of the size of hwEta (hwEtaAtVtx if the
network does not see hwEta) and, if it sees it, of hwQual, of muons that the network was not trained on. That
is the half width of the central 68 % about zero: a bias that is left in a bin counts. Residuals of pT are
relative to the *recalibrated* pT: that is what is known when the uncertainty is asked for.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED
from l1scout.model.quantities import VARIABLES, Residuals

ETA = ("hwEta", "hwEtaAtVtx")
"""Of these, the first that the network takes; of eta, the size counts."""
AXES = ("hwPt", *ETA, "hwQual")
"""Columns that a table may have bins in."""
ALWAYS = ("hwPt", "hwEtaAtVtx")
"""What every recalibration is given, whether its network takes it or not."""
MIN_MUONS = 50
"""Of every cell: its width is then known to 14 %, as Gaussian statistics go."""
ONE_SIGMA = 0.682689
"""Share of a Gaussian within one standard deviation."""
MAX_CELLS = 512
"""Keeps the card small."""

_WIDER = 1.12
"""Each bin of hwPt ends at least at this multiple of its beginning: 24 bins at most from 6 to 90."""
_FINENESS = ((6, 3), (3, 2), (1, 1))
"""Bins of eta and of quality: the first pair that has muons enough."""
_RARE = 0.05
"""Share of muons that a bin of quality must have."""
_SMALLEST, _LARGEST = 1e-6, 1e6


@dataclass(frozen=True, config=CLOSED)
class Resolution:
    """Uncertainties in bins of the trigger's integers.

    Parameters
    ----------
    edges : mapping of str to tuple of int
        By column: smallest integer of each bin. The first bin has everything below it, too, and the last
        everything above, so that every integer is in one.
    values : mapping of str to tuple of float
        ``phi`` (rad), ``eta`` and ``pt`` (relative), one per cell, the last axis fastest.

    Raises
    ------
    ValueError
        If edges are not strictly increasing integers or values are not one positive number per cell.
    """

    edges: Mapping[str, tuple[int, ...]]
    values: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if not self.edges or set(self.edges) - set(AXES):
            msg = f"resolution: bins are in {', '.join(AXES)}, not in {', '.join(map(str, self.edges))}"
            raise ValueError(msg)
        for name, edges in self.edges.items():
            if not edges or max(map(abs, edges)) >= 1 << 15 or list(edges) != sorted(set(edges)):
                msg = f"resolution: edges of {name} are not strictly increasing 16-bit integers"
                raise ValueError(msg)
        cells = int(np.prod([len(e) for e in self.edges.values()]))
        if set(self.values) != set(VARIABLES) or cells > MAX_CELLS:
            msg = f"resolution: {cells} cells of {', '.join(map(str, self.values))}"
            raise ValueError(msg)
        for name, values in self.values.items():
            if len(values) != cells or not all(_SMALLEST <= v <= _LARGEST for v in values):
                msg = f"resolution: {name} is not {cells} positive numbers"
                raise ValueError(msg)

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        return np.array([self.values[v] for v in VARIABLES], np.float32)

    def cells(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Cell of each muon, shape (muons,)."""
        return _cells(self.edges, columns)

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Uncertainties of muons by variable: phi in rad, eta, pT relative to the recalibrated pT."""
        at = self.cells(columns)
        return {v: row[at] for v, row in zip(VARIABLES, self._table, strict=True)}

    def pulls(self, columns: Mapping[str, NDArray[Any]], residuals: Residuals) -> Residuals:
        """Residuals over their predicted uncertainties; those of pT as `own_residuals` has them."""
        errors = self(columns)
        return {v: r / errors[v] for v, r in own_residuals(residuals).items()}


def own_residuals(residuals: Residuals) -> Residuals:
    """Residuals, but of pT relative to the muon's own pT instead of the offline one (-inf for pT <= 0)."""
    relative = 1 + residuals["pt"]  # own pT over offline pT
    own = np.divide(residuals["pt"], relative, out=np.full(relative.shape, -np.inf), where=relative > 0)
    return {**residuals, "pt": own}


def learn(
    columns: Mapping[str, NDArray[Any]], residuals: Residuals, inputs: Sequence[str]
) -> Resolution | None:
    """Make the table of a network.

    Bins of eta hold equal numbers of muons, those of hwQual at least 5 % of them; bins of hwPt grow
    until each of their cells has `MIN_MUONS`.

    Parameters
    ----------
    columns : mapping of str to ndarray, each of shape (muons,)
        Hardware values of muons that the network was not trained on.
    residuals : Residuals
        Of the same muons, after recalibration; pT relative to the offline pT as everywhere.
    inputs : sequence of str
        Of the network.

    Returns
    -------
    Resolution or None
        None if there are fewer than `MIN_MUONS`.
    """
    own = own_residuals(residuals)
    good = np.isfinite(own["pt"])
    eta = next((n for n in ETA if n in inputs), ALWAYS[1])
    names = ["hwPt", eta, *(n for n in ("hwQual",) if n in inputs)]
    used = {n: columns[n][good].astype(np.int64) for n in names}
    if np.count_nonzero(good) < MIN_MUONS:
        return None
    edges: dict[str, tuple[int, ...]] = {}
    for eta_bins, classes in _FINENESS:
        edges = {eta: _equal(np.abs(used[eta]), eta_bins)}
        if "hwQual" in used:
            edges["hwQual"] = _common(used["hwQual"], classes)
        others = _cells(edges, used)
        n = int(np.prod([len(e) for e in edges.values()]))
        if np.bincount(others, minlength=n).min() >= MIN_MUONS:
            edges = {"hwPt": _grown(used["hwPt"], others, n), **edges}
            break
    cell = _cells(edges, used)
    order = np.argsort(cell, kind="stable")
    ends = np.cumsum(np.bincount(cell))[:-1]
    values = {
        v: tuple(_rounded(np.quantile(np.abs(x), ONE_SIGMA)) for x in np.split(own[v][good][order], ends))
        for v in VARIABLES
    }
    return Resolution(edges, values)


def _cells(edges: Mapping[str, tuple[int, ...]], columns: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
    at = np.zeros(np.size(next(iter(columns.values()))), np.int64)
    for name, first in edges.items():
        x = np.asarray(columns[name])
        x = np.abs(x.astype(np.int64)) if name in ETA else x
        at = at * len(first) + np.searchsorted(first[1:], x, side="right")
    return at


def _equal(x: NDArray[np.int64], bins: int) -> tuple[int, ...]:
    """First integers of bins with about equal numbers of entries, from 0 on."""
    inner = np.quantile(x, np.arange(1, bins) / bins, method="nearest")
    return tuple(sorted({0, *map(int, inner)}))


def _common(x: NDArray[np.int64], bins: int) -> tuple[int, ...]:
    """First integers of at most `bins` bins with at least `_RARE` of all entries each."""
    codes, counts = np.unique(x, return_counts=True)
    first, inside, left = [int(codes[0])], 0, x.size
    for code, n in zip(codes.tolist(), counts.tolist(), strict=True):
        if inside >= _RARE * x.size and left >= _RARE * x.size and len(first) < bins:
            first.append(code)
            inside = 0
        inside, left = inside + n, left - n
    return tuple(first)


def _grown(x: NDArray[np.int64], others: NDArray[np.int64], n: int) -> tuple[int, ...]:
    """First integers of bins that have `MIN_MUONS` in each of the cells that the other axes make."""
    low, high = int(x.min()), int(x.max())
    counts = np.bincount((x - low) * n + others, minlength=(high - low + 1) * n).reshape(-1, n)
    first, inside = [low], np.zeros(n, np.int64)
    for code, row in enumerate(counts, low):
        if code >= _WIDER * first[-1] and inside.min() >= MIN_MUONS:
            first.append(code)
            inside = np.zeros(n, np.int64)
        inside = inside + row
    if len(first) > 1 and inside.min() < MIN_MUONS:
        first.pop()  # what is left over belongs to the bin below
    return tuple(first)


def _rounded(x: np.floating[Any]) -> float:
    return float(f"{min(max(x, _SMALLEST), _LARGEST):.4g}")
