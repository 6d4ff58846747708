"""New branches for a tree in a copy of a ROOT file; every other byte stays the original's.

The baskets are appended to the copy, then the tree's description with the branches spliced in, and
the file's list of keys, free list and header are pointed to it. So trees of objects, provenance and
whatever else the file holds are kept bit for bit.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.io import rootbytes
from l1scout.io.rootbytes import BYTE_COUNT, Branch

_SMALL = (1 << 31) - 1
_BIG_FILE, _BIG_KEY = 1_000_000, 1000
"""Versions from which addresses have 8 bytes rather than 4."""
_TAIL = 28
"""Bytes of a tree after its leaves where it has no aliases, index, friends or user information."""


def _compress(data: bytes) -> bytes:
    import uproot

    return bytes(uproot.compression.compress(data, uproot.ZLIB(1)))


class BranchAdder:
    """Adds branches to one tree.

    Parameters
    ----------
    path : Path
        Of the copy, for messages.
    file : binary file
        The copy, opened for reading and writing.
    source : uproot file
        The original.
    name : str
        Path of the tree in it.
    like : branch, optional
        One with as many objects an entry, whose leaf of counts is shared. Without, or if it has none
        (a std::vector), a branch `counter` is added too.
    counter : str

    Raises
    ------
    InputError
        If the tree has an index, aliases or friends, whose descriptions would have to move.
    """

    def __init__(
        self, path: Path, file: BinaryIO, source: Any, name: str, *, like: Any = None, counter: str = "nL1Mu"
    ) -> None:
        self._path, self._file = path, file
        self._tree, self._key = source[name], source.key(name)
        folder, _, _ = name.rpartition("/")
        self._directory = source[folder] if folder else source
        self._raw = bytes(self._key.get_uncompressed_chunk_cursor()[0].raw_data)
        self._old_key = self._at(self._key.fSeekKey, self._key.fKeylen)
        self._header = bytearray(self._at(0, 64))
        self._big_file = struct.unpack_from(">i", self._header, 4)[0] >= _BIG_FILE
        self._big_key = struct.unpack_from(">h", self._old_key, 4)[0] > _BIG_KEY
        self._end = struct.unpack_from(">q" if self._big_file else ">i", self._header, 12)[0]
        self._branches: dict[str, Branch] = {}
        self._counts: Branch | None = None
        tail = len(self._raw) - self._stop("fLeaves")
        if tail != _TAIL or any(self._raw[-_TAIL:]):
            msg = (
                f"{path}: tree {name} has aliases, an index, friends or notes: columns cannot be added to it"
            )
            raise InputError(msg)
        leaf = like.member("fLeaves")[0].member("fLeafCount") if like is not None else None
        if leaf is None:
            self._counts = Branch(counter, "i4", is_counter=True)
            self._counter, self._reference = counter, 0
        else:
            self._counter, self._reference = leaf.member("fName"), self._reference_of(leaf)

    def extend(self, first: int, offsets: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> None:
        """Append the values of some entries.

        Parameters
        ----------
        first : int
            Entry with which they begin.
        offsets : ndarray of int64, shape (entries + 1,)
        columns : mapping of str to ndarray, each of shape (objects,)
            float32, int32 or bool; the same names every time.
        """
        if len(offsets) < 2:
            offsets = np.zeros(1, np.int64)
        if self._counts is not None:
            counts = np.diff(offsets).astype(np.int32)
            self._counts.highest = max(self._counts.highest, int(counts.max(initial=0)))
            self._basket(self._counts, first, counts, None)
        for name, values in columns.items():
            branch = self._branches.setdefault(name, Branch(name, values.dtype.str[1:], self._counter))
            self._basket(branch, first, values, offsets)

    def finish(self) -> None:
        """Write the tree's description, and point the file to it."""
        raw = self._spliced()
        packed = _compress(raw)
        new_key = self._moved(self._old_key, len(packed), len(raw))
        self._append(new_key + packed)
        self._replace_in_list_of_keys(new_key)
        self._free_the_rest()
        self._file.seek(0)
        self._file.write(self._header)

    def _at(self, where: int, size: int) -> bytes:
        self._file.seek(where)
        return self._file.read(size)

    def _append(self, data: bytes) -> None:
        if self._end + len(data) > _SMALL and not (self._big_file and self._big_key):
            msg = f"{self._path}: would pass 2 GB, which needs another layout of the file; split it first"
            raise InputError(msg)
        self._file.seek(self._end)
        self._file.write(data)
        self._end += len(data)

    def _basket(
        self, branch: Branch, first: int, values: NDArray[Any], offsets: NDArray[np.int64] | None
    ) -> None:
        if not (len(offsets) - 1 if offsets is not None else len(values)):
            return
        layout, at = (">q", 26) if self._big_key else (">i", 22)
        (directory,) = struct.unpack_from(layout, self._old_key, at)
        (time,) = struct.unpack_from(">I", self._old_key, 10)
        head = rootbytes.key(
            "TBasket", branch.name, self._tree.name, where=self._end, directory=directory, time=time
        )
        whole, uncompressed = rootbytes.basket(head, values, offsets, _compress)
        branch.wrote(first, self._end, len(whole), uncompressed)
        self._append(whole)

    def _stop(self, member: str) -> int:
        """Where a member of the tree ends in its bytes."""
        value = self._tree.member(member)
        return int(value.cursor.index + value.num_bytes)

    def _reference_of(self, leaf: Any) -> int:
        """Return the reference by which the tree's list names a leaf."""
        leaves = self._tree.member("fLeaves")
        k = next(k for k, other in enumerate(leaves) if other is leaf)
        (reference,) = struct.unpack_from(">I", self._raw, self._stop("fLeaves") - 4 * (len(leaves) - k))
        return int(reference)

    def _spliced(self) -> bytes:
        """Return the tree's description with the branches at the end of its lists."""
        middle, end = self._stop("fBranches"), self._stop("fLeaves")
        place = self._key.fKeylen + middle
        added, references, counter = b"", [], self._reference
        counts = [self._counts] if self._counts is not None else []
        for branch in [*counts, *self._branches.values()]:
            data, reference = branch.serialize(
                int(self._tree.num_entries), place + len(added), 0 if branch.is_counter else counter
            )
            counter = reference if branch.is_counter else counter
            added += data
            references.append(reference)
        leaves = struct.pack(f">{len(references)}I", *references)
        raw = bytearray(self._raw[:middle] + added + self._raw[middle:end] + leaves + self._raw[end:])
        first = self._tree.member("fBranches").cursor.index
        second = self._tree.member("fLeaves").cursor.index + len(added)
        self._grow(raw, 0, len(added) + len(leaves), 0)
        self._grow(raw, first, len(added), len(references))
        self._grow(raw, second, len(leaves), len(references))
        return bytes(raw)

    @staticmethod
    def _grow(raw: bytearray, at: int, size: int, objects: int) -> None:
        """Add to the byte count at a place and, for a list, to its number of objects."""
        (count,) = struct.unpack_from(">I", raw, at)
        struct.pack_into(">I", raw, at, ((count & ~BYTE_COUNT) + size) | BYTE_COUNT)
        if objects:
            at += 4 + 2 + 10
            at += 1 + raw[at]
            (n,) = struct.unpack_from(">I", raw, at)
            struct.pack_into(">I", raw, at, n + objects)

    def _moved(self, key: bytes, compressed: int, uncompressed: int) -> bytes:
        """Return a key for content at the file's end, of the same length as before."""
        new = bytearray(key)
        struct.pack_into(">i", new, 0, len(key) + compressed)
        struct.pack_into(">i", new, 6, uncompressed)
        big = struct.unpack_from(">h", key, 4)[0] > _BIG_KEY
        struct.pack_into(">q" if big else ">i", new, 18, self._end)
        return bytes(new)

    def _replace_in_list_of_keys(self, new: bytes) -> None:
        where, size = self._directory.fSeekKeys, self._directory.fNbytesKeys
        at = self._at(where, size).find(self._old_key)
        if at < 0:
            msg = f"{self._path}: the list of keys does not name the tree {self._tree.name}"
            raise InputError(msg)
        self._file.seek(where + at)
        self._file.write(new)

    def _free_the_rest(self) -> None:
        """Write the list of free space anew: its last piece begins where the file now ends."""
        layout = ">qi" if self._big_file else ">ii"
        where, size = struct.unpack_from(layout, self._header, 20 if self._big_file else 16)
        record = self._at(where, size)
        (key_length,) = struct.unpack_from(">h", record, 14)
        pieces, at = [], key_length
        while at + 10 <= len(record):
            big = struct.unpack_from(">h", record, at)[0] > _BIG_KEY
            pieces.append(record[at : at + (18 if big else 10)])
            at += len(pieces[-1])
        if not pieces:
            msg = f"{self._path}: has no list of free space: it was not closed; repair it with ROOT's hadd"
            raise InputError(msg)
        place, body = self._end, b"".join(pieces)
        end = place + key_length + len(body)
        big = len(pieces[-1]) == 18
        last = bytearray(pieces[-1])
        struct.pack_into(">q" if big else ">i", last, 2, end)
        body = b"".join(pieces[:-1]) + bytes(last)
        self._append(self._moved(record[:key_length], len(body), len(body)) + body)
        struct.pack_into(">q" if self._big_file else ">i", self._header, 12, end)
        struct.pack_into(layout, self._header, 20 if self._big_file else 16, place, key_length + len(body))
