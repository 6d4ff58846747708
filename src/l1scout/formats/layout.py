"""A layout is data: a table of bit fields, with the decode and encode that follow from it.

A `Layout` turns words into one column a field and back. Values are the hardware's integers,
unchanged; `Field.to_physical` and `Field.to_hardware` go to physics units and back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l1scout.jit import kernel

_BLOCK = 1024  # words a block: its words and columns stay in the L1 and L2 caches


@dataclass(frozen=True)
class Field:
    """A run of bits in a word, and what its integer means: ``physical = scale * hw + offset``.

    Parameters
    ----------
    name : str
    start, width : int
        Lowest bit and number of bits.
    signed : bool
        Two's complement.
    scale, offset, unit :
        From the hardware value to physics units; ``scale`` None where the value is only a code.
    floor : bool
        Physics values between two hardware values go down rather than to the nearest.
    zero_is_absent : bool
        Hardware 0 means "no value": NaN in physics units.
    period : int, optional
        Number of values of a cyclic quantity (576 for phi); larger codes are not valid.
    """

    name: str
    start: int
    width: int
    signed: bool = False
    scale: float | None = None
    offset: float = 0.0
    unit: str = ""
    floor: bool = False
    zero_is_absent: bool = False
    period: int | None = None
    note: str = ""

    @property
    def low(self) -> int:
        """Smallest value that the bits can hold."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value that the bits can hold."""
        return self.low + (1 << self.width) - 1

    def to_physical(self, hw: ArrayLike) -> NDArray[np.float64]:
        """Physics value of a hardware value; angles in [-pi, pi), absent values NaN."""
        hw = np.asarray(hw)
        if self.scale is None:
            msg = f"{self.name} is a code and has no physics unit"
            raise TypeError(msg)
        if self.period:
            hw = (hw.astype(np.int64) + self.period // 2) % self.period - self.period // 2
        value = np.asarray(self.scale * hw + self.offset, np.float64)
        return np.where(hw == 0, np.nan, value) if self.zero_is_absent else value

    def to_hardware(self, physical: ArrayLike) -> NDArray[np.int64]:
        """Hardware value of a physics value, saturating at the ends of the field's range.

        Values of the hardware's own grid come back exactly; NaN becomes 0.
        """
        if self.scale is None:
            msg = f"{self.name} is a code and has no physics unit"
            raise TypeError(msg)
        physical = np.asarray(physical, np.float64)
        steps = np.nan_to_num((physical - self.offset) / self.scale, posinf=self.high, neginf=self.low)
        hw = np.floor(steps + (1e-6 if self.floor else 0.5))
        if self.period:
            hw = np.mod(hw, self.period)
        hw = np.clip(hw, 1 if self.zero_is_absent else self.low, self.high)
        return np.asarray(np.where(np.isnan(physical), 0, hw), np.int64)


@kernel
def _unpack(words: Any, start: Any, width: Any, signed: Any, out: Any) -> None:
    """Cut every field from every word: a block of words at a time, field by field."""
    for low in range(0, words.size, _BLOCK):
        block = words[low : low + _BLOCK]
        for f in range(start.size):
            row = out[f, low : low + _BLOCK]
            shift, mask, sign = start[f], (1 << width[f]) - 1, signed[f] << (width[f] - 1)
            if words.itemsize == 4:  # 32-bit lanes: twice as many a vector instruction
                shift32, mask32, sign32 = np.uint32(shift), np.uint32(mask), np.uint32(sign)
                for i in range(block.size):
                    row[i] = (((block[i] >> shift32) & mask32) ^ sign32) - sign32
            else:
                shift64, mask64, sign64 = np.uint64(shift), np.uint64(mask), np.uint64(sign)
                for i in range(block.size):
                    row[i] = (((block[i] >> shift64) & mask64) ^ sign64) - sign64


def _column_type(fields: Sequence[Field]) -> np.dtype[Any]:
    narrow = all(f.low >= -(1 << 15) and f.high < 1 << 15 for f in fields)
    return np.dtype(np.int16 if narrow else np.int32)


def _bits(fields: Sequence[Field]) -> NDArray[np.int64]:
    """Return start, width and sign of fields: shape (3, fields)."""
    return np.array([(f.start, f.width, f.signed) for f in fields], np.int64).reshape(-1, 3).T.copy()


@dataclass(frozen=True)
class Layout:
    """The fields of a word of 32 or 64 bits.

    Words are little-endian; a 64-bit word made of two 32-bit words has the first in its low half.
    """

    name: str
    bits: int
    fields: tuple[Field, ...]
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse overlapping or protruding fields: a table that cannot be a word."""
        used = 0
        for f in self.fields:
            span = ((1 << f.width) - 1) << f.start
            if used & span or f.start + f.width > self.bits or f.width > 31:
                msg = f"{self.name}: field {f.name} overlaps another or does not fit {self.bits} bits"
                raise ValueError(msg)
            used |= span

    def __getitem__(self, name: str) -> Field:
        """Return the field of that name (KeyError if there is none)."""
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(name)

    @cached_property
    def _tables(self) -> dict[tuple[str, ...] | None, tuple[tuple[Field, ...], np.dtype[Any], NDArray[Any]]]:
        """Fields, type of their columns and bits, by the names that were decoded so far; None for all."""
        return {}

    @property
    def word(self) -> np.dtype[Any]:
        """Type of a word."""
        return np.dtype(f"<u{self.bits // 8}")

    @cached_property
    def column(self) -> np.dtype[Any]:
        """Type of a column: the smallest signed integer that holds every field."""
        return _column_type(self.fields)

    def decode(
        self, words: NDArray[Any], names: Sequence[str] | None = None, *, out: NDArray[Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Cut words into columns.

        Parameters
        ----------
        words : ndarray of uint32 or uint64, shape (n,)
        names : sequence of str, optional
            The fields that are wanted; all if not given.
        out : ndarray, shape (fields or more, n or more), optional
            Memory to decode into: reused from call to call, it saves the first touch of new pages,
            which takes as long as the decoding.

        Returns
        -------
        dict of str to ndarray of int16 or int32, shape (n,)
            One column a field, all views of one block of memory; of the smaller type if it holds every field
            that is wanted.

        Raises
        ------
        TypeError
            If words or `out` are of another type or shape.
        KeyError
            If a name is not a field of this layout.
        """
        words = np.ascontiguousarray(words)
        if words.dtype != self.word or words.ndim != 1:
            msg = f"{self.name} needs a row of {self.word} words, not {words.dtype} of shape {words.shape}"
            raise TypeError(msg)
        key = None if names is None else tuple(names)
        if key not in self._tables:
            chosen = self.fields if key is None else tuple(self[name] for name in key)
            self._tables[key] = chosen, _column_type(chosen), _bits(chosen)
        fields, column, (start, width, signed) = self._tables[key]
        if out is None:
            out = np.empty((len(fields), words.size), column)
        elif out.dtype != column or out.ndim != 2 or out.shape[0] < len(fields) or out.shape[1] < words.size:
            need = len(fields), words.size
            msg = f"{need} {column} values do not fit {out.dtype} of shape {out.shape}"
            raise TypeError(msg)
        _unpack(words, start, width, signed, out)
        return {f.name: out[k, : words.size] for k, f in enumerate(fields)}

    def encode(self, columns: Mapping[str, ArrayLike]) -> NDArray[Any]:
        """Pack columns into words; fields that are not given are 0.

        Raises
        ------
        ValueError
            If a value does not fit its field: the message names field, index and value.
        TypeError
            If a column is not of integers.
        KeyError
            If a column is not a field of this layout.
        """
        for name in columns:
            self[name]
        given = [(f, np.asarray(columns[f.name])) for f in self.fields if f.name in columns]
        shape = np.broadcast_shapes(*(np.atleast_1d(c).shape for _, c in given)) if given else (0,)
        words = np.zeros(shape, self.word)
        for f, values in given:
            if values.dtype.kind not in "iub":
                msg = f"{self.name}.{f.name} needs integers, not {values.dtype}"
                raise TypeError(msg)
            bad = np.flatnonzero((values < f.low) | (values > f.high))
            if bad.size:
                at = int(bad[0])
                msg = (
                    f"{self.name}.{f.name}[{at}] = {np.atleast_1d(values).flat[at]} is outside "
                    f"{f.low}..{f.high} ({bad.size} such values)"
                )
                raise ValueError(msg)
            mask = (1 << f.width) - 1
            words |= (values.astype(np.int64) & mask).astype(self.word) << self.word.type(f.start)
        return words

    def markdown(self) -> str:
        """Return the layout as a table for people."""
        rows = ["| field | bits | values | physics | note |", "|---|---|---|---|---|"]
        for f in self.fields:
            physics = ""
            if f.scale is not None:
                physics = f"{f.scale:.6g} x hw" + (f" {f.offset:+g}" if f.offset else "")
                physics = f"{physics} {f.unit}".strip()
            top = f.period - 1 if f.period else f.high
            rows.append(f"| {f.name} | {f.start}:{f.width} | {f.low}..{top} | {physics} | {f.note} |")
        head = f"## {self.name}\n\n{self.bits}-bit word; `start:width` in bits from the lowest. {self.source}"
        return head.strip() + "\n\n" + "\n".join(rows) + "\n"
