"""The source tree: one name per module and class, short files and functions, HTML only in templates."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import l1scout

ROOT = Path(l1scout.__file__).parent
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

PARTS = (
    *("formats/streams/", "simulate/streams/", "formats/wire_formats/", "io/readers/", "io/writers/"),
    *("deploy/engines/", "analysis/menu.py"),
)
"""Packages of which a module has the name of its part, such as the reader ``raw``, by rule."""
LONG_FUNCTIONS = {
    "simulate/transport.py _transport": "a compiled kernel: one loop over steps of a track",
}
"""Functions with more code than `MAX_FUNCTION_LINES`, and why."""


@cache
def trees() -> dict[str, ast.Module]:
    """Return every source file, parsed, by its path in the package."""
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text("utf-8")) for p in sorted(ROOT.rglob("*.py"))}


def repeated(names: dict[str, list[str]]) -> set[str]:
    return {name for name, places in names.items() if len(places) > 1}


def test_modules_outside_the_command_line_have_unique_names():
    places = defaultdict(list)
    for path in trees():
        stem = Path(path).stem
        if not stem.startswith("__") and not path.startswith(("cli/", *PARTS)):
            places[stem].append(path)
    assert not repeated(places), {n: places[n] for n in repeated(places)}


def test_classes_have_unique_names():
    places = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert not repeated(places), {n: places[n] for n in repeated(places)}


def test_every_folder_is_a_package():
    """import-linter does not see the modules of a folder without ``__init__.py``."""
    folders = {Path(path).parent for path in trees()}
    assert not [str(folder) for folder in folders if str(folder / "__init__.py") not in trees()]


def test_no_file_is_long():
    lines = {path: len((ROOT / path).read_text("utf-8").splitlines()) for path in trees()}
    assert not {path: n for path, n in lines.items() if n > MAX_FILE_LINES}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's code: not those of its signature, its docstring and its imports."""
    code = function.body[1:] if ast.get_docstring(function) else function.body
    code = [node for node in code if not isinstance(node, ast.Import | ast.ImportFrom)]
    return (code[-1].end_lineno or 0) - code[0].lineno + 1 if code else 0


def test_long_functions_are_listed_with_a_reason():
    long = {
        f"{path} {node.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > MAX_FUNCTION_LINES
    }
    assert long == set(LONG_FUNCTIONS)


def test_html_is_written_in_templates_only():
    tag = re.compile(r"</(a|p|h\d|li|ul|t[dhr]|table|div|span|body|html)>")
    found = [
        (path, node.value)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and tag.search(node.value)
    ]
    assert found == []
