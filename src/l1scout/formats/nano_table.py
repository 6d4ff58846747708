"""What the table of a stream in L1 scouting nano files holds: which branch is which hardware column.

Names, types and conventions are CMSSW's (PhysicsTools/NanoAOD, table definitions of L1 scouting). A stream
for which CMS has no table has one of l1scout's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.layout import Field

Values = NDArray[Any]
Convert = Callable[[Values], Values]
_MANTISSA = 23
"""Bits of the mantissa of a float32."""


@dataclass(frozen=True)
class Quantity:
    """A branch with a physics value, which is that of a hardware column.

    Parameters
    ----------
    column : str
    exact : callable
        From hardware to physics values.
    to_hardware : callable
        The inverse; it also takes what `cmssw` gives.
    cmssw : callable, optional
        From hardware to physics values as CMSSW has them, where they differ.
    """

    column: str
    exact: Convert
    to_hardware: Convert
    cmssw: Convert | None = None

    @classmethod
    def of(cls, where: Field, cmssw: Convert | None = None) -> "Quantity":
        """Make the quantity of a field with a scale; hardware 0 is ``offset``, as in CMSSW, not NaN."""
        scale = where.scale or 0.0

        def exact(hw: Values) -> Values:
            return np.nan_to_num(where.to_physical(hw), nan=where.offset)

        def to_hardware(values: Values) -> Values:
            values = np.asarray(values, np.float64)
            near = values + 0.25 * scale if where.floor else values
            absent = where.zero_is_absent & (np.abs(values - where.offset) < 0.25 * scale)
            return np.where(absent, 0, where.to_hardware(near))

        return cls(where.name, exact, to_hardware, cmssw)


@dataclass(frozen=True)
class NanoTable:
    """A table of nano files: objects of a stream, with branches such as ``L1Jet_pt``.

    Parameters
    ----------
    name : str
        Before the underscore.
    quantities : mapping of str to Quantity
        Branches with physics values, float32, after the underscore.
    hardware : tuple of str
        Hardware columns that CMS always writes, under their own names.
    types : mapping of str to str
        Types of hardware branches, where they differ from those of the columns.
    mantissa : int, optional
        Bits of the mantissa that physics values keep.
    cms : bool
        Whether it is a table of CMS; if not, it is l1scout's own, and always has all hardware columns.
    """

    name: str
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    hardware: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    mantissa: int | None = None
    cms: bool = True

    def branches(
        self, objects: OrbitBatch, *, hardware: bool = False, exact: bool = False
    ) -> tuple[NDArray[np.int64], dict[str, Values]]:
        """Make the branches of a batch, without the name of the table.

        Parameters
        ----------
        objects : OrbitBatch
        hardware : bool
            Write all hardware columns, those too for which CMS has no branch, rather than its default.
        exact : bool
            Write exact physics values where CMSSW's differ.

        Returns
        -------
        offsets : ndarray of int64, shape (rows + 1,)
        branches : dict of str to ndarray
        """
        made: dict[str, Values] = {}
        for name, quantity in self.quantities.items():
            if quantity.column in objects.columns:
                convert = quantity.exact if exact or quantity.cmssw is None else quantity.cmssw
                values = convert(objects[quantity.column]).astype(np.float32)
                made[name] = values if self.mantissa is None else shorten(values, self.mantissa)
        wanted = objects.columns if hardware or not self.cms else self.hardware
        for name in wanted:
            if name in objects.columns:
                made[name] = objects[name].astype(self.types.get(name, objects[name].dtype))
        return objects.offsets, made

    def names(self, columns: Mapping[str, Any]) -> tuple[str, ...]:
        """Return all branches that may be there for a stream with these columns."""
        return (*self.quantities, *columns)

    def columns(
        self, offsets: NDArray[np.int64], found: Mapping[str, Values]
    ) -> tuple[NDArray[np.int64], dict[str, Values]]:
        """Make hardware columns of branches: those of hardware values first, of physics values the others.

        Returns
        -------
        offsets : ndarray of int64, shape (rows + 1,)
        columns : dict of str to ndarray
        """
        made = {name: values for name, values in found.items() if name not in self.quantities}
        for name, quantity in self.quantities.items():
            if name in found and quantity.column not in made:
                made[quantity.column] = quantity.to_hardware(found[name])
        return offsets, made


def shorten(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round float32 to a mantissa of some bits, halves up, as CMSSW's ``precision`` does.

    A mantissa that is all ones but for its last bit, or more, is cut instead: the exponent stays.
    """
    shift = np.uint32(_MANTISSA - bits)
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    kept, most = raw >> shift, np.uint32((1 << bits) - 2)
    up = (raw >> (shift - np.uint32(1))) & np.uint32(1) & ((kept & np.uint32((1 << bits) - 1)) < most)
    return ((kept + up) << shift).view(np.float32)
