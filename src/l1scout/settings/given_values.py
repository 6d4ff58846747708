"""Settings as given in a file, in the environment and as options, and descriptions of what is wrong there."""

import difflib
import json
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from l1scout.errors import InputError

PREFIX = "L1SCOUT_"
SOURCE_SECTIONS = ("board", "readout")
"""Sections that each source may have of its own."""

Values = dict[str, Any]
Sections = Mapping[str, type[BaseModel]]
_SOURCE_VARIABLE = re.compile(rf"{PREFIX}SOURCES_([A-Z0-9]+)_({'|'.join(SOURCE_SECTIONS).upper()})_(\w+)")


def file(path: Path) -> Values:
    """Return what a TOML file sets (InputError if it cannot be read)."""
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
        mode = path.stat().st_mode
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error
    except ValueError as error:
        msg = f"{path}: invalid TOML ({error})"
        raise InputError(msg) from error
    access = values.get("access")
    if isinstance(access, dict) and access.get("token") and mode & stat.S_IROTH:
        msg = f"{path}: everybody on this machine can read the token in it: chmod 600, or 640 for a group"
        raise InputError(msg)
    return values


def variables(environment: Mapping[str, str], sections: Sections) -> Values:
    """Return what variables of the environment set (InputError if one of ours is no setting)."""
    known = {_variable(s, name): (s, name) for s, model in sections.items() for name in model.model_fields}
    values: Values = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        place: tuple[str, ...] | None = known.get(variable)
        if place is None and (found := _SOURCE_VARIABLE.fullmatch(variable)):
            source, section, name = (part.lower() for part in found.groups())
            if name in sections[section].model_fields:
                place = ("sources", source, section, name)
        if place is None:
            msg = f"environment: {variable} is unknown{nearest(variable, known)}"
            raise InputError(msg)
        _put(values, place, value)
    return values


def _put(values: Values, place: Iterable[str], value: str) -> None:
    """Put a value into tables in tables, which are made."""
    *tables, name = place
    for table in tables:
        values = values.setdefault(table, {})
    values[name] = value


def options(over: Iterable[str], sections: Sections) -> Values:
    """Return what texts such as ``readout.listen=host:port`` set (InputError if one is not of this form)."""
    values: Values = {}
    for text in over:
        name, equals, value = text.partition("=")
        place = name.strip().split(".")
        if not equals or len(place) != (4 if place[0] == "sources" else 2):
            shown = re.match(r"[a-z_.]{0,40}", name)  # nothing of a value, which may be a secret
            msg = f"--set {shown and shown[0]}: section.name=value expected, such as readout.wire_format=run2"
            raise InputError(msg)
        section = place[-2]
        field = sections[section].model_fields.get(place[-1]) if section in sections else None
        if field is not None and not field.repr:
            msg = (
                f"--set {'.'.join(place)}: everybody on this machine can read it on the command line; "
                f"put it in the environment ({_variable(*place)}) or in the settings file"
            )
            raise InputError(msg)
        _put(values, place, value)
    return values


def _variable(*place: str) -> str:
    return f"{PREFIX}{'_'.join(place)}".upper()


def describe(fault: Any, given: Mapping[str, Values], sections: Sections) -> str:
    """Describe a fault that pydantic found: where the value was given, what is wrong, the nearest known name.

    Empty if the value was not given there: a source has inherited it, and the fault has been described.
    """
    place, why = (
        [str(key) for key in fault["loc"] if key != "[key]"],
        fault["msg"].removeprefix("Value error, "),
    )
    origins = [origin for origin, values in given.items() if _holds(values, place)]
    if not place:
        return f"settings: {why}"
    if not origins:
        return ""
    origin, name = origins[0], ".".join(place)
    if fault["loc"][-1] == "[key]":
        return f"{origin}: [{name}] cannot be the name of a source: small letters and digits are"
    section = place[2] if place[0] == "sources" and len(place) > 2 else place[0]
    shown = _variable(*place) if origin == "environment" else name
    is_section = len(place) == (3 if place[0] == "sources" else 1)
    if fault["type"] == "extra_forbidden":
        if is_section:
            return (
                f"{origin}: [{name}] is unknown{nearest(section, SOURCE_SECTIONS if place[1:] else sections)}"
            )
        others = (f"{s}.{n}" for s, model in sections.items() for n in model.model_fields if n == place[-1])
        known = sections[section].model_fields
        return f"{origin}: {name} is unknown{nearest(place[-1], known, next(others, ''))}"
    if fault["type"] == "value_error":
        return f"{origin}: {'' if is_section else f'{shown}: '}{why}"
    if is_section or (len(place) < 3 and place[0] == "sources"):
        return f"{origin}: {name} is a table: [{name}]"
    value = f" = {str(fault['input'])[:40]!r}" if sections[section].model_fields[place[-1]].repr else ""
    return f"{origin}: {shown}{value}: {why.lower()}"


def _holds(values: Any, place: Sequence[str]) -> bool:
    for key in place:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


def put_over(below: Any, over: Any) -> Any:
    """Put tables over others, table by table."""
    if not isinstance(below, Mapping) or not isinstance(over, Mapping):
        return over
    return {**below, **{name: put_over(below.get(name), value) for name, value in over.items()}}


def nearest(name: str, known: Iterable[str], meant: str = "") -> str:
    """Ask whether the nearest of the known names was meant; if none is near, list them if they are few."""
    names = list(known)
    meant = meant or next(iter(difflib.get_close_matches(name, names, 1, 0.5)), "")
    if meant:
        return f"; did you mean {meant}?"
    return f"; known are {', '.join(names)}" if 0 < len(names) < 9 else ""


def toml_value(value: Any) -> str:
    """Write a value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
