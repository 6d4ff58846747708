"""Write the documentation of the wire formats from their tables: ``python -m l1scout.formats``."""

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from l1scout import formats
from l1scout.formats.layout import Layout
from l1scout.formats.raw import FILE_HEADER, ORBIT_HEADER

_INTRODUCTION = """\
# Wire formats

Made by `python -m l1scout.formats > docs/formats.md` from the tables that decode and encode the
words; change the tables, not this page.

Words are little-endian; a 64-bit word made of two 32-bit words has the first (f) in its low half.
`values` are the hardware's integers, two's complement where they begin below 0; `physics` is what
they mean. The phi of a muon is cyclic: 576 values are a full turn, wrapped to [-pi, pi). Crossings are
numbered 1..3564.
"""


HEADERS = {"Header of a .raw file": FILE_HEADER, "Header of an orbit in a .raw file": ORBIT_HEADER}


def layouts() -> list[Layout]:
    """Return every layout that a module of `l1scout.formats` defines, in the order of their names."""
    names = [m.name for m in pkgutil.walk_packages(formats.__path__, "l1scout.formats.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {v.name: v for m in modules for v in vars(m).values() if isinstance(v, Layout)}
    return [found[name] for name in sorted(found)]


def markdown() -> str:
    """Return the page: a table per layout, then those of the headers."""
    headers = (_header(name, dtype) for name, dtype in HEADERS.items())
    return "\n".join([_INTRODUCTION, *(layout.markdown() for layout in layouts()), *headers])


def _header(name: str, dtype: np.dtype[Any]) -> str:
    lines = [f"## {name}", "", f"{dtype.itemsize} bytes.", "", "| field | byte | type |", "|---|---|---|"]
    for field, (kind, offset) in ((n, f[:2]) for n, f in (dtype.fields or {}).items()):
        lines.append(f"| {field} | {offset} | {kind.str.replace('|', '')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(markdown(), "utf-8")
    else:
        sys.stdout.write(markdown())
