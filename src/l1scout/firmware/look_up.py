"""A layer of HGQ2 that looks inputs up."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from hgq.layers.core.base import QLayerBase
from hgq.quantizer import Quantizer, QuantizerConfig
from keras import ops
from numpy.typing import NDArray

from l1scout.model.integers import rows_of

_VALUES_PER_LUT = 64
"""So many can one six-input LUT tell apart."""


@keras.saving.register_keras_serializable(package="l1scout")
class QuantisedLookUp(QLayerBase):  # type: ignore[misc]
    """A vector with few bits for each value of an input, or of some together.

    Parameters
    ----------
    units : int
        Length of the vectors.
    columns : sequence of (int, int, int, int, int)
        Of each input that counts: its number, its lowest and highest hardware value, and what gives the
        hardware value, two to the power of the fourth times the input, plus the fifth.
    codes : sequence of sequence of int
        Of each input the number of each of its values, from 0: values with the same number share a vector.
    """

    def __init__(
        self, units: int, columns: Sequence[Sequence[int]], codes: Sequence[Sequence[int]], **more: Any
    ) -> None:
        super().__init__(**{**more, "enable_iq": False, "enable_oq": False, "enable_ebops": True})
        self.units = units
        self.columns = [tuple(map(int, row)) for row in columns]
        self.counts = [high - low + 1 for _, low, high, _, _ in self.columns]
        self.codes = [list(map(int, row)) for row in codes]
        self.shared = [max(row) + 1 for row in self.codes]
        few = {"k0": 1, "i0": 3, "f0": 6, "overflow_mode": "WRAP", "homogeneous_axis": (0,)}
        self._tq = Quantizer(QuantizerConfig("kif", "weight", **few), name=f"{self.name}_tq")

    def build(self, input_shape: Any) -> None:
        """Make the vectors, all of them zero."""
        super().build(input_shape)
        shape = (math.prod(self.shared), self.units)
        self.vectors = self.add_weight(shape=shape, initializer="zeros", name="vectors")
        self._tq.build(shape)

    @property
    def qvectors(self) -> Any:
        """The vectors as they are added, shape (vectors, units); the last input's next number is the next."""
        return self._tq(self.vectors)

    def of_values(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Return the vector of each value, or set of values, of the inputs, the last changing fastest."""
        numbers = np.meshgrid(*self.codes, indexing="ij")
        rows = np.ravel_multi_index([n.ravel() for n in numbers], self.shared)
        return np.asarray(vectors[rows])

    def row(self, hardware: NDArray[Any]) -> NDArray[np.int64]:
        """Row of the vectors for each muon, from hardware values of all inputs, shape (inputs, muons)."""
        columns, low, *_ = zip(*self.columns, strict=True)
        values = rows_of(hardware, columns, low, self.counts)
        return np.asarray(self.of_values(np.arange(math.prod(self.shared)))[values], np.int64)

    def call(self, inputs: Any) -> Any:
        """Vectors of muons, shape (muons, units), from all inputs of the network."""
        row: Any = 0
        rows = zip(self.columns, self.codes, self.shared, strict=True)
        for (column, low, high, shift, offset), codes, count in rows:
            value = ops.clip(ops.round(inputs[:, column] * 2.0**shift) + (offset - low), 0, high - low)
            row = row * count + ops.take(np.array(codes, np.int32), ops.cast(value, "int32"))
        return ops.take(self.qvectors, row, axis=0)

    def _compute_ebops(self, _shape: Any) -> Any:
        """Of each bit of a vector: the LUTs that look it up, and the adder's."""
        luts = math.ceil(math.prod(self.shared) / _VALUES_PER_LUT)
        return ops.sum(self._tq.bits_((1, self.units))) * (luts + 1)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "units": self.units, "columns": self.columns, "codes": self.codes}
