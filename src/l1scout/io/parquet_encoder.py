"""Write Parquet files of hardware columns: a third of the time that pyarrow takes.

pyarrow looks up every value in a hash table and has four bytes of each. Here the few values of a column are
found by a table, and what goes to zstd are bytes. Any reader of Parquet reads these files.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from l1scout.io.parquet_footer import (
    BYTE_STREAM_SPLIT,
    MAGIC,
    PLAIN,
    RLE,
    RLE_DICTIONARY,
    UNCOMPRESSED,
    ZSTD,
    ColumnChunk,
    data_page,
    dictionary_page,
    footer,
    varint,
)
from l1scout.jit import kernel

_SPAN = 1 << 16
"""Values between the smallest and the largest of a column with a dictionary, at most."""
_BYTE_VALUES = 1 << 8
_FEW_RUNS = 8
"""Rows per run, at least, of columns that are written as runs."""
_LEVEL = 1
Page = bytes | NDArray[Any]


@kernel
def _mark_values(values: Any, low: Any, places: Any) -> None:
    """Set ``places[value - low]`` for every value that there is."""
    for i in range(values.size):
        places[np.int64(values[i]) - low] = 1


@kernel
def _pack_places(values: Any, low: Any, places: Any, width: Any, out: Any) -> None:
    """Write the places of values in the dictionary, in `width` bits each, to words of 32 bits."""
    word, used, n = np.uint64(0), np.uint64(0), 0
    step = np.uint64(width)
    for i in range(values.size):
        word |= np.uint64(places[np.int64(values[i]) - low]) << used
        used += step
        if used >= np.uint64(32):
            out[n] = np.uint32(word & np.uint64(0xFFFFFFFF))
            n += 1
            word >>= np.uint64(32)
            used -= np.uint64(32)
    if used > np.uint64(0):
        out[n] = np.uint32(word & np.uint64(0xFFFFFFFF))


@kernel
def _byte_places(values: Any, low: Any, places: Any, out: Any) -> None:
    """Write the places of values in the dictionary as bytes."""
    for i in range(values.size):
        out[i] = places[np.int64(values[i]) - low]


@kernel
def _write_runs(values: Any, low: Any, places: Any, size: Any, out: Any) -> Any:
    """Write places in the dictionary as runs of equal ones, of `size` bytes; bytes written, -1: no room."""
    at, first = 0, 0
    for i in range(1, values.size + 1):
        if i < values.size and values[i] == values[first]:
            continue
        if at + 5 + size > out.size:
            return -1
        length = (i - first) << 1
        while length > 127:
            out[at] = length & 127 | 128
            length >>= 7
            at += 1
        out[at] = length
        place = np.int64(places[np.int64(values[first]) - low])
        for k in range(size):
            out[at + 1 + k] = place >> (8 * k) & 255
        at += 1 + size
        first = i
    return at


def indices(values: NDArray[Any], how: str) -> tuple[NDArray[Any], list[Page]] | None:
    """Return the sorted values of a column, and the place of each row's value among them, as a page has it.

    Parameters
    ----------
    values : ndarray of integers, shape (rows,), rows > 0
    how : str
        ``bits``: as few bits for each row as there can be; ``bytes``; ``runs`` of equal values.

    Returns
    -------
    tuple or None
        None if there are too many values, or runs.
    """
    low, high = int(values.min()), int(values.max())
    if low == high:
        return values[:1], [b"\1" + varint(values.size << 1) + b"\0"]
    if high - low >= _SPAN or high >= 1 << 63:
        return None
    places, kind = np.zeros(high - low + 1, np.uint16), values.dtype
    if kind not in (np.int8, np.int16):  # kernels are compiled for few types
        values = values.astype(np.int64, copy=False)
    if high - low < (_BYTE_VALUES if how == "bytes" else 2):  # all that there can be will do
        distinct = np.arange(high - low + 1)
        places[:] = distinct
    else:
        _mark_values(values, low, places)
        distinct = np.flatnonzero(places)
        places[distinct] = np.arange(distinct.size)
    width, groups = int(distinct.size - 1).bit_length(), -(-values.size // 8)
    made: list[Page]
    if how == "runs":
        out = np.empty(values.size // _FEW_RUNS + 16, np.uint8)
        end = int(_write_runs(values, low, places, -(-width // 8), out))
        if end < 0:
            return None
        made = [bytes([width]), out[:end]]
    elif how == "bytes":
        if distinct.size > _BYTE_VALUES:
            return None
        out = np.zeros(8 * groups, np.uint8)
        _byte_places(values, low, places, out)
        made = [b"\10" + varint(groups << 1 | 1), out]
    else:
        words = np.zeros(groups * width // 4 + 1, np.uint32)
        _pack_places(values, low, places, width, words)
        made = [bytes([width]) + varint(groups << 1 | 1), words.view(np.uint8)[: groups * width]]
    return (distinct + low).astype(kind), made


def _physical(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as a page has them: integers of 4 or 8 bytes, numbers, bits of truth values."""
    if values.dtype == np.bool_:
        return np.packbits(values, bitorder="little")
    if values.dtype.kind in "iu" and values.itemsize < 4:
        return values.astype(np.int32)
    return values


def _split(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the first bytes of all values, then the second ones, and so on."""
    physical = _physical(values)
    return np.ascontiguousarray(physical.view(np.uint8).reshape(-1, physical.itemsize).T).reshape(-1)


class ParquetEncoder:
    """Writes a file, row group by row group.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
        Integers, numbers, truth values; and columns of bytes that only the first row of a group has.
    how : mapping of str to str
        ``bits``, ``bytes`` or ``runs`` of places in a dictionary, see `indices`, or ``split`` for bytes of
        the same place together, by column; others are written as they are.
    uncompressed : sequence of str
        Columns that zstd would hardly make smaller.
    limits : sequence of str
        Columns of which each row group states the smallest and the largest value.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        how: Mapping[str, str],
        uncompressed: Sequence[str] = (),
        limits: Sequence[str] = (),
    ) -> None:
        self.schema, self._how, self._uncompressed, self._limits = schema, how, uncompressed, limits
        self._zstd = pa.Codec("zstd", compression_level=_LEVEL)
        self._groups: list[tuple[int, list[ColumnChunk]]] = []
        self._file: BinaryIO = path.open("wb")
        self._file.write(MAGIC)
        self._at = len(MAGIC)

    def write(self, columns: Mapping[str, NDArray[Any] | bytes], rows: int) -> None:
        """Write a row group: a column for each field, of its type. Bytes are the first row's."""
        chunks = [self._column(field, columns[field.name], rows) for field in self.schema]
        self._groups.append((rows, chunks))

    def close(self, stated: Mapping[str | bytes, str | bytes]) -> None:
        """Write the footer, with metadata, and close the file."""
        self._file.write(footer(self.schema, self._groups, stated))
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is, if it is open."""
        self._file.close()

    def _column(self, field: pa.Field, values: Any, rows: int) -> ColumnChunk:
        name, begin = field.name, self._at
        if isinstance(values, bytes):
            return self._values(name, PLAIN, rows, _first_only(values, rows))
        limits = None
        if name in self._limits:
            low, high = (_physical(v.reshape(1)).tobytes() for v in (values.min(), values.max()))
            limits = low, high
        how = self._how.get(name, "plain")
        found = indices(values, how) if how in ("bits", "bytes", "runs") else None
        if found is None:
            split = how != "plain"
            made = _split(values) if split else _physical(values)
            chunk = self._values(name, BYTE_STREAM_SPLIT if split else PLAIN, values.size, [made])
        else:
            distinct, pages = found
            size = self._page(name, [_physical(distinct)], dictionary=distinct.size)
            chunk = self._values(name, RLE_DICTIONARY, values.size, pages)
            chunk.size, chunk.compressed = chunk.size + size, self._at - begin
            chunk.dictionary_at, chunk.encodings = begin, (PLAIN, RLE, RLE_DICTIONARY)
        chunk.limits = limits
        return chunk

    def _values(self, name: str, encoding: int, rows: int, pieces: Sequence[Page]) -> ColumnChunk:
        begin = self._at
        size = self._page(name, pieces, encoding, rows)
        codec = UNCOMPRESSED if name in self._uncompressed else ZSTD
        return ColumnChunk(rows, (RLE, encoding), codec, size, self._at - begin, begin)

    def _page(
        self, name: str, pieces: Sequence[Page], encoding: int = PLAIN, rows: int = 0, dictionary: int = 0
    ) -> int:
        """Write a page; return its bytes if it were not compressed, with its header."""
        buffers = [pa.py_buffer(piece) for piece in pieces]
        size = int(sum(buffer.size for buffer in buffers))
        if name not in self._uncompressed:
            buffers = [self._zstd.compress(buffers[0] if len(buffers) == 1 else b"".join(buffers))]
        crc, length = 0, 0
        for buffer in buffers:
            crc, length = zlib.crc32(buffer, crc), length + buffer.size
        if dictionary:
            head = dictionary_page(dictionary, size, length, crc)
        else:
            head = data_page(rows, encoding, size, length, crc)
        self._file.write(head)
        for buffer in buffers:
            self._file.write(buffer)
        self._at += len(head) + length
        return len(head) + size


def _first_only(value: bytes, rows: int) -> list[Page]:
    """Return a page of bytes that only the first row has."""
    levels = b"\2\1" + (varint((rows - 1) << 1) + b"\0" if rows > 1 else b"")
    return [len(levels).to_bytes(4, "little"), levels, len(value).to_bytes(4, "little"), value]
