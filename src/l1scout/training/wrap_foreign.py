"""Wrap a user's ONNX graph so that it has the inputs and outputs of every ``model.onnx``.

The wrapped graph takes the trigger's integers as float32, in the order of the card, and returns L1 minus
offline.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines.onnx import open_session
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model.card import Card
from l1scout.model.onnx_export import INPUT_NAME, OUTPUT_NAME, describe
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import wrap
from l1scout.training.foreign import IGNORED, TYPES, ForeignGraph

_Steps = list[tuple[str, list[str], dict[str, Any]]]
"""Nodes that follow each other: operator, further inputs, attributes."""


def corrections(
    source: ForeignGraph, columns: Mapping[str, NDArray[Any]], batch: int | None
) -> NDArray[np.float64]:
    """Evaluate the original graph as L1 minus offline: the reference for `adapted`."""
    session = open_session(source.content, str(source.path))
    size = next(iter(columns.values())).size
    rows: list[NDArray[np.float64]] = []
    step = batch or size
    for start in range(0, size, step):
        at = np.minimum(np.arange(start, start + step), size - 1)
        given, k = {}, 0
        for port in source.inputs:
            names = source.columns[k : k + (port.columns or 0)]
            k += len(names)
            block = np.stack([columns[n][at] for n in names], axis=1).astype(TYPES[port.type])
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
    out = np.zeros((len(VARIABLES), size))
    for row, quantity in zip(out, VARIABLES, strict=True):
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


def adapted(source: ForeignGraph, card: Card, rows: int | None) -> bytes:
    """Return the wrapped graph, for batches of any size or of the given number of rows."""
    import onnx
    from onnx import TensorProto, compose, helper

    proto = compose.add_prefix(onnx.load_from_string(source.content), "network/")
    graph = proto.graph
    proto.ir_version = max(proto.ir_version, 4)  # before, constants had to be inputs, too
    if not any(o.domain in ("", "ai.onnx") for o in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid("", 13))
    names = [q.name for q in card.inputs]
    before, after = _Nodes(graph), _Nodes(graph)
    _distribute(before, source, names)
    _collect(after, source, names)
    nodes = [*before.nodes, *graph.node, *after.nodes]
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
        helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [shape, len(VARIABLES)])
    )
    describe(proto, card)
    return bytes(proto.SerializeToString(deterministic=True))


class _Nodes:
    """Nodes to be added to a graph, whose constants go into it at once."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.nodes: list[Any] = []

    def constant(self, name: str, values: Any, kind: Any = np.float32) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        array = numpy_helper.from_array(np.asarray(values, kind), f"l1scout/{name}")
        self._graph.initializer.append(array)
        return f"l1scout/{name}"

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """Add a node."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def chain(self, start: str, end: str, steps: _Steps) -> None:
        """Add nodes one after the other, from the value `start` to the value `end`."""
        names = [start, *(f"{end}/{k}" for k in range(1, len(steps))), end]
        for (a, b), (kind, more, attributes) in zip(pairwise(names), steps, strict=True):
            self.add(kind, [a, *more], b, **attributes)


def _distribute(nodes: _Nodes, source: ForeignGraph, names: Sequence[str]) -> None:
    """Make the graph's inputs of the columns of the card."""
    from onnx import helper

    taken = 0
    for k, port in enumerate(source.inputs):
        choice = np.zeros((len(names), port.columns or 0))
        for column, wanted in enumerate(source.columns[taken : taken + len(choice[0])]):
            choice[names.index(wanted), column] = 1
        taken += len(choice[0])
        steps: _Steps = [("MatMul", [nodes.constant(f"input_{k}", choice)], {})]
        if port.type != "tensor(float)":
            steps.append(("Cast", [], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(TYPES[port.type]))}))
        if port.flat:
            steps.append(("Reshape", [nodes.constant(f"flat_{k}", [-1], np.int64)], {}))
        nodes.chain(INPUT_NAME, f"network/{port.name}", steps)


def _collect(nodes: _Nodes, source: ForeignGraph, names: Sequence[str]) -> None:
    """Make L1 minus offline of the graph's outputs."""
    from onnx import TensorProto

    parts = []
    for k, port in enumerate(source.outputs):
        steps: _Steps = []
        if port.type != "tensor(float)":
            steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
        if port.flat:
            steps.append(("Reshape", [nodes.constant(f"column_{k}", [-1, 1], np.int64)], {}))
        parts.append(f"l1scout/output_{k}" if steps else f"network/{port.name}")
        if steps:
            nodes.chain(f"network/{port.name}", parts[-1], steps)
    at = parts[0]
    if len(parts) > 1:
        at = "l1scout/answers"
        nodes.add("Concat", parts, at, axis=1)
    kept = [k for k, q in enumerate(source.quantities) if q != IGNORED]
    choice = np.zeros((len(kept), len(VARIABLES)))
    for row, k in enumerate(kept):
        choice[row, VARIABLES.index(source.quantities[k])] = -1 if source.answers == "add" else 1
    steps = []
    if len(kept) < len(source.quantities):
        steps.append(("Gather", [nodes.constant("kept", kept, np.int64)], {"axis": 1}))
    steps.append(("MatMul", [nodes.constant("order", choice)], {}))
    if source.answers != "values":
        nodes.chain(at, OUTPUT_NAME, steps)
    else:
        nodes.chain(at, "l1scout/values", steps)
        _subtract(nodes, names, [q in source.quantities for q in VARIABLES])


def _subtract(nodes: _Nodes, names: Sequence[str], given: Sequence[bool]) -> None:
    """Subtract corrected values from the trigger's own; wrap phi to half a turn."""
    gain, offset = np.zeros((len(names), len(VARIABLES))), np.zeros(len(VARIABLES))
    for k, field in enumerate((PHI_VTX, ETA_VTX, PT)):
        if given[k]:
            one, two = (float(field.to_physical(n)) for n in (1, 2))  # hwPt 0 is no muon
            gain[names.index(field.name), k], offset[k] = two - one, 2 * one - two
    turn, constant = np.array([2 * np.pi, 0, 0]), nodes.constant
    for kind, inputs, output in (
        ("MatMul", [INPUT_NAME, constant("gain", gain)], "l1"),
        ("Add", ["l1scout/l1", constant("offset", offset)], "l1_values"),
        ("Sub", ["l1scout/l1_values", "l1scout/values"], "off"),
        ("Mul", ["l1scout/off", constant("turns", [1 / (2 * np.pi), 0, 0])], "share"),
        ("Add", ["l1scout/share", constant("half", [0.5, 0.5, 0.5])], "more"),
        ("Floor", ["l1scout/more"], "whole"),
        ("Mul", ["l1scout/whole", constant("turn", turn)], "turned"),
    ):
        nodes.add(kind, inputs, f"l1scout/{output}")
    nodes.add("Sub", ["l1scout/off", "l1scout/turned"], OUTPUT_NAME)
