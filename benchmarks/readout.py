"""The live chain on this machine: the highest multiple of the LHC's rate that it sustains without loss.

    python benchmarks/readout.py [--seconds 60] [--trial-seconds 12] [--json]
    python benchmarks/readout.py --against OTHER/src [--pace .25] [--rounds 5]   # beside other source code

Board packets of a simulated LHC with muons in 5 % of the crossings (2.0 M blocks/s, 385 MB/s at the LHC's
rate) -> records -> spool -> store -> archive -> disk, as separate processes on loopback. First at full speed,
where the board waits for readout; below that, the highest pace is bisected in short trials, each on a chain
of its own after a warm-up. A pace is sustained if the board drops nothing, and what waits in the spool and to
be compressed does not grow. The pace that is found is then held for ``--seconds``, and the account of that
run must balance.
With ``--against`` chains of two source trees run in turn at one pace, and the medians of the processor time
per orbit are compared. Peak memory is that of the processes (VmHWM); what is written to the disk is what the
system wrote, without pages that were dropped before (/proc/PID/io).
Peer: the same bytes through loopback TCP between two plain processes that do nothing else.
"""

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chain import Chain
from l1scout.cli.script import Parser, positive, positive_float, run_script
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.spool import default_folder
from l1scout.simulate.live_board import simulated_packets

STAGES = {"board": ("source", "board-0"), "readout": ("readout", "readout"), "store": ("store", "store")}
"""Name of the process and of its status file."""
RESOLUTION = 1.05
"""The bisection ends when a pace that is sustained and one that is not are so close."""
GROWTH = 0.03
"""What waits grows if more than this part of what comes is not worked off; less is not visible in a trial."""
LOWEST_PACE = 0.01
_SAMPLE_S = 0.25
_WARM_UP_SEGMENTS = 3
_LAST_SEGMENT_S = 6.0


@dataclass
class Trial:
    """A chain that ran for some seconds at one pace.

    Parameters
    ----------
    pace : float
        Times the LHC's rate; 0: as fast as it goes.
    seconds : float
        Measured, after the warm-up.
    times_lhc : float
        Rate of the orbits that readout wrote.
    dropped : int
        Orbits that the board dropped.
    backlog_growth : float
        Part of the bytes that came and were not worked off, of spool and compression together.
    spool_max_mb : float
    cpu_us_per_orbit, peak_mb, mb_per_s : dict of str to float
        By stage; that of compression by orbit compressed.
    lost : dict of str to int
        Orbits of the whole run that the account names as lost, by name.
    why : str
        Why the pace is not sustained; empty if it is.
    """

    pace: float
    seconds: float = 0.0
    times_lhc: float = 0.0
    dropped: int = 0
    backlog_growth: float = 0.0
    spool_max_mb: float = 0.0
    cpu_us_per_orbit: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    mb_per_s: dict[str, float] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    why: str = ""

    @property
    def sustained(self) -> bool:
        """Whether nothing was lost and nothing piled up."""
        return not self.why


class Measurement:
    """What the processes of a running chain have done since the measurement began."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._before, self._cpu = self._statuses(), self._cpu_s()
        self._written = self._disk_bytes()
        self._began = time.perf_counter()
        self._samples: list[tuple[float, float]] = []
        self._after = self._before
        self._spool_max = 0

    def _statuses(self) -> dict[str, dict[str, float]]:
        return {stage: self._chain.status(file) for stage, (_, file) in STAGES.items()}

    def _cpu_s(self) -> dict[str, float]:
        """Return the processor time of every stage; the store's compression is a stage of its own."""
        found = {
            stage: psutil.Process(self._chain.processes[name].pid) for stage, (name, _) in STAGES.items()
        }
        cpu = {stage: sum(process.cpu_times()[:2]) for stage, process in found.items()}
        workers = found["store"].children(recursive=True)
        return cpu | {"compression": sum(sum(worker.cpu_times()[:2]) for worker in workers)}

    def _store_processes(self) -> list[int]:
        store = psutil.Process(self._chain.processes["store"].pid)
        return [store.pid, *(worker.pid for worker in store.children(recursive=True))]

    def _disk_bytes(self) -> int:
        """Return what the store's processes have written to the disk, less what was dropped before."""
        total = 0
        for pid in self._store_processes():
            counts = _numbers(Path(f"/proc/{pid}/io"))
            total += counts["write_bytes"] - counts["cancelled_write_bytes"]
        return total

    def _peak_mb(self) -> dict[str, float]:
        pids = {stage: [self._chain.processes[name].pid] for stage, (name, _) in STAGES.items()}
        pids["compression"] = self._store_processes()[1:]
        return {
            stage: max((_numbers(Path(f"/proc/{pid}/status"))["VmHWM"] for pid in of_stage), default=0) / 1e3
            for stage, of_stage in pids.items()
        }

    def _change(self, stage: str, name: str) -> float:
        return self._after[stage][name] - self._before[stage][name]

    def watch(self, seconds: float) -> None:
        """Sample for some seconds and to the end of a compression, or until the board drops something.

        It began at the end of one: what a segment's compression takes is measured as a whole.
        """
        done, end = 0.0, self._began + seconds
        while time.perf_counter() < end or (
            self._change("store", "compressed") == done and time.perf_counter() < end + _LAST_SEGMENT_S
        ):
            if self._change("board", "dropped"):
                break
            if time.perf_counter() < end:
                done = self._change("store", "compressed")
            time.sleep(_SAMPLE_S)
            found = self._statuses()
            self._after = {stage: found[stage] or self._after[stage] for stage in STAGES}
            waits = self._change("readout", "bytes_out") - self._change("store", "compressed_in")
            self._samples.append((time.perf_counter() - self._began, waits))
            self._spool_max = max(self._spool_max, int(self._after["readout"]["spool_bytes"]))

    def result(self, pace: float) -> Trial:
        """Return what was measured."""
        took, orbits = time.perf_counter() - self._began, self._change("readout", "orbits")
        cpu = {stage: used - self._cpu[stage] for stage, used in self._cpu_s().items()}
        came = self._change("readout", "bytes_out")
        when, waits = np.array(self._samples).T
        growth = float(np.polyfit(when, waits, 1)[0]) * took / came if came and len(when) > 2 else 0.0
        mb = {
            "packets": self._change("readout", "bytes_in"),
            "records": came,
            "received": self._change("store", "bytes_in"),
            "compressed": self._change("store", "compressed_out"),
        }
        mb["to_disk"] = self._disk_bytes() - self._written
        us = {stage: 1e6 * used / max(orbits, 1) for stage, used in cpu.items()}
        if mb["compressed"]:  # of the orbits that were compressed: some may still wait
            us["compression"] *= came / self._change("store", "compressed_in")
        return Trial(
            pace,
            took,
            orbits / took / ORBIT_FREQUENCY_HZ,
            int(self._change("board", "dropped")),
            growth,
            self._spool_max / 1e6,
            us,
            self._peak_mb(),
            {name: value / took / 1e6 for name, value in mb.items()},
        )


def _numbers(path: Path) -> dict[str, int]:
    """Read the numbers of a file of names and values in /proc."""
    lines = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].lstrip("-").isdigit()}


def compare(
    folder: Path, packets: Path, other: Path, pace: float, seconds: float, rounds: int
) -> dict[str, list[Trial]]:
    """Run chains of this source tree and of another one in turn, at one pace."""
    trees = {"other": str(other.resolve()), "this": os.environ.get("PYTHONPATH", "")}
    trials: dict[str, list[Trial]] = {name: [] for name in trees}
    for _ in range(rounds):
        for name, path in trees.items():
            os.environ["PYTHONPATH"] = path
            trial = _told(run(folder, packets, pace, seconds))
            while trial.seconds < seconds:  # the board dropped something: the machine was busy
                trial = _told(run(folder, packets, pace, seconds))
            trials[name].append(trial)
    os.environ["PYTHONPATH"] = trees["this"]
    return trials


def _print_comparison(trials: dict[str, list[Trial]]) -> None:
    stages = list(trials["this"][0].cpu_us_per_orbit)
    median = {
        name: {s: float(np.median([t.cpu_us_per_orbit[s] for t in of_tree])) for s in stages}
        for name, of_tree in trials.items()
    }
    print("processor time, us per orbit (median of rounds), other -> this:")
    for stage in stages:
        print(f"  {stage:12} {median['other'][stage]:6.1f} -> {median['this'][stage]:6.1f}")
    whole = {n: np.array([sum(t.cpu_us_per_orbit.values()) for t in of]) for n, of in trials.items()}
    ratios = whole["this"] / whole["other"]
    print(f"  {'together':12} {np.median(whole['other']):6.1f} -> {np.median(whole['this']):6.1f}")
    print(
        f"  this / other, by round: {', '.join(f'{r:.2f}' for r in ratios)}; median {np.median(ratios):.2f}"
    )
    for name, of_tree in trials.items():
        peak = {s: max(t.peak_mb[s] for t in of_tree) for s in of_tree[0].peak_mb}
        disk = np.median([t.mb_per_s["to_disk"] / max(t.times_lhc, 1e-9) for t in of_tree])
        print(f"  {name}: {disk:.1f} MB/s to disk at the LHC's rate; peak memory, MB: "
              + ", ".join(f"{s} {mb:.0f}" for s, mb in peak.items()))  # fmt: skip


def run(folder: Path, packets: Path, pace: float, seconds: float) -> Trial:
    """Run a chain at a pace, after a warm-up; one that does not sustain it is not waited for."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        tempfile.TemporaryDirectory(prefix="l1scout-", dir=default_folder().parent) as spool,
    ):
        chain = Chain(
            Path(name),
            packets,
            gated=False,
            board__pace=pace,
            board__buffer=256,
            readout__segment_orbits=8192,
            readout__segment_seconds=10,
            readout__spool=spool,
        )
        chain.to_store.port, chain.to_readout.port = chain.store_port, chain.readout_port  # no proxies
        with contextlib.closing(chain):
            try:
                return _run(chain, pace, seconds)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                return Trial(pace, why=f"the chain does not work: {lines[0] if lines else 'no reason given'}")


def _run(chain: Chain, pace: float, seconds: float) -> Trial:
    chain.start("store", "readout")
    chain.wait("readout", "seconds", 0)
    chain.start("source")
    chain.wait("store", "compressed", _WARM_UP_SEGMENTS)  # everything is compiled, connected and at work
    measurement = Measurement(chain)
    measurement.watch(seconds)
    trial = measurement.result(pace)
    if trial.dropped:
        trial.why = f"the board dropped {trial.dropped:,} orbits in {trial.seconds:.0f} s"
    elif trial.backlog_growth > GROWTH:
        trial.why = f"{trial.backlog_growth:.0%} of what comes piles up"
    elif pace and trial.times_lhc < pace / RESOLUTION:
        trial.why = f"the board reaches only {trial.times_lhc:.2f} x LHC"
    if trial.why:
        return trial
    chain.finish()
    stages = chain.account()
    trial.lost = {n: k for s in stages for n, k in s.counted.items() if k}
    if wrong := [w for s in stages for w in s.wrong]:
        trial.why = f"the account does not balance: {wrong[0]}"
    return trial


def highest_pace(folder: Path, packets: Path, seconds: float, trial_seconds: float) -> list[Trial]:
    """Find the highest pace that is sustained; return all trials, the one that lasted `seconds` last."""
    trials = [_told(run(folder, packets, 0.0, trial_seconds))]
    low, high = 0.0, trials[0].times_lhc * RESOLUTION or 1.0
    while high > RESOLUTION * low and high > LOWEST_PACE:
        pace = (low + high) / 2
        trials.append(_told(run(folder, packets, pace, trial_seconds)))
        low, high = (pace, high) if trials[-1].sustained else (low, pace)
    while low > LOWEST_PACE:
        trials.append(_told(run(folder, packets, low, seconds)))
        if trials[-1].sustained:
            break
        low /= RESOLUTION
    return trials


def _told(trial: Trial) -> Trial:
    pace = f"{trial.pace:.2f} x LHC" if trial.pace else f"full speed, {trial.times_lhc:.2f} x LHC"
    print(f"{pace}, {trial.seconds:.0f} s: {trial.why or 'sustained'}", file=sys.stderr)
    return trial


def _sink(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as s:
        buffer = bytearray(1 << 22)
        while s.recv_into(buffer):
            pass


def loopback(data: bytes, seconds: float = 3.0) -> float:
    """Send data through loopback to a process that only reads, GB/s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = multiprocessing.get_context("spawn").Process(target=_sink, args=(server.getsockname()[1],))
        reader.start()
        connection, _ = server.accept()
        began, sent = time.perf_counter(), 0
        with connection:
            while time.perf_counter() < began + seconds:
                connection.sendall(data)
                sent += len(data)
        took = time.perf_counter() - began
        reader.join()
    return sent / took / 1e9


def _print(best: Trial, peer: float) -> None:
    lost = ", ".join(f"{n} {k:,}" for n, k in best.lost.items()) or "nothing"
    print(f"sustained without loss: {best.times_lhc:.2f} x LHC, for {best.seconds:.0f} s")
    print(f"  lost in the whole run, with start and warm-up: {lost}; account balances")
    print("  MB/s: " + ", ".join(f"{n.replace('_', ' ')} {v:.1f}" for n, v in best.mb_per_s.items()))
    cpu = ", ".join(f"{n} {v:.1f}" for n, v in best.cpu_us_per_orbit.items())
    print(f"  processor time, us per orbit: {cpu}; together {sum(best.cpu_us_per_orbit.values()):.1f}")
    peak = ", ".join(f"{n} {v:.0f}" for n, v in best.peak_mb.items())
    print(f"  peak memory, MB: {peak}")
    print(f"  spool at most {best.spool_max_mb:.0f} MB")
    share = best.mb_per_s["packets"] / 1e3 / peer
    print(f"peer, loopback TCP and nothing else: {peer:.2f} GB/s; the chain takes {share:.2f} of it")


def main() -> int:
    """Measure and print; 1 if no pace is sustained."""
    parser = Parser(__doc__)
    parser.add_argument("--seconds", type=positive_float, default=60.0, help="to hold the pace that is found")
    parser.add_argument("--trial-seconds", type=positive_float, default=12.0, help="of each trial")
    parser.add_argument(
        "--folder", type=Path, help="on the disk to write to; by default that of temporary files"
    )
    parser.add_argument(
        "--against", type=Path, help="src of another source tree, to run in turn with this one"
    )
    parser.add_argument("--pace", type=positive_float, default=0.25, help="times the LHC's rate, --against")
    parser.add_argument("--rounds", type=positive, default=5, help="of both, --against")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l1scout-readout-", dir=asked.folder) as name:
        packets = Path(name) / "packets.dat"
        packets.write_bytes(simulated_packets(RUN3, 1000, 0.05).getvalue())
        if asked.against:
            found = compare(Path(name), packets, asked.against, asked.pace, asked.trial_seconds, asked.rounds)
            if asked.json:
                print(json.dumps({n: [asdict(t) for t in of] for n, of in found.items()}, indent=1))
            else:
                _print_comparison(found)
            return 0
        peer = loopback(packets.read_bytes()[: 20 << 20])
        trials = highest_pace(Path(name), packets, asked.seconds, asked.trial_seconds)
    best = trials[-1] if trials[-1].sustained and trials[-1].pace else None
    if asked.json:
        found = {
            "sustained_times_lhc": best.times_lhc if best else 0.0,
            "sustained": asdict(best) if best else None,
            "trials": [asdict(trial) for trial in trials],
            "loopback_gb_per_s": peer,
        }
        print(json.dumps(found, indent=1))
    elif best:
        _print(best, peer)
    else:
        print(f"no pace above {LOWEST_PACE} x LHC is sustained; the last trial: {trials[-1].why}")
    return int(best is None)


if __name__ == "__main__":
    run_script(main)
