"""Toys of the mass fits: pulls of planted lines, false peaks and limits, offline, raw and recalibrated.

    python validation/mass_toys.py --model DIR [--toys 100] [--pairs 5000] [--seed 70000] [--workers 1]
        [--out FILE.json]

Each toy is a simulation of its own, through detector and trigger: half of them have all lines and a
continuum, half only a continuum. The psi(2S) is a third of the J/psi, ten times as much as the fits take for
granted where they cannot separate them. The templates are wrong on purpose, by as much as the fit allows for:
each spectrum of each toy has its own shift and width, drawn from `lines.PRIORS`. Pulls are (fitted - true)
over uncertainty. True are the expected yield (share, times the part of simulated pairs that pass) and
position and width of the right template; the uncertainty of the yield is that of statistics and of the
background, added in quadrature. Positions and widths are pulled where there is a peak. False peaks are fits
of a continuum above 3 standard deviations: 0.135 % of the fits are expected.

Exit status 1 if the width of the pulls of a yield is more than 4 standard errors and 0.2 from 1, or if there
are more false peaks than chance explains (p < 0.001).
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom, binomtest, norm

from l1scout.analysis.common.lines import NOT_FITTED, PRIORS
from l1scout.analysis.common.mass_lines import KINDS_OF_LINES
from l1scout.analysis.common.pair_masses import Masses, PairCuts
from l1scout.analysis.common.templates import PAIRS, Template
from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.report.terminal_tables import plain_table
from l1scout.simulate.dimuons import CONTINUUM, Pairs, simulate_dimuons

LINES = {"phi": 0.05, "J/psi": 0.15, "psi(2S)": 0.05, "Z": 0.05}
LINES |= {"Upsilon(1S)": 0.12, "Upsilon(2S)": 0.04, "Upsilon(3S)": 0.024}
SHARES = {"lines": LINES | {CONTINUUM: 1 - sum(LINES.values())}, CONTINUUM: {CONTINUUM: 1.0}}
"""Of the two kinds of toys; the Upsilons relative to each other as in `DEFAULT_SHARES`."""
CUTS = PairCuts(min_pair_pt=8.0)


@cache
def _templates(model: Path) -> tuple[dict[str, Any], Any]:
    models = {"model": Recalibrator.load(model)}
    return models, Masses(models, CUTS).templates()


def _wrong(template: Template, shift: float, stretch: float) -> Template:
    """Move and widen a template by `shift` widths and the factor `stretch`."""
    at = template.position
    masses = at + shift * template.width + stretch * (template.masses - at)
    return Template(masses, template.below, template.entries)


def _toy(model: Path, pairs: int, job: tuple[str, int]) -> list[dict[str, Any]]:
    """Return a row for each line in each spectrum of one toy."""
    kind, seed = job
    models, templates = _templates(model)
    state, random = Masses(models, CUTS), np.random.default_rng(seed)
    state._templates = {}
    for name, by in templates.items():
        shift, stretch = random.normal((0.0, 1.0), PRIORS)
        state._templates[name] = {line: _wrong(one, shift, stretch) for line, one in by.items()}
    for events in simulate_dimuons(seed, pairs, Pairs(SHARES[kind])):
        state.add(events)
    rows = []
    for (name, line), found in state.lines().items():
        row: dict[str, Any] = {"toys": kind, "muons": name, "line": line, "status": found.status}
        if found.fit is not None and found.template is not None:
            held = (line, *found.others)
            planted = [
                pairs * SHARES[kind].get(KINDS_OF_LINES[n], 0.0) * templates[name][n].entries / PAIRS
                for n in held
            ]
            true = sum(planted)
            error = float(np.hypot(found.entries.error, found.systematic))
            row |= {"entries": found.entries.value, "stat": found.entries.error, "true": true}
            row |= {"yield_pull": (found.entries.value - true) / error, "limit": found.limit}
            row |= {"significance": found.significance}
            if found.detected and found.fit is not None:
                right = Template.mixture([templates[name][n] for n in held], planted)
                at, wide = found.fit.position(found.index), found.fit.width(found.index)
                if at.error:  # otherwise no fit of a free shape converged
                    row["position_pull"] = (at.value - right.position) / at.error
                    row["width_pull"] = (wide.value - right.width) / wide.error
        rows.append(row)
    return rows


def _pull(values: Iterable[float]) -> str:
    """Mean and width of pulls with their standard errors."""
    v = np.array([x for x in values if np.isfinite(x)])
    if v.size < 5:
        return "-"
    n = v.size
    return f"{v.mean():+.2f}({v.std() / n**0.5:.2f}), {v.std(ddof=1):.2f}({(2 * n) ** -0.5 * v.std():.2f})"


def _share(passed: int, total: int) -> str:
    """Say a share with its 95 % interval (Clopper and Pearson)."""
    low, high = binomtest(passed, total).proportion_ci(0.95)
    return f"{100 * passed / total:.2f} %, 95 % interval {100 * low:.2f} to {100 * high:.2f} %"


def report(rows: list[dict[str, Any]]) -> bool:
    """Print the tables, and return whether all is as it should be."""
    by: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by[row["toys"], row["muons"], row["line"]].append(row)
    good, table, fits, above, limits = True, [], 0, 0, []
    for (kind, name, line), found in by.items():
        fitted = [r for r in found if r["status"] != NOT_FITTED]
        if kind == "lines":
            pulls = [
                [r[f"{w}_pull"] for r in found if f"{w}_pull" in r] for w in ("yield", "position", "width")
            ]
            peaks = sum(r["status"] == "peak" for r in found)
            true = f"{np.mean([r['true'] for r in fitted]):.0f}" if fitted else "-"
            table.append([name, line, str(len(fitted)), str(peaks), true, *map(_pull, pulls)])
            for v in map(np.array, pulls[:1]):
                if v.size >= 20:
                    good &= bool(abs(v.std(ddof=1) - 1) < max(4 * (2 * v.size) ** -0.5, 0.2))
        elif fitted:
            many = [sum(r["significance"] > z for r in fitted) for z in (1, 2, 3)]
            fits, above = fits + len(fitted), above + many[-1]
            below = np.mean([r["limit"] for r in fitted])
            limits.append([name, line, str(len(fitted)), *map(str, many), f"{below:.0f}"])
    print("toys with lines: pulls as mean(error), width(error)")
    head = ["muons", "line", "fits", "peaks", "true yield", "yield", "position", "width"]
    print_table(plain_table(head, table))
    print("\ntoys of a continuum: fits above 1, 2 and 3 standard deviations, and the mean limit at 95 %")
    print_table(plain_table(["muons", "line", "fits", "> 1", "> 2", "> 3", "limit"], limits))
    rate = float(norm.sf(3))
    print(
        f"\n{above} of {fits} fits above 3 standard deviations ({_share(above, fits)}); "
        f"{fits * rate:.1f} expected"
    )
    with_lines = [r for r in rows if r["toys"] == "lines" and "limit" in r]
    covered = sum(r["limit"] > r["true"] for r in with_lines)
    said = _share(covered, len(with_lines))
    print(f"limits above the true yield: {covered} of {len(with_lines)} ({said}): 95 % or more wanted")
    return good and float(binom.sf(above - 1, fits, rate)) > 0.001


def main() -> int:
    """Make the toys."""
    parser = Parser(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--toys", type=positive, default=100, help="of each kind")
    parser.add_argument("--pairs", type=positive, default=5000)
    parser.add_argument("--seed", type=positive, default=70_000, help="of the first toy")
    parser.add_argument("--workers", type=positive, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    jobs = [(kind, given.seed + 2 * k + j) for k in range(given.toys) for j, kind in enumerate(SHARES)]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(given.workers) as pool:
        for found in pool.map(partial(_toy, given.model, given.pairs), jobs):
            rows += found
            if given.out:
                given.out.write_text(json.dumps(rows))
    return 0 if report(rows) else 1


if __name__ == "__main__":
    run_script(main)
