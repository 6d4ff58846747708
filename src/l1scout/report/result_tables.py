"""Tables of results: the same rows for the terminal and for the page."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.evaluate.metrics import Scores
from l1scout.evaluate.profiles import MIN_MUONS, SIGNIFICANT, Axis, Profile
from l1scout.evaluate.published import PUBLISHED, published_ratios
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import Measured

if TYPE_CHECKING:
    from l1scout.training.guard import Guard

KIND_NAMES = {"rms": "RMS", "core": "core %", "tail": "tail %"}
RATIO_NAMES = [name.split()[0] for name in KIND_NAMES.values()]
"""Of ratios, which have no unit."""
VARIABLE_NAMES = {"phi": "phi", "eta": "eta", "pt": "pT"}
QUANTITY_NAMES = {"rms": "RMS", "width": "68 % half-width", "tail": "tail"}


@dataclass(frozen=True)
class Row:
    """Nine metrics as text: pairs of value and uncertainty, the latter empty if there is none."""

    name: str
    published: bool
    cells: Sequence[tuple[str, str]]


def score_rows(named: Mapping[str, Scores]) -> list[Row]:
    """Nine metrics of the raw trigger ("GMT") and models, each followed by its published row, if any."""
    return _rows(named, PUBLISHED, _score)


def ratio_rows(named: Mapping[str, Scores]) -> list[Row]:
    """Nine ratios model / raw trigger of models, each followed by its published row, if any."""
    published = {name: published_ratios(name) for name in PUBLISHED if name != "GMT"}
    return _rows(named, published, _ratio)


def _rows(
    ours: Mapping[str, Scores],
    published: Mapping[str, Scores],
    text: Callable[[str, str, Measured], tuple[str, str]],
) -> list[Row]:
    rows = []
    for name, scores in ours.items():
        rows.append(Row(name, False, [text(*entry) for entry in scores]))
        if name in published:
            rows.append(Row(name, True, [text(*entry) for entry in published[name]]))
    return rows


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same names as CSV, numbers in full."""
    text = io.StringIO()
    names = list(dict.fromkeys(n for row in rows for n in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _score(kind: str, _variable: str, number: Measured) -> tuple[str, str]:
    factor = 1 if kind == "rms" else 100
    return _text(number.value * factor, number.error * factor, 3 if kind == "rms" else 2)


def _ratio(_kind: str, _variable: str, number: Measured) -> tuple[str, str]:
    return _text(number.value, number.error, 2)


def _text(value: float, error: float, digits: int) -> tuple[str, str]:
    """Value to the last digit of its error, which has one digit, or two if the first is 1.

    `digits` are those of a value without a meaningful error, as published ones are printed.
    """
    if np.isnan(value):
        return "-", ""
    if not error > 1e-9 * abs(value):  # NaN, and what rounding leaves of 0
        return f"{value:.{digits}f}", ""
    place = int(np.floor(np.log10(error)))
    digits = max(0, -place + (error / 10.0**place < 1.95))
    return f"{value:.{digits}f}", f"{error:.{digits}f}"


def number(measured: Measured | None, sign: str = " ± ") -> str:
    """Return a number with its uncertainty; "-" if there is none."""
    if measured is None:
        return "-"
    return sign.join(filter(None, _text(measured.value, measured.error, 2)))


def worse_bins(profiles: Sequence[Profile], model: str) -> list[str]:
    """Say where a model is worse than the raw trigger: one sentence for each variable and axis."""
    found = []
    for profile in profiles:
        for variable in VARIABLES:
            parts = []
            for quantity, mask in profile.worse[model][variable].items():
                where = ", ".join(_span(profile.axis, *run) for run in _runs(mask))
                if where:
                    parts.append(f"{QUANTITY_NAMES[quantity]} at {where}")
            if parts:
                name = f"{VARIABLE_NAMES[variable]}, {profile.axis.label}"
                found.append(f"{name}: {'; '.join(parts)}")
    return found


def judged(profiles: Sequence[Profile]) -> list[str]:
    """Say in which range models are compared bin by bin, and how many muons are outside it."""
    out = []
    for profile in profiles:
        if profile.axis.name == "charge":
            continue
        label = profile.axis.label.removesuffix(" [GeV]")
        if not profile.judged:
            out.append(f"{label}: no bin has {MIN_MUONS} muons")
            continue
        low, high = (f"{x + 0.0:g}" for x in profile.judged)
        unit = " GeV" if profile.axis.label.endswith("[GeV]") else ""
        out.append(f"{label}: {low} to {high}{unit}; not judged: {profile.not_judged:,} muons")
    return out


def worse_count(profiles: Sequence[Profile], model: str) -> tuple[int, int]:
    """Bins in which a model is worse in anything, and bins with enough muons to tell."""
    worse = seen = 0
    for profile in profiles:
        masks = [mask for by in profile.worse[model].values() for mask in by.values()]
        worse += int(np.any(masks, axis=0).sum())
        seen += int(np.count_nonzero(profile.muons >= MIN_MUONS))
    return worse, seen


def guard_lines(guard: "Guard") -> list[str]:
    """Say how many corrections a guard limits, and where it leaves a model worse than the raw trigger."""
    limited = ", ".join(f"{VARIABLE_NAMES[v]} {100 * x:.1f} %" for v, x in guard.limited.items())
    lines = [f"Muons whose correction is limited: {limited}"]
    chance = guard.checks * (1 - NormalDist().cdf(SIGNIFICANT))
    found = guard.as_dict()["worse"]
    lines.append(
        f"RMS or tail worse than GMT's by more than {SIGNIFICANT:g} standard deviations: {len(found)} of "
        f"{guard.checks} comparisons in bins of hwPt and hwEtaAtVtx; chance alone makes up to {chance:.0f}"
    )
    for w in found:
        ratio = "tail out of none" if w["ratio_to_raw"] is None else f"{w['ratio_to_raw']:.3f} times GMT"
        where = f"{w['input']} {w['low']} to {w['high']}, {w['muons']:,} muons"
        name = f"{VARIABLE_NAMES[w['variable']]} {QUANTITY_NAMES[w['metric']]}"
        lines.append(f"  {name} at {where}: {ratio} ({w['reason']})")
    return lines


def offline_guard_lines(found: Mapping[str, Any]) -> list[str]:
    """Say what helping bins of offline quantities cost, why it ended, and which are left."""
    price = ", ".join(
        f"{KIND_NAMES[kind].split()[0]} {VARIABLE_NAMES[v]} {100 * (m['value'] - 1):+.1f} %"
        for kind, by in found["price"].items()
        for v, m in by.items()
        if m["value"] is not None
    )
    lines = [
        f"Weights of offline bins: {found['ended']}; the largest is {found['largest_weight']:.1f}",
        f"Price: {price}",
        f"Offline bins whose RMS or tail may be worse than GMT's (1 sigma): {len(found['left'])}",
    ]
    for b in found["left"]:
        name = VARIABLE_NAMES[b["variable"]]
        lines.append(
            f"  {name} at {b['column']} {b['low']:g} to {b['high']:g}: up to {100 * b['excess']:.1f} %"
        )
    return lines


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each unbroken run of True."""
    steps = np.diff(np.r_[0, mask.astype(np.int8), 0])
    first, last = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _span(axis: Axis, first: int, last: int) -> str:
    if axis.name == "charge":
        return " and ".join(("negative", "positive")[first : last + 1])
    return f"{axis.edges[first] + 0.0:g} to {axis.edges[last + 1] + 0.0:g}"
