"""Muons a second of the engines beside onnxruntime and, where it is installed, OpenVINO.

    python benchmarks/engines.py [MODEL_DIRECTORY]        (else demo/model-A, which `make demo` makes)

A million simulated muons, no one twice, in batches; rounds are interleaved, so that all see the same
machine, and the best of each counts. Our engines and onnxruntime get hardware integers and give
corrections in our memory, all of which counts. OpenVINO gets floats that have been prepared and leaves
its answers where they are, which only favours it. "onnx, ramps form" is `l1scout export --ramps`: the same
network with its look-ups as ReLU hinges. OpenVINO is no dependency: `pip install openvino`.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from l1scout.cli.script import Parser, run_script
from l1scout.deploy.engine import create_engine
from l1scout.deploy.engines.table import build
from l1scout.evaluate.bench import simulated
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX
from l1scout.model.directory import Model, load_model
from l1scout.model.onnx_export import export_onnx
from l1scout.model.onnx_function import OnnxFunction

try:
    import openvino
except ImportError:
    openvino = None

MUONS = 1 << 20
BATCH = 8192
ROUNDS = 15
TARGET = 8
"""Of the table, in onnxruntime's rates on one core."""


class Engines:
    """One of our engines on one or more threads."""

    def __init__(self, name: str, model: Model, hardware: np.ndarray, table: Path, threads: int) -> None:
        pieces = [np.ascontiguousarray(hardware[:, k : k + BATCH]) for k in range(0, MUONS, BATCH)]
        self._pieces = [pieces[k::threads] for k in range(threads)]
        self._engines = [create_engine(name, model, table=table) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self) -> None:
        """All muons once."""
        for done in [self._pool.submit(self._one, k) for k in range(len(self._engines))]:
            done.result()

    def _one(self, k: int) -> None:
        out = np.empty((3, BATCH), np.float32)
        for piece in self._pieces[k]:
            self._engines[k].correct(piece, out)

    def answer(self, hardware: np.ndarray) -> np.ndarray:
        """Corrections, shape (3, muons)."""
        return self._engines[0].correct(hardware)


class OpenVino:
    """OpenVINO in a precision, as many requests as threads."""

    def __init__(self, model: Model, hardware: np.ndarray, precision: str, threads: int) -> None:
        core = openvino.Core()
        network = core.read_model(model=model.onnx_bytes, weights=b"")
        network.reshape([BATCH, len(hardware)])
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(network, "CPU", {**hints, "NUM_STREAMS": threads})
        self._requests = openvino.AsyncInferQueue(compiled, threads)
        self._one = compiled.create_infer_request()
        rows = hardware.T.astype(np.float32)
        self._pieces = [np.ascontiguousarray(rows[k : k + BATCH]) for k in range(0, MUONS, BATCH)]

    def __call__(self) -> None:
        """All muons once."""
        for piece in self._pieces:
            self._requests.start_async({0: piece}, share_inputs=True)
        self._requests.wait_all()

    def answer(self, hardware: np.ndarray) -> np.ndarray:
        """Corrections, shape (3, muons), of one batch."""
        return self._one.infer({0: hardware.T.astype(np.float32)})[0].T.copy()


DEMO = Path("demo/model-A")


def main() -> int:
    """Print the table; exit status 1 if the table engine is below its target."""
    parser = Parser(__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=DEMO, help="model directory")
    directory = parser.parse_args().model
    if directory == DEMO and not directory.exists():
        print(f"{directory}: not there, so nothing is measured; `make demo` makes it")
        return 0
    model = load_model(directory)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "model.table"
        build(model, table)
        return measure(model, table)


def measure(model: Model, table: Path) -> int:
    """Print the table of a model."""
    hardware = simulated(model, MUONS)
    works: dict[str, Engines | OpenVino] = {}
    hinges = OnnxFunction(export_onnx(model.layers, model.card, ramps=True))
    ramps = dataclasses.replace(model, network=hinges)
    for threads in (1, 2):
        cores = f"{threads} core{'s' * (threads > 1)}"
        for name in ("onnx", "fused", "table"):
            works[f"{name}, {cores}"] = Engines(name, model, hardware, table, threads)
        works[f"onnx, ramps form, {cores}"] = Engines("onnx", ramps, hardware, table, threads)
        for precision in ("f32", "bf16") if openvino else ():
            works[f"OpenVINO {precision}, {cores}"] = OpenVino(model, hardware, precision, threads)
    best: dict[str, float] = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            best[name] = min(best[name], timed(work))
    exact = works["onnx, 1 core"].answer(hardware[:, :BATCH])
    counts = np.array([float(PHI_VTX.scale or 1), float(ETA_VTX.scale or 1), 1])[:, np.newaxis]
    print(
        f"model {model.card.name}, {MUONS:,} simulated muons in batches of {BATCH}, best of {ROUNDS} rounds"
    )
    print(f"{'':24}{'M muons/s':>10}{'/ onnx, same cores':>20}   worst off: phi, eta [counts], pT [GeV]")
    for name, t in best.items():
        peer = best["onnx, " + name.split(", ")[-1]]
        worst = np.abs((works[name].answer(hardware[:, :BATCH]) - exact) / counts).max(axis=1)
        off = ", ".join(f"{w:.2g}" for w in worst)
        print(f"{name:24}{MUONS / t / 1e6:10.1f}{peer / t:20.2f}   {off}")
    if not openvino:
        print("OpenVINO is not installed (pip install openvino), so it is not measured")
    ratio = best["onnx, 1 core"] / best["table, 1 core"]
    verdict = "reaches" if ratio >= TARGET else "BELOW"
    print(f"table / onnxruntime, one core = {ratio:.1f}: {verdict} {TARGET}")
    return 0 if ratio >= TARGET else 1


def timed(work: Callable[[], object]) -> float:
    """Seconds of one pass."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_script(main)
