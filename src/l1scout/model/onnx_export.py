"""Write a network as an ONNX file that states what it takes and gives."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import describe_finders
from l1scout.model.card import Card
from l1scout.model.network import Network
from l1scout.model.quantities import REFERENCES, Reference
from l1scout.model.ramps import as_ramps

if TYPE_CHECKING:
    import onnx


OPSET = 13
ACCELERATOR_OPSET = 9
"""As old as the Micron DLA's reader needs, and read by everything newer."""
_CLIP_HAS_INPUTS = 11
"""Opset from which on the ends of ``Clip`` are inputs, not attributes."""
_IR_VERSIONS = {OPSET: 7, ACCELERATOR_OPSET: 4}


INPUT_NAME = "hardware"


OUTPUT_NAME = "l1_minus_offline"
LATENT_NAME = "latent_means"
"""Name of the output of an anomaly model."""


BEFORE_GAINS = "answers"
"""What the dense layers give, if gains or an offset follow: an accelerator can run the graph up to it."""


SIGN: Mapping[Reference, str] = {
    "vertex": "L1 minus offline: subtract it from the L1 value at the vertex (hwPhiAtVtx, hwEtaAtVtx, hwPt)",
    "station 2": "L1 at the second station minus offline at the vertex: subtract it from the L1 value at the "
    "second station (hwPhi, hwEta; hwPt)",
}


LATENT_MEANING = "means of latent variables: the anomaly score is the sum of their squares"


_OPERATORS = {"relu": "Relu", "softmax": "Softmax", "linear": None}


def export_onnx(network: Network, card: Card, *, ramps: bool = False, batch: int | None = None) -> bytes:
    """Return a model as an ONNX file.

    Parameters
    ----------
    network : Network
        In physics units.
    card : Card
        Of the model: its inputs, outputs and domain are stated in the file.
    ramps : bool
        Write look-ups as a layer of ReLU hinges for accelerators that know dense layers only, for opset 9;
        by default they are ``Gather`` nodes, which onnxruntime evaluates several times as fast. Gains stay
        ``Gather`` and ``Mul`` nodes, after the value `BEFORE_GAINS`: no dense layer can multiply answers.
    batch : int, optional
        Fixed number of muons per call; by default any.
    """
    if ramps:
        network = as_ramps(network, card).in_physics_units(card)
    opset = ACCELERATOR_OPSET if ramps else OPSET
    output = LATENT_NAME if card.anomaly else OUTPUT_NAME
    proto = to_onnx(network, batch=batch, name=f"l1scout {card.name}", opset=opset, output=output)
    describe(proto, card)
    return bytes(proto.SerializeToString(deterministic=True))


def to_onnx(
    network: Network,
    *,
    batch: int | None = None,
    name: str = "l1scout",
    opset: int = OPSET,
    output: str = OUTPUT_NAME,
) -> "onnx.ModelProto":
    """Write a network as ``Gemm`` and activation nodes; look-ups as ``Gather``, gains as ``Gather``, ``Mul``.

    The input is named `INPUT_NAME`; `describe` states what input and output mean.

    Parameters
    ----------
    network : Network
    batch : int, optional
        Fixed number of muons per call (1 for the Micron DLA); by default any.
    name : str
        Of the graph.
    opset : int
        `OPSET`, or `ACCELERATOR_OPSET`.
    output : str
        Name of the output.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph(opset)
    more = [
        ("Mul", graph.look_up(f"gain_{at.column}", at.column, at.low, at.factors)) for at in network.gains
    ]
    more += [("Add", graph.constant("offset", network.offset))] if network.offset.size else []
    at = graph.dense(network, BEFORE_GAINS if more else output)
    for n, (kind, by) in enumerate(more, 1):
        at = graph.node(kind, [at, by], output if n == len(more) else f"{BEFORE_GAINS}_{n}")
    rows = batch if batch is not None else "muons"
    outputs = network.layers[-1].bias.size
    made = helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [rows, len(network.inputs)])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [rows, outputs])],
        graph.constants,
    )
    imports, version = [helper.make_opsetid("", opset)], _IR_VERSIONS[opset]
    model = helper.make_model(made, producer_name="l1scout", opset_imports=imports, ir_version=version)
    checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants of a graph; methods that add nodes return the name of what they give."""

    def __init__(self, opset: int) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._opset = opset

    def constant(self, name: str, values: Any, kind: Any = np.float32) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(values, kind).reshape(np.shape(values))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def dense(self, network: Network, output: str) -> str:
        """Add layers and look-ups."""
        at, layers, more = INPUT_NAME, network.layers, []
        for n, look_up in enumerate(network.look_ups):
            vectors = look_up.vectors + (layers[0].bias if n == 0 else 0)
            more.append(self.look_up(f"look_up_{look_up.column}", look_up.column, look_up.low, vectors))
        for k, layer in enumerate(layers, 1):
            operator, last = _OPERATORS[layer.activation], k == len(layers)
            inputs = [at, self.constant(f"weights_{k}", layer.weights.T)]
            inputs.append(more.pop(0) if more and k == 1 else self.constant(f"bias_{k}", layer.bias))
            steps = [("Gemm", inputs, {"transB": 1}), *(("Add", [vectors], {}) for vectors in more if k == 1)]
            steps += [(operator, [], {})] if operator else []
            for m, (kind, given, attributes) in enumerate(steps):
                out = output if last and m == len(steps) - 1 else f"{kind.lower()}_{k}_{m}"
                at = self.node(kind, given if m == 0 else [at, *given], out, **attributes)
        return at

    def look_up(self, name: str, column: int, low: int, vectors: NDArray[np.float64]) -> str:
        """Add nodes that take one vector per muon, by the value of a column."""
        from onnx import TensorProto

        last = len(vectors) - 1
        index = self.constant(f"{name}_column", np.array(column), np.int64)
        value = self.node("Gather", [INPUT_NAME, index], f"{name}_value", axis=1)
        at = self.node("Sub", [value, self.constant(f"{name}_low", np.array(low))], f"{name}_place")
        if self._opset < _CLIP_HAS_INPUTS:
            at = self.node("Clip", [at], f"{name}_clipped", min=0.0, max=float(last))
        else:
            ends = [self.constant(f"{name}_{n}", np.array(v)) for n, v in (("zero", 0), ("highest", last))]
            at = self.node("Clip", [at, *ends], f"{name}_clipped")
        row = self.node("Cast", [at], f"{name}_row", to=TensorProto.INT32)
        return self.node("Gather", [self.constant(f"{name}_vectors", vectors), row], f"{name}_taken", axis=0)


def meaning(card: Card) -> str:
    """Say what the output of a model is, and what to do with it."""
    return LATENT_MEANING if card.anomaly else SIGN[card.reference]


def _unit(card: Card) -> str:
    if card.anomaly:
        return "integers from -128 to 127 in quarters, scaled as the card says"
    return "the trigger's integers, not scaled"


def interface(card: Card) -> dict[str, dict[str, Any]]:
    """Return what an ONNX model takes and gives, for its card: names, types, shapes, columns, units, sign."""
    inputs, outputs = [q.name for q in card.inputs], {q.name: q.unit for q in card.outputs}
    return {
        "input": {
            "name": INPUT_NAME,
            "type": "float32",
            "shape": ["muons", len(inputs)],
            "columns": inputs,
            "unit": _unit(card),
        },
        "output": {
            "name": LATENT_NAME if card.anomaly else OUTPUT_NAME,
            "type": "float32",
            "shape": ["muons", len(outputs)],
            "columns": list(outputs),
            "units": outputs,
            "sign": meaning(card),
        },
    }


def describe(model: "onnx.ModelProto", card: Card) -> None:
    """State in an ONNX model itself what it takes and gives, so that it can be used without its card."""
    from onnx import helper

    what = interface(card)
    given, answer = what["input"], what["output"]
    units = ", ".join(f"{n} ({u})" for n, u in answer["units"].items())
    takes = f"float32, shape (muons, {len(given['columns'])}): {', '.join(given['columns'])}, {given['unit']}"
    gives = f"float32, shape (muons, {len(answer['columns'])}): {units}. {meaning(card)}"
    graph = model.graph
    graph.input[0].doc_string, graph.output[0].doc_string = takes, gives
    model.doc_string = graph.doc_string = (
        f"l1scout model {card.name}, trained on {card.origin}. Input {INPUT_NAME}: {takes}. "
        f"Output {answer['name']}: {gives}. Outside the domain its answers are not valid."
    )
    helper.set_model_props(
        model,
        {
            "l1scout.name": card.name,
            "l1scout.input": takes,
            "l1scout.input_columns": ",".join(given["columns"]),
            "l1scout.output": gives,
            "l1scout.output_columns": ",".join(answer["columns"]),
            "l1scout.output_units": ",".join(answer["units"].values()),
            "l1scout.sign": meaning(card),
            "l1scout.reference_columns": ",".join((*REFERENCES[card.reference], "hwPt")),
            "l1scout.domain": json.dumps({n: list(ends) for n, ends in card.domain.items()}),
            "l1scout.finders": describe_finders(card.finders),
            "l1scout.trained_on": card.origin,
        },
    )
