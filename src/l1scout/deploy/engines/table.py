"""The table engine: the network's answer to every possible input, in one file (`table_file`).

Corrections are multiples of a power of two each, the finest that holds the largest answer. A firmware model's
answers are integers: they are the entries as they are.
"""

import os
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, bindable, check_arrays, kernel_ready
from l1scout.deploy.engines._sixteen import LANES, look_up_sixteen, look_up_some
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.deploy.engines.fused import FusedEngine
from l1scout.deploy.engines.onnx import OnnxEngine
from l1scout.deploy.table_file import (
    ENTRY,
    HEADER_BYTES,
    LARGEST,
    TableHeader,
    TabulatedModel,
    header_bytes,
    open_table,
)
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.jit import array_at, bound, bound_kernel, kernel
from l1scout.model.directory import Model
from l1scout.model.integers import STEPS, IntegerNetwork
from l1scout.model.network import Network
from l1scout.model.onnx_function import OnnxFunction

TABLE_FILE = "model.table"
"""Where the table of a model is, unless told otherwise: in the model directory."""
MAX_ENTRIES = 1 << 27
"""1 GiB: a model with a larger domain is none of this trigger's."""
LookUp = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray[np.int16], NDArray[np.float32]], bool]


def quantise(values: NDArray[Any], steps: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return corrections, shape (outputs, muons), as multiples of their steps, to the nearest."""
    return np.rint(values / steps[:, np.newaxis]).astype(np.int32)


def finest_steps(
    largest: NDArray[np.float64], multiples: float | NDArray[np.int64] = LARGEST
) -> NDArray[np.float64]:
    """Return the smallest powers of two that, taken `multiples` times, reach each largest value."""
    needed = np.where(largest > 0, largest, 1.0) / multiples  # an answer that is always 0 has any step
    return np.exp2(np.ceil(np.log2(needed)))


def build(model: Model, path: str | Path, *, progress: Progress = lambda _done, _of: None) -> None:
    """Evaluate a model at every possible input and write the table.

    It is evaluated in integers or in float64; a model without layers, by onnxruntime as it is.

    It appears under its name when it is complete.

    Parameters
    ----------
    model : Model
    path : str or Path
    progress : callable
        Told inputs done and inputs in all; each is done twice, first for the range of the answers.

    Raises
    ------
    InputError
        If the model cannot be made a table of, or the file cannot be written.
    """
    path, domain = Path(path), model.domain
    if len(model.card.outputs) != 3 or domain.entries > MAX_ENTRIES:
        msg = (
            f"{model.name}: {domain.entries} possible inputs, {len(model.card.outputs)} outputs: too many "
            f"for a table, which has {MAX_ENTRIES} and 3 at most; the engines onnx and fused need none"
        )
        raise InputError(msg)
    exact = _exact(model)
    largest = np.zeros(3)
    for where, hardware in domain.chunks():
        largest = np.maximum(largest, np.abs(exact(hardware)).max(axis=1))
        progress(where.stop, 2 * domain.entries)
    if not np.isfinite(largest).all():
        msg = f"{model.name}: its answers are not finite everywhere in its domain; train it again"
        raise InputError(msg)
    if model.integers and (largest > LARGEST).any():
        msg = f"{model.name}: its answers do not fit into entries of 16, 16 and 24 bits; train it again"
        raise InputError(msg)
    units = np.ones(3) if model.integers else finest_steps(largest)
    steps = STEPS if model.integers else units
    checksum = 0
    with complete_or_nothing(path) as part, part.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        for where, hardware in domain.chunks():
            entries = np.zeros(hardware.shape[1], ENTRY)
            for name, row in zip(("phi", "eta", "pt"), quantise(exact(hardware), units), strict=True):
                entries[name] = row
            content = entries.tobytes()
            checksum = zlib.crc32(content, checksum)
            file.write(content)
            progress(domain.entries + where.stop, 2 * domain.entries)
        file.seek(0)
        file.write(header_bytes(_describe(model, steps), checksum))
        file.flush()
        os.fsync(file.fileno())


def table_path(model: Model, options: EngineOptions) -> Path | None:
    """Return the file of a model's table, or None if none is named and the model has no directory."""
    return options.table or (model.directory / TABLE_FILE if model.directory else None)


def _exact(model: Model) -> Callable[[NDArray[np.int16]], NDArray[Any]]:
    """Return the most exact evaluation of a model that is available."""
    if model.integers:
        return FirmwareEngine(model.integers).integers
    return OnnxEngine(model).correct if model.no_layers else FusedEngine(model, np.float64).exact


@ENGINES.register("table")
class TableEngine(Engine):
    """A table at work.

    Every bit of the file is checked when it is opened: CRC-32 runs at memory speed.

    Parameters
    ----------
    model : Model
        The one that the table must have been made of.
    path : str or Path

    Attributes
    ----------
    entries : ndarray of int16, shape (entries, 4)
        phi, eta, and the low and the high half of pT, in `steps`; `integers` puts the halves together.
    steps : ndarray of float64, shape (3,)

    Raises
    ------
    InputError
        If it cannot be read, is not a table, is damaged, or is the table of another model.
    """

    networks = (Network, OnnxFunction, IntegerNetwork)
    unasked = True

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "TableEngine":
        """Make the engine."""
        path = table_path(model, options)
        if path is None:
            msg = f"{model.name}: has no directory, so name the table's file"
            raise InputError(msg)
        return cls(model, path)

    @classmethod
    def available(cls, model: Model, options: EngineOptions) -> bool:
        """Whether there is a table."""
        path = table_path(model, options)
        return options.table is not None or (path is not None and path.exists())

    def __init__(self, model: Model, path: str | Path) -> None:
        mapped, header = open_table(Path(path))
        if header.model != _model_of(model):
            msg = f"{path}: made of another model than {model.name}; `l1scout compile` makes it anew"
            raise InputError(msg)
        domain = model.domain
        self.steps = np.array(header.steps, np.float64)
        self.entries = np.frombuffer(mapped, "<i2", offset=HEADER_BYTES).reshape(domain.entries, 4)
        self._words = self.entries.view("<i8")[:, 0]
        self._inputs = len(domain.names)
        self._table = np.array([*domain.low, *domain.size, *domain.stride, *header.steps])
        self._look_up, self._look_up_bound = kernels_of(self._inputs)

    def integers(self, where: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return entries as multiples of `steps`, shape (3, entries)."""
        entries = np.ascontiguousarray(self.entries[where]).view(ENTRY)[:, 0]
        return np.stack([entries[name].astype(np.int64) for name in ("phi", "eta", "pt")])

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`. NaN outside the domain."""
        look_up, words, table = self._look_up, self._words, self._table
        if out is not None and kernel_ready(hardware, out) and look_up(words, table, hardware, out):
            return out
        hardware, out = check_arrays(hardware, self._inputs, 3, out)
        if not look_up(words, table, hardware, out):  # muons do not lie side by side
            answer = np.empty(out.shape, np.float32)
            look_up(words, table, np.ascontiguousarray(hardware), answer)
            out[:] = answer
        return out

    def bind(self, hardware: NDArray[np.int16], out: NDArray[np.float32]) -> Callable[[], object]:
        """Return a function that corrects what is in `hardware` and fills `out`; see `Engine`."""
        call = super().bind(hardware, out)
        if not bindable(hardware, out):
            return call
        return bound(self._look_up_bound, self._words, self._table, hardware, out)


def _model_of(model: Model) -> TabulatedModel:
    domain = model.domain
    inputs = zip(domain.names, domain.low, domain.high, domain.stride, strict=True)
    outputs = tuple((q.name, q.unit) for q in model.card.outputs)
    return TabulatedModel(model.sha256, tuple(inputs), outputs)


def _describe(model: Model, steps: NDArray[np.float64]) -> TableHeader:
    first, second, third = steps.tolist()
    return TableHeader(_model_of(model), (first, second, third), model.card.name, model.card.simulated)


@cache
def kernels_of(inputs: int) -> tuple[LookUp, Callable[[int], None]]:
    """Return the kernel compiled for this number of inputs, and the one for `bound`."""
    size = 3 * inputs + 3

    @kernel
    def look_up(
        words: NDArray[np.int64],
        table: NDArray[np.float64],
        hardware: NDArray[np.int16],
        out: NDArray[np.float32],
    ) -> bool:
        return _look_up(words, to_fixed_tuple(table, size), hardware, out)

    @bound_kernel
    def look_up_bound(address: int) -> None:
        words, table = array_at(address, 0, np.int64)[0], array_at(address, 1, np.float64)[0]
        hardware, out = array_at(address, 2, np.int16), array_at(address, 3, np.float32)
        _look_up(words, to_fixed_tuple(table, size), hardware, out)

    return look_up, look_up_bound


@kernel
def _look_up(
    words: NDArray[np.int64],
    table: tuple[float, ...],
    hardware: NDArray[np.int16],
    out: NDArray[np.float32],
) -> bool:
    """Answer, if the arrays fit together and muons lie side by side."""
    inputs, muons = hardware.shape
    if 3 * inputs + 3 != len(table) or out.shape[0] != 3 or out.shape[1] != muons:
        return False
    if muons > 1 and (hardware.strides[1] != 2 or out.strides[1] != 4):
        return False
    whole = muons - muons % LANES
    for m in range(0, whole, LANES):
        look_up_sixteen(words, table, hardware, out, m)
    if whole < muons:
        look_up_some(words, table, hardware, out, whole, muons)
    return True
