"""Atomic, durable and checksummed file writes, and reads of limited size."""

import contextlib
import errno
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from crc32c import crc32c

from l1scout.errors import InputError


@contextlib.contextmanager
def complete_or_nothing(path: Path) -> Iterator[Path]:
    """Give a path ending in ``.part`` to write to; it gets its name if the block ends well.

    If not, whatever was there before stays, and the part is removed. Missing folders are made.

    Raises
    ------
    InputError
        If the path is a directory or cannot be written.
    """
    if path.is_dir():
        msg = f"{path}: is a directory; name a file for the output"
        raise InputError(msg)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error})"
        raise InputError(msg) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, which appears when it is complete (InputError if it cannot be written)."""
    with complete_or_nothing(path) as part:
        part.write_text(text, "utf-8", "backslashreplace")


@contextlib.contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder ending in ``.part`` to fill; it takes the place of `path` if the block ends well.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        shutil.rmtree(path, ignore_errors=True)
        part.replace(path)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error})"
        raise InputError(msg) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_limited(path: Path, max_bytes: int, hint: str) -> bytes:
    """Read a file of limited size; nothing of a larger one is kept.

    Parameters
    ----------
    path : Path
    max_bytes : int
        Largest accepted size.
    hint : str
        What to do about a file that is missing or too large, for messages.

    Raises
    ------
    InputError
        If the file cannot be read or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); {hint}"
        raise InputError(msg) from error
    if len(content) > max_bytes:
        msg = f"{path}: larger than {max_bytes} bytes, the largest size of such a file; {hint}"
        raise InputError(msg)
    return content


def checksum(path: Path) -> tuple[int, int]:
    """Return size and CRC32C of a file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return 0, 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return size, crc32c(data)


def sync_folder(folder: Path) -> None:
    """Synchronise a folder with the disk, so that the names in it survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: OSError) -> bool:
    """Say whether an error is that of a full disk."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
