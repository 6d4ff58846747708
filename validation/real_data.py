"""L1 muons of CMS files beside simulated ones: scale, resolution and spectra, as figures and Markdown.

    python validation/real_data.py --shared DIR --out FOLDER [--repeat 400] [--muons 400000]

Writes three figures to FOLDER and prints the tables of ``docs/real-data.md``. DIR holds ``bmtf-luts``,
``ugmt-luts``, ``real-cms`` and ``more``. "CMS data" is collision data, "CMS full simulation" is CMS's own,
"simulation" that of l1scout. The offline muons of a file are sent through it many times, so that both have
the same kinematics.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from kalman import REAL, Columns, matched, repeated
from matplotlib.axes import Axes
from numpy.typing import NDArray

from l1scout.analysis.figures.canvas import COLOURS, canvas, legend, titles
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.provenance import recording
from l1scout.dataset.cuts import MAX_ABS_ETA
from l1scout.dataset.trigger_objects import trigger_object_pairs
from l1scout.formats.streams.muon import ETA, FINDERS, PHI_BINS, PT_LSB, Finder, of_finders
from l1scout.io import read_events
from l1scout.report.figures import svg_text
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.gmt import PT_LIMIT, Extrapolation
from l1scout.statistics import half_width, same_distribution

DATA_2018 = "real-cms/nanoaod_run315267_2018A_dimuon_40ev.root"
WORDS_2018 = "real-cms/l1ntuple_run320040_2018_200ev.root"
FULL_SIMULATION = "more/nano_dy.root"
BARREL = 0.8
"""Largest offline eta where a file does not say which track finder found a muon."""
PT_EDGES = (3, 10, 20, 40, 200)
"""Bins of offline pT in GeV."""
FEWEST = 3
"""Muons of which a median and a width are given."""
MIN_SPECTRUM = 10
SPECTRA: dict[str, tuple[str, NDArray[np.float64]]] = {
    "hwPt": (
        "hwPt (steps of 0.5 GeV)",
        np.r_[1.5, 6.5, 9.5, 12.5, 20.5, 30.5, 50.5, 80.5, 120.5, 200.5, 511.5],
    ),
    "hwQual": ("hwQual", np.arange(-0.5, 16.5)),
    "hwEta": ("hwEta (steps of 0.0109)", np.linspace(-80, 80, 11)),
    "bend": (r"charge $\times$ (hwPhi $-$ hwPhiAtVtx)", np.arange(-66, 7, 4.0)),
}
"""Label and bins of each spectrum of barrel muons."""


class Response(NamedTuple):
    """L1 pT over offline pT (columns recoPt, ratio) of the muons of a file, and of simulations of them."""

    name: str
    muons: str
    samples: dict[str, Columns]


def with_ratio(pairs: Columns) -> Columns:
    """Add L1 pT over offline pT to pairs of L1 words and offline muons."""
    return pairs | {"ratio": PT_LSB * (pairs["hwPt"] - 1) / pairs["recoPt"]}


def barrel(pairs: Columns) -> Columns:
    """Keep the pairs within the barrel, by offline eta."""
    return {n: c[np.abs(pairs["recoEta"]) < BARREL] for n, c in pairs.items()}


def responses(shared: Path, repeat: int) -> Iterator[Response]:
    """Collect the muons of the three files, and of the simulation of their offline muons."""
    tables = {"bmtf_luts": shared / "bmtf-luts", "gmt_luts": shared / "ugmt-luts"}
    path = shared / REAL
    kalman = {"kalman_gains": tables["bmtf_luts"] / "kalmanLUTs_v302.root", "gmt_luts": tables["gmt_luts"]}
    found = {
        "CMS data": matched(read_events(path)),
        "simulation, own tables": matched(repeated(path, repeat, trigger="kbmtf")),
        "simulation, official tables": matched(repeated(path, repeat, trigger="kbmtf", **kalman)),
    }
    samples = {n: with_ratio(s) for n, s in found.items()}
    yield Response("CMS data 2024, run 380963", "L1 words of the barrel track finder, BX 0", samples)
    for name, file, kind in (
        ("CMS data 2018, run 315267", DATA_2018, "CMS data"),
        ("CMS full simulation, Drell-Yan", FULL_SIMULATION, "CMS full simulation"),
    ):
        path = shared / file
        found = {kind: barrel(trigger_object_pairs(path))}
        for what, options in (("own", {}), ("official", tables)):
            pairs = barrel(with_ratio(matched(repeated(path, repeat, **options))))
            here = np.isin(pairs["recoPt"], found[kind]["recoPt"])  # the same muons
            found[f"simulation, {what} tables"] = {n: c[here] for n, c in pairs.items()}
        yield Response(name, f"trigger objects, offline eta within ±{BARREL}", found)


def measure(x: NDArray[Any], random: np.random.Generator) -> tuple[float, float, float, float]:
    """Median and half of the central 68 %, each with its uncertainty (bootstrap of 1000)."""
    values = float(np.median(x)), half_width(x).value
    if x.size > 2000:
        x = random.choice(x, 2000)  # of the simulation the uncertainty is small anyway
    draws = random.choice(x, (1000, x.size))
    low, middle, high = np.quantile(draws, (0.158655, 0.5, 0.841345), axis=1)
    return values[0], float(middle.std()), values[1], float((high - low).std() / 2)


def chance(real: NDArray[Any], simulated: NDArray[Any], random: np.random.Generator) -> tuple[float, float]:
    """p-values (two-sided) of median and half width of as many muons, drawn from the simulated ones."""
    draws = random.choice(simulated, (10_000, real.size))
    low, middle, high = np.quantile(draws, (0.158655, 0.5, 0.841345), axis=1)
    out = []
    for drawn, value in ((middle, np.median(real)), (high - low, 2 * half_width(real).value)):
        tail = min(np.mean(drawn <= value), np.mean(drawn >= value))
        out.append(min(1.0, 2 * (10_000 * float(tail) + 1) / 10_001))
    return out[0], out[1]


def response_lines(all_of: Sequence[Response]) -> Iterator[str]:
    """Lines of the table of scale and resolution in bins of offline pT."""
    random = np.random.default_rng(0)
    yield "| offline pT (GeV) | sample | muons | L1 pT / offline pT: median | p | half of 68 % | p |"
    yield "|---|---|---|---|---|---|---|"
    for r in all_of:
        yield f"| **{r.name}** ({r.muons}) | | | | | | |"
        for low, high in (*pairwise(PT_EDGES), (PT_EDGES[0], PT_EDGES[-1])):
            real: NDArray[Any] | None = None
            for name, s in r.samples.items():
                x = s["ratio"][(s["recoPt"] >= low) & (s["recoPt"] < high)]
                real = x if real is None else real
                head = f"| {low} to {high} | {name} | {x.size if real is x else ''} |"
                if min(real.size, x.size) < FEWEST:
                    yield f"{head} too few | | | |"
                    break
                m = measure(x, random)
                p = ("", "") if x is real else [f"{v:.2g}" for v in chance(real, x, random)]
                e = (f" ± {m[1]:.2f}", f" ± {m[3]:.2f}") if x is real else ("", "")
                yield f"{head} {m[0]:.2f}{e[0]} | {p[0]} | {m[2]:.2f}{e[1]} | {p[1]} |"


def response_figure(all_of: Sequence[Response]) -> str:
    """Draw scale and resolution against offline pT, one column a file."""
    random = np.random.default_rng(0)
    with canvas((14, 8)) as figure:
        grid = figure.subplots(2, len(all_of), sharex=True, sharey="row")
        edges = np.array(PT_EDGES, np.float64)
        centre = np.sqrt(edges[1:] * edges[:-1])
        for column, r in enumerate(all_of):
            for k, (name, s) in enumerate(r.samples.items()):
                bins = [s["ratio"][(s["recoPt"] >= a) & (s["recoPt"] < b)] for a, b in pairwise(edges)]
                found = np.array([measure(x, random) if x.size >= FEWEST else (np.nan,) * 4 for x in bins])
                for row, ax in enumerate(grid[:, column]):
                    value, error = found[:, 2 * row], found[:, 2 * row + 1]
                    if k == 0:
                        half = np.abs([centre - edges[:-1], edges[1:] - centre])
                        ax.errorbar(centre, value, error, half, fmt="ko", label=name, zorder=3)
                        for x, n in zip(centre, bins, strict=True):
                            ax.text(x, 0.03, f"n = {n.size}", transform=ax.get_xaxis_transform(), ha="center")
                    else:
                        style = {"color": COLOURS[k - 1], "linestyle": "-" if k == 1 else "--"}
                        ax.stairs(value, edges, baseline=None, label=name, linewidth=2, **style)
            top, below = grid[:, column]
            top.set_title(r.name, loc="left", fontsize=12)
            top.axhline(1, color="#999999", linewidth=0.8, linestyle=":")
            top.set_ylim(0.5, 1.9)
            below.set_ylim(0, 0.9)
            below.set_xscale("log")
            below.set_xlim(edges[0], edges[-1])
            below.set_xticks(PT_EDGES, [str(e) for e in PT_EDGES])
            below.minorticks_off()
            below.set_xlabel("offline $p_T$ [GeV]", loc="right")
            top.legend(loc="upper left", frameon=False)
        grid[0, 0].set_ylabel("median of L1 $p_T$ / offline $p_T$", loc="top")
        grid[1, 0].set_ylabel("half of central 68 % of the ratio", loc="top")
        return svg_text(figure, None)


def with_bend(muons: Mapping[str, NDArray[Any]]) -> Columns:
    """Add charge x (hwPhi - hwPhiAtVtx), in steps of 2 pi / 576, wrapped."""
    turned = wrapped(muons["hwPhi"].astype(np.int64) - muons["hwPhiAtVtx"])
    return dict(muons) | {"bend": turned * np.where(muons["hwCharge"] == 1, -1, 1)}


def wrapped(steps: NDArray[Any]) -> NDArray[Any]:
    """Wrap differences of hwPhi to half a turn."""
    return np.mod(steps + PHI_BINS // 2, PHI_BINS) - PHI_BINS // 2


def l1_words(path: Path) -> Columns:
    """All L1 muons of a file, of every crossing and track finder."""
    parts = [with_bend(events.muons.columns) for events in read_events(path)]
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}


def selected(muons: Columns, finder: Finder, bx: int | None = 0) -> Columns:
    """Muons of a track finder, of one crossing or all; of the barrel within the paper's |eta| at MB2."""
    here = of_finders(muons["tfMuonIndex"], [finder])
    if bx is not None:
        here &= muons["bxInEvent"] == bx
    if finder == "bmtf":
        here &= np.abs(ETA.to_physical(muons["hwEta"])) <= MAX_ABS_ETA
    return {n: c[here] for n, c in muons.items()}


def simulated_words(trigger: str, muons: int) -> Columns:
    """Return simulated L1 muons of a number of generated particles: own spectrum, without hard ones."""
    events = next(simulate_events(4002, trigger=trigger, chunk=muons))
    found = with_bend(events.muons.columns)
    here = np.abs(ETA.to_physical(found["hwEta"])) <= MAX_ABS_ETA
    return {n: c[here] for n, c in found.items()}


def spectra_lines(samples: dict[str, dict[str, Columns]]) -> Iterator[str]:
    """Lines of the table of medians and p-values; the first sample of each group is real."""
    yield "| sample | muons | " + " | ".join(f"{n}: median (central 68 %) | p" for n in SPECTRA) + " |"
    yield "|---|---|" + "---|---|" * len(SPECTRA)
    for group in samples.values():
        real = next(iter(group.values()))
        for sample, s in group.items():
            cells = [sample, f"{s['hwPt'].size:,}"]
            for name in SPECTRA:
                low, middle, high = np.quantile(s[name], (0.158655, 0.5, 0.841345))
                p = "" if s is real else f"{same_distribution(real[name], s[name]):.2g}"
                cells += [f"{middle:.0f} ({low:.0f} to {high:.0f})", p]
            yield "| " + " | ".join(cells) + " |"


def spectrum(ax: Axes, name: str, values: NDArray[Any], label: str, k: int) -> None:
    """Draw a spectrum in percent of all muons: points with Poisson uncertainties (k = 0), or the k-th line.

    Real muons that are too few for a spectrum are drawn one by one.
    """
    edges = SPECTRA[name][1]
    at = position(ax, name, edges)
    counts = np.histogram(np.clip(values, edges[0] + 1e-6, edges[-1] - 1e-6), edges)[0]
    if k:
        style: dict[str, Any] = {"color": COLOURS[k - 1], "linestyle": "-" if k == 1 else "--"}
        ax.stairs(100 * counts / values.size, at, linewidth=2, label=label, **style)
    elif values.size < MIN_SPECTRUM:
        x, height = np.interp(values, edges, at), np.full(values.size, 0.04)
        ax.plot(
            x, height, "k^", markersize=9, transform=ax.get_xaxis_transform(), label=f"{label}, each muon"
        )
    else:
        here = counts > 0
        scale = 100 / values.size
        x = ((at[1:] + at[:-1]) / 2)[here]
        ax.errorbar(x, scale * counts[here], scale * np.sqrt(counts[here]), fmt="ko", zorder=3, label=label)


def position(ax: Axes, name: str, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where edges of bins are drawn: those of hwPt are equally far apart, with labels."""
    if name != "hwPt":
        return edges
    at = np.arange(edges.size, dtype=np.float64)
    ax.set_xticks(at[::2], [f"{e + 0.5:.0f}" for e in edges[::2]])
    ax.minorticks_off()
    return at


def spectra_figure(samples: dict[str, dict[str, Columns]]) -> str:
    """Draw spectra of real barrel muons beside simulated ones, one row a year."""
    with canvas((17, 9)) as figure:
        grid = figure.subplots(len(samples), len(SPECTRA))
        for axes, (title, group) in zip(grid, samples.items(), strict=True):
            for ax, name in zip(axes, SPECTRA, strict=True):
                for k, (sample, s) in enumerate(group.items()):
                    label = sample if k else f"{sample} (n = {s['hwPt'].size})"
                    spectrum(ax, name, s[name], label, k)
                titles(ax, SPECTRA[name][0], "% of muons")
                ax.set_ylim(bottom=0)
            axes[0].set_title(title, loc="left")
            legend(axes[0])
        return svg_text(figure, None)


def finder_figure(words: dict[str, Columns]) -> str:
    """Draw counts of real muons of BX 0 by track finder, without simulation: ours is of the barrel only."""
    edges = {"hwPt": SPECTRA["hwPt"][1], "hwQual": SPECTRA["hwQual"][1]}
    edges |= {"hwEta": np.linspace(-230, 230, 24), "bend": np.arange(-70, 31, 10.0)}
    with canvas((17, 8)) as figure:
        grid = figure.subplots(len(words), len(edges))
        for axes, (title, muons) in zip(grid, words.items(), strict=True):
            found = {f: selected(muons, f) for f in FINDERS}
            for ax, (name, bins) in zip(axes, edges.items(), strict=True):
                at = position(ax, name, bins)
                base = np.zeros(bins.size - 1)
                for k, (finder, s) in enumerate(found.items()):
                    counts = np.histogram(s[name], bins)[0]
                    label = f"{finder.upper()}, n = {s['hwPt'].size}"
                    ax.stairs(base + counts, at, baseline=base, fill=True, color=COLOURS[k], label=label)
                    base = base + counts
                titles(ax, SPECTRA[name][0], "muons")
            axes[0].set_title(title, loc="left")
            legend(axes[0])
        return svg_text(figure, False)


def firing_lines(words: dict[str, Columns]) -> Iterator[str]:
    """Lines of the table of muons by crossing and track finder."""
    yield (
        "| file | BX | "
        + " | ".join(f"{f.upper()}: muons | median hwPt | hwQual >= 12" for f in FINDERS)
        + " |"
    )
    yield "|---|---|" + "---|---|---|" * len(FINDERS)
    for name, muons in words.items():
        for bx in range(-2, 3):
            cells = [name, f"{bx:+d}" if bx else "0"]
            for finder in FINDERS:
                s = selected(muons, finder, bx)
                n = s["hwPt"].size
                good = int(np.count_nonzero(s["hwQual"] >= 12))
                cells += [str(n), f"{np.median(s['hwPt']):.0f}" if n else "", str(good) if n else ""]
            yield "| " + " | ".join(cells) + " |"


def extrapolation_lines(words: dict[str, Columns], luts: Path) -> Iterator[str]:
    """Lines of the table: real words' extrapolation beside that of the GMT's tables for the same words."""
    yield "| file | tables | muons | hwPhiAtVtx equal | within 4 (one unit) | hwEtaAtVtx equal | within 1 |"
    yield "|---|---|---|---|---|---|---|"
    for name, muons in words.items():
        s = selected(muons, "bmtf", None)
        s = {n: c[(s["hwPt"] < PT_LIMIT)] for n, c in s.items()}
        for which, folder in (("own", None), ("official", luts)):
            phi, eta = Extrapolation.load(folder).to_vertex(s)
            dphi = np.abs(wrapped(s["hwPhiAtVtx"] - phi))
            deta = np.abs(s["hwEtaAtVtx"] - eta)
            near = [np.count_nonzero(c) for c in (dphi == 0, dphi <= 4, deta == 0, deta <= 1)]
            yield f"| {name} | {which} | {phi.size} | " + " | ".join(map(str, near)) + " |"


def barrel_samples(words: dict[str, Columns], a: Any) -> dict[str, dict[str, Columns]]:
    """Real and simulated barrel muons by year, the real ones first."""
    path = a.shared / REAL
    (year24, all24), (year18, all18) = words.items()
    same = with_bend(matched(repeated(path, a.repeat, trigger="kbmtf")))
    return {
        year24: {
            "CMS data, BX 0": selected(all24, "bmtf"),
            "simulation of its offline muons": same,
            "simulation, own spectrum": simulated_words("kbmtf", a.muons),
        },
        year18: {
            "CMS data, BX -2 to 2": selected(all18, "bmtf", None),
            "simulation, own spectrum": simulated_words("bmtf", a.muons),
        },
    }


def main() -> int:
    """Write the figures and print the tables."""
    parser = Parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder of tables and CMS files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures, made if need be")
    parser.add_argument(
        "--repeat", type=positive, default=400, help="times that muons of a file are simulated"
    )
    parser.add_argument("--muons", type=positive, default=400_000, help="particles generated a track finder")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    words = {"CMS data 2024": l1_words(a.shared / REAL), "CMS data 2018": l1_words(a.shared / WORDS_2018)}
    found, samples = list(responses(a.shared, a.repeat)), barrel_samples(words, a)
    with recording("validation/real_data.py", {"repeat": a.repeat, "muons": a.muons}):
        figures = {
            "response": response_figure(found),
            "spectra": spectra_figure(samples),
            "finders": finder_figure(words),
        }
    for name, text in figures.items():
        (a.out / f"real-data-{name}.svg").write_text(text)
    for title, lines in (
        ("Scale and resolution", response_lines(found)),
        ("Spectra of barrel muons", spectra_lines(samples)),
        ("Extrapolation to the vertex", extrapolation_lines(words, a.shared / "ugmt-luts")),
        ("Crossings", firing_lines(words)),
    ):
        print(f"\n## {title}\n\n" + "\n".join(lines))
    return 0


if __name__ == "__main__":
    run_script(main)
