"""Masses of muon pairs before and after recalibration: resonances, alone and over a continuum; real pairs.

    python validation/masses.py --model DIR [--model DIR ...] [--muons FILE.csv ...] [--pairs 40000]

The first table gives median +- half of the middle 68 % of simulated resonances, pair pT > 8 GeV. The next
give the significance of a J/psi and of an Upsilon over a simulated continuum, m^-1.4, for several shares of
it, as `l1scout analyse masses` has it; without any it should be that of chance. For models that predict
uncertainties also with the pairs in categories of their predicted mass resolution,
fitted together. With --muons, real pairs (open data) near a resonance go through the simulated detector and
trigger. Exit status 1 if the first model does not narrow all the resonances.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.categories import Shape, fit_categories
from l1scout.analysis.common.mass_lines import KINDS_OF_LINES, RANGES
from l1scout.analysis.common.pair_masses import Masses, PairCuts
from l1scout.analysis.common.peaks import Spread, spread
from l1scout.cli.output import print_table
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.evaluation import name_models
from l1scout.report.terminal_tables import plain_table
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.dimuons import CONTINUUM, Pairs, simulate_dimuons

LINES = ("phi", "J/psi", "Upsilon(1S)")
WINDOWS = {"phi": (0.99, 1.05), "J/psi": (3.0, 3.2), "Upsilon(1S)": (9.2, 9.7)}
"""Offline masses of real pairs that are taken for the resonance, GeV."""
SHARES = {"J/psi": (0.0, 0.05, 0.1, 0.2), "Upsilon(1S)": (0.0, 0.02)}
FITTED = {"J/psi": (1.6, 6.0), "Upsilon(1S)": (6.0, 16.0)}
MIN_PAIR_PT = 8.0


def gather(state: Masses, chunks: Iterable[OrbitData], window: tuple[float, float]) -> dict[str, Spread]:
    """Spread of the masses of each kind, of pairs whose offline mass is in the window."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for events in chunks:
        masses = state.masses(events)
        mass, row = masses["offline"]
        rows = row[(mass > window[0]) & (mass < window[1])]
        for name, (values, at) in masses.items():
            found.setdefault(name, []).append(values[np.isin(at, rows)])
    return {name: spread(np.concatenate(parts)) for name, parts in found.items()}


def line(name: str, found: dict[str, Spread], kinds: list[str]) -> list[str]:
    """Row of a table: median and half-width of each kind, and how much narrower than the trigger's own."""
    raw = found["raw"].half_width
    cells = [name]
    for kind in kinds:
        s = found[kind]
        middle, half = (f"{m.value:.3f}({m.error:.3f})" for m in (s.middle, s.half_width))
        narrower = f", x {s.half_width.value / raw.value:.2f}" if kind not in ("raw", "offline") else ""
        cells.append(f"{middle} +- {half}{narrower}")
    return cells


def gathered(models: dict[str, Recalibrator], seed: int, pairs: int, shares: dict[str, float]) -> Masses:
    """Spectra of simulated pairs."""
    state = Masses(models, PairCuts(min_pair_pt=MIN_PAIR_PT))
    for events in simulate_dimuons(seed, pairs, Pairs(shares)):
        state.add(events)
    return state


def shapes(counts: NDArray[np.int64]) -> list[Shape]:
    """Share, median and half-width of a signal in each category."""
    total, found = counts.sum(), []
    for row in counts:
        at = np.interp(np.array([0.158655, 0.5, 0.841345]) * row.sum(), np.cumsum(row), RANGES["low"][1:])
        found.append(Shape(float(row.sum() / total), float(at[1]), float(at[2] - at[0]) / 2))
    return found


def main() -> int:
    """Print the tables."""
    parser = Parser(__doc__)
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--muons", type=Path, action="append", default=[])
    parser.add_argument("--pairs", type=positive, default=40_000)
    given = parser.parse_args()
    models = name_models([Recalibrator.load(m, errors=True) for m in given.model])
    cuts = PairCuts(min_pair_pt=MIN_PAIR_PT)
    state = Masses(models, cuts)
    kinds = ["offline", "raw", *models]

    alone = {
        name: gather(state, simulate_dimuons(1, given.pairs, Pairs({name: 1.0})), (0.0, 200.0))
        for name in LINES
    }
    print(f"simulated resonances, pair pT > {MIN_PAIR_PT:g} GeV, barrel: median +- half-width in GeV")
    print_table(plain_table(["", *kinds], [line(name, found, kinds) for name, found in alone.items()]))

    for resonance, shares in SHARES.items():
        signal = gathered(models, 1, given.pairs, {resonance: 1.0})
        together = [f"{kind}, in categories of predicted resolution" for kind in signal.by_error]
        print(f"\nsignificance of {resonance} over a simulated continuum, and its entries")
        head, lines = ["share", *kinds[1:], *together], []
        for share in shares:
            mixed = gathered(models, 2, 4 * given.pairs, {resonance: share, CONTINUUM: 1 - share})
            cells = [f"{share:g}"]
            symbol = next(line for line, kind in KINDS_OF_LINES.items() if kind == resonance)
            fits = mixed.lines()
            for kind in kinds[1:]:
                one = fits[kind, symbol]
                error = np.hypot(one.entries.error, one.systematic)
                cells.append(f"{one.significance:.1f} ({one.entries.value:.0f} +- {error:.0f})")
            for kind, by in signal.by_error.items():
                peak = fit_categories(RANGES["low"], mixed.by_error[kind], FITTED[resonance], shapes(by))
                cells.append(
                    f"{peak.significance:.1f} ({peak.entries.value:.0f} +- {peak.entries.error:.0f})"
                )
            lines.append(cells)
        print_table(plain_table(head, lines))
        for kind, by in signal.by_error.items():
            print(f"{resonance} of {kind} in the categories: share, median +- half-width in GeV")
            rows = [[f"{s.share:.3f}", f"{s.position:.3f} +- {s.width:.3f}"] for s in shapes(by)]
            print_table(plain_table(["share", "mass"], rows))

    for path in given.muons:
        print(f"\n{path.name}: real pairs through the simulated trigger, barrel, any pair pT")
        real = Masses(models)
        lines = []
        for name, window in WINDOWS.items():
            found = gather(real, simulate_events(1, muons=path), window)
            if set(kinds) <= set(found) and found["raw"].middle.value == found["raw"].middle.value:
                lines.append(line(name, found, kinds))
        if lines:
            print_table(plain_table(["", *kinds], lines))
        else:
            print("no resonance with ten pairs in it")
    first = next(iter(models))
    return int(any(f[first].half_width.value >= f["raw"].half_width.value for f in alone.values()))


if __name__ == "__main__":
    run_script(main)
