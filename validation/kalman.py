"""The simulated Kalman filter of Run 3 beside real muons of 2024, in Markdown.

    python validation/kalman.py --shared DIR [--real FILE] [--repeat 400]

The offline muons of the real file (L1-DPG nano) are sent through the simulation many times, so that real and
simulated L1 muons come of the same kinematics; both are matched at the second station. What differs is
detector and trigger. DIR holds ``bmtf-luts``, ``ugmt-luts`` and ``real-cms``. p-values: Kolmogorov-Smirnov
for hwPt and hwPtUnconstrained (approximate, as values are discrete and kinematics shared), chi2 with its
distribution from multinomial draws for hwDXY and hwQual.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.cuts import MAX_ABS_ETA
from l1scout.dataset.matched import Dataset
from l1scout.dataset.matching import match
from l1scout.evaluate.targets import raw_residuals
from l1scout.formats.streams.muon import BMTF_INDEX, ETA, PHI
from l1scout.io import read_events
from l1scout.simulate.chain import _with_simulated_l1, trigger_tables
from l1scout.simulate.offline import to_second_station
from l1scout.statistics import rms

REAL = "real-cms/l1nano_run380963_2024_100ev.root"
RECO = ("recoPt", "recoEta", "recoPhi", "recoCharge")
L1 = ("hwPt", "hwEta", "hwPhi", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "hwQual")
RUN3 = ("hwPtUnconstrained", "hwDXY")
Columns = dict[str, NDArray[Any]]


def matched(chunks: Iterable[OrbitData]) -> Columns:
    """Barrel muons of the central crossing that have an offline muon, with all its columns and ours."""
    parts: list[Columns] = []
    for events in chunks:
        l1, offline = events.muons, events.offline
        assert offline is not None
        index = l1["tfMuonIndex"]
        keep = (index >= BMTF_INDEX.start) & (index < BMTF_INDEX.stop)
        keep &= np.abs(ETA.to_physical(l1["hwEta"])) <= MAX_ABS_ETA
        if "bxInEvent" in l1.columns:
            keep &= l1["bxInEvent"] == 0
        l1 = l1.select(keep, drop_empty=False)
        offline = offline.select(offline["recoId"].astype(np.bool_), drop_empty=False)
        eta, phi = to_second_station(*(offline[n].astype(np.float64) for n in RECO))
        i, j = match(
            ETA.to_physical(l1["hwEta"]), PHI.to_physical(l1["hwPhi"]), l1.offsets, eta, phi, offline.offsets
        )
        names = (*L1, *(n for n in RUN3 if n in l1.columns))
        second = {"dPhiSt2": np.mod(PHI.to_physical(l1["hwPhi"][i]) - phi[j] + np.pi, 2 * np.pi) - np.pi}
        second["dEtaSt2"] = ETA.to_physical(l1["hwEta"][i]) - eta[j]
        parts.append({n: l1[n][i] for n in names} | {n: offline[n][j] for n in RECO} | second)
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}


def repeated(path: Path, repeat: int, **options: Any) -> Iterator[OrbitData]:
    """Send the offline muons of a file through the simulation again and again."""
    tables = trigger_tables(**options)
    for events in read_events(path):
        real = events.offline
        assert real is not None
        offsets = np.r_[0, np.cumsum(np.tile(real.counts, repeat))]
        rows = (np.tile(v, repeat) for v in (real.orbit, real.bx))
        columns = {n: np.tile(real[n], repeat) for n in real.columns}
        many = OrbitBatch(*rows, offsets, columns)
        tiled = OrbitData.of_muons(many, many, events.source)
        yield _with_simulated_l1(tiled, *tables, np.random.default_rng(1), events.source)


def distribution_p(name: str, real: Columns, simulated: Columns) -> float:
    """p-value of the hypothesis that both are drawn from one distribution."""
    if name in ("hwPt", "hwPtUnconstrained"):
        return float(ks_2samp(real[name], simulated[name]).pvalue)
    size = int(max(real[name].max(), simulated[name].max())) + 1
    counts, expected = (np.bincount(c[name], minlength=size) for c in (real, simulated))
    here = counts + expected > 0
    counts, n = counts[here], counts.sum()
    mean = (expected[here] + 0.5) / (expected[here] + 0.5).sum() * n
    drawn = np.random.default_rng(0).multinomial(n, mean / n, 100_000)
    chi2 = ((drawn - mean) ** 2 / mean).sum(1)
    return float((chi2 >= ((counts - mean) ** 2 / mean).sum()).mean())


def percents(values: NDArray[Any], edges: list[float]) -> str:
    """Shares in bins, in percent."""
    counts = np.histogram(values, edges)[0]
    return " / ".join(f"{100 * c / values.size:.0f}" for c in counts)


BINS: dict[str, list[float]] = {
    "hwPt": [0, 10, 20, 30, 50, 80, 120, 512],
    "hwPtUnconstrained": [0, 5, 10, 20, 30, 50, 100, 255, 256],
    "hwDXY": [0, 1, 2, 3, 4],
    "hwQual": [12, 13, 14, 15, 16],
}


def spectra(samples: dict[str, Columns]) -> Iterator[str]:
    """Lines of the table of distributions; the first sample is real."""
    real = next(iter(samples.values()))
    yield "| | " + " | ".join(f"{n} ({s['hwPt'].size:,})" for n, s in samples.items()) + " |"
    yield "|---|" + "---|" * len(samples)
    for name, edges in BINS.items():
        cells = []
        for s in samples.values():
            if name not in s:
                cells.append("")
                continue
            p = "" if s is real else f"; p = {distribution_p(name, real, s):.2g}"
            cells.append(percents(s[name], edges) + p)
        bounds = ", ".join(f"{e:g}" for e in edges)
        yield f"| {name}, % from {bounds} | " + " | ".join(cells) + " |"


def resolutions(samples: dict[str, Columns]) -> Iterator[str]:
    """Lines of the table of resolutions; the first sample is real.

    RMS with its uncertainty, half of the central 68 %, and how probable so different an RMS is for as many
    muons, drawn from the simulated ones.
    """
    yield "| | " + " | ".join(samples) + " |"
    yield "|---|" + "---|" * len(samples)
    rows: dict[str, list[str]] = {}
    real: dict[str, float] = {}
    n = next(iter(samples.values()))["hwPt"].size
    random = np.random.default_rng(0)
    for s in samples.values():
        found = raw_residuals(Dataset(s))
        found |= {"phi at MB2": s["dPhiSt2"], "eta at MB2": s["dEtaSt2"]}
        for label, cut in (("all", np.full(s["hwPt"].size, True)), ("recoPt > 8", s["recoPt"] > 8)):
            for v, residual in found.items():
                r = residual[cut]
                core = 0.5 * np.subtract(*np.quantile(r, (0.8413, 0.1587)))
                measured = rms(r)
                name = f"{v}, {label}"
                cell = f"{measured.value:.4f} +- {measured.error:.4f} ({core:.4f})"
                if name in real:
                    size = round(n * cut.mean())
                    below = np.mean(np.sqrt(np.mean(random.choice(r, (10_000, size)) ** 2, 1)) < real[name])
                    cell += f"; p = {2 * min(below, 1 - below):.2g}"
                real.setdefault(name, measured.value)
                rows.setdefault(name, []).append(cell)
        wrong = (s["hwCharge"] == 1) != (s["recoCharge"] < 0)
        rows.setdefault("wrong charge, %", []).append(f"{100 * wrong.mean():.1f}")
    for name, cells in rows.items():
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> int:
    """Print both tables."""
    parser = Parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder of tables and real muons")
    parser.add_argument("--real", type=Path, help="L1-DPG nano of 2024; by default in the folder")
    parser.add_argument("--repeat", type=positive, default=400, help="times that the muons are simulated")
    a = parser.parse_args()
    path = a.real or a.shared / REAL
    gmt = {"gmt_luts": a.shared / "ugmt-luts"}
    official = {"kalman_gains": a.shared / "bmtf-luts" / "kalmanLUTs_v302.root", **gmt}
    samples = {
        "real": matched(read_events(path)),
        "Kalman, own": matched(repeated(path, a.repeat, trigger="kbmtf")),
        "Kalman, official": matched(repeated(path, a.repeat, trigger="kbmtf", **official)),
        "2017/18, own": matched(repeated(path, a.repeat)),
        "2017/18, official": matched(repeated(path, a.repeat, bmtf_luts=a.shared / "bmtf-luts", **gmt)),
    }
    print("Distributions (L1 muons that are matched)\n")
    print("\n".join(spectra(samples)))
    print("\nResolution, L1 minus offline at the vertex: RMS about zero, and half of the central 68 %\n")
    print("\n".join(resolutions(samples)))
    return 0


if __name__ == "__main__":
    run_script(main)
