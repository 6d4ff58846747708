"""Table 3 of this machine: how many muons a second, and how long one takes.

Rounds of all engines are interleaved, so that all see the same machine; ratios are to the reference engine,
mostly onnxruntime, at its best batch in the same run. Every engine gets hardware integers and gives float32
corrections; what onnxruntime needs to turn one into the other counts.
"""

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.deploy.engine import Engine, default_engine
from l1scout.errors import InputError
from l1scout.jit import bound, bound_kernel, float_kernel
from l1scout.model.directory import Model
from l1scout.simulate.chain import simulate_events

BATCHES = (1, 8, 63, 2048, 8192, 65536)
"""One muon, one BX of up to 8 muons, a small batch, and what suits one cache or another."""
LATENCY_CALLS = 20_000
_PASS_SECONDS = 0.2
_COPY = "copy in batches"
_ANSWER_BYTES = 3 * 4
"""Of one muon, besides 2 bytes of each input."""


@dataclass(frozen=True)
class Published:
    """A row of Table 3 of "40 MHz Scouting with Deep Learning in CMS" (2020).

    The latency there is 1 / throughput to the last digit given, and two clusters halve it.
    """

    device: str
    latency_ns: float
    millions: float


PUBLISHED = (
    Published("AC-510, 1 cluster", 726, 1.3),
    Published("AC-510, 2 clusters", 364, 2.7),
    Published("SB-852", 748, 1.3),
)


@dataclass(frozen=True)
class Throughput:
    """Millions of muons a second of an engine: best and median of the rounds.

    `of_onnx` is the ratio of the best to the best of the reference (onnxruntime; the firmware engine of a
    firmware model) with as many threads; `of_floor` the
    share that it reaches of what this machine's memory or arithmetic allows, measured in the same run: of the
    table, of copying as many bytes as hardware values and answers have, in the same memory and the best
    batch; None for a model without layers, whose arithmetic is not known.
    """

    engine: str
    batch: int
    threads: int
    best: float
    median: float
    of_onnx: float
    floor: str
    of_floor: float | None


@dataclass(frozen=True)
class Latency:
    """Time of one call in ns, the clock's own reading included: percentiles of many calls.

    The muons of a call are new, and in the processor's cache, as where they have just been decoded. `call` is
    ``correct`` or ``bound`` (`Engine.bind`).
    """

    engine: str
    call: str
    muons: int
    p50: float
    p99: float
    p999: float


@dataclass(frozen=True)
class Bench:
    """Results of a run.

    Parameters
    ----------
    throughput, latency : sequence
    memory : mapping of str to int
        Bytes that the process grew by when an engine was made and first called.
    opening : mapping of str to float
        Seconds that the first engine of its kind took to make; imports and checks of files count.
    copy : float
        Bytes a second of memcpy, read and written.
    arithmetic : float
        Multiply-adds a second in float32.
    clock_ns : float
        Time that reading the clock takes.
    empty_calls : sequence of Latency
        Of a Python function and a compiled one that do nothing: what the call itself costs.
    peak_bytes : int, optional
        Most memory that the process has had.
    """

    throughput: Sequence[Throughput]
    latency: Sequence[Latency]
    memory: Mapping[str, int | None]
    opening: Mapping[str, float]
    copy: float
    arithmetic: float
    clock_ns: float
    empty_calls: Sequence[Latency]
    peak_bytes: int | None


def muons_of(model: Model, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int16]:
    """Return inputs of the model's domain as they come, shape (inputs, muons)."""
    inside = model.domain.holds(columns)
    return np.stack([columns[name][inside].astype(np.int16) for name in model.domain.names])


def repeated(hardware: NDArray[np.int16], n: int) -> NDArray[np.int16]:
    """Return muons over and over again, or the first of them: shape (inputs, n)."""
    return np.ascontiguousarray(np.resize(hardware.T, (n, len(hardware))).T)


def simulated(model: Model, n: int, *, progress: Progress = lambda _done, _of: None) -> NDArray[np.int16]:
    """Return `n` simulated muons in the model's domain, no one twice: shape (inputs, n).

    Raises
    ------
    InputError
        If none is in it.
    """
    pieces, found = [], 0
    for events in simulate_events(1):
        pieces.append(muons_of(model, events.muons.columns))
        if not pieces[-1].size:
            msg = f"model {model.card.name}: no simulated muon is in its domain; name a data set"
            raise InputError(msg)
        found += pieces[-1].shape[1]
        progress(min(found, n), n)
        if found >= n:
            break
    return repeated(np.concatenate(pieces, axis=1), n)


def run(
    model: Model,
    makers: Mapping[str, Callable[[], Engine]],
    hardware: NDArray[np.int16],
    *,
    threads: int = 1,
    rounds: int = 15,
    batches: Sequence[int] = BATCHES,
    progress: Progress = lambda _done, _of: None,
) -> Bench:
    """Measure engines.

    Parameters
    ----------
    model : Model
    makers : mapping of str to callable
        Each makes an engine; every thread has its own. The model's `default_engine` must be among them.
    hardware : ndarray of int16, shape (inputs, muons)
        Muons as they arrive.
    threads : int
        Threads that share the muons.
    rounds : int
    batches : sequence of int
        Muons a call.
    progress : callable
        Told rounds done and rounds in all.
    """
    engines, memory, opening = _opened(makers, hardware[:, : max(batches)], threads)
    jobs = {}
    for name, own in engines.items():
        pace = _pace(own[0], hardware[:, : max(batches)])
        most = min(hardware.shape[1], int(_PASS_SECONDS / pace))
        for batch in batches:
            jobs[name, batch] = _Job(own, hardware[:, : max(most, threads * batch)], batch)
    for batch in batches if "table" in engines else ():
        jobs[_COPY, batch] = _Job([_CopyEngine()] * threads, hardware, batch)
    work: dict[Any, _Job | _Copy | _Arithmetic] = {**jobs, "copy": _Copy(), "arithmetic": _Arithmetic()}
    times: dict[Any, list[float]] = {key: [] for key in work}
    for done in range(rounds):
        for key, job in work.items():
            start = time.perf_counter()
            job()
            times[key].append((time.perf_counter() - start) / job.size)
        progress(done + 1, rounds)
    best = {key: min(t) for key, t in times.items()}
    rows = _throughputs(model, {key: times[key] for key in jobs}, best, threads)
    latencies = [
        _latency(name, call, own[0], hardware, n)
        for n in (1, 8)
        for name, own in engines.items()
        for call in ("correct", "bound")
    ]
    empty = [_latency("empty", call, _EmptyEngine(), hardware, 1) for call in ("correct", "bound")]
    floors = 1 / best["copy"], 1 / best["arithmetic"]
    return Bench(rows, latencies, memory, opening, *floors, _clock(), empty, _peak())


def _throughputs(
    model: Model, times: Mapping[tuple[str, int], list[float]], best: Mapping[Any, float], threads: int
) -> list[Throughput]:
    """Make the rows of engines and batches, from the seconds per muon of every round."""
    name_of_reference = default_engine(model)
    reference = min(seconds for (name, _), t in times.items() for seconds in t if name == name_of_reference)
    adds = None if model.no_layers else model.layers.multiply_adds
    copied = min((best[name, batch] for name, batch in times if name == _COPY), default=0.0)
    rows = []
    for (name, batch), t in times.items():
        if name == _COPY:
            continue
        floor, of_floor = "not known", None
        if name == "table":
            size = 2 * len(model.domain.names) + _ANSWER_BYTES
            floor, of_floor = f"copy of {size} bytes", copied / min(t)
        elif adds is not None:
            floor, of_floor = f"{adds} multiply-adds", adds * best["arithmetic"] / threads / min(t)
        rates = 1e-6 / min(t), 1e-6 / float(np.median(t)), reference / min(t)
        rows.append(Throughput(name, batch, threads, *rates, floor, of_floor))
    return rows


def _opened(
    makers: Mapping[str, Callable[[], Engine]], first: NDArray[np.int16], threads: int
) -> tuple[dict[str, list[Engine]], dict[str, int | None], dict[str, float]]:
    """Make one engine per thread; also return bytes of memory and seconds that the first of a kind took."""
    engines, memory, opening = dict[str, list[Engine]](), dict[str, int | None](), dict[str, float]()
    for name, maker in makers.items():
        before, start = _resident(), time.perf_counter()
        engines[name] = [maker()]
        opening[name] = time.perf_counter() - start
        engines[name] += [maker() for _ in range(threads - 1)]
        engines[name][0].correct(np.ascontiguousarray(first))
        after = _resident()
        memory[name] = None if before is None or after is None else after - before
    return engines, memory, opening


def _pace(engine: Engine, first: NDArray[np.int16]) -> float:
    """Return seconds per muon of one call."""
    first = np.ascontiguousarray(first)
    start = time.perf_counter()
    engine.correct(first)
    return float((time.perf_counter() - start) / first.shape[1])


class _Job:
    """One pass over the muons in batches, by threads side by side; a batch is contiguous, as it arrives."""

    def __init__(self, engines: Sequence[Engine], hardware: NDArray[np.int16], batch: int) -> None:
        limit = 2000 * batch  # small batches need no more calls than that
        n = min(hardware.shape[1], max(limit, batch)) // len(engines)
        starts = range(0, max(n - batch, 0) + 1, batch)
        self._work = []
        for k, engine in enumerate(engines):
            own = hardware[:, k * n : (k + 1) * n]
            pieces = [np.ascontiguousarray(own[:, s : s + batch]) for s in starts]
            self._work.append((engine, pieces, np.empty((3, pieces[0].shape[1]), np.float32)))
        self.size = sum(p.shape[1] for _, pieces, _ in self._work for p in pieces)

    def __call__(self) -> None:
        if len(self._work) == 1:
            _pass(*self._work[0])
            return
        threads = [threading.Thread(target=_pass, args=work) for work in self._work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _pass(engine: Engine, pieces: Sequence[NDArray[np.int16]], out: NDArray[np.float32]) -> None:
    correct = engine.correct
    for piece in pieces:
        correct(piece, out)


class _CopyEngine(Engine):
    """Reads the hardware values and writes as many bytes as the answers have, and nothing else."""

    def __init__(self) -> None:
        pass

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        out = np.empty((3, hardware.shape[1]), np.float32) if out is None else out
        given, answers = hardware.reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8)
        for start in range(0, answers.size, given.size):
            n = min(given.size, answers.size - start)
            answers[start : start + n] = given[:n]
        return out


class _EmptyEngine:
    """Does nothing."""

    def correct(self, hardware: NDArray[np.int16], out: NDArray[np.float32]) -> None:
        pass

    def bind(self, hardware: NDArray[np.int16], out: NDArray[np.float32]) -> Callable[[], object]:
        return bound(_nothing, hardware, out)


@bound_kernel
def _nothing(address: int) -> None:
    pass


class _Copy:
    def __init__(self) -> None:
        self._from = np.ones(1 << 23)
        self._to = np.ones(1 << 23)
        self.size = 2 * self._from.nbytes

    def __call__(self) -> None:
        np.copyto(self._to, self._from)


class _Arithmetic:
    """Multiply-adds in float32 as fast as a compiled loop does them, on numbers in the nearest cache."""

    def __init__(self) -> None:
        self._x = np.linspace(0, 1, 256, dtype=np.float32)
        self.size = 256 * 16 * 2000
        self()

    def __call__(self) -> None:
        _multiply_add(self._x, np.float32(0.5), np.float32(0.25), 2000)


@float_kernel
def _multiply_add(x: NDArray[np.float32], a: np.float32, b: np.float32, times: int) -> None:
    for _ in range(times):
        for m in range(x.size):
            y = x[m]
            for _ in range(16):
                y = y * a + b
            x[m] = y


def _latency(
    name: str, call: str, engine: "Engine | _EmptyEngine", hardware: NDArray[np.int16], muons: int
) -> Latency:
    calls = min(LATENCY_CALLS, hardware.shape[1] // muons)
    given, out = hardware[:, :muons].copy(), np.empty((3, muons), np.float32)
    taken = np.empty(calls, np.int64)
    clock, correct, bound_call = time.perf_counter_ns, engine.correct, engine.bind(given, out)
    for k in range(calls):
        given[:] = hardware[:, k * muons : (k + 1) * muons]
        if call == "bound":
            start = clock()
            bound_call()
            taken[k] = clock() - start
        else:
            start = clock()
            correct(given, out)
            taken[k] = clock() - start
    p50, p99, p999 = np.percentile(taken, (50, 99, 99.9))
    return Latency(name, call, muons, float(p50), float(p99), float(p999))


def _clock() -> float:
    """Time that reading the clock twice takes, in ns."""
    clock = time.perf_counter_ns
    return float(np.median([-(clock() - clock()) for _ in range(1000)]))


def _resident() -> int | None:
    """Bytes of this process in memory; None where the system does not say (macOS)."""
    if not sys.platform.startswith("linux"):
        return None
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int | None:
    """Most bytes that this process has had in memory; None where the system does not say."""
    if not sys.platform.startswith("linux"):
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
