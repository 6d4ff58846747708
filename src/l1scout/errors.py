"""The exceptions of l1scout, and text from files made safe to print.

All of them are `ScoutingError`: one ``except`` catches whatever l1scout raises about its input, its
files or its connections. What a program calls wrongly (an array of another length) is a `ValueError`
or `TypeError`, as everywhere in Python.
"""


class ScoutingError(Exception):
    """Base class of l1scout's own exceptions."""


class InputError(ScoutingError, ValueError):
    """Input that cannot be used: the command line prints its text as one line and exits 2.

    The text names the file or setting, the place in it and, where there is one, the way out.
    """


def printable(text: str, longest: int = 200) -> str:
    """Text from a file cut short and without control characters and broken bytes: it could be anything."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)
    return safe if len(safe) <= longest else safe[:longest] + "..."
