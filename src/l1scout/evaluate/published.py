"""Published results to stand beside ours: "40 MHz Scouting with Deep Learning in CMS" (2020), Tables 1 and 2.

Test-sample numbers on matched ZeroBias muons of CMS. Ours are simulated: a different sample.
"""

from collections.abc import Sequence

from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import Measured

SOURCE = "40 MHz Scouting with Deep Learning in CMS (2020), Tables 1 and 2"


def _row(rms: Sequence[float], core: Sequence[float], tail: Sequence[float]) -> Scores:
    """RMS as printed; shares printed in percent; the order is phi, eta, pT."""
    shares = [[p / 100 for p in row] for row in (core, tail)]
    return Scores(*(dict(zip(VARIABLES, map(Measured, row), strict=True)) for row in (rms, *shares)))


PUBLISHED = {
    "GMT": _row((0.166, 0.034, 0.274), (14.82, 4.86, 10.54), (41.25, 15.14, 44.84)),
    "A": _row((0.120, 0.031, 0.169), (20.17, 5.28, 14.20), (27.07, 11.55, 28.29)),
    "B": _row((0.119, 0.031, 0.167), (19.75, 5.29, 14.76), (26.79, 11.45, 26.68)),
    "C": _row((0.119, 0.031, 0.165), (19.37, 5.29, 14.85), (26.90, 11.58, 26.62)),
    "D": _row((0.117, 0.031, 0.167), (19.56, 5.27, 14.70), (26.73, 11.54, 26.84)),
    "E": _row((0.118, 0.031, 0.167), (20.16, 5.34, 14.61), (26.85, 11.50, 27.04)),
    "F": _row((0.119, 0.031, 0.167), (19.61, 5.24, 14.76), (26.89, 11.54, 26.48)),
}
"""The raw trigger ("GMT") and models A to F."""


def published_ratios(model: str) -> Scores:
    """Nine published ratios of a model ("A" to "F") and the raw trigger (KeyError for another)."""
    row, gmt = PUBLISHED[model], PUBLISHED["GMT"]
    return Scores(
        *(
            {v: Measured(getattr(row, k)[v].value / getattr(gmt, k)[v].value) for v in VARIABLES}
            for k in KINDS
        )
    )
