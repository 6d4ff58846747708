"""Files that are there when they are complete, and not before."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

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
