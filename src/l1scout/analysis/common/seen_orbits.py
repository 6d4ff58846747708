"""Find out which orbits a batch has seen, empty ones too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError

SLACK = 0.02
"""Share by which orbits with muons may be more than a batch says: chunks of a file that tells only the sum
have their part by rows, and may end within an orbit."""


@dataclass(frozen=True)
class SeenOrbits:
    """Orbits of one run that were seen, as intervals.

    Parameters
    ----------
    run : int, optional
        None if no muon tells it.
    starts, stops : ndarray of int64
        First orbit of each interval, and the one after its last; rising, without overlap.
    rows : slice
        Rows of the batch that lie in it.
    """

    run: int | None
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    rows: slice

    @property
    def orbits(self) -> int:
        """Number of orbits."""
        return int((self.stops - self.starts).sum())

    @property
    def first(self) -> int:
        """First orbit."""
        return int(self.starts[0])

    @property
    def last(self) -> int:
        """Last orbit."""
        return int(self.stops[-1]) - 1

    def before(self, orbit: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many orbits were seen before each of some orbits."""
        total = np.r_[0, np.cumsum(self.stops - self.starts)]
        k = np.searchsorted(self.starts, orbit)
        beyond = np.where(k > 0, np.maximum(self.stops[np.maximum(k, 1) - 1] - orbit, 0), 0)
        return np.asarray(total[k] - beyond)


def seen_orbits(batch: OrbitBatch) -> tuple[list[SeenOrbits], int]:
    """Return the orbits that a batch has certainly seen, by run, and how many others it has seen.

    If a batch does not state its first orbit, those between its first and its last row were seen if they are
    no more than it has; otherwise those with a row. The number of others is below 0 if the batch states too
    few, as a share of a file may.

    Raises
    ------
    InputError
        If the batch does not say how many orbits it stands for, has far more of them in its rows, does not
        know their numbers, or is not in order of them.
    """
    if batch.n_orbits is None:
        msg = "these data do not say how many orbits were seen: no rate can be made of them"
        raise InputError(msg)
    n, rows = batch.n_orbits, len(batch)
    if rows and batch.orbit.min() < 0:
        msg = "muons without orbit: no live time can be made of them"
        raise InputError(msg)
    breaks = np.flatnonzero(np.diff(batch.run)) + 1
    spans = list(zip([0, *breaks.tolist()], [*breaks.tolist(), rows], strict=True)) if rows else []
    if any(np.any(np.diff(batch.orbit[a:b]) < 0) for a, b in spans):
        msg = "rows are not in order of orbits: sort them by run, orbit and BX"
        raise InputError(msg)
    if batch.first_orbit is not None and len(spans) < 2:
        run = int(batch.run[0]) if rows else None
        start = np.array([batch.first_orbit], np.int64)
        return [SeenOrbits(run, start, start + n, slice(0, rows))] * bool(n), 0
    if batch.seen is not None and len(spans) < 2:
        start = batch.seen[np.r_[True, np.diff(batch.seen) != 1]] if n else batch.seen
        stop = batch.seen[np.r_[np.diff(batch.seen) != 1, True]] + 1 if n else batch.seen
        return [SeenOrbits(int(batch.run[0]) if rows else None, start, stop, slice(0, rows))] * bool(n), 0
    ends = [(batch.orbit[a : a + 1], batch.orbit[b - 1 : b] + 1) for a, b in spans]
    found = [
        SeenOrbits(int(batch.run[a]), *both, slice(a, b)) for (a, b), both in zip(spans, ends, strict=True)
    ]
    if sum(c.orbits for c in found) > n:
        found = []
        for a, b in spans:
            orbit = np.unique(batch.orbit[a:b])
            found.append(SeenOrbits(int(batch.run[a]), orbit, orbit + 1, slice(a, b)))
    seen = sum(c.orbits for c in found)
    if seen > n * (1 + SLACK) + 2:
        msg = f"a batch of {n} orbits has muons in {seen}"
        raise InputError(msg)
    return found, n - seen
