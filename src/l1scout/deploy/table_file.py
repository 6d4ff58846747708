"""The file of a table: a header of `HEADER_BYTES` and the entries, in the order of `Domain`.

An entry is 8 bytes: the three corrections as multiples of a step each: phi and eta in int16, and pT, whose
corrections grow with pT, in int32, of which 24 bits are used. So an entry never lies in two cache lines, one
load fetches it, and its value in float32 is exact. The file is mapped into memory, so that processes share
it.

Header, little-endian: magic (8 bytes), version (u32), CRC-32 of the entries (u32), CRC-32 of the header
with this field 0 (u32), length of the text (u32), text (JSON: `TableHeader`), zeros.
"""

import math
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import FiniteFloat
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED, parse_document, write_document
from l1scout.errors import InputError

MAGIC = b"l1s\x00tbl\n"
VERSION = 2
HEADER_BYTES = 4096
ENTRY = np.dtype([("phi", "<i2"), ("eta", "<i2"), ("pt", "<i4")])
LARGEST = np.array([(1 << 15) - 1, (1 << 15) - 1, (1 << 23) - 1])
"""Of the multiples in an entry."""
_FIXED = struct.Struct("<8sIIII")


@dataclass(frozen=True, config=CLOSED)
class TabulatedModel:
    """What a table belongs to: network, inputs (name, low, high, stride) and outputs (name, unit)."""

    sha256: str
    inputs: tuple[tuple[str, int, int, int], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, config=CLOSED)
class TableHeader:
    """The text of a table's header; `steps` is what 1 is in its entries: rad, 1, GeV."""

    model: TabulatedModel
    steps: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    name: str
    simulated: bool | None = None
    format: Literal["l1scout table"] = "l1scout table"
    version: Literal[2] = 2


def header_bytes(header: TableHeader, checksum: int) -> bytes:
    """Return the header of a file whose entries have this CRC-32."""
    text = write_document(header)

    def filled(own: int) -> bytes:
        fixed = _FIXED.pack(MAGIC, VERSION, checksum, own, len(text))
        return (fixed + text).ljust(HEADER_BYTES, b"\0")

    return filled(zlib.crc32(filled(0)))


def open_table(path: Path) -> tuple[mmap.mmap, TableHeader]:
    """Map a table into memory and check every bit of it: CRC-32 runs at memory speed.

    Raises
    ------
    InputError
        If it cannot be read, is not a table, or is damaged.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(HEADER_BYTES)
            if len(start) < HEADER_BYTES or not start.startswith(MAGIC):
                msg = f"{path}: not a table; `l1scout compile --engine table` makes one"
                raise InputError(msg)
            mapped = _map(file.fileno())
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); `l1scout compile --engine table` makes it"
        raise InputError(msg) from error
    _, version, checksum, own, length = _FIXED.unpack_from(start)
    blank = start[:16] + bytes(4) + start[20:]
    if zlib.crc32(blank) != own:
        msg = f"{path}: its header is damaged (CRC-32 differs); `l1scout compile` makes it anew"
        raise InputError(msg)
    if version != VERSION:
        msg = f"{path}: table version {version}, but this program reads {VERSION}; compile it again"
        raise InputError(msg)
    text, hint = start[_FIXED.size : _FIXED.size + length], "compile it again"
    header = parse_document(text, TableHeader, f"{path}: its header", hint=hint)
    entries = math.prod(high - low + 1 for _, low, high, _ in header.model.inputs)
    if size != HEADER_BYTES + 8 * entries:
        msg = f"{path}: {size} bytes, not {HEADER_BYTES + 8 * entries}: cut short; compile it again"
        raise InputError(msg)
    if zlib.crc32(memoryview(mapped)[HEADER_BYTES:]) != checksum:
        msg = f"{path}: damaged (CRC-32 differs); `l1scout compile` makes it anew"
        raise InputError(msg)
    return mapped, header


def _map(descriptor: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_POPULATE"):  # macOS
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    # All pages at once: touching them one by one would cost more than the checksum.
    return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
