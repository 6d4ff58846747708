"""Read a user's ONNX graph, and wrap it so that it has the inputs and outputs of every ``model.onnx``.

The wrapped graph takes the trigger's integers as float32, in the order of the card, and returns L1 minus
offline. The graph itself may be any deterministic function of one muon's values: a PyTorch network, a forest
of trees, any operators that onnxruntime has but loops.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.onnx import MAX_BATCH, open_session
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model.card import Card
from l1scout.model.onnx_export import INPUT_NAME, MAX_ONNX_BYTES, OUTPUT_NAME, describe
from l1scout.model.quantities import INPUTS, MORE_INPUTS, OUTPUTS
from l1scout.statistics import wrap

ANSWERS = {
    "subtract": "L1 minus offline, to be subtracted from the L1 value",
    "add": "offline minus L1, to be added to the L1 value",
    "values": "the corrected phi, eta and pT themselves",
}
"""What the outputs of a network can be."""
QUANTITIES = ("phi", "eta", "pt")
"""Quantities that an output can give: in rad, dimensionless and in GeV."""
IGNORED = "-"
MAX_VALUES = 1 << 26
"""Largest number of values of an array in a graph."""
_LOOPS = ("Loop", "Scan")
_NAMES = {q: q for q in QUANTITIES} | dict(zip(OUTPUTS, QUANTITIES, strict=True))
"""Names of a graph's own outputs from which their quantity is recognised."""
_TYPES = {
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
class Source:
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
) -> Source:
    """Read a file, and determine its inputs and outputs; see `l1scout.training.imported.import_network`."""
    import onnx

    if answers not in ANSWERS:
        msg = f"answers {answers!r}: choose one of {', '.join(ANSWERS)}"
        raise InputError(msg)
    try:
        if path.stat().st_size > MAX_ONNX_BYTES:
            msg = f"{path}: larger than {MAX_ONNX_BYTES >> 20} MiB; take a smaller network"
            raise InputError(msg)
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise InputError(msg) from error
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
    return Source(path, content, proto, ports, answers_of, columns, quantities, answers)


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
    if port.type not in _TYPES or len(shape) not in (1, 2):
        msg = (
            f"{path}: {what} {port.name} is {port.type} of shape {shape}, not of shape (muons, columns) and "
            f"of one of the types {', '.join(t[7:-1] for t in _TYPES)}"
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
        msg = (
            f"{path}: gives {_listed(ports)}; name its columns in order, as --outputs {','.join(QUANTITIES)}"
        )
        raise InputError(msg)
    quantities = tuple(names if names is not None else found)
    unknown = [n for n in quantities if n not in (*QUANTITIES, IGNORED)]
    known = [n for n in quantities if n != IGNORED]
    if unknown or not known or len(set(known)) < len(known):
        what = ", ".join(unknown) or ("a quantity twice" if known else "nothing")
        msg = (
            f"--outputs: {what} is not possible; choose among {', '.join(QUANTITIES)}; {IGNORED} ignores one"
        )
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


def corrections(
    source: Source, columns: Mapping[str, NDArray[Any]], batch: int | None
) -> NDArray[np.float64]:
    """Evaluate the original graph as L1 minus offline: the reference for `adapted`."""
    session = open_session(source.content, str(source.path))
    size = columns["hwPt"].size
    rows: list[NDArray[np.float64]] = []
    step = batch or size
    for start in range(0, size, step):
        at = np.minimum(np.arange(start, start + step), size - 1)
        given, k = {}, 0
        for port in source.inputs:
            names = source.columns[k : k + (port.columns or 0)]
            k += len(names)
            block = np.stack([columns[n][at] for n in names], axis=1).astype(_TYPES[port.type])
            given[port.name] = block[:, 0] if port.flat else block
        answers = _run(session, given, source.path)
        shapes = [np.shape(a) for a in answers]
        wanted = [(step,) if p.flat else (step, p.columns) for p in source.outputs]
        if shapes != wanted:
            msg = f"{source.path}: answers have shapes {shapes}, not {wanted}"
            raise InputError(msg)
        rows.append(np.concatenate([np.reshape(a, (step, -1)) for a in answers], axis=1).astype(np.float64))
    found = np.concatenate(rows)[:size]
    l1 = {"phi": PHI_VTX, "eta": ETA_VTX, "pt": PT}
    out = np.zeros((len(QUANTITIES), size))
    for row, quantity in zip(out, QUANTITIES, strict=True):
        if quantity in source.quantities:
            field, answer = l1[quantity], found[:, source.quantities.index(quantity)]
            off = field.to_physical(columns[field.name]) - answer if source.answers == "values" else answer
            off = wrap(off) if quantity == "phi" and source.answers == "values" else off
            row[:] = -off if source.answers == "add" else off
    return out


def _run(session: Any, given: Mapping[str, NDArray[Any]], path: Path) -> list[NDArray[Any]]:
    try:
        return list(session.run(None, dict(given)))
    except Exception as error:  # onnxruntime has a dozen kinds, none of them public
        msg = f"{path}: cannot be evaluated ({str(error).splitlines()[0]})"
        raise InputError(msg) from error


def adapted(source: Source, card: Card, rows: int | None) -> bytes:
    """Return the wrapped graph, for batches of any size or of the given number of rows."""
    import onnx
    from onnx import TensorProto, compose, helper, numpy_helper

    proto = compose.add_prefix(onnx.load_from_string(source.content), "network/")
    graph = proto.graph
    proto.ir_version = max(proto.ir_version, 4)  # before, constants had to be inputs, too
    if not any(o.domain in ("", "ai.onnx") for o in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid("", 13))
    before: list[Any] = []
    after: list[Any] = []

    def constant(name: str, values: Any, kind: Any = np.float32) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), f"l1scout/{name}"))
        return f"l1scout/{name}"

    def chain(
        nodes: list[Any], start: str, end: str, steps: Sequence[tuple[str, list[str], dict[str, Any]]]
    ) -> None:
        """Add nodes one after the other, from the value `start` to the value `end`."""
        names = [start, *(f"{end}/{k}" for k in range(1, len(steps))), end]
        for (a, b), (kind, more, attributes) in zip(pairwise(names), steps, strict=True):
            nodes.append(helper.make_node(kind, [a, *more], [b], **attributes))

    names = [q.name for q in card.inputs]
    taken = 0
    for k, port in enumerate(source.inputs):
        choice = np.zeros((len(names), port.columns or 0))
        for column, wanted in enumerate(source.columns[taken : taken + len(choice[0])]):
            choice[names.index(wanted), column] = 1
        taken += len(choice[0])
        steps: list[tuple[str, list[str], dict[str, Any]]] = [
            ("MatMul", [constant(f"input_{k}", choice)], {})
        ]
        if port.type != "tensor(float)":
            steps.append(("Cast", [], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(_TYPES[port.type]))}))
        if port.flat:
            steps.append(("Reshape", [constant(f"flat_{k}", [-1], np.int64)], {}))
        chain(before, INPUT_NAME, f"network/{port.name}", steps)

    parts = []
    for k, port in enumerate(source.outputs):
        steps = []
        if port.type != "tensor(float)":
            steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
        if port.flat:
            steps.append(("Reshape", [constant(f"column_{k}", [-1, 1], np.int64)], {}))
        parts.append(f"l1scout/output_{k}" if steps else f"network/{port.name}")
        if steps:
            chain(after, f"network/{port.name}", parts[-1], steps)
    at = parts[0]
    if len(parts) > 1:
        at = "l1scout/answers"
        after.append(helper.make_node("Concat", parts, [at], axis=1))
    kept = [k for k, q in enumerate(source.quantities) if q != IGNORED]
    choice = np.zeros((len(kept), len(QUANTITIES)))
    for row, k in enumerate(kept):
        choice[row, QUANTITIES.index(source.quantities[k])] = -1 if source.answers == "add" else 1
    steps = (
        [("Gather", [constant("kept", kept, np.int64)], {"axis": 1})]
        if len(kept) < len(source.quantities)
        else []
    )
    steps.append(("MatMul", [constant("order", choice)], {}))
    if source.answers != "values":
        chain(after, at, OUTPUT_NAME, steps)
    else:
        chain(after, at, "l1scout/values", steps)
        _subtract(after, constant, names, [q in source.quantities for q in QUANTITIES])
    nodes = [*before, *graph.node, *after]
    constants = {c.name for c in graph.initializer}
    for field in (graph.node, graph.value_info, graph.output):
        del field[:]
    graph.node.extend(nodes)
    others = [p for p in graph.input if p.name in constants]
    del graph.input[:]
    shape = rows if rows is not None else "muons"
    graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [shape, len(names)]))
    graph.input.extend(others)
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [shape, len(QUANTITIES)])
    )
    describe(proto, card)
    return bytes(proto.SerializeToString(deterministic=True))


def _subtract(nodes: list[Any], constant: Any, names: Sequence[str], given: Sequence[bool]) -> None:
    """Subtract corrected values from the trigger's own; wrap phi to half a turn."""
    from onnx import helper

    gain, offset = np.zeros((len(names), len(QUANTITIES))), np.zeros(len(QUANTITIES))
    for k, field in enumerate((PHI_VTX, ETA_VTX, PT)):
        if given[k]:
            one, two = (float(field.to_physical(n)) for n in (1, 2))  # hwPt 0 is no muon
            gain[names.index(field.name), k], offset[k] = two - one, 2 * one - two
    turn = np.array([2 * np.pi, 0, 0])
    for kind, inputs, output in (
        ("MatMul", [INPUT_NAME, constant("gain", gain)], "l1"),
        ("Add", ["l1scout/l1", constant("offset", offset)], "l1_values"),
        ("Sub", ["l1scout/l1_values", "l1scout/values"], "off"),
        ("Mul", ["l1scout/off", constant("turns", [1 / (2 * np.pi), 0, 0])], "share"),
        ("Add", ["l1scout/share", constant("half", [0.5, 0.5, 0.5])], "more"),
        ("Floor", ["l1scout/more"], "whole"),
        ("Mul", ["l1scout/whole", constant("turn", turn)], "turned"),
    ):
        nodes.append(helper.make_node(kind, inputs, [f"l1scout/{output}"]))
    nodes.append(helper.make_node("Sub", ["l1scout/off", "l1scout/turned"], [OUTPUT_NAME]))
