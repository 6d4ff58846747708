"""The look-up for hls4ml, which has no such layer."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.converters.keras_v3._base import KerasV3LayerHandler
from hls4ml.model.attributes import Attribute, TypeAttribute, WeightAttribute
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.optimizer.passes.bit_exact import _produce_kif
from hls4ml.model.types import FixedPrecisionType
from hls4ml.utils.qinterval import minimal_kif

_HEADER = "nnet_look_up.h"
_NUMBERS = ("n_in", "n_out", "values")


class HlsLookUp(Layer):  # type: ignore[misc]
    """The layer in hls4ml's graph."""

    _expected_attributes = [  # noqa: RUF012 (hls4ml adds to it)
        *(Attribute(n) for n in _NUMBERS),
        Attribute("columns", value_type=list),
        WeightAttribute("table"),
        TypeAttribute("table", default=FixedPrecisionType(18, 8, True)),
    ]

    def initialize(self) -> None:
        """Declare the output and the table."""
        self.add_output_variable([self.attributes["n_out"]])
        self.add_weights_variable(name="table")


class _Handler(KerasV3LayerHandler):  # type: ignore[misc]
    handles = ("l1scout.firmware.look_up.QuantisedLookUp",)

    def handle(self, layer: Any, in_tensors: Any, _out_tensors: Any) -> dict[str, Any]:
        table = layer.of_values(np.asarray(layer.qvectors))
        numbers = (in_tensors[0].shape[1], layer.units, len(table))
        given = dict(zip(_NUMBERS, numbers, strict=True))
        return {"class_name": "HlsLookUp", "table_data": table, "columns": layer.columns, **given}


class _Config(LayerConfigTemplate):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(HlsLookUp)

    def format(self, node: Any) -> str:
        given, row = self._default_config_params(node), "0"
        for column, low, high, shift, offset in node.get_attr("columns"):
            values = high - low + 1
            row = (
                f"({row}) * {values} + nnet::look_up_code(data[{column}], {shift}, {offset - low}, {values})"
            )
        numbers = "".join(f"    static const int {n} = {given[n]};\n" for n in _NUMBERS)
        return (
            f"struct config{node.index} {{\n{numbers}    typedef {given['table_t'].name} table_t;\n"
            f"    template <class data_T> static int row(data_T *data) {{ return {row}; }}\n}};\n"
        )


class _Call(FunctionCallTemplate):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(HlsLookUp, include_header=[f"nnet_utils/{_HEADER}"])
        self.template = "nnet::look_up<{input_t}, {output_t}, {config}>({input}, {output}, {table});"

    def format(self, node: Any) -> str:
        given = {**self._default_function_params(node), "table": node.get_weights("table").name}
        return str(self.template.format(**given))


@_produce_kif.register  # type: ignore[untyped-decorator]
def _(layer: HlsLookUp) -> Any:
    return tuple(part.max(axis=0).astype(np.int16) for part in minimal_kif(layer.attributes["table"].data))


@cache
def register() -> None:
    """Tell hls4ml about it, once."""
    register_layer("HlsLookUp", HlsLookUp)
    vitis = get_backend("Vitis")
    vitis.register_template(_Config)
    vitis.register_template(_Call)
    vitis.register_source(Path(str(files("l1scout.firmware") / "rtl" / "recalibrate" / _HEADER)))
