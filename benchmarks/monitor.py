"""The live monitor: histograms in ns per BX, latency from orbit to page, processor time of ten pages, memory.

    python benchmarks/monitor.py [--orbits 2000] [--seconds 20] [--pace 0.2] [--model MODEL]
        [--anomaly-model MODEL]

Histograms and the present analyses take the same simulated muons at an occupancy of 5 %, in turn; medians
count. For the latency, packets go through a readout's writer into a spool at a pace, and a page takes the
frames: an orbit's latency is the time from its writing to the arrival of the first frame that has it, or a
later one. Of what the monitor cannot read or score in time it takes a sample: the fractions are printed.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
from websockets.sync.client import connect

from l1scout.analysis import ANALYSES, Setup
from l1scout.analysis.common.schemes import load_scheme
from l1scout.board.repeat import RepeatedPackets
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.recalibration_stage import RecalibrationStage
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ, ORBITS_PER_LUMISECTION, lumisection
from l1scout.monitor.page_frames import unpack
from l1scout.quality.accumulators import RunHistograms
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter
from l1scout.simulate.live_board import simulated_packets
from l1scout.simulate.run import Running, simulate_run

ROUNDS = 7
TARGET_NS, TARGET_RATIO, TARGET_S, TARGET_CORES = 6.0, 5.0, 1.0, 0.05
LUMISECTIONS = 3700
PAGES = 10


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def accumulators(orbits: int, model: Path | None, anomaly: Path | None) -> list[str]:
    """Compare the histograms with the present analyses; return the targets that are missed."""
    scheme = load_scheme("2018")
    run = simulate_run(1, orbits, running=Running(), chunk=200, origin=True)
    pieces = [OrbitData.of_muons(piece.muons) for piece in run]
    if model:
        from l1scout.deploy.recalibrate import Recalibrator

        stage = RecalibrationStage(Recalibrator.load(model))
        pieces = [made for piece in pieces for made in stage.step(piece)]
    occupied = sum(len(p.muons) for p in pieces) / orbits / BX_PER_ORBIT

    def histograms() -> None:
        made = RunHistograms()
        for piece in pieces:
            made.add(piece)

    def analysis(name: str) -> Callable[[], None]:
        def work() -> None:
            made = ANALYSES[name](setup=Setup(scheme=scheme))
            for piece in pieces:
                made.add(piece)

        return work

    names = ("occupancy", "luminosity", "firing", "livetime")
    works = {"histograms": histograms, **{name: analysis(name) for name in names}}
    if anomaly:
        from l1scout.deploy.anomaly_score import AnomalyScorer

        scorer = AnomalyScorer.load_fast(anomaly)
        works["scores"] = lambda: [scorer(piece) for piece in pieces]
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()  # compiled
    for _ in range(ROUNDS):
        for name, work in works.items():
            taken[name].append(seconds(work))
    ns = {name: float(np.median(t)) / orbits / BX_PER_ORBIT * 1e9 for name, t in taken.items()}
    best = {name: min(t) / orbits / BX_PER_ORBIT * 1e9 for name, t in taken.items()}
    total = sum(ns[name] for name in names)
    print(f"{orbits} orbits, occupancy {100 * occupied:.1f} %, medians of {ROUNDS} (minima) on one core:")
    for name in works:
        print(f"  {name:12}{ns[name]:8.2f} ({best[name]:.2f}) ns per BX")
    if anomaly:
        of_crossing = [t["scores"] / occupied for t in (ns, best)]
        print(f"  {of_crossing[0]:.0f} ({of_crossing[1]:.0f}) ns per score of a crossing with a muon")
    ratio = total / ns["histograms"]
    print(f"  {', '.join(names)} together: {total:.1f} ns per BX, {ratio:.1f} x the histograms")
    missed = [] if best["histograms"] <= TARGET_NS else [f"histograms above {TARGET_NS} ns per BX"]
    return missed + ([] if ratio >= TARGET_RATIO else [f"less than {TARGET_RATIO} x faster"])


class PacedWriter:
    """Writes orbits into a spool at a multiple of the LHC's pace, and notes when."""

    def __init__(self, folder: Path, pace: float) -> None:
        self._packets = bytes(simulated_packets(RUN3, 240, 0.05).getbuffer())
        self.spool = Spool(folder)
        self.writer = SegmentWriter(self.spool, 1, 1, RUN3)
        self._pace = pace
        self.orbit: list[int] = []
        self.time: list[float] = []

    def run(self, length_s: float) -> None:
        """Write for some seconds."""
        sink = _Packets(self, ORBIT_FREQUENCY_HZ * self._pace)
        orbits = int(length_s * ORBIT_FREQUENCY_HZ * self._pace)
        RepeatedPackets(io.BytesIO(self._packets), RUN3, 0).run(sink, pace=0, orbits=orbits)


class _Packets:
    """Gives packets to a writer when they are due; segments that are complete are removed, as by a store."""

    def __init__(self, to: PacedWriter, orbits_per_s: float) -> None:
        self._to, self._rate, self._began = to, orbits_per_s, time.monotonic()

    def ready(self) -> bool:
        """Take all."""
        return True

    def step(self, packet: bytes) -> None:
        """Write a packet."""
        to = self._to
        due = self._began + to.writer.totals.counts["orbits"] / self._rate
        time.sleep(max(due - time.monotonic(), 0.0))
        to.writer.step((memoryview(packet), 0))
        to.orbit.append(to.writer.position.last_orbit)
        to.time.append(time.time())
        for segment in list(to.spool.waiting())[:-1]:
            to.spool.remove(segment)

    def finish(self) -> None:
        """Nothing is held."""


@contextmanager
def monitor(folder: Path, model: Path | None, anomaly: Path | None) -> Iterator[tuple[psutil.Process, str]]:
    """Start a monitor that follows a spool; yield its process and address."""
    over = {
        "monitor.listen": "127.0.0.1:0",
        "monitor.folder": folder / "histograms",
        "run.folder": folder / "run",
        "readout.spool": folder / "spool",
    }
    command = [sys.executable, "-m", "l1scout", "monitor", *(f"--set={k}={v}" for k, v in over.items())]
    command += ["--model", str(model)] if model else []
    command += ["--anomaly-model", str(anomaly)] if anomaly else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split("/")[2]
        try:
            yield psutil.Process(process.pid), address
        finally:
            process.terminate()


def watch(address: str, view: str, stop: threading.Event, seen: list[tuple[float, int, int]]) -> None:
    """Take frames as a page does; note when each came, its newest orbit, and how many were read."""
    with connect(f"ws://{address}/live?view={view}", max_size=None) as page:
        while not stop.is_set():
            head, _ = unpack(page.recv(timeout=60))
            seen.append((time.time(), head["newest_orbit"], head["orbits"]))


def used_s(process: psutil.Process) -> float:
    """Return the processor time of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def scored_fraction(address: str) -> float:
    """Return the fraction of the orbits read that were scored."""
    with urlopen(f"http://{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return float(re.search(r"^l1scout_anomaly_scored_ratio{.*} (.*)$", text, re.MULTILINE)[1])


def latency(length_s: float, pace: float, model: Path | None, anomaly: Path | None) -> list[str]:
    """Measure latency and processor time; return the targets that are missed."""
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = PacedWriter(folder / "spool", pace)
        with monitor(folder, model, anomaly) as (process, address):
            writing = threading.Thread(target=writer.run, args=(3 * length_s + 30,), daemon=True)
            writing.start()
            stop, seen = threading.Event(), list[tuple[float, int, int]]()
            one = threading.Thread(target=watch, args=(address, "physics", stop, seen))
            one.start()
            while not seen or seen[-1][1] < 0:
                time.sleep(0.1)
            time.sleep(15)  # kernels are compiled, and what waited is read
            start, before = time.time(), used_s(process)
            time.sleep(length_s)
            alone = (used_s(process) - before) / (time.time() - start)
            end = time.time()
            more = [threading.Thread(target=watch, args=(address, "physics", stop, [])) for _ in range(PAGES)]
            for thread in more:
                thread.start()
            time.sleep(1)
            begin, before = time.time(), used_s(process)
            time.sleep(length_s)
            with_pages = (used_s(process) - before) / (time.time() - begin)
            scored = scored_fraction(address) if anomaly else None
            stop.set()
            for thread in [one, *more]:
                thread.join(60)
        written, orbit = np.array(writer.time), np.array(writer.orbit)
        chosen = (written >= start) & (written < end - 2)
        came, newest, read = np.array(seen).T
        first = np.searchsorted(newest, orbit[chosen])
        delay = came[first.clip(max=came.size - 1)] - written[chosen]
    p50, p99 = np.percentile(delay, [50, 99])
    own = orbit[chosen]
    reached = (own[-1] - own[0]) / np.ptp(written[chosen]) / ORBIT_FREQUENCY_HZ
    print(f"{reached:.2f} x LHC ({pace:g} asked for), {own.size} packets in {length_s:g} s: orbit to page")
    begin, last = np.searchsorted(came, [start, end])
    fraction = (read[last] - read[begin]) / (newest[last] - newest[begin])
    print(f"  p50 {p50:.3f} s, p99 {p99:.3f} s, {100 * fraction:.1f} % of the orbits were read")
    if scored is not None:
        print(f"  {100 * scored:.1f} % of the orbits that were read since the start were scored")
    print(f"processor of the monitor: {alone:.3f} cores with 1 page, {with_pages:.3f} with {PAGES} more:")
    print(f"  {100 * (with_pages - alone):.1f} % of a core for these")
    if p99 > TARGET_S:
        missed.append(f"p99 of the latency above {TARGET_S} s")
    if with_pages - alone > TARGET_CORES:
        missed.append(f"{PAGES} pages take more than {TARGET_CORES} cores")
    return missed


def memory() -> list[str]:
    """Add a day of lumisections, a few orbits of each; return the targets that are missed."""
    (piece,) = simulate_run(1, 2, running=Running(), chunk=2)
    made, sizes = RunHistograms(32), []
    for k in range(LUMISECTIONS):
        orbit = piece.muons.orbit % 2 + k * ORBITS_PER_LUMISECTION
        muons = replace(piece.muons, orbit=orbit, lumisection=lumisection(orbit), first_orbit=None)
        made.add(OrbitData.of_muons(muons))
        if k % 100 == 99:
            sizes.append(psutil.Process(os.getpid()).memory_info().rss / 1e6)
    growth = sizes[-1] - sizes[len(sizes) // 4]
    print(f"{LUMISECTIONS} lumisections: {sizes[0]:.0f} MB after 100, {sizes[-1]:.0f} MB at the end;")
    print(f"  {growth:.1f} MB more in the last three quarters")
    return [] if growth < 20 else ["memory grows"]


def main() -> int:
    """Print all; exit status 1 if a target is missed."""
    parser = Parser(__doc__)
    parser.add_argument("--orbits", type=positive, default=2000, help="orbits for the histograms")
    parser.add_argument("--seconds", type=positive, default=20, help="time of the latency")
    parser.add_argument("--pace", type=float, default=0.2, help="times the LHC's; 0: no latency")
    parser.add_argument("--model", type=Path, help="model directory: with recalibrated muons")
    parser.add_argument("--anomaly-model", type=Path, help="anomaly model of muons: with its scores")
    chosen = parser.parse_args()
    missed = accumulators(chosen.orbits, chosen.model, chosen.anomaly_model) + memory()
    if chosen.pace:
        missed += latency(chosen.seconds, chosen.pace, chosen.model, chosen.anomaly_model)
    print(f"missed: {'; '.join(missed)}" if missed else "all targets are met")
    return int(bool(missed))


if __name__ == "__main__":
    run_script(main)
