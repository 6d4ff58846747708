"""One guard around the libraries that read files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l1scout.errors import InputError, printable


@contextmanager
def guarded(path: Path, what: str = "") -> Iterator[None]:
    """Turn every exception of the reader libraries on a broken file into an InputError.

    They raise almost anything on corrupt bytes (struct, zlib, awkward, memory and assertion errors,
    recursion), so nothing narrower would hold.
    """
    try:
        yield
    except InputError as error:
        if str(error).startswith(f"{path}:"):
            raise
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
        msg = f"{path}: {what or 'cannot be read'}: damaged or not as expected ({printable(reason)})"
        raise InputError(msg) from error
