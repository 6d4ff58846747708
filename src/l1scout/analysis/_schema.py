"""Describe results of analyses: types of their JSON, from which the published JSON schema comes."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from l1scout.analysis._analysis import Analysis

VERSION = 1
"""Of the JSON of all analyses; it grows when a key is renamed, removed or gets another meaning."""
Number = float | None
"""Null where the number is not known."""


@dataclass(frozen=True)
class Doc:
    """Says what a value is, in the annotation of its type: ``Annotated[float, Doc("live time")]``."""

    text: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Add the text to the JSON schema."""
        return {**handler(core), "description": self.text}


class Part:
    """Base of dataclasses that describe a JSON object: it has their fields and no others."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}


@dataclass(kw_only=True)
class Value(Part):
    """A number and its statistical uncertainty."""

    value: Number = None
    error: Number = None


@dataclass(kw_only=True)
class Fraction(Part):
    """A fraction and its interval of 68 % confidence."""

    value: Number
    low: Number
    high: Number


COMMON: dict[str, dict[str, Any]] = {
    "analysis": {"type": "string", "description": "name of the analysis"},
    "origin": {"type": "string", "description": "simulation, data, or data of unstated origin"},
    "warnings": {"type": "array", "items": {"type": "string"}, "description": "what to know about the data"},
    "read": {"type": "string", "description": "what was read, in words"},
    "data_quality": {"type": "object", "description": "counts of damaged, duplicate and repeated data"},
    "provenance": {"type": "object", "description": "program, command, inputs, options, scheme, model"},
}
"""Keys that every analysis has."""


def result_schema(analysis: "type[Analysis[Any]]") -> dict[str, Any]:
    """Return the JSON schema of what an analysis itself finds."""
    from pydantic import TypeAdapter

    found: dict[str, Any] = TypeAdapter(analysis.schema).json_schema()
    return found


def json_schema(name: str, analysis: "type[Analysis[Any]]") -> dict[str, Any]:
    """Return the JSON schema of ``NAME.json``, and of what ``l1scout analyse NAME --json`` prints."""
    found = result_schema(analysis)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"l1scout analyse {name}",
        "description": f"Result of an analysis, version {VERSION}; numbers that are not known are null.",
        **{n: v for n, v in found.items() if n not in ("title", "description")},
        "properties": COMMON | found.get("properties", {}),
        "required": ["analysis", "origin", *found.get("required", []), "provenance"],
    }


def schema_text(name: str, analysis: "type[Analysis[Any]]") -> str:
    """Return the JSON schema as text."""
    return json.dumps(json_schema(name, analysis), indent=1, ensure_ascii=False)
