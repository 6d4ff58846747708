"""Thresholds of the e-detectors: the mean number of lumisections to a false alarm, simulated.

    python validation/drift_thresholds.py [--alarms 3000] [--seed 1]

Gaussian numbers are compared with the mean of those before (all, the last 16, the last 4), as the rates and
means of lumisections are, and the detectors' alarms are counted at thresholds of ln M = 1, 2, 3... Printed is
the logarithm of the mean number of lumisections to an alarm, with its uncertainty, beside the table
`l1scout.quality.drift.MEAN_TIMES`, for as many alarms as asked for (fewer where they take more than 2e8
lumisections). Exit status 1 if one is four standard deviations, and 0.1, off.
"""

from typing import Any

import numpy as np

from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.jit import kernel
from l1scout.quality.drift import MAX_PULL, MEAN_TIMES, SIZES
from l1scout.report.terminal_tables import records_table

AT_MOST = 200_000_000
_PIECE = 10_000_000


@kernel
def count_alarms(normal: Any, window: Any, threshold: Any, sizes: Any, max_pull: Any) -> Any:
    """Count the alarms of a detector; the reference is that of all before if `window` is 0."""
    evidence, limit = np.zeros(sizes.size), sizes.size * np.exp(threshold)
    before = np.zeros(max(window, 1))
    total, n, alarms = 0.0, 0, 0
    for i in range(normal.size):
        x, alarm = normal[i], False
        if n >= 4:
            of = min(n, window) if window else n
            z = (x - total / of) / np.sqrt(1 + 1 / of)
            z = min(max(z, -max_pull), max_pull)
            sum_m = 0.0
            for k in range(sizes.size):
                evidence[k] = (1 + evidence[k]) * np.exp(sizes[k] * z - sizes[k] ** 2 / 2)
                sum_m += evidence[k]
            alarm = sum_m >= limit
        if alarm:
            alarms += 1
            evidence[:] = 0.0
            continue
        total += x
        if window:
            total -= before[n % window] if n >= window else 0.0
            before[n % window] = x
        n += 1
    return alarms


def mean_time(window: int | None, threshold: float, alarms: int, seed: int) -> tuple[float, float]:
    """Return ln of the mean number of lumisections to an alarm, and its uncertainty."""
    rng = np.random.default_rng(seed)
    found = lumisections = 0
    while found < alarms and lumisections < AT_MOST:
        n = min(_PIECE, max(20_000, lumisections))
        found += count_alarms(rng.standard_normal(n), window or 0, threshold, SIZES, MAX_PULL)
        lumisections += n
    return float(np.log(lumisections / max(found, 1))), float(1 / np.sqrt(max(found, 1)))


def main() -> int:
    """Print all thresholds."""
    parser = Parser(__doc__)
    parser.add_argument("--alarms", type=positive, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    rows, wrong = [], False
    for window, known in MEAN_TIMES.items():
        for k, expected in enumerate(known):
            time, error = mean_time(window, 1.0 + k, a.alarms, a.seed + k)
            rows.append(
                {
                    "window": window or "all",
                    "threshold": 1 + k,
                    "ln_mean_time": time,
                    "uncertainty": error,
                    "table": expected,
                }
            )
            wrong |= abs(time - expected) > max(4 * error, 0.1)
    print_table(records_table(rows, "Mean time to a false alarm (simulated)"))
    return int(wrong)


if __name__ == "__main__":
    run_script(main)
