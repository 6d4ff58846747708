"""Is the logic what the integer network says? Muons through the Verilog, and all inputs there are."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.deploy.engines.table import TABLE_FILE, TableEngine
from l1scout.deploy.engines.table import build as build_table
from l1scout.errors import InputError
from l1scout.firmware.build import BENCH, VECTORS, Built, network_of, resource, sample, vectors
from l1scout.firmware.logic import Logic
from l1scout.firmware.verilator import build_icarus, build_verilator, run_program
from l1scout.formats.recalibrated import PT, PT_STEPS
from l1scout.model.directory import Model

_LANES = 1 << 17


@dataclass(frozen=True)
class Compared:
    """Muons through a simulator, beside the integer network.

    Parameters
    ----------
    muons : int
        That went in.
    mismatches : int
        Of them: missing, out of order, with another tag or word, or recalibrated to other bits.
    recalibrated : int
        That have isRecal 1; the others are outside the domain.
    latency : int
        Clock edges from muon to recalibrated muon, the one that takes it in included; -1 if it varied.
    first : str
        The first mismatch in words, or nothing.
    """

    muons: int
    mismatches: int
    recalibrated: int
    latency: int
    first: str = ""


@dataclass(frozen=True)
class Exhausted:
    """Mismatches of the traced logic and of the table with the network, over inputs of the domain.

    Parameters
    ----------
    inputs, logic : int
    table : int or None
        None if there was no table to compare.
    overflows : int
        Values that lost bits.
    saturated : int
        Inputs whose corrected pT is beyond the field of the recalibrated word, and so its largest value.
    sampled : bool
        Whether `inputs` are a random sample, not all.
    """

    inputs: int
    logic: int
    table: int | None
    overflows: int
    saturated: int
    sampled: bool = False


def in_verilator(model: Model, built: Built, muons: int, programs: Path, *, seed: int = 1) -> Compared:
    """Send muons with random gaps through the streaming module in Verilator.

    Parameters
    ----------
    model : Model
    built : Built
    muons : int
    programs : Path
        Folder for the simulator, which is built once.
    seed : int
        Of muons and gaps.

    Raises
    ------
    InputError
        If Verilator is missing or refuses the Verilog.
    """
    main = Path(str(resource("recalibrate_main.cpp")))
    program = build_verilator(built.sources, "recalibrate", main, programs, optimise="-O0")
    valid, tags, etas, words, wanted = sample(model, muons, seed)
    given = run_program(program, np.stack([valid, tags, etas, words], axis=1).tobytes())
    rows = np.frombuffer(given, np.uint64)
    rows = rows[: rows.size // 4 * 4].reshape(-1, 4)
    sent = np.flatnonzero(valid)
    return _compare(sent, np.stack([tags, words, wanted], axis=1)[sent], rows)


def _compare(sent: NDArray[np.int64], wanted: NDArray[np.uint64], rows: NDArray[np.uint64]) -> Compared:
    n = min(len(sent), len(rows))
    differ = (rows[:n, 1:] != wanted[:n]).any(axis=1)
    wait = rows[:n, 0].astype(np.int64) - sent[:n]
    latency = int(wait[0]) + 1 if n and (wait == wait[0]).all() else -1
    mismatches = int(np.count_nonzero(differ)) + abs(len(sent) - len(rows))
    first = ""
    if differ.any():
        k = int(np.flatnonzero(differ)[0])
        tag, muon, word = (int(x) for x in wanted[k])
        got = " ".join(f"{int(x):x}" for x in rows[k, 1:])
        first = f"muon {k}: tag, word and recalibrated word {got}, not {tag:x} {muon:x} {word:x}"
    elif mismatches:
        first = f"{len(rows)} muons came out, not {len(sent)}"
    recalibrated = int(np.count_nonzero(wanted[:, 2] >> np.uint64(57) & np.uint64(1)))
    return Compared(len(sent), mismatches, recalibrated, latency, first)


def in_icarus(model: Model, built: Built, muons: int, programs: Path, *, seed: int = 2) -> str:
    """Run the folder's test bench in Icarus Verilog on new muons; return what it says.

    Parameters, and errors, are those of `in_verilator`. It says ``PASS`` with the latency, or ``FAIL``.
    """
    lines = sample(model, muons, seed)
    bench = [built.folder / BENCH, *built.sources]
    program = build_icarus(bench, "recalibrate_tb", programs, {"LINES": len(lines[0])})
    with tempfile.TemporaryDirectory() as part:
        path = Path(part) / VECTORS
        path.write_text(vectors(*lines), "utf-8")
        said = run_program(program, arguments=[f"+vectors={path}"]).decode(errors="replace").split("\n")
    return next((line for line in said if line.startswith(("PASS", "FAIL"))), "FAIL: the bench says nothing")


def exhaust(
    model: Model,
    logic: Logic,
    table: Path | None,
    *,
    sample: int | None = None,
    seed: int = 1,
    progress: Progress = lambda _done, _of: None,
) -> Exhausted:
    """Compare traced logic, table and integer network at every input of the model's domain, or at some.

    Parameters
    ----------
    model : Model
    logic : Logic
        That the Verilog was written from.
    table : Path, optional
        The model's table, to be compared, too.
    sample : int, optional
        Number of random inputs; by default all are compared.
    seed : int
        Of the sample.
    progress : callable
        Told inputs done and inputs in all.
    """
    engine = FirmwareEngine(network_of(model))
    tabulated = TableEngine(model, table) if table else None
    inputs = sample or model.domain.entries
    pt = model.domain.names.index("hwPt")
    wrong_logic = wrong_table = saturated = done = 0
    for where, hardware in model.domain.sampled(sample, seed, _LANES):
        wanted = engine.integers(hardware)
        wrong_logic += int(np.count_nonzero((logic.integers(hardware) != wanted).any(axis=0)))
        if tabulated:
            wrong_table += int(np.count_nonzero((wanted != tabulated.integers(where)).any(axis=0)))
        corrected = hardware[pt].astype(np.int64) * PT_STEPS - wanted[2]
        saturated += int(np.count_nonzero(corrected > PT.high))
        done += hardware.shape[1]
        progress(done, inputs)
    compared = wrong_table if tabulated else None
    return Exhausted(inputs, wrong_logic, compared, engine.overflows, saturated, sample is not None)


@contextlib.contextmanager
def table_of(model: Model, progress: Progress) -> Iterator[Path]:
    """Give the model's table: its own, or one made for the moment."""
    own = (model.directory or Path()) / TABLE_FILE
    if own.exists():
        yield own
        return
    with tempfile.TemporaryDirectory() as part:
        build_table(model, Path(part) / TABLE_FILE, progress=progress)
        yield Path(part) / TABLE_FILE


def check_core(built: Built, logic: Logic) -> None:
    """Refuse a folder whose core is not, letter for letter, what the compiler writes of this logic.

    Raises
    ------
    InputError
    """
    path = built.sources[1]
    if path.read_text("utf-8") != logic.write(built.about["cutoff"]).verilog:
        msg = f"{path}: not what {logic.version} writes of this model; `l1scout firmware build` makes it anew"
        raise InputError(msg)
