"""One network for every hwPt: continuity of its answers, Z pairs, and a smooth continuum, in Markdown.

    python validation/full_range.py [NAME=]MODEL... [--muons FILE.csv ...] [--pairs 40000] [--figure FILE.svg]

All beside the trigger's own values, on pairs of barrel muons (`l1scout.simulate.dimuons`) with a seed that no
network was trained with:

- steps of the recalibrated pT from one hwPt to the next, in steps of the trigger (0.5 GeV), mean over eta and
  charge: a network that ends somewhere has a jump there;
- position and width of the simulated Z: median and half of the middle 68 % of the pairs' masses;
- the same of the mass over the offline mass for real pairs (open data) through the simulated trigger;
- a continuum that falls as m^-1.5 before the cuts on the muons: deviance of a smooth curve (exponential of a
  polynomial in log m) in bins of 4 %, its p-value, and the largest excess and dip in windows as wide as the
  resolution. The trigger's pT codes make structures of their own; the offline masses show what is chance.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.pair_masses import Masses, PairCuts
from l1scout.analysis.common.peaks import Spread, spread
from l1scout.analysis.figures.canvas import COLOURS, RAW_COLOUR, canvas, label, titles
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.formats.streams.muon import PT
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.dimuons import CONTINUUM, Pairs, simulate_dimuons

SEED = 3001
Z_GEV = 91.188
CONTINUA = (24.0, 190.0)
"""GeV; the continuum is made from half to twice these, so that its ends are not those of the spectrum."""
POWER = -1.5
DEGREE = 4
WINDOW = 0.16
"""Width of the windows for excesses over the mass: about the trigger's resolution."""
ETA, EDGE = np.arange(-75, 76, 5), 90
"""Codes of eta over which answers are averaged; hwPt at which the paper's selection ends."""


def answers(model: Recalibrator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return hwPt 1 to 511 and the recalibrated pT, mean over eta and charge, in GeV."""
    codes = np.arange(1, 512)
    grid = np.stack(np.meshgrid(codes, ETA, (0, 1), indexing="ij")).reshape(3, -1)
    columns = {"hwPt": grid[0], "hwEtaAtVtx": grid[1], "hwCharge": grid[2]}
    n = grid.shape[1]
    columns |= {"hwEta": grid[1], "hwPhi": np.full(n, 100)}
    columns |= {"hwPhiAtVtx": np.full(n, 100), "tfMuonIndex": np.full(n, 40)}
    pt = np.asarray(model(columns).pt, np.float64).reshape(codes.size, -1)
    return codes, pt.mean(axis=1)


def step_line(name: str, codes: NDArray[np.int64], pt: NDArray[np.float64]) -> list[str]:
    """Return a row: steps at the paper's edge, and the largest from 10 GeV on."""
    steps = np.diff(pt) / 0.5
    edge = steps[codes[:-1] == EDGE][0]
    beside = steps[(abs(codes[:-1] - EDGE) <= 10) & (codes[:-1] != EDGE)]
    high = codes[:-1] >= 21
    worst = np.flatnonzero(high)[np.argmax(np.abs(steps[high] - 1))]
    return [
        name,
        f"{edge:.2f}",
        f"{np.median(beside):.2f} ({beside.min():.2f} to {beside.max():.2f})",
        f"{steps[worst]:.2f} from hwPt {codes[worst]}",
        f"{np.count_nonzero(steps[high] < 0)}",
    ]


def masses(models: Mapping[str, Recalibrator], chunks: Iterable[OrbitData]) -> dict[str, NDArray[np.float64]]:
    """Return masses of pairs that have one of every kind, shape (pairs,), by kind."""
    state, found = Masses(models, PairCuts()), dict[str, list[NDArray[np.float64]]]()
    for events in chunks:
        rows = {k: dict(zip(row, mass, strict=True)) for k, (mass, row) in state.masses(events).items()}
        common = sorted(set.intersection(*(set(by_row) for by_row in rows.values()))) if rows else []
        for kind, by_row in rows.items():
            found.setdefault(kind, []).append(np.array([by_row[r] for r in common]))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def spread_row(name: str, found: Mapping[str, NDArray[np.float64]], kinds: list[str]) -> list[str]:
    """Return a row: median +- half-width of each kind, with uncertainties in brackets."""
    cells = [name]
    for kind in kinds:
        s: Spread = spread(found[kind])
        cells.append("; ".join(f"{m.value:.3f} ± {m.error:.3f}" for m in (s.middle, s.half_width)))
    return cells


def smooth(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the exponential of a polynomial in log m that describes counts best (Poisson)."""
    x = np.log(edges[1:] * edges[:-1]) / 2
    powers = np.polynomial.legendre.legvander(2 * (x - x[0]) / (x[-1] - x[0]) - 1, DEGREE)
    expected = np.maximum(counts.astype(np.float64), 0.5)
    for _ in range(50):  # iteratively reweighted least squares
        response = np.log(expected) + (counts - expected) / expected
        weight = np.sqrt(expected)[:, np.newaxis]
        terms = np.linalg.lstsq(powers * weight, response * weight[:, 0], rcond=None)[0]
        expected = np.exp(powers @ terms)
    return np.asarray(expected)


def structure(
    mass: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return edges, ratio to the smooth curve, its error, and cells: deviance, p-value, excess and dip."""
    from scipy.stats import chi2

    edges = np.geomspace(*CONTINUA, round(np.log(CONTINUA[1] / CONTINUA[0]) / 0.04) + 1)
    counts = np.histogram(mass, edges)[0]
    expected = smooth(edges, counts)
    logs = np.log(np.maximum(counts, 1) / expected)
    deviance = 2 * float((counts * logs - counts + expected).sum())
    free = counts.size - DEGREE - 1
    centre, pulls, shares = np.sqrt(edges[1:] * edges[:-1]), [], []
    for m in centre:
        near = abs(centre - m) < WINDOW * m
        n, b = counts[near].sum(), expected[near].sum()
        pulls.append((n - b) / np.sqrt(b))
        shares.append(n / b - 1)
    high, low = int(np.argmax(pulls)), int(np.argmin(pulls))
    cells = [f"{deviance:.0f} / {free}", f"{chi2.sf(deviance, free):.2g}"]
    cells += [f"{pulls[k]:+.1f} ({100 * shares[k]:+.1f} %) at {centre[k]:.0f} GeV" for k in (high, low)]
    return edges, counts / expected, np.sqrt(counts) / expected, cells


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(
    path: Path,
    curves: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    peak: Mapping[str, NDArray[np.float64]],
    ratios: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[str]]],
) -> None:
    """Draw answers against hwPt, the Z, and the continuum over its smooth curve."""
    names = list(curves)
    colours = {"raw": RAW_COLOUR, "offline": "black", **dict(zip(names, COLOURS, strict=False))}
    with canvas((7.5, 12)) as figure:
        top, middle, bottom = figure.subplots(3, 1)
        for name, (codes, pt) in curves.items():
            top.plot(PT.to_physical(codes), pt - PT.to_physical(codes), color=colours[name], label=name)
        top.axvline(45, color="black", lw=0.8, ls=":")
        top.set_xscale("log")
        top.set_xlim(2, 255)
        titles(top, "L1 pT [GeV]; dotted: 45 GeV", "recalibrated - L1 pT [GeV]")
        for kind, mass in peak.items():
            middle.hist(mass, np.arange(30, 181, 3), histtype="step", color=colours[kind], label=kind)
        middle.axvline(Z_GEV, color="black", lw=0.8, ls=":")
        most = max(np.histogram(m, np.arange(30, 181, 3))[0].max() for k, m in peak.items() if k != "offline")
        middle.set_ylim(0, 1.6 * most)
        titles(middle, "mass of simulated Z pairs [GeV]; dotted: 91.2 GeV", "pairs per 3 GeV")
        for kind, (edges, ratio, error, _) in ratios.items():
            centre = np.sqrt(edges[1:] * edges[:-1])
            bottom.errorbar(centre, ratio, error, color=colours[kind], label=kind, marker="o", ms=3, lw=0.8)
        bottom.axhline(1, color="black", lw=0.8)
        bottom.set_xscale("log")
        bottom.set_ylim(0.75, 1.3)
        bottom.set_xticks(ticks := (25, 30, 40, 60, 90, 120, 180), [str(t) for t in ticks])
        bottom.set_xticks([], minor=True)
        titles(bottom, "mass of a continuum [GeV]", "pairs / smooth curve")
        for ax, place in ((top, "lower left"), (middle, "upper right"), (bottom, "lower left")):
            ax.legend(frameon=False, loc=place)
        label([top], True, "every hwPt")
        figure.savefig(path)


def main() -> int:
    """Print the tables, and draw the figure."""
    parser = Parser(__doc__)
    parser.add_argument("models", nargs="+", help="model directories, perhaps NAME=DIRECTORY")
    parser.add_argument("--muons", type=Path, action="append", default=[], help="open-data dimuon CSV")
    parser.add_argument("--pairs", type=positive, default=40_000)
    parser.add_argument("--figure", type=Path)
    a = parser.parse_args()
    models = {}
    for text in a.models:
        name, _, path = text.rpartition("=")
        model = Recalibrator.load(path)
        models[name or model.card.name] = model
    curves = {name: answers(model) for name, model in models.items()}
    head = [
        "steps of pT / 0.5 GeV",
        "hwPt 90 to 91",
        "hwPt 80 to 100",
        "furthest from 1, from 10 GeV on",
        "falls",
    ]
    print(markdown(head, [step_line(name, *curve) for name, curve in curves.items()]))
    peak = masses(models, simulate_dimuons(SEED, a.pairs, Pairs({"Z": 1.0}, mass_range=(40.0, 140.0))))
    kinds = ["offline", "raw", *models]
    rows = [spread_row(f"simulated Z, {peak['raw'].size:,} pairs", peak, kinds)]
    for path in a.muons:
        real = masses(models, simulate_events(SEED, muons=path))
        over = {kind: real[kind] / real["offline"] for kind in ["raw", *models]}
        rows.append(
            spread_row(
                f"{path.name}, {real['raw'].size:,} pairs, over offline",
                {"offline": real["offline"], **over},
                kinds,
            )
        )
    print("\n" + markdown(["median; half-width [GeV]", *kinds], rows))
    low, high = CONTINUA
    settings = Pairs({CONTINUUM: 1.0}, power=POWER, mass_range=(low / 2, 2 * high))
    smoothly = masses(models, simulate_dimuons(SEED + 1, 10 * a.pairs, settings))
    ratios = {kind: structure(smoothly[kind]) for kind in kinds}
    head = ["continuum", "deviance / degrees", "p-value", "largest excess [sigma]", "deepest dip [sigma]"]
    print("\n" + markdown(head, [[kind, *found[3]] for kind, found in ratios.items()]))
    if a.figure:
        draw(a.figure, curves, peak, ratios)
    return 0


if __name__ == "__main__":
    run_script(main)
