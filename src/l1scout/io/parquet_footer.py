"""Headers of pages and the footer of a Parquet file: structures of Thrift's compact protocol.

As parquet.thrift of the format's specification numbers their fields; only what our own archives use.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from l1scout import __version__

MAGIC = b"PAR1"
PLAIN, RLE, RLE_DICTIONARY, BYTE_STREAM_SPLIT = 0, 3, 8, 9
"""Encodings."""
UNCOMPRESSED, ZSTD = 0, 6
"""Codecs."""
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_BYTE, _I32, _I64, _BINARY, _LIST, _STRUCT = 3, 5, 6, 8, 9, 12
_TRUE, _FALSE = 1, 2
_REQUIRED, _OPTIONAL = 0, 1
_PHYSICAL = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()), 1),
    **dict.fromkeys((pa.int64(), pa.uint64()), 2),
    **{pa.bool_(): 0, pa.float32(): 4, pa.float64(): 5, pa.binary(): 6},
}
_STATED = {
    **{pa.int8(): (15, 8, True), pa.int16(): (16, 16, True)},
    **{pa.uint8(): (11, 8, False), pa.uint16(): (12, 16, False)},
    **{pa.uint32(): (13, 32, False), pa.uint64(): (14, 64, False)},
}
"""Converted type, and bits and sign of the logical type, of integers that are not their physical type."""
_VERSION = 2
Field = tuple[int, int, bytes] | None


def varint(number: int) -> bytes:
    """Return a number in groups of seven bits."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _i32(number: int, value: int) -> Field:
    return number, _I32, _zigzag(value)


def _i64(number: int, value: int) -> Field:
    return number, _I64, _zigzag(value)


def _text(number: int, value: bytes) -> Field:
    return number, _BINARY, varint(len(value)) + value


def _struct(number: int, *fields: Field) -> Field:
    return number, _STRUCT, _fields(*fields)


def _list(number: int, kind: int, items: Sequence[bytes]) -> Field:
    size = len(items)
    head = bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + varint(size)
    return number, _LIST, head + b"".join(items)


def _fields(*fields: Field) -> bytes:
    """Return a structure of fields, by rising number."""
    out, before = bytearray(), 0
    for number, kind, content in filter(None, fields):
        out.append((number - before) << 4 | kind)
        out += content
        before = number
    return bytes(out) + b"\0"


def data_page(values: int, encoding: int, size: int, compressed: int, crc: int) -> bytes:
    """Return the header of a page of values: their number and encoding, its bytes, and their CRC-32."""
    what = _struct(5, _i32(1, values), _i32(2, encoding), _i32(3, RLE), _i32(4, RLE))
    return _page(_DATA_PAGE, size, compressed, crc, what)


def dictionary_page(values: int, size: int, compressed: int, crc: int) -> bytes:
    """Return the header of a page of a dictionary."""
    return _page(_DICTIONARY_PAGE, size, compressed, crc, _struct(7, _i32(1, values), _i32(2, PLAIN)))


def _page(kind: int, size: int, compressed: int, crc: int, what: Field) -> bytes:
    signed = crc - (crc >> 31 << 32)
    return _fields(_i32(1, kind), _i32(2, size), _i32(3, compressed), _i32(4, signed), what)


@dataclass
class ColumnChunk:
    """Where the values of a column of a row group lie.

    Parameters
    ----------
    values : int
    encodings : tuple of int
    codec : int
    size, compressed : int
        Bytes of all pages with their headers.
    data_at : int
        Byte of the file at which the first page of values begins.
    dictionary_at : int, optional
        Byte at which the dictionary begins.
    limits : tuple of bytes, optional
        Smallest and largest value, as a page has them.
    """

    values: int
    encodings: tuple[int, ...]
    codec: int
    size: int
    compressed: int
    data_at: int
    dictionary_at: int | None = None
    limits: tuple[bytes, bytes] | None = None

    def fields(self, field: pa.Field) -> bytes:
        """Return the structure of the footer."""
        begin = self.data_at if self.dictionary_at is None else self.dictionary_at
        limits = None
        if self.limits:
            low, high = self.limits
            limits = _struct(12, _i64(3, 0), _text(5, high), _text(6, low))
        name = field.name.encode()
        described = _struct(
            3,
            _i32(1, _PHYSICAL[field.type]),
            _list(2, _I32, [_zigzag(e) for e in self.encodings]),
            _list(3, _BINARY, [varint(len(name)) + name]),
            _i32(4, self.codec),
            _i64(5, self.values),
            _i64(6, self.size),
            _i64(7, self.compressed),
            _i64(9, self.data_at),
            None if self.dictionary_at is None else _i64(11, begin),
            limits,
        )
        return _fields(_i64(2, begin), described)


def _schema(schema: pa.Schema) -> list[bytes]:
    elements = [_fields(_i32(3, _REQUIRED), _text(4, b"schema"), _i32(5, len(schema)))]
    for field in schema:
        converted = logical = None
        if field.type in _STATED:
            kind, bits, signed = _STATED[field.type]
            converted = _i32(6, kind)
            whole = _struct(10, (1, _BYTE, bytes([bits])), (2, _TRUE if signed else _FALSE, b""))
            logical = _struct(10, whole)
        physical = _i32(1, _PHYSICAL[field.type])
        repetition = _i32(3, _OPTIONAL if field.nullable else _REQUIRED)
        elements.append(_fields(physical, repetition, _text(4, field.name.encode()), converted, logical))
    return elements


def footer(
    schema: pa.Schema,
    groups: Iterable[tuple[int, Sequence[ColumnChunk]]],
    stated: Mapping[str | bytes, str | bytes],
) -> bytes:
    """Return what ends a file.

    Parameters
    ----------
    schema : pyarrow.Schema
    groups : iterable of tuple
        Rows of each row group, and its columns.
    stated : mapping
        Metadata, as keys and values.
    """
    found, rows = list[bytes](), 0
    for count, chunks in groups:
        rows += count
        columns = [chunk.fields(field) for chunk, field in zip(chunks, schema, strict=True)]
        size = sum(chunk.size for chunk in chunks)
        found.append(_fields(_list(1, _STRUCT, columns), _i64(2, size), _i64(3, count)))
    keys = [_fields(_text(1, _bytes(key)), _text(2, _bytes(value))) for key, value in stated.items()]
    content = _fields(
        _i32(1, _VERSION),
        _list(2, _STRUCT, _schema(schema)),
        _i64(3, rows),
        _list(4, _STRUCT, found),
        _list(5, _STRUCT, keys),
        _text(6, f"l1scout version {__version__}".encode()),
        _list(7, _STRUCT, [_fields(_struct(1))] * len(schema)),  # values are ordered by their type
    )
    return content + len(content).to_bytes(4, "little") + MAGIC


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
