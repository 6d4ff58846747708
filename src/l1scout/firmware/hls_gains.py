"""The integer gains for hls4ml: a last layer of the project that multiplies and rounds."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import keras
import numpy as np
from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.converters.keras_v3._base import KerasV3LayerHandler
from hls4ml.model.attributes import Attribute
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.optimizer.passes.bit_exact import _produce_kif
from keras import ops

from l1scout.firmware.quantised import OUTPUT_FRACTION, Inputs
from l1scout.model.integers import IntegerGains

_HEADER = "nnet_gains.h"


class GainLayer(keras.layers.Layer):  # type: ignore[misc]
    """Gains after an HGQ2 network, in float32: where hls4ml takes the integers from."""

    def __init__(self, gains: IntegerGains, inputs: Inputs) -> None:
        super().__init__(name="gains")
        self.gains, self.inputs = gains, inputs

    def call(self, values: Any) -> Any:
        """Multiply answers by what inputs look up, and round."""
        x, answers = values
        for gain in self.gains.gains:
            c = gain.column
            code = ops.round(x[:, c] * 2.0 ** self.inputs.shift[c]) + (self.inputs.offset[c] - gain.low)
            row = ops.cast(ops.clip(code, 0, len(gain.factors) - 1), "int32")
            answers = answers * ops.take(gain.factors.astype(np.float32), row, axis=0)
        sums = answers * 2.0**OUTPUT_FRACTION + self.gains.bias.astype(np.float32)
        return ops.floor(sums * np.exp2(-self.gains.shift).astype(np.float32))

    def get_config(self) -> dict[str, Any]:
        """For a copy of the network that hls4ml keeps and never loads."""
        return {**super().get_config(), "bits": self.gains.bits.tolist()}


def with_gains(network: Any, gains: IntegerGains, inputs: Inputs) -> Any:
    """Return an HGQ2 network with gains after it, for hls4ml to convert."""
    layer = GainLayer(gains, inputs)
    return keras.Model(network.inputs, layer([network.get_layer("inputs").output, network.outputs[0]]))


class HlsGains(Layer):  # type: ignore[misc]
    """The layer in hls4ml's graph."""

    _expected_attributes = [Attribute("n_out"), Attribute("source", value_type=str)]  # noqa: RUF012

    def initialize(self) -> None:
        """Declare the output."""
        self.add_output_variable([self.attributes["n_out"]])


class _GainHandler(KerasV3LayerHandler):  # type: ignore[misc]
    handles = ("l1scout.firmware.hls_gains.GainLayer",)

    def handle(self, layer: Any, _in_tensors: Any, _out_tensors: Any) -> dict[str, Any]:
        gains = layer.gains
        bits = [int(b) for b in gains.bits]
        about = {"n_out": len(bits), "bits": bits, "source": _source(gains, layer.inputs)}
        return {"class_name": "HlsGains", **about}


def _source(gains: IntegerGains, inputs: Inputs) -> str:
    """Write the tables and how they are used in C++."""
    lines = [
        f"    static const int n_out = {gains.bias.size};",
        f"    static const int fraction = {OUTPUT_FRACTION};",
        _function("bias", gains.bias),
        _function("shift", gains.shift),
        "    template <class data_T> static long long factor(data_T *data, int j) {",
        "        long long product = 1;",
    ]
    for k, gain in enumerate(gains.gains):
        c, (values, outputs) = gain.column, gain.factors.shape
        table = ", ".join(map(str, gain.factors.ravel().tolist()))
        code = f"data[{c}], {inputs.shift[c]}, {inputs.offset[c] - gain.low}, {values}"
        lines += [
            f"        static const int table_{k}[{gain.factors.size}] = {{{table}}};",
            f"        product *= table_{k}[nnet::look_up_code({code}) * {outputs} + j];",
        ]
    return "\n".join([*lines, "        return product;", "    }"])


def _function(name: str, values: Any) -> str:
    table = f"static const long long values[{values.size}] = {{{', '.join(map(str, values.tolist()))}}};"
    return f"    static long long {name}(int j) {{ {table} return values[j]; }}"


class _GainConfig(LayerConfigTemplate):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(HlsGains)

    def format(self, node: Any) -> str:
        return f"struct config{node.index} {{\n{node.get_attr('source')}\n}};\n"


class _GainCall(FunctionCallTemplate):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(HlsGains, include_header=[f"nnet_utils/{_HEADER}"])

    def format(self, node: Any) -> str:
        given, answers = (node.get_input_variable(name) for name in node.inputs)
        out = node.get_output_variable()
        kinds = f"{given.type.name}, {answers.type.name}, {out.type.name}, config{node.index}"
        return f"nnet::gains<{kinds}>({given.name}, {answers.name}, {out.name});"


@_produce_kif.register  # type: ignore[untyped-decorator]
def _(layer: HlsGains) -> Any:
    bits = np.array(layer.attributes["bits"], np.int16)
    return np.ones_like(bits), bits - 1, np.zeros_like(bits)


@cache
def register() -> None:
    """Tell hls4ml about it, once."""
    register_layer("HlsGains", HlsGains)
    vitis = get_backend("Vitis")
    vitis.register_template(_GainConfig)
    vitis.register_template(_GainCall)
    vitis.register_source(Path(str(files("l1scout.firmware") / "rtl" / "recalibrate" / _HEADER)))
