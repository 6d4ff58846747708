"""Atomic, durable and checksummed file writes, reads of limited size, and folders of one user."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from crc32c import crc32c

from l1scout.errors import InputError, printable

_PIECE = 1 << 18
"""Bytes of a file that are read at a time for its checksum."""


@contextlib.contextmanager
def complete_or_nothing(path: Path) -> Iterator[Path]:
    """Give a path ending in ``.part`` to write to; it gets its name if the block ends well.

    If not, whatever was there before stays, and the part is removed. Missing folders are made. The part is
    made anew before the block: in a folder that others may write to, such as /tmp, no link of theirs is
    followed.

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
        os.close(_new(part))
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


def write_small(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a small file, which has its old or its new content at any time (OSError if it cannot be written).

    Parameters
    ----------
    path : Path
    content : bytes
    durable : bool
        Synchronise the file with the disk; its name is for the caller (`sync_folder`).
    """
    draft = path.with_name(path.name + ".new")
    with open(_new(draft), "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)


def _new(path: Path) -> int:
    """Open a new file of ours, in the place of whatever has its name."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def open_own(path: Path, mode: str = "rb", **options: Any) -> IO[Any]:
    """Open a file as `open` does, but not through a symbolic link (OSError if it is one)."""
    return open(path, mode, opener=_not_through_links, **options)


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def own_folder(folder: Path, purpose: str, mode: int = 0o700) -> None:
    """Make a folder of this user, or check that the one there is safe to write to.

    Only where nobody else can put files, names of files lead where they are meant to.

    Parameters
    ----------
    folder : Path
    purpose : str
        What it is to be, for messages, such as ``spool folder``.
    mode : int
        Permissions of a new one.

    Raises
    ------
    InputError
        If it cannot be made, is a file or a link, belongs to another user or can be written to by others.
    OSError
        If the disk is full.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        if is_disk_full(error):
            raise
        msg = f"cannot use {folder} as the {purpose}: {(error.strerror or str(error)).lower()}"
        raise InputError(msg) from error
    why = ""
    if stat.S_ISLNK(found.st_mode):
        why = f"it is a symbolic link; name the folder that it leads to ({printable(str(folder.resolve()))})"
    elif found.st_uid != os.geteuid():
        why = f"it belongs to user {found.st_uid}, and this is user {os.geteuid()}; name a folder of your own"
    elif found.st_mode & 0o022:
        why = f"other users may write to it; take that away with `chmod go-w {folder}`"
    if why:
        msg = f"cannot use {folder} as the {purpose}: {why}"
        raise InputError(msg)


def lock_folder(folder: Path, purpose: str, taken: str, mode: int = 0o700) -> int:
    """Make a folder of this user, and lock it; return the descriptor of its file ``lock``.

    The lock lasts until the descriptor and all its copies in other processes are closed.

    Parameters
    ----------
    folder, purpose, mode
        See `own_folder`.
    taken : str
        Message for when somebody else has locked it.

    Raises
    ------
    InputError
        If it is locked, or cannot be this user's.
    OSError
        If the disk is full.
    """
    own_folder(folder, purpose, mode)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(folder / "lock", flags, mode & 0o666)
    except OSError as error:
        if is_disk_full(error):
            raise
        msg = f"cannot use {folder} as the {purpose}: lock: {error.strerror or error}"
        raise InputError(msg) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        msg = f"{folder}: {taken}"
        raise InputError(msg) from error
    return lock


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
    size = crc = 0
    room = memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(room):
            size, crc = size + n, crc32c(room[:n], crc)
    return size, crc


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


def is_short_of_resources(error: OSError) -> bool:
    """Say whether an error is for want of descriptors or memory: it says nothing of the file."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
