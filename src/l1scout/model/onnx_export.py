"""Write a network as an ONNX file that states what it takes and gives."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from l1scout.model.card import Card
from l1scout.model.layers import Layer

if TYPE_CHECKING:
    import onnx


OPSET = 9


IR_VERSION = 4
"""As old as the Micron DLA's reader needs, and read by everything newer."""


INPUT_NAME = "hardware"


OUTPUT_NAME = "l1_minus_offline"


SIGN = "L1 minus offline: subtract it from the L1 value"


MAX_ONNX_BYTES = 1 << 29
"""Largest size of a model's ONNX file: trained networks have 20 kB, tree ensembles can have 100 MB."""


_OPERATORS = {"relu": "Relu", "softmax": "Softmax", "linear": None}


def to_onnx(layers: list[Layer], *, batch: int | None = None, name: str = "l1scout") -> "onnx.ModelProto":
    """Write layers as ``Gemm`` and activation nodes, which every ONNX reader knows.

    Input and output are named `INPUT_NAME` and `OUTPUT_NAME`; `describe` states what they mean.

    Parameters
    ----------
    layers : list of Layer
    batch : int, optional
        Fixed number of muons a call (1 for the Micron DLA); by default any.
    name : str
        Of the graph.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, at = [], [], INPUT_NAME
    for k, layer in enumerate(layers, 1):
        for part, values in (("weights", layer.weights.T), ("bias", layer.bias)):
            array = np.ascontiguousarray(values, np.float32)
            constants.append(numpy_helper.from_array(array, f"{part}_{k}"))
        operator = _OPERATORS[layer.activation]
        last = k == len(layers)
        out = OUTPUT_NAME if last and not operator else f"dense_{k}"
        nodes.append(helper.make_node("Gemm", [at, f"weights_{k}", f"bias_{k}"], [out], transB=1))
        if operator:
            at, out = out, OUTPUT_NAME if last else f"hidden_{k}"
            nodes.append(helper.make_node(operator, [at], [out]))
        at = out
    rows = batch if batch is not None else "muons"
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [rows, len(layers[0].weights)])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [rows, layers[-1].bias.size])],
        constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="l1scout", opset_imports=opset, ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model


def interface(card: Card) -> dict[str, dict[str, Any]]:
    """Return what an ONNX model takes and gives, for its card: names, types, shapes, columns, units, sign."""
    inputs, outputs = [q.name for q in card.inputs], {q.name: q.unit for q in card.outputs}
    return {
        "input": {
            "name": INPUT_NAME,
            "type": "float32",
            "shape": ["muons", len(inputs)],
            "columns": inputs,
            "unit": "the trigger's integers, not scaled",
        },
        "output": {
            "name": OUTPUT_NAME,
            "type": "float32",
            "shape": ["muons", len(outputs)],
            "columns": list(outputs),
            "units": outputs,
            "sign": SIGN,
        },
    }


def describe(model: "onnx.ModelProto", card: Card) -> None:
    """State in an ONNX model itself what it takes and gives, so that it can be used without its card."""
    from onnx import helper

    what = interface(card)
    given, answer = what["input"], what["output"]
    units = ", ".join(f"{n} ({u})" for n, u in answer["units"].items())
    takes = f"float32, shape (muons, {len(given['columns'])}): {', '.join(given['columns'])}, {given['unit']}"
    gives = f"float32, shape (muons, {len(answer['columns'])}): {units}. {SIGN}"
    graph = model.graph
    graph.input[0].doc_string, graph.output[0].doc_string = takes, gives
    model.doc_string = graph.doc_string = (
        f"l1scout model {card.name}, trained on {card.origin}. Input {INPUT_NAME}: {takes}. "
        f"Output {OUTPUT_NAME}: {gives}. Outside the domain its answers are not valid."
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
            "l1scout.sign": SIGN,
            "l1scout.domain": json.dumps({n: list(ends) for n, ends in card.domain.items()}),
            "l1scout.trained_on": card.origin,
        },
    )
