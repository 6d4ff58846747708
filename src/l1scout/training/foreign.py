"""Read a user's ONNX graph, and find out what its inputs and outputs are.

It may be any deterministic function of one muon's values: a PyTorch network, a forest of trees, any operators
that onnxruntime has but loops.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.deploy.engines.onnx import MAX_BATCH, open_session
from l1scout.errors import InputError
from l1scout.model.onnx_function import read_onnx
from l1scout.model.quantities import INPUTS, MORE_INPUTS, OUTPUTS, VARIABLES

ANSWERS = {
    "subtract": "L1 minus offline, to be subtracted from the L1 value",
    "add": "offline minus L1, to be added to the L1 value",
    "values": "the corrected phi, eta and pT themselves",
}
"""What the outputs of a network can be."""
IGNORED = "-"
MAX_VALUES = 1 << 26
"""Largest number of values of an array in a graph."""
_LOOPS = ("Loop", "Scan")
_NAMES = {q: q for q in VARIABLES} | dict(zip(OUTPUTS, VARIABLES, strict=True))
"""Names of a graph's own outputs from which their quantity is recognised."""
TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
}


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: `columns` is None for any number, `flat` without such an axis."""

    name: str
    type: str
    columns: int | None
    flat: bool
    batch: int | None


@dataclass(frozen=True)
class ForeignGraph:
    """A user's ONNX file as read: its graph, its inputs and outputs, and their meaning.

    `columns` are those that its inputs take, in their order; `quantities` those that its outputs give.
    """

    path: Path
    content: bytes
    proto: Any
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    columns: Sequence[str]
    quantities: Sequence[str]
    answers: str


def open_source(
    path: Path, answers: str, inputs: Sequence[str] | None, outputs: Sequence[str] | None
) -> ForeignGraph:
    """Read a file, and determine its inputs and outputs; see `l1scout.training.imported.import_network`."""
    import onnx

    if answers not in ANSWERS:
        msg = f"answers {answers!r}: choose one of {', '.join(ANSWERS)}"
        raise InputError(msg)
    content = read_onnx(path).content
    try:
        proto = onnx.load_from_string(content)
    except Exception as error:  # protobuf has kinds of its own for damaged files
        msg = f"{path}: not an ONNX file ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise InputError(msg) from error
    _refuse_unbounded(path, proto)
    _refuse_large_values(path, proto)
    session = open_session(content, str(path))
    ports = [_port(path, "input", p) for p in session.get_inputs()]
    answers_of = [_port(path, "output", p) for p in session.get_outputs()]
    columns = _columns(path, ports, inputs)
    quantities = _quantities(path, answers_of, outputs)
    widths = _widths(len(columns), [p.columns for p in ports])
    ports = [replace(p, columns=n) for p, n in zip(ports, widths, strict=True)]
    widths = _widths(len(quantities), [p.columns for p in answers_of])
    answers_of = [replace(p, columns=n) for p, n in zip(answers_of, widths, strict=True)]
    return ForeignGraph(path, content, proto, ports, answers_of, columns, quantities, answers)


def _refuse_unbounded(path: Path, proto: Any) -> None:
    """Refuse a graph that reads other files, or that may calculate for ever."""
    from onnx.external_data_helper import uses_external_data

    graphs = list(_graphs([proto.graph, *proto.functions]))
    nodes = [node for graph in graphs for node in graph.node]
    tensors = [t for graph in graphs for t in getattr(graph, "initializer", ())]
    tensors += [t for node in nodes for a in node.attribute for t in (a.t, *a.tensors)]
    if any(uses_external_data(t) for t in tensors):
        msg = f"{path}: its weights are in a separate file; save both as one with onnx.save_model"
        raise InputError(msg)
    endless = sorted({node.op_type for node in nodes} & set(_LOOPS))
    if endless:
        msg = f"{path}: has a loop ({', '.join(endless)}), of which nothing says when it ends; write it out"
        raise InputError(msg)


def _graphs(parts: Iterable[Any]) -> Iterator[Any]:
    """Give graphs and functions, and the graphs inside their nodes."""
    for part in parts:
        yield part
        for node in part.node:
            for attribute in node.attribute:
                yield from _graphs([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _refuse_large_values(path: Path, proto: Any) -> None:
    """Refuse a graph that makes arrays far larger than its file, before anything is allocated for them."""
    from onnx import shape_inference

    try:
        graph = shape_inference.infer_shapes(proto, data_prop=True).graph
    except Exception:  # of an operator that onnx does not know; onnxruntime may
        return
    for value in graph.value_info:
        size = math.prod(max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim)
        if size > MAX_VALUES:
            msg = f"{path}: makes an array of {size} values, more than {MAX_VALUES}; make it smaller"
            raise InputError(msg)


def _port(path: Path, what: str, port: Any) -> Port:
    shape = list(port.shape) or [None, None] * (what == "output")  # a rank that is not stated
    if port.type not in TYPES or len(shape) not in (1, 2):
        msg = (
            f"{path}: {what} {port.name} is {port.type} of shape {shape}, not of shape (muons, columns) and "
            f"of one of the types {', '.join(t[7:-1] for t in TYPES)}"
        )
        raise InputError(msg)
    sizes = [n if isinstance(n, int) and n > 0 else None for n in shape]
    if sizes[0] and sizes[0] > MAX_BATCH:
        msg = (
            f"{path}: {what} {port.name} is made for {sizes[0]} muons at a time; "
            f"export it for any number, or for {MAX_BATCH} at most"
        )
        raise InputError(msg)
    flat = len(shape) == 1
    return Port(port.name, port.type, 1 if flat else sizes[1], flat, sizes[0])


def _columns(path: Path, ports: Sequence[Port], names: Sequence[str] | None) -> tuple[str, ...]:
    allowed = (*INPUTS, *MORE_INPUTS)
    found = [p.name for p in ports]
    if names is None and not (set(found) <= set(allowed) and all(p.columns in (1, None) for p in ports)):
        msg = f"{path}: takes {_listed(ports)}; name their columns in order, as --inputs {','.join(INPUTS)}"
        raise InputError(msg)
    columns = tuple(names if names is not None else found)
    unknown = [n for n in columns if n not in allowed]
    if unknown or len(set(columns)) < len(columns) or not columns:
        what = ", ".join(unknown) or "a column twice"
        msg = f"--inputs: {what} is not possible; choose among {', '.join(allowed)}"
        raise InputError(msg)
    _need_fit(path, "takes", "--inputs", ports, columns)
    return columns


def _quantities(path: Path, ports: Sequence[Port], names: Sequence[str] | None) -> tuple[str, ...]:
    found = [_NAMES.get(p.name, "") for p in ports]
    if names is None and not (all(found) and all(p.columns in (1, None) for p in ports)):
        msg = f"{path}: gives {_listed(ports)}; name its columns in order, as --outputs {','.join(VARIABLES)}"
        raise InputError(msg)
    quantities = tuple(names if names is not None else found)
    unknown = [n for n in quantities if n not in (*VARIABLES, IGNORED)]
    known = [n for n in quantities if n != IGNORED]
    if unknown or not known or len(set(known)) < len(known):
        what = ", ".join(unknown) or ("a quantity twice" if known else "nothing")
        msg = f"--outputs: {what} is not possible; choose among {', '.join(VARIABLES)}; {IGNORED} ignores one"
        raise InputError(msg)
    _need_fit(path, "gives", "--outputs", ports, quantities)
    return quantities


def _need_fit(path: Path, verb: str, option: str, ports: Sequence[Port], names: Sequence[str]) -> None:
    """Refuse names whose number is not that of the columns of the ports."""
    known = sum(p.columns or 0 for p in ports)
    free = sum(p.columns is None for p in ports)
    if free > 1 or not known + free <= len(names) or (not free and known != len(names)):
        msg = f"{path}: {verb} {_listed(ports)}, but {option} names {len(names)}: {', '.join(names)}"
        raise InputError(msg)


def _widths(names: int, columns: Sequence[int | None]) -> list[int]:
    """Return the number of columns of each port; a port of free size takes the rest."""
    left = names - sum(n or 0 for n in columns)
    return [left if n is None else n for n in columns]


def _listed(ports: Sequence[Port]) -> str:
    """Describe ports in a message."""
    each = (
        f"{p.name} ({p.type[7:-1]}, {'any number of' if p.columns is None else p.columns} columns)"
        for p in ports
    )
    return ", ".join(each)
