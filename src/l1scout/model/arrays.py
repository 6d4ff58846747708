"""Types of numpy arrays that are nested lists of numbers in JSON, checked before an array is made of them."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MAX_INTEGER = (1 << 30) - 1
"""Largest size of an integer in a network."""


@dataclass(frozen=True)
class NestedLists:
    """Marks an array type: float64 or int64, and its number of dimensions.

    In Python any array of numbers with these dimensions is accepted; in JSON finite numbers, or integers up
    to `MAX_INTEGER` in size, in lists of equal lengths.
    """

    kind: type[float] | type[int]
    dimensions: int

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of pydantic."""
        schema: CoreSchema = (
            core_schema.float_schema(allow_inf_nan=False)
            if self.kind is float
            else core_schema.int_schema(ge=-MAX_INTEGER, le=MAX_INTEGER, strict=True)
        )
        for _ in range(self.dimensions):
            schema = core_schema.list_schema(schema)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(self._array, schema),
            python_schema=core_schema.no_info_plain_validator_function(self._array),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda values: values.tolist()),
        )

    def _array(self, values: Any) -> NDArray[Any]:
        try:
            array = np.asarray(values, np.float64 if self.kind is float else np.int64)
        except ValueError as error:
            msg = "its lists have different lengths"
            raise ValueError(msg) from error
        if array.ndim != self.dimensions:
            msg = f"has {array.ndim} dimensions, not {self.dimensions}"
            raise ValueError(msg)
        return array


FloatVector = Annotated[NDArray[np.float64], NestedLists(float, 1)]
FloatMatrix = Annotated[NDArray[np.float64], NestedLists(float, 2)]
IntegerVector = Annotated[NDArray[np.int64], NestedLists(int, 1)]
IntegerMatrix = Annotated[NDArray[np.int64], NestedLists(int, 2)]
