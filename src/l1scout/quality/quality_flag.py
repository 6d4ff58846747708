"""What data quality finds in a lumisection: what, where and how certain; and which lumisections are good."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from l1scout.analysis.common.live_time import Section

Golden = dict[str, list[list[int]]]
"""First and last good lumisections of stretches, by run."""


@dataclass(frozen=True)
class QualityFlag:
    """A check that failed in a lumisection.

    Parameters
    ----------
    run, section : int
        Lumisection in which it was found.
    first_section : int
        Lumisection in which it probably began.
    check : str
        Stream and test, such as ``muon/occupied_bx`` or ``muon/rate``.
    what : str
        What was seen, and what was expected.
    where : str
        Region of the detector or range of BX; empty for all of it.
    bx : tuple of int, optional
        First and last BX.
    log_p : float
        ln of the p-value of the test, after correction for its bins; for a drift, of 1 / evidence.
    begins : bool
        Whether the check was good in the lumisection before: an alarm is raised then.
    link : str
        Address on the monitor's page of a plot that shows it.
    """

    run: int
    section: int
    first_section: int
    check: str
    what: str
    where: str
    bx: tuple[int, int] | None
    log_p: float
    begins: bool
    link: str

    @property
    def certainty(self) -> str:
        """How certain it is, in words."""
        power = self.log_p / math.log(10)
        return f"p = 1e{power:.0f}" if power > -300 else "p < 1e-300"

    @property
    def text(self) -> str:
        """One line for page and log."""
        since = f" (since {self.first_section})" if self.first_section < self.section else ""
        where = f" at {self.where}" if self.where else ""
        at = f"run {self.run}, lumisection {self.section}{since}"
        return f"{at}: {self.check}{where}: {self.what}; {self.certainty}"

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON has of it."""
        return asdict(self) | {"log10_p": round(self.log_p / math.log(10), 2), "text": self.text}


def golden(sections: Iterable[Section], flags: Iterable[QualityFlag]) -> Golden:
    """Return the lumisections, of those that were checked, that no flag covers.

    Parameters
    ----------
    sections : iterable of Section
        Those that were checked.
    flags : iterable of QualityFlag
        Each covers those from its first to its own lumisection.
    """
    bad = {(f.run, n) for f in flags for n in range(f.first_section, f.section + 1)}
    good: Golden = {}
    for at in sorted(set(sections)):
        if (at.run, at.number) in bad:
            continue
        stretches = good.setdefault(str(at.run), [])
        if stretches and stretches[-1][1] == at.number - 1:
            stretches[-1][1] = at.number
        else:
            stretches.append([at.number, at.number])
    return good


def alarms(flags: Iterable[QualityFlag]) -> list[QualityFlag]:
    """Return the flags with which something begins."""
    return [flag for flag in flags if flag.begins]


def summary(flags: Iterable[QualityFlag]) -> list[Mapping[str, Any]]:
    """Return one row per alarm: how long it lasted, with what was seen first."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    found: list[Mapping[str, Any]] = []
    for flag in flags:
        key = flag.run, flag.check
        if flag.begins or key not in rows:
            rows[key] = {
                "run": flag.run,
                "first": flag.first_section,
                "last": flag.section,
                "check": flag.check,
                "where": flag.where,
                "what": flag.what,
                "certainty": flag.certainty,
            }
            found.append(rows[key])
        rows[key]["last"] = flag.section
    return found
