"""One interface to a network at work, and the engines that have it.

| engine | for | how |
|---|---|---|
| `onnx` | reference | onnxruntime |
| `fused` | one muon, one BX, small batches | the folded network as one compiled kernel |
| `table` | streams | the answer to every possible input, looked up |
| `fixed` | 16-bit processors | integers, Q8.8 unless told otherwise |
| `firmware` | firmware models | the integers of the logic, bit for bit |
| `mdla` | the Micron DLA | the vendor's SDK, if installed |
| `gpu` | large batches | JAX |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.model.directory import Model

TABLE_FILE = "model.table"
"""Where a model's table is, unless told otherwise: in the model directory."""

INT16, FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)


class Engine(Protocol):
    """A network that answers. An engine is used by one thread at a time: some keep working memory."""

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Corrections (L1 minus offline), shape (3, muons): rad, 1, GeV.

        Parameters
        ----------
        hardware : ndarray of int, shape (4, muons)
            The card's inputs in their order, one column of hardware values each; int16 is fastest.
            The caller keeps to the card's domain. Outside it a network's answer means nothing, and
            the table's is NaN.
        out : ndarray of float32, shape (3, muons), optional
            Where the answer goes, so that no memory is taken.
        """
        ...


def make(name: str, model: Model, *, threads: int = 1, table: str | Path | None = None) -> Engine:
    """Make an engine by name.

    Parameters
    ----------
    name : str
        One of `ENGINES`. Two take settings: ``fixed:Q4.12,variable`` (`l1scout.deploy.fixed.Format`)
        and ``mdla:2`` (clusters).
    model : Model
    threads : int
        Processor threads that one call may use (onnx; the others use one).
    table : str or Path, optional
        File of the table engine; by default `TABLE_FILE` in the model directory.

    Raises
    ------
    InputError
        If there is no engine of this name or it has no such settings, it cannot run this model, or it
        is not installed.
    """
    kind, _, settings = name.partition(":")
    if kind not in ENGINES:
        msg = f"no engine {kind!r}: choose one of {', '.join(ENGINES)}"
        raise InputError(msg)
    if settings and kind not in ("fixed", "mdla"):
        msg = f"engine {name}: only fixed and mdla take settings"
        raise InputError(msg)
    if kind != "table" and (kind == "firmware") != (model.network is not None):
        what = "has no integer network" if kind == "firmware" else "is a firmware model, made of integers"
        msg = f"{model.name}: {what}; engines that run it: {', '.join(at_hand(model, table))}"
        raise InputError(msg)
    return ENGINES[kind](Wanted(model, threads, table, settings))


def usual(model: Model) -> str:
    """Name of the engine that runs a model unless another is asked for: its reference."""
    return "firmware" if model.network else "onnx"


def at_hand(model: Model, table: str | Path | None = None) -> list[str]:
    """Names of the engines that run a model on any processor without being asked for."""
    names = ["firmware"] if model.network else ["onnx"]
    if not model.network:
        names += [name for name in ("fused", "fixed") if name not in left_out(model)]
    if table is not None or (model.directory is not None and (model.directory / TABLE_FILE).exists()):
        names.append("table")
    return names


def left_out(model: Model) -> dict[str, str]:
    """Return, by engine, why it cannot run a model layer by layer; empty for a firmware model."""
    if model.network:
        return {}
    if model.no_layers:
        return dict.fromkeys(("fused", "fixed"), model.no_layers)
    if any(layer.activation == "softmax" for layer in model.layers):
        return {"fixed": f"{model.name}: softmax has no exact integer form"}
    return {}


def int16_columns(hardware: NDArray[Any]) -> NDArray[np.int16]:
    """Hardware columns as int16; what does not fit becomes an end of int16, outside every domain.

    Raises
    ------
    InputError
        If they are not integers.
    """
    if hardware.dtype == np.int16:
        return hardware
    if hardware.dtype.kind not in "iu":
        msg = f"hardware values are integers, not {hardware.dtype}"
        raise InputError(msg)
    ends = np.iinfo(np.int16)
    if np.can_cast(hardware.dtype, np.int16):
        return hardware.astype(np.int16)
    low = max(ends.min, np.iinfo(hardware.dtype).min)
    return np.asarray(np.clip(hardware, low, ends.max), np.int16)


def ready(hardware: NDArray[Any], out: NDArray[Any]) -> bool:
    """Whether a kernel may be called as it is: `checked` takes as long as the table does for one muon."""
    return hardware.dtype is INT16 and out.dtype is FLOAT32 and hardware.ndim == out.ndim == 2


def checked(
    hardware: NDArray[Any], inputs: int, outputs: int, out: NDArray[np.float32] | None
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return int16 columns and where their answer goes.

    Raises
    ------
    InputError
        If an array has another shape or type than `Engine.correct` says.
    """
    if hardware.dtype is not INT16:  # comparing would take as long as a network does for one muon
        hardware = int16_columns(hardware)
    shape = hardware.shape
    if len(shape) != 2 or shape[0] != inputs:
        msg = f"hardware has shape {shape}, not ({inputs}, muons): one row an input"
        raise InputError(msg)
    wanted = (outputs, shape[1])
    if out is None:
        return hardware, np.empty(wanted, np.float32)
    if out.shape != wanted or (out.dtype is not FLOAT32 and out.dtype != FLOAT32):
        msg = f"out is {out.dtype} {out.shape}, not float32 {wanted}"
        raise InputError(msg)
    return hardware, out


@dataclass(frozen=True)
class Wanted:
    """What an engine is made of; see `make`."""

    model: Model
    threads: int
    table: str | Path | None
    settings: str


def _onnx(wanted: Wanted) -> Engine:
    from l1scout.deploy.onnx import OnnxEngine

    return OnnxEngine(wanted.model, threads=wanted.threads)


def _fused(wanted: Wanted) -> Engine:
    from l1scout.deploy.fused import FusedEngine

    return FusedEngine(wanted.model)


def _table(wanted: Wanted) -> Engine:
    from l1scout.deploy.table import TableEngine

    model = wanted.model
    if wanted.table is None and model.directory is None:
        msg = f"{model.name}: has no directory, so name the table's file"
        raise InputError(msg)
    return TableEngine(model, wanted.table or Path(model.directory or "") / TABLE_FILE)


def _fixed(wanted: Wanted) -> Engine:
    from l1scout.deploy.fixed import FixedEngine, Format

    return FixedEngine(wanted.model, Format.parse(wanted.settings) if wanted.settings else None)


def _firmware(wanted: Wanted) -> Engine:
    from l1scout.deploy.firmware import FirmwareEngine

    assert wanted.model.network  # `make` has looked
    return FirmwareEngine(wanted.model.network)


def _mdla(wanted: Wanted) -> Engine:
    from l1scout.deploy.mdla import MdlaEngine

    if wanted.settings and not (wanted.settings.isdecimal() and 0 < int(wanted.settings) < 1000):
        msg = f"engine mdla:{wanted.settings}: its setting is a number of clusters"
        raise InputError(msg)
    return MdlaEngine(wanted.model, clusters=int(wanted.settings or 1))


def _gpu(wanted: Wanted) -> Engine:
    from l1scout.deploy.gpu import GpuEngine

    return GpuEngine(wanted.model)


ENGINES: Mapping[str, Callable[[Wanted], Engine]] = {
    "onnx": _onnx,
    "fused": _fused,
    "table": _table,
    "fixed": _fixed,
    "firmware": _firmware,
    "mdla": _mdla,
    "gpu": _gpu,
}
"""Makers of engines by name; each imports what it needs when it is asked for."""
