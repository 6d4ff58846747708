"""What a run number says: the year of CMS data, and whether the data are real."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_YEARS = (
    (130_000, "2010"),
    (158_000, "2011"),
    (185_000, "2012"),
    (230_000, "2015"),
    (270_000, "2016"),
    (290_000, "2017"),
    (310_000, "2018"),
    (350_000, "2022"),
    (365_000, "2023"),
    (375_000, "2024"),
    (388_000, "2025"),
)
"""First run number, rounded down, of each year of CMS data."""
FIRST_REAL_RUN = _YEARS[0][0]


def era(runs: Iterable[int]) -> str | None:
    """Years of runs of CMS data, from their numbers; None if no real run has one of them."""
    years = {[year for first, year in _YEARS if run >= first][-1] for run in runs if run >= FIRST_REAL_RUN}
    return ", ".join(sorted(years)) + " (by run number)" if years else None


def simulated(run: NDArray[np.int64], *, generated: bool = False) -> bool | None:
    """Whether rows are simulation: they have generator's truth, or CMS's run 1; None if nothing says so."""
    if generated or np.any(run == 1):
        return True
    return False if run.size and np.all(run >= FIRST_REAL_RUN) else None
