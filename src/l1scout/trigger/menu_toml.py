"""Menus of one's own as TOML: algorithms in the short form, with their names.

``name`` of the menu, ``[signals]`` with the bits of external signals by name, and a table
``[[algorithm]]`` for each with ``name``, ``expression`` and, if it is not the next, ``index``.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l1scout.errors import InputError, printable
from l1scout.trigger.menu import Algorithm, Menu, checked_algorithms
from l1scout.trigger.short_form import GRAMMAR, parse_algorithm

_KEYS: dict[str, tuple[type, ...]] = {"name": (str,), "signals": (dict,), "algorithm": (list,)}
_ALGORITHM_KEYS: dict[str, tuple[type, ...]] = {"name": (str,), "expression": (str,), "index": (int,)}
_SIGNALS = 256


def read_menu_toml(data: bytes, path: Path, signals: Mapping[str, int] | None, signals_from: str) -> Menu:
    """Read a menu from TOML.

    Parameters
    ----------
    data : bytes
    path : Path
        For messages.
    signals : mapping of str to int, optional
        Bits of external signals, besides those that the file states.
    signals_from : str
        The file that states them.

    Raises
    ------
    InputError
        If it is not such a file, or an algorithm cannot be emulated exactly.
    """
    document = parse_toml(data, path)
    _check_keys(document, _KEYS, str(path))
    own = document.get("signals", {})
    for name, bit in own.items():
        if type(bit) is not int or not 0 <= bit < _SIGNALS:
            msg = f"{path}: signal {printable(name, 60)}: {printable(str(bit), 20)} is not one of 0..255"
            raise InputError(msg)
    known = Menu("", GRAMMAR, (), str(path), {**(signals or {}), **own})
    algorithms: list[Algorithm] = []
    for entry in document.get("algorithm", []):
        _check_keys(entry, _ALGORITHM_KEYS, f"{path}: algorithm {len(algorithms) + 1}")
        if not {"name", "expression"} <= entry.keys():
            msg = f"{path}: algorithm {len(algorithms) + 1} needs a name and an expression"
            raise InputError(msg)
        index = entry.get("index", algorithms[-1].index + 1 if algorithms else 0)
        try:
            algorithms.append(parse_algorithm(entry["expression"], entry["name"], index=index, menu=known))
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error
    checked = checked_algorithms(algorithms, str(path))
    name = document.get("name", path.name)
    return Menu(name, GRAMMAR, checked, str(path), known.signals, signals_from or (str(path) if own else ""))


def parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    """Return a TOML document (InputError if it is none)."""
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not valid TOML: {printable(str(error))}"
        raise InputError(msg) from error


def _check_keys(table: object, keys: Mapping[str, tuple[type, ...]], where: str) -> None:
    if not isinstance(table, dict):
        msg = f"{where} is not a table"
        raise InputError(msg)
    for key, value in table.items():
        if key not in keys:
            msg = f"{where}: {printable(key, 40)!r} is not one of {', '.join(keys)}"
            raise InputError(msg)
        if type(value) not in keys[key]:
            msg = f"{where}: {key} is not of the type {keys[key][0].__name__}"
            raise InputError(msg)
