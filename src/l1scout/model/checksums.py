"""Sums of a directory's files: a changed bit is noticed. ``sha256sum --check SHA256SUMS`` does the same."""

import hashlib
import re
from pathlib import Path

from l1scout.errors import InputError
from l1scout.files import read_limited

SUMS_FILE = "SHA256SUMS"
_MAX_BYTES = 1 << 16
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\]+)")


def write_sums(directory: Path) -> None:
    """Write ``SHA256SUMS`` of the files that are in a directory; to be done last."""
    names = sorted(p.name for p in directory.iterdir() if p.is_file() and p.name != SUMS_FILE)
    (directory / SUMS_FILE).write_text("".join(f"{_sum(directory / n)}  {n}\n" for n in names), "utf-8")


def check_sums(directory: Path, *needed: str) -> None:
    """Compare files with ``SHA256SUMS``; files that it does not name are not looked at.

    Raises
    ------
    InputError
        If a file has changed or is missing, the sums are missing or damaged, or they do not name all
        of the `needed` files.
    """
    path = directory / SUMS_FILE
    hint = f"train the model again, or trust its files and run `sha256sum {' '.join(needed)} > {SUMS_FILE}`"
    try:
        lines = read_limited(path, _MAX_BYTES, hint).decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        msg = f"{path}: damaged ({error.reason}); copy or train the model again"
        raise InputError(msg) from error
    found = [_LINE.fullmatch(line) for line in lines]
    sums = {match[2]: match[1] for match in found if match}
    if len(sums) < len(lines) or not sums.keys() >= set(needed):
        msg = f"{path}: damaged (not one sum a line for {', '.join(needed)}); copy or train the model again"
        raise InputError(msg)
    for name, wanted in sums.items():
        try:
            same = _sum(directory / name) == wanted
        except OSError as error:
            msg = f"{directory / name}: cannot be read ({error.strerror}); copy or train the model again"
            raise InputError(msg) from error
        if not same:
            msg = f"{directory / name}: has changed (not as in {SUMS_FILE}); copy or train the model again"
            raise InputError(msg)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
