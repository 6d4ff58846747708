"""Names and paths in the documentation, in docstrings and in comments are those of the source tree."""

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/l1scout"
PACKAGES = sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists())
CODE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r"^ *from (l1scout[\w.]*) import ([\w, ]+)$", re.MULTILINE)
QUOTED = re.compile(r"`+([^`]+)`+")
FILE = re.compile(r"(?<![\w./*-])(?:[\w-]+/)+[\w-]+\.(?:py|md|json|v|svg)\b")
DOTTED = re.compile(rf"(?<![\w./-])(?:l1scout\.)?(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z]\w*)+(?![\w/])")
NOT_MODULES = (".log", ".sock", ".toml", ".json", ".parquet", ".root", ".raw", ".onnx", ".keras", ".table")
SETTINGS = re.compile(r"(board|readout|store)\.[a-z_]+$")


def strings(path: Path) -> str:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return "\n".join(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


def pages() -> list[Path]:
    return [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]


def quoted() -> list[tuple[str, str]]:
    """Return what stands between backticks, blocks of code apart, and in which file."""
    texts = {path: CODE.sub("", path.read_text("utf-8")) for path in pages()}
    texts |= {path: strings(path) for path in sorted(SOURCE.rglob("*.py"))}
    return [(str(path.relative_to(ROOT)), q) for path, text in texts.items() for q in QUOTED.findall(text)]


def exists(name: str) -> bool:
    """Return whether a dotted name is a module of l1scout, or something in one."""
    parts = name.removeprefix("l1scout.").split(".")
    for n in range(len(parts), -1, -1):
        module = ".".join(["l1scout", *parts[:n]])
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            continue
        if found:
            value = import_module(module)
            for attribute in parts[n:]:
                fields = getattr(value, "__annotations__", {})
                if not hasattr(value, attribute) and attribute not in fields:
                    return False
                value = getattr(value, attribute, None)
            return True
    return False


def test_dotted_names_exist():
    missing = {
        (page, name)
        for page, text in quoted()
        for name in DOTTED.findall(text)
        if not name.endswith(NOT_MODULES) and not SETTINGS.match(name) and not exists(name)
    }
    assert not missing


def test_files_exist():
    places = (ROOT, SOURCE, ROOT / "docs", ROOT / "tests")
    missing = {
        (page, path)
        for page, text in quoted()
        for path in FILE.findall(text)
        if not any((place / path).exists() for place in places) and not path.startswith(("model/", "shared/"))
    }
    assert not missing


def test_imports_in_examples_exist():
    imports = [found for path in pages() for found in IMPORT.findall(path.read_text("utf-8"))]
    names = {f"{module}.{name.strip()}" for module, names in imports for name in names.split(",")}
    assert len(names) > 5
    assert {name for name in names if not exists(name)} == set()


@pytest.mark.parametrize(
    ("name", "there"),
    [("core.orbit_batch.OrbitBatch.cut", True), ("core.orbit_batch.no_such_name", False), ("io.gone", False)],
)
def test_the_search_tells_names_that_exist(name, there):
    assert exists(name) == there
