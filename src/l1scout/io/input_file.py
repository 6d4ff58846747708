"""`InputFile`: a file that is opened once, to be recognized, described and read."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from l1scout.errors import InputError
from l1scout.io.guard import guarded

T = TypeVar("T")

HEAD = 1 << 16
"""Bytes at the beginning of a file that are looked at to tell its format."""
MAGICS = {"zstd": b"\x28\xb5\x2f\xfd", "bz2": b"BZh"}
_SKIPPABLE = b"\x50\x2a\x4d\x18"
"""First bytes of a zstd frame without data; the low half of the first byte is free."""
_MAX_RATIO, _UNCHECKED = 1000, 1 << 26
"""A file that grows more when decompressed, after the first 64 MiB, was not made of records."""
_MAX_ROWS_PER_BYTE, _UNCHECKED_ROWS = 4, 1 << 20
"""A Parquet file with more rows, after the first million, was not made of muons."""


class InputFile:
    """A file that is opened once, and what the user said about it.

    Everything that readers find out about the file is kept in it, so that nothing is looked up twice. Close
    it, or use it as a context manager.

    Parameters
    ----------
    path : str or Path
    options
        What the user says about the file, such as ``flavour="dpg"``; None is not given. Which options a
        format has is stated by its reader.

    Attributes
    ----------
    path : Path
    options : dict of str to object
    size : int
        In bytes.
    head, tail : bytes
        The first 64 KiB, and the last 8 bytes.

    Raises
    ------
    InputError
        If there is no such file, or it is empty, a directory or no regular file.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:
        self.path = Path(path)
        self.options = {name: value for name, value in options.items() if value is not None}
        self._known: dict[str, Any] = {}
        self._stack = ExitStack()
        try:
            if self.path.is_dir():
                msg = f"{self.path}: is a directory; name a file in it"
                raise InputError(msg)
            if self.path.exists() and not self.path.is_file():
                msg = f"{self.path}: is no regular file; copy its content into one"
                raise InputError(msg)
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._stack.callback(self._close_descriptor)
            self.size = os.fstat(self._descriptor).st_size
            self.head = self.read_at(0, HEAD)
            self.tail = self.read_at(max(0, self.size - 8), 8)
        except OSError as error:
            self.close()
            msg = f"{self.path}: {(error.strerror or 'cannot be read').lower()}"
            raise InputError(msg) from error
        if not self.head:
            self.close()
            msg = f"{self.path}: is empty"
            raise InputError(msg)

    def __enter__(self) -> "InputFile":
        """Return the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def __del__(self) -> None:
        """Close the file, if nobody did."""
        self.close()

    def close(self) -> None:
        """Close the file, and all that libraries hold open of it."""
        self._stack.close()

    def _close_descriptor(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1  # its number may soon be that of another file

    def read_at(self, position: int, size: int) -> bytes:
        """Read bytes at a position; fewer at the end of the file."""
        return os.pread(self._descriptor, size, position)

    def read_into(self, position: int, buffer: Any) -> int:
        """Fill a buffer from a position on; return the number of bytes."""
        return os.preadv(self._descriptor, [buffer], position)

    def once(self, key: str, find: Callable[[], T]) -> T:
        """Return what `find` returns; it is called the first time only."""
        if key not in self._known:
            self._known[key] = find()
        return cast(T, self._known[key])

    def stream(self) -> "FileStream":
        """Return a binary stream with a position of its own, at the first byte of the file as it is."""
        return FileStream(self)

    @cached_property
    def compression(self) -> str | None:
        """How the file is compressed as a whole: "zstd" or "bz2"; None if it is not."""
        if self.head[1:4] == _SKIPPABLE[1:] and self.head[0] & 0xF0 == _SKIPPABLE[0]:
            return "zstd"  # a skippable frame, which pzstd and seekable files begin with
        return next((name for name, magic in MAGICS.items() if self.head.startswith(magic)), None)

    @contextmanager
    def content(self) -> Iterator[BinaryIO]:
        """Give the content as a stream, decompressed on the way in constant memory.

        Reading raises InputError if it cannot be decompressed.
        """
        if self.compression is None:
            yield cast(BinaryIO, self.stream())
            return
        with pa.CompressedInputStream(pa.PythonFile(self.stream(), "r"), self.compression) as stream:
            yield cast(BinaryIO, _Decompressed(stream, self.path, self.size))

    @cached_property
    def content_head(self) -> bytes:
        """The first 64 KiB of the content, decompressed."""
        if self.compression is None:
            return self.head
        with self.content() as stream:
            return stream.read(HEAD)

    @cached_property
    def is_text(self) -> bool:
        """Whether the file begins as a text that is not blank: without a zero byte."""
        return bool(self.head.removeprefix(b"\xef\xbb\xbf").strip()) and b"\0" not in self.head

    @cached_property
    def lines(self) -> list[str]:
        """Lines of the first 64 KiB of a text; all of them are complete."""
        lines = self.head.removeprefix(b"\xef\xbb\xbf").decode("latin-1").splitlines()
        return lines[:-1] if len(self.head) == HEAD and len(lines) > 1 else lines

    def text(self, what: str, *, largest: int, encoding: str = "utf-8-sig", errors: str = "strict") -> str:
        """Read the whole file as text.

        Parameters
        ----------
        what : str
            What the file is not if this fails, for the message: "not a pattern file".
        largest : int
            Bytes that it may have.
        encoding, errors : str
            See `bytes.decode`.
        """
        if self.size > largest:
            msg = f"{self.path}: {what}: {self.size} bytes, and the largest have {largest}"
            raise InputError(msg)
        try:
            text = self.stream().read().decode(encoding, errors)
        except UnicodeDecodeError as error:
            msg = f"{self.path}: {what}: byte {error.start} is not {encoding.removesuffix('-sig').upper()}"
            raise InputError(msg) from error
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @cached_property
    def is_root(self) -> bool:
        """Whether it begins as a ROOT file."""
        return self.head.startswith(b"root")

    @cached_property
    def root(self) -> Any:
        """The file as uproot opens it (InputError if it is truncated or damaged)."""
        from l1scout.io.root import open_root

        return self._stack.enter_context(open_root(self.path, self.stream(), self.size, self.head))

    @cached_property
    def is_parquet(self) -> bool:
        """Whether it begins as a Parquet file."""
        return self.head.startswith(b"PAR1")

    @cached_property
    def parquet(self) -> pq.ParquetFile:
        """The file as pyarrow opens it (InputError if it is truncated or damaged)."""
        if not self.tail.endswith(b"PAR1") or self.size < 12:
            msg = f"{self.path}: Parquet file without its end: truncated; copy it again"
            raise InputError(msg)
        with guarded(self.path, "not a readable Parquet file"):
            stated = pq.read_metadata(self.stream())
            if stated.num_rows > max(_UNCHECKED_ROWS, _MAX_ROWS_PER_BYTE * self.size):
                rows = f"{stated.num_rows} rows in {self.size} bytes"
                msg = f"{self.path}: {rows} are more than muons can be compressed to; not read"
                raise InputError(msg)
            leaves = (stated.schema.column(k) for k in range(len(stated.schema)))
            # a long value that is the same in all rows is kept once, not written out for each
            texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
            file = pq.ParquetFile(
                self.stream(), metadata=stated, read_dictionary=texts, page_checksum_verification=True
            )
            # it holds a stream of this file where Python's collector of garbage does not look
            self._stack.callback(self.__dict__.pop, "parquet", None)
            return self._stack.enter_context(file)


class FileStream(io.RawIOBase):
    """A stream with its own position in an open file; closing it leaves the file open."""

    def __init__(self, file: InputFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be moved in."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes; all that are left by default."""
        if size is None or size < 0:
            size = max(self._file.size - self._at, 0)
        data = self._file.read_at(self._at, size)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer; return the number of bytes."""
        count = self._file.read_into(self._at, buffer)
        self._at += count
        return count


class _Decompressed:
    """A stream that ends with an error where a compressed file turns out to be a bomb."""

    def __init__(self, stream: Any, path: Path, size: int) -> None:
        self._stream, self._path, self._done = stream, path, 0
        self._limit = max(_UNCHECKED, _MAX_RATIO * size)

    def read(self, size: int) -> bytes:
        with guarded(self._path, "cannot be decompressed"):
            data = bytes(self._stream.read(size))
        self._done += len(data)
        if self._done > self._limit:
            msg = f"{self._path}: grows more than {_MAX_RATIO} times when decompressed: no records do"
            raise InputError(msg)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened(path: "str | Path | InputFile", **options: Any) -> Iterator[InputFile]:
    """Open a file for the time of the block; a file that is open already stays open."""
    if isinstance(path, InputFile):
        yield path
        return
    with InputFile(path, **options) as file:
        yield file
