"""Data quality on toys: false alarms of clean days, and the delay with which planted faults are found.

    python validation/quality.py [--days 1] [--toys 20] [--false-alarms 20] [--seed 1] [--out FILE.json]

Toys are lumisections with Poisson counts: muons, jets, decisions of the trigger. Clean days are drawn at the
number of false alarms per day that is asked for, to count enough of them, and at the default of 1; each with
the systematic floor (1 %, luminosity decays) and without (only chance, constant luminosity); and three times
as many of only histograms whose bins have many entries, where the bound is nearly reached. Faults are
planted after 40 clean lumisections, at 1 false alarm a day; the delay counts the lumisection in which the
fault begins. Exit status 1 if there are more false alarms than a Poisson distribution with the number that
was set as mean explains (p < 0.001), or if a fault is not found within 100 lumisections.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import numpy as np
from scipy.stats import chi2, poisson

from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, positive_float, run_script
from l1scout.lhc import LUMISECTION_S
from l1scout.quality.pulls import TOLERANCE
from l1scout.quality.quality_flag import alarms
from l1scout.quality.section_quality import SECTIONS_PER_DAY, SectionQuality
from l1scout.report.terminal_tables import records_table
from toy_sections import FAULTS, LIFETIME_S, ToyRun

FILLED = {"muon": ("quality", "charge"), "gt": ("algorithm",)}
"""Histograms with thousands of entries per bin, of which the p-values are nearly continuous."""
BEFORE, LONGEST = 40, 100
"""Clean lumisections before a fault, and those in which it must be found."""


def clean_days(
    days: int, allowed: float, tolerance: float, seed: int, only: Mapping[str, Collection[str]] | None = None
) -> dict[str, Any]:
    """Count the false alarms of clean days, with the 95 % interval of Garwood for their mean per day."""
    by_check: Counter[str] = Counter()
    for day in range(days):
        quality = SectionQuality(allowed, tolerance)
        run = ToyRun(seed + day, lifetime_s=LIFETIME_S if tolerance else math.inf, only=only)
        by_check.update(flag.check for flag in alarms(run.draw(quality, round(SECTIONS_PER_DAY))))
    n = by_check.total()
    low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
    high = chi2.ppf(0.975, 2 * n + 2) / 2
    return {
        "tests_of": "filled bins" if only else "all",
        "floor": tolerance,
        "set_per_day": allowed,
        "days": days,
        "tests": quality.tests,
        "false_alarms": n,
        "per_day": n / days,
        "low": low / days,
        "high": high / days,
        "chance_of_as_many": float(poisson.sf(n - 1, allowed * days)),
        "by_check": ", ".join(f"{check} {k}" for check, k in by_check.most_common(4)),
    }


def planted(name: str, toys: int, seed: int) -> dict[str, Any]:
    """Plant a fault in toys, and count the lumisections until it is found."""
    size, change = FAULTS[name]
    delays, checks, early = [], Counter[str](), 0
    for toy in range(toys):
        quality, run = SectionQuality(), ToyRun(seed + toy)
        early += len(alarms(run.draw(quality, BEFORE)))
        run.set(change(run.conditions))
        found, sections = [], 0
        while not found and sections < LONGEST:
            sections += 1
            found = run.draw(quality, 1)
        delays.append(sections if found else math.inf)
        checks.update({flag.check for flag in found[:1]})
    median, worst = float(np.median(delays)), max(delays)
    return {
        "fault": name,
        "size": size,
        "found": f"{sum(d < math.inf for d in delays)} of {toys}",
        "median_lumisections": median,
        "largest": worst,
        "median_s": median * LUMISECTION_S,
        "largest_s": worst * LUMISECTION_S,
        "by": checks.most_common(1)[0][0] if checks else "",
        "false_alarms_before": early,
    }


def main() -> int:
    """Draw toys, and print both tables."""
    parser = Parser(__doc__)
    parser.add_argument("--days", type=positive, default=1)
    parser.add_argument("--toys", type=positive, default=20)
    parser.add_argument("--false-alarms", type=positive_float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    clean = [clean_days(3 * a.days, a.false_alarms, 0.0, a.seed + 3000, FILLED)]
    clean += [
        clean_days(a.days, allowed, tolerance, a.seed + 1000 * k)
        for k, (allowed, tolerance) in enumerate(
            [(a.false_alarms, 0.0), (a.false_alarms, TOLERANCE), (1.0, TOLERANCE)]
        )
    ]
    print_table(records_table(clean, "False alarms of clean days (simulated)"))
    faults = [planted(name, a.toys, a.seed + 10_000) for name in FAULTS]
    print_table(records_table(faults, "Planted faults (simulated), at 1 false alarm a day"))
    if a.out:
        a.out.write_text(json.dumps({"clean": clean, "faults": faults}, indent=1) + "\n", "utf-8")
    wrong = any(row["chance_of_as_many"] < 0.001 for row in clean)
    return int(wrong or any(row["largest"] > LONGEST for row in faults))


if __name__ == "__main__":
    run_script(main)
