"""What a run number says: the year of CMS data. It never says that data are real."""

from collections.abc import Iterable

_YEARS = {
    "2010": (132_440, 152_957),
    "2011": (160_404, 183_126),
    "2012": (190_456, 208_686),
    "2013": (210_498, 211_831),
    "2015": (246_908, 263_757),
    "2016": (271_036, 286_496),
    "2017": (294_927, 306_826),
    "2018": (314_472, 327_564),
    "2022": (355_100, 362_760),
    "2023": (366_442, 375_823),
    "2024": (378_981, 388_784),
    "2025": (391_658, 400_426),
    "2026": (401_624, 403_937),
}
"""First and last run of each year in CMS's certification files, those of heavy ions included.

Run numbers rise with time, so every run between them is of that year. A run between two years may be of
either.
"""
FIRST_REAL_RUN = 130_000
"""Smaller run numbers are those of simulation, or of data before the LHC's collisions at 7 TeV."""
UNKNOWN_ERA = "unknown"


def year(run: int) -> str:
    """Return the year in which a run was taken; "unknown" where its number does not tell for certain."""
    return next((name for name, (first, last) in _YEARS.items() if first <= run <= last), UNKNOWN_ERA)


def era(runs: Iterable[int]) -> str | None:
    """Return the years that run numbers say, "unknown" among them; None if none is that of a CMS run.

    Use it for data that are not stated to be simulated: those may have any run number.
    """
    years = sorted({year(run) for run in runs if run >= FIRST_REAL_RUN})
    if not years or years == [UNKNOWN_ERA]:
        return UNKNOWN_ERA if years else None
    return ", ".join(years) + " (by run number)"
