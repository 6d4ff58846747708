"""Data quality on toys: false alarms of clean days, and the delay with which planted faults are found.

    python validation/quality.py [--days 5] [--toys 20] [--seed 1] [--out FILE.json]

Toys are lumisections with Poisson counts: muons, jets, decisions of the trigger. Clean days are drawn at 1,
20 and 200 false alarms a day: without a systematic floor, where all is chance and luminosity is constant;
with the floor of 1 %, and bins and luminosity that scatter as it allows; and with the floor and no such
scatter, where some tests cannot raise an alarm. In the last two, luminosity decays. Faults are planted after
40 clean lumisections, at 1 false alarm a day; the delay counts the lumisection in which the fault begins.
Exit status 1 if there are more false alarms than a Poisson distribution with the number that was set as mean
explains (p < 0.001); if, without a floor, there are fewer than six tenths of that number explain; or if a
fault is not found within 100 lumisections.
"""

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import numpy as np
from scipy.stats import chi2, poisson

from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.lhc import LUMISECTION_S
from l1scout.quality.pulls import TOLERANCE
from l1scout.quality.quality_flag import QualityFlag, alarms
from l1scout.quality.section_quality import SECTIONS_PER_DAY, SectionQuality
from l1scout.report.terminal_tables import records_table
from toy_sections import FAULTS, LIFETIME_S, ToyRun

LEAST = 0.6
"""Of the false alarms that are set, how many must be found without a floor."""
BEFORE, LONGEST = 40, 100
"""Clean lumisections before a fault, and those in which it must be found."""


def clean_days(days: int, allowed: float, tolerance: float, scatter: float, seed: int) -> dict[str, Any]:
    """Count the false alarms of clean days, with the 95 % interval of Garwood for their mean per day."""
    by_check: Counter[str] = Counter()
    for day in range(days):
        quality = SectionQuality(allowed, tolerance)
        run = ToyRun(seed + day, lifetime_s=LIFETIME_S if tolerance else math.inf, scatter=scatter)
        by_check.update(flag.check for flag in alarms(run.draw(quality, round(SECTIONS_PER_DAY))))
    n = by_check.total()
    low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
    high = chi2.ppf(0.975, 2 * n + 2) / 2
    least = LEAST if not tolerance else 0.0
    return {
        "floor": tolerance,
        "scatter": scatter,
        "set_per_day": allowed,
        "days": days,
        "tests": quality.tests,
        "false_alarms": n,
        "per_day": n / days,
        "low": low / days,
        "high": high / days,
        "chance_of_as_many": float(poisson.sf(n - 1, allowed * days)),
        "chance_of_as_few": float(poisson.cdf(n, least * allowed * days)) if least else 1.0,
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
        found, sections = list[QualityFlag](), 0
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
    parser.add_argument("--days", type=positive, default=5, help="at 20 a day; twice as many at 1")
    parser.add_argument("--toys", type=positive, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    days = {200.0: -(-a.days // 5), 20.0: a.days, 1.0: 2 * a.days}
    rows = [
        (allowed, n, *kind) for allowed, n in days.items() for kind in ((0.0, 0.0), (TOLERANCE, TOLERANCE))
    ]
    rows.append((20.0, a.days, TOLERANCE, 0.0))
    clean: list[dict[str, Any]] = []
    for k, (allowed, n, tolerance, scatter) in enumerate(rows):
        clean.append(clean_days(n, allowed, tolerance, scatter, a.seed + 1000 * k))
        found = clean[-1]["false_alarms"]
        print(f"{n} days at {allowed:g}, floor {tolerance:g}, scatter {scatter:g}: {found}", flush=True)
    print_table(records_table(clean, "False alarms of clean days (simulated)"))
    faults = [planted(name, a.toys, a.seed + 10_000) for name in FAULTS]
    print_table(records_table(faults, "Planted faults (simulated), at 1 false alarm a day"))
    if a.out:
        a.out.write_text(json.dumps({"clean": clean, "faults": faults}, indent=1) + "\n", "utf-8")
    wrong = any(min(row["chance_of_as_many"], row["chance_of_as_few"]) < 0.001 for row in clean)
    return int(wrong or any(row["largest"] > LONGEST for row in faults))


if __name__ == "__main__":
    run_script(main)
