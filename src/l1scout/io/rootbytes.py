"""The bytes of new branches in a ROOT tree: baskets, branches and leaves, as ROOT itself lays them out.

All big-endian. Class versions: TBranch 13, TLeaf 2, TBasket 3 (ROOT 6). No library writes into a
tree that ROOT wrote with objects in it, so this does.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEW_CLASS = 0xFFFFFFFF
BYTE_COUNT = 0x40000000
REFERENCE_OFFSET = 2
"""A reference is the object's place in the buffer, key included, plus this (ROOT's kMapOffset)."""

_KEY = struct.Struct(">ihiIhhqq")
_BASKET = struct.Struct(">HIIII")
_NO_OBJECTS = bytes.fromhex("40000015 0003 0001 00000000 03000000 00 00000000 00000000")
_IO_FEATURES = bytes.fromhex("40000007 0000 1aa12f10 00")
_ATT_FILL = bytes.fromhex("40000006 0002 0000 03e9")
_LEAVES = {"f4": (b"TLeafF", ">ff"), "i4": (b"TLeafI", ">ii"), "b1": (b"TLeafO", ">bb")}


def string(text: str) -> bytes:
    """TString: length, text."""
    raw = text.encode()
    return (bytes([len(raw)]) if len(raw) < 255 else b"\xff" + struct.pack(">I", len(raw))) + raw


def counted(version: int, body: bytes) -> bytes:
    """Byte count and class version before an object's bytes."""
    return struct.pack(">IH", (len(body) + 2) | BYTE_COUNT, version) + body


def instance(name: bytes, body: bytes) -> bytes:
    """Return an object with its class spelled out."""
    tagged = struct.pack(">I", NEW_CLASS) + name + b"\0" + body
    return struct.pack(">I", len(tagged) | BYTE_COUNT) + tagged


def named(name: str, title: str, bits: int) -> bytes:
    """TNamed."""
    return counted(1, struct.pack(">HII", 1, 0, bits) + string(name) + string(title))


def key(class_name: str, name: str, title: str, *, where: int, directory: int, time: int) -> bytes:
    """Big-file key of a basket, up to the basket's own fields; lengths are filled in by `basket`."""
    return (
        _KEY.pack(0, 1004, 0, time, 0, 0, where, directory)
        + string(class_name)
        + string(name)
        + string(title)
    )


def basket(
    head: bytes, values: NDArray[Any], offsets: NDArray[np.int64] | None, compress: Any
) -> tuple[bytes, int]:
    """Complete a basket: its bytes, and its length before compression.

    Parameters
    ----------
    head : bytes
        Of `key`.
    values : ndarray, shape (objects,)
    offsets : ndarray of int64, shape (entries + 1,), optional
        Where entries begin, in objects; None for one value an entry.
    compress : callable of bytes to bytes
    """
    data = values.astype(values.dtype.newbyteorder(">")).tobytes()
    key_length = len(head) + _BASKET.size + 1
    last = key_length + len(data)
    if offsets is None:
        entries, size = len(values), values.dtype.itemsize
    else:
        entries, size = len(offsets) - 1, len(offsets) + 1
        places = (offsets * values.dtype.itemsize + key_length).astype(">i4")
        data += struct.pack(">i", len(places)) + places.tobytes()
    body = compress(data)
    fields = list(_KEY.unpack_from(head))
    fields[0], fields[2], fields[4] = key_length + len(body), len(data), key_length
    whole = (
        _KEY.pack(*fields) + head[_KEY.size :] + _BASKET.pack(3, 32000, size, entries, last) + b"\0" + body
    )
    return whole, key_length + len(data)


@dataclass
class Branch:
    """A branch to be added: its type, its leaf of counts, and the baskets written so far.

    Parameters
    ----------
    name : str
    dtype : str
        ``f4``, ``i4`` or ``b1``.
    counter : str
        Name of the leaf that counts the objects of an entry; empty for one value an entry.
    """

    name: str
    dtype: str
    counter: str = ""
    is_counter: bool = False
    highest: int = 0
    sizes: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    seeks: list[int] = field(default_factory=list)
    uncompressed: int = 0

    def wrote(self, first: int, where: int, size: int, uncompressed: int) -> None:
        """Remember a basket: its first entry, place, size on disk and size before compression."""
        self.firsts.append(first)
        self.seeks.append(where)
        self.sizes.append(size)
        self.uncompressed += uncompressed

    def leaf(self, count_reference: int) -> bytes:
        """Return the leaf: one value, or as many as the leaf at `count_reference` says."""
        name, limits = _LEAVES[self.dtype]
        title = f"{self.name}[{self.counter}]" if self.counter else self.name
        general = named(self.name, title, 0)
        general += struct.pack(
            ">iii??I", 1, np.dtype(self.dtype).itemsize, 0, self.is_counter, False, count_reference
        )
        return instance(name, counted(1, counted(2, general) + struct.pack(limits, 0, self.highest)))

    def serialize(self, entries: int, place: int, count_reference: int) -> tuple[bytes, int]:
        """Return the branch's bytes, and the reference by which others name its leaf.

        Parameters
        ----------
        entries : int
            Of the tree.
        place : int
            Where the bytes will begin in the tree's buffer, key included.
        count_reference : int
            Reference of the leaf of counts; 0 for none.
        """
        n = len(self.seeks)
        room = max(10, n + 1)
        letter = {"f4": "F", "i4": "I", "b1": "O"}[self.dtype]
        title = f"{self.name}[{self.counter}]/{letter}" if self.counter else f"{self.name}/{letter}"
        head = named(self.name, title, 0x00400000) + _ATT_FILL
        # compression level 0 makes ROOT tell from each basket's lengths whether it is compressed
        head += struct.pack(">iiiiq", 0, 32000, 1000 if self.counter else 0, n, entries) + _IO_FEATURES
        head += struct.pack(">iIiqqqq", 0, room, 0, entries, 0, self.uncompressed, sum(self.sizes))
        leaf = self.leaf(count_reference)
        leaves = counted(3, bytes.fromhex("0001 00000000 03000000 00 00000001 00000000") + leaf)
        arrays = b""
        for values, dtype in (
            (self.sizes, ">i4"),
            ([*self.firsts, entries] if n else [], ">i8"),
            (self.seeks, ">i8"),
        ):
            padded = np.zeros(room, dtype)
            padded[: len(values)] = values
            arrays += b"\1" + padded.tobytes()
        before = head + _NO_OBJECTS
        body = before + leaves + _NO_OBJECTS + arrays + b"\0"
        # tag, class name, byte count, version; then the array's own head before the leaf
        leaf_at = place + 8 + len(b"TBranch\0") + 6 + len(before) + (len(leaves) - len(leaf))
        return instance(b"TBranch", counted(13, body)), leaf_at + REFERENCE_OFFSET
