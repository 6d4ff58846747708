"""Write the reference of all analyses, options and results, as Markdown: from the analyses themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from typing import Any

from l1scout.analysis._analysis import ANALYSES, Analysis, own_options
from l1scout.analysis._schema import COMMON, result_schema

MARKER = "<!-- What follows is written by `make docs` from the analyses. -->\n"
_SCHEME = {
    "needed": "a filling scheme",
    "optional": "a filling scheme, if it is known",
    "found": "no filling scheme (it is found in the data and recorded)",
    "none": "no filling scheme",
}


def reference() -> str:
    """Return the reference of all analyses."""
    return "".join(f"{line}\n" for line in _lines())


def with_reference(text: str) -> str:
    """Return a page with the reference after its `MARKER` brought up to date, or added."""
    return text.partition(MARKER)[0].rstrip("\n") + f"\n\n{MARKER}{reference()}"


def _lines() -> Iterator[str]:
    yield "## Options and results"
    yield ""
    yield "Every result has these keys, too; `l1scout analyse NAME --schema` prints the JSON schema."
    yield ""
    yield from _table(
        ("key", "type", "meaning"), [(f"`{n}`", p["type"], p["description"]) for n, p in COMMON.items()]
    )
    for name in ANALYSES:
        yield ""
        yield f"### `{name}`"
        yield ANALYSES.describe(name)
        yield ""
        yield from _analysis(ANALYSES[name])


def _analysis(analysis: type[Analysis[Any]]) -> Iterator[str]:
    needs = analysis.needs
    orbits = ", and data that say how many orbits were seen" if needs.counted_orbits else ""
    columns = f"; columns {', '.join(f'`{c}`' for c in needs.columns)}" if needs.columns else ""
    yield f"*Needs:* {_SCHEME[needs.scheme]}{orbits}{columns}."
    rows = []
    for own in own_options(analysis):
        default = own.field.default
        shown = "required" if default is MISSING else "" if default in (None, (), False) else f"`{default}`"
        flag = own.about.flag.replace(",", "`, `") or own.flag
        rows.append((f"`{flag}`", shown, own.about.help))
    if rows:
        yield ""
        yield from _table(("option", "default", "meaning"), rows)
    schema = result_schema(analysis)
    parts: dict[str, Any] = schema.get("$defs", {})
    yield ""
    yield from _table(("result", "type", "meaning"), list(_keys(schema, parts)))


def _keys(schema: dict[str, Any], parts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, type and meaning of each value, those within tables and objects after them."""
    required = schema.get("required", ())
    for name, value in schema.get("properties", {}).items():
        kind, inner = _type(value, parts)
        meaning = value.get("description") or (inner or {}).get("description", "").partition("\n")[0]
        optional = "" if name in required or prefix else " (not always there)"
        yield f"{prefix}`{name}`", kind, f"{meaning}{optional}".replace("|", "\\|").strip()
        if inner is not None and set(inner["properties"]) - {"value", "error", "low", "high"}:
            yield from _keys(inner, parts, f"{prefix}`{name}` / ")


def _type(value: dict[str, Any], parts: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Return the name of a type, and the object that it is or whose rows it has."""
    if "anyOf" in value:
        value = next(v for v in value["anyOf"] if v.get("type") != "null")
    if "$ref" in value:
        inner = parts[value["$ref"].rpartition("/")[2]]
        names = list(inner["properties"])
        plain = not set(names) - {"value", "error", "low", "high"}
        return ", ".join(f"`{n}`" for n in names) if plain else "object", inner
    if value.get("type") == "array":
        kind, inner = _type(value.get("items", {}), parts)
        return ("table" if inner else f"list of {kind}"), inner
    return value.get("type", "value"), None


def _table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
