"""Read and write JSON files that state their format and version; pydantic checks their content.

A document is a pydantic dataclass with the fields ``format`` and ``version``, both of one possible value. Its
JSON schema (`json_schema`) is published in ``docs/schemas``.
"""

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from l1scout.errors import InputError, printable
from l1scout.files import read_limited

CLOSED = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""Configuration of a document's dataclasses: unknown keys are errors."""
T = TypeVar("T")


def read_document(path: Path, kind: type[T], *, max_bytes: int, hint: str) -> T:
    """Read and check a JSON document.

    Parameters
    ----------
    path : Path
    kind : type
        Pydantic dataclass of the document.
    max_bytes : int
        Largest accepted size of the file; nothing of a larger one is read.
    hint : str
        What to do about a file that is missing or damaged, for messages.

    Raises
    ------
    InputError
        If the file cannot be read, is not JSON, is of another format or version, or its content is not valid.
    """
    return parse_document(read_limited(path, max_bytes, hint), kind, str(path), hint=hint)


def parse_document(text: bytes, kind: type[T], name: str, *, hint: str) -> T:
    """Check the JSON text of a document; `name` says in messages what it is. See `read_document`."""
    try:
        content = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        msg = f"{name}: not JSON ({printable(str(error))}); {hint}"
        raise InputError(msg) from error
    wanted = {f.name: f.default for f in fields(kind) if f.name in ("format", "version")}  # type: ignore[arg-type]
    found = {n: content.get(n) if isinstance(content, dict) else None for n in wanted}
    if found != wanted or type(found["version"]) is bool:
        said = f"format {found['format']!r}, version {found['version']!r}"
        expected = f"{wanted['format']!r}, version {wanted['version']}"
        msg = f"{name}: has {printable(said)}, but this program reads {expected}; {hint}"
        raise InputError(msg)
    try:
        document: T = _adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        msg = f"{name}: not a valid {wanted['format']}: {explain(error)}; {hint}"
        raise InputError(msg) from error
    return document


def write_document(document: Any, *, indent: int | None = None) -> bytes:
    """Return a document as JSON, ending in a newline; entries that are None are left out."""
    adapter = _adapter(type(document))  # type: ignore[arg-type]
    return adapter.dump_json(document, indent=indent, exclude_none=True) + b"\n"


def json_schema(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a document."""
    schema = _adapter(kind).json_schema()
    schema["required"] += ["format", "version"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def explain(error: ValidationError) -> str:
    """Return the first problem that pydantic found, as ``place: problem``."""
    first = error.errors(include_url=False, include_input=False)[0]
    place, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return printable(f"{place}: {problem}" if place else problem)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
