"""Look-up tables as text: rows of one to three integers, ``#`` before comments."""

import re
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np

from l1scout.errors import InputError
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.reader import FormatReader

_HEADER = re.compile(r"#\s*<header>(.*?)</header>")
_ROWS = 100
"""Rows that are looked at to tell which table it is."""
_LARGEST = 1 << 26


class TableKind(StrEnum):
    """The look-up tables that are told apart."""

    GMT = "gmt"
    BMTF = "bmtf"
    OTHER = "other"


def table_kind(file: InputFile) -> TableKind | None:
    """Tell which look-up table a file holds; None if it holds none."""
    return file.once("look-up table", lambda: _table_kind(file.lines) if file.is_text else None)


def _table_kind(lines: list[str]) -> TableKind | None:
    """Recognize look-up tables: rows of one to three integers, the GMT's with a header among comments."""
    comments = [line for line in lines if line.startswith("#")]
    header = next((found for line in comments if (found := _HEADER.match(line))), None)
    if header is not None:
        text = " ".join(comments).lower()
        gmt = "microgmt" in text or ("extrapolation" in text and header[1].split()[1:] == ["12", "4"])
        return TableKind.GMT if gmt else TableKind.OTHER
    rows = [line.split() for line in lines if line.strip()]
    if not rows or not all(1 <= len(row) <= 3 and all(_is_integer(word) for word in row) for row in rows):
        return None
    first = [int(row[0]) for row in rows if len(row) > 1][:_ROWS]
    begins = bool(first) and first[0] < 0 and -first[0] & (-first[0] - 1) == 0
    rises = all(b - a == 1 for a, b in pairwise(first))
    return TableKind.BMTF if begins and rises else TableKind.OTHER


def _is_integer(word: str) -> bool:
    return word.removeprefix("-").isdigit()


class LookUpTableReader(FormatReader):
    """Describes look-up tables of one kind."""

    kind: TableKind
    streams = ()

    def detect(self, file: InputFile) -> bool:
        """Return whether the file holds a table of this kind."""
        return table_kind(file) is self.kind

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return comment, header, entries, and the range of each column."""
        with guarded(file.path, "not a look-up table"):
            text = file.text("not a look-up table", largest=_LARGEST, errors="replace")
            lines = [line.split("#")[0] for line in text.splitlines()]
            rows = [[int(word) for word in line.split()] for line in lines if line.strip()]
            if not rows:
                msg = f"{file.path}: a look-up table without a single entry"
                raise InputError(msg)
            width = max(map(len, rows))
            values = np.array([row for row in rows if len(row) == width], np.int64)
        header = re.search(r"^#\s*<header>(.*?)</header>", text, re.MULTILINE)
        comments = [line.strip("# \t") for line in text.splitlines() if line.startswith("#")]
        columns = [
            {"of": "entry", "name": f"column {k + 1}", "type": "integer",
             "low": int(c.min()), "high": int(c.max())}
            for k, c in enumerate(values.T)
        ]  # fmt: skip
        return {
            "comment": next((c for c in comments if c and "<header>" not in c), None),
            "header": header[1].strip() if header else None,
            "entries": len(values),
            "columns": columns,
        }
