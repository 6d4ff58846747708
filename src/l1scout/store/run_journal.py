"""The journal of a run's folder: what happened to its segments after they were stored, a line each.

What a segment's note cannot say (compressed, copied, deleted after a verified copy) is here too, beside the
files, so that they alone can make the catalogue again. Each line has a checksum of its own.
"""

import errno
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from crc32c import crc32c
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from l1scout.files import sync_folder
from l1scout.readout.object_counts import U32, FileSize, Time

FILE = "journal.jsonl"
_MAX_LINE_BYTES = 1 << 14
_MAX_BYTES = 1 << 30
_Text = Annotated[str, Field(max_length=4096)]


class JournalEntry(BaseModel):
    """What happened to a stored segment.

    Parameters
    ----------
    event : str
        ``compressed``, ``copied`` or ``deleted``.
    segment : str
        Name of the segment, as it was received.
    file : str
        Name of its file in the run's folder.
    method : str
        Of compression.
    url : str
        Where the copy is.
    size, crc32c : int
        Of the file.
    time : float
        Seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: Literal["compressed", "copied", "deleted"]
    segment: _Text
    file: _Text = ""
    method: _Text = ""
    url: _Text = ""
    size: FileSize = 0
    crc32c: U32 = 0
    time: Time = Field(default_factory=time.time)


def append(folder: Path, entry: JournalEntry) -> None:
    """Append a line to the journal of a run's folder: it is on disk when this returns (OSError if not)."""
    content = entry.model_dump(mode="json")
    line = json.dumps(content | {"line_crc32c": _checksum(content)}, separators=(",", ":"))
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(folder / FILE, flags, 0o644)
    try:
        is_new = os.fstat(descriptor).st_size == 0
        text = f"\n{line}".encode()  # a line that was cut short does not spoil the next one
        if os.write(descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / FILE))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_folder(folder)


def read_journal(folder: Path) -> tuple[dict[str, list[JournalEntry]], int]:
    """Return the entries of the journal of a run's folder by segment, and how many lines are damaged."""
    found: dict[str, list[JournalEntry]] = {}
    damaged = 0
    try:
        with (folder / FILE).open("rb") as file:
            while line := file.readline(_MAX_LINE_BYTES):
                if file.tell() > _MAX_BYTES:
                    break
                if entry := _decode(line):
                    found.setdefault(entry.segment, []).append(entry)
                else:
                    damaged += bool(line.strip())
    except OSError:
        damaged += (folder / FILE).exists()
    return found, damaged


def _decode(line: bytes) -> JournalEntry | None:
    try:
        content = json.loads(line)
        stated = content.pop("line_crc32c")
        if stated == _checksum(content):
            return JournalEntry.model_validate(content)
    except (ValueError, ValidationError, AttributeError, KeyError, TypeError, RecursionError):
        pass
    return None


def _checksum(content: dict[str, Any]) -> int:
    return crc32c(json.dumps(content, separators=(",", ":"), sort_keys=True).encode())
