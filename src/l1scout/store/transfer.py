"""Copy stored segments elsewhere, read every copy back, and only then delete the original on request."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from crc32c import crc32c

from l1scout.core.provenance import DataLabel
from l1scout.errors import InputError
from l1scout.readout.segments import joint_data
from l1scout.store.catalogue import Catalogue, Stored

_PIECE = 1 << 22


def silent(_done: int, _of: int) -> None:
    """Show no progress."""


@dataclass
class Transferred:
    """What was done.

    Parameters
    ----------
    copied, copied_bytes : int
        Files copied and verified.
    there : int
        Files of which a verified copy was there already.
    deleted, deleted_bytes : int
        Files deleted here.
    failed : dict of str to str
        File and reason.
    data : str
        ``simulated``, ``real`` or ``unknown``: of all segments that were to be copied.
    """

    copied: int = 0
    copied_bytes: int = 0
    there: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    data: DataLabel = "unknown"


def transfer(
    folder: Path,
    target: str,
    *,
    run: int | None = None,
    keep_days: float | None = None,
    progress: Callable[[int, int], None] = silent,
    now: float | None = None,
) -> Transferred:
    """Copy all compressed segments to a URL.

    A copy gets its name when it is complete where the file system can rename; it is then read back,
    and entered in the catalogue if size and CRC32C are right. Started again, it goes on with what has
    no verified copy.

    Parameters
    ----------
    folder : Path
        Of the store.
    target : str
        Any URL that fsspec knows: a folder, ``s3://``, ``root://``...
    run : int, optional
        Only that run.
    keep_days : float, optional
        Delete here what was received longer ago, if a copy is verified, and is still there with the
        right checksum when looked at once more. None deletes nothing.
    progress : callable
        ``progress(done, of)``, in bytes.

    Raises
    ------
    InputError
        If there is no catalogue, or nothing can be opened at the URL.
    """
    try:
        files, root = fsspec.core.url_to_fs(target)
    except (ValueError, ImportError) as error:
        msg = f"{target}: {error}"
        raise InputError(msg) from error
    catalogue = Catalogue(folder)
    try:
        todo = [s for s in catalogue.segments(run) if s.deleted is None and s.method]
        done = Transferred(data=joint_data(s.segment for s in todo))
        total, ended = sum(s.stored_size for s in todo), 0
        for stored in todo:
            copy = f"{root.rstrip('/')}/{stored.file}"
            try:
                url = f"{target.rstrip('/')}/{stored.file}"
                if url in catalogue.copies(stored):
                    done.there += 1
                else:
                    _copy(files, folder / stored.file, copy, stored)
                    catalogue.copied(stored, url)
                    done.copied, done.copied_bytes = done.copied + 1, done.copied_bytes + stored.stored_size
                if keep_days is not None and _old(catalogue, stored, keep_days, now or time.time()):
                    _check(files, copy, stored)
                    _delete(catalogue, folder, stored, done)
            except Exception as error:  # file systems of others raise what they like
                done.failed[stored.file] = str(error) or type(error).__name__
            ended += stored.stored_size
            progress(ended, total)
    finally:
        catalogue.close()
    return done


def _delete(catalogue: Catalogue, folder: Path, stored: Stored, done: Transferred) -> None:
    catalogue.deleted(stored)  # first the entry: a file too many does no harm
    (folder / stored.file).unlink()
    done.deleted, done.deleted_bytes = done.deleted + 1, done.deleted_bytes + stored.stored_size


def _copy(files: Any, source: Path, there: str, stored: Stored) -> None:
    if _sum(_pieces(source.open("rb"))) != (stored.stored_size, stored.stored_crc32c):
        msg = "has changed since it was stored: not copied"
        raise OSError(msg)
    files.makedirs(there.rpartition("/")[0], exist_ok=True)
    part = there + ".part"
    files.put_file(str(source), part)
    _check(files, part, stored)
    files.mv(part, there)
    if files.size(there) != stored.stored_size:
        msg = "copy has another size after it was renamed"
        raise OSError(msg)


def _check(files: Any, there: str, stored: Stored) -> None:
    if _sum(_pieces(files.open(there, "rb"))) != (stored.stored_size, stored.stored_crc32c):
        msg = "copy reads back different"
        raise OSError(msg)


def _pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def _sum(pieces: Iterator[bytes]) -> tuple[int, int]:
    size = crc = 0
    for piece in pieces:
        size, crc = size + len(piece), crc32c(piece, crc)
    return size, crc


def _old(catalogue: Catalogue, stored: Stored, days: float, now: float) -> bool:
    return bool(catalogue.copies(stored)) and stored.received <= now - 86400.0 * days
