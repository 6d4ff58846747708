"""The exceptions of l1scout, and text from files made safe to print.

All of them are `ScoutingError`: one ``except`` catches whatever l1scout raises about its input, its
files or its connections. What a program calls wrongly (an array of another length) is a `ValueError`
or `TypeError`, as everywhere in Python.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class ScoutingError(Exception):
    """Base class of l1scout's own exceptions."""


class InputError(ScoutingError, ValueError):
    """Input that cannot be used: the command line prints its text as one line and exits 2.

    The text names the file or setting, the place in it and, where there is one, the way out.
    """


class ScoutingWarning(UserWarning):
    """Something that is left out, and the rest goes on: the command line prints its text as one line."""


def printable(text: str, longest: int = 200) -> str:
    """Text from a file cut short and without control characters and broken bytes: it could be anything."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)
    return safe if len(safe) <= longest else safe[:longest] + "..."


def first_fault(error: "ValidationError") -> str:
    """Describe the first fault of a document that does not fit its pydantic model: where, what, why."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(map(str, fault["loc"]))
    value = f" = {printable(str(fault['input']), 40)!r}" if where and fault["type"] != "missing" else ""
    what = fault["msg"].removeprefix("Value error, ")
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        what = "unknown field"
    return f"{printable(where)}{value}: {what[0].lower()}{what[1:]}".removeprefix(": ")
