"""Write the documentation of streams and wire formats from their tables: ``python -m l1scout.formats``."""

import inspect
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.formats.layout import Layout
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.stream import STREAMS, Stream
from l1scout.formats.wire_format import WIRE_FORMATS

_INTRODUCTION = """\
# Streams and wire formats

Made by `python -m l1scout.formats > docs/formats.md` from the registered streams and wire formats, whose
tables decode and encode the words; change the tables, not this page.

Words are little-endian; a 64-bit word made of two 32-bit words has the first (f) in its low half.
`values` are the hardware's integers, two's complement where they begin below 0; `physics` is what
they mean. Phi is cyclic: 576 values of a muon's are a full turn, wrapped to [-pi, pi). Bunch crossings are
numbered 1..3564, as CMS does; BX words of Run 2 and Run 3 are kept as they are, and have a BX 0 if they count
from 0 (see [the decision](decisions/0015-bx-and-orbits-as-the-data-have-them.md)).

"""


def layouts() -> list[Layout]:
    """Return the layouts of all registered streams and wire formats, and of l1scout's own words."""
    of_streams = [layout for s in STREAMS.values() for era in s.layouts.values() for layout in era]
    of_formats = [layout for form in WIRE_FORMATS.values() for layout in form.layouts]
    return list(dict.fromkeys([*of_streams, *of_formats, RECALIBRATED]))


def markdown() -> str:
    """Return the page: a section per stream and wire format, with a table per layout and header."""
    return _INTRODUCTION + "\n".join(part for part in _parts() if part)


def _parts() -> Iterator[str]:
    shown: set[Layout] = set()
    titles: set[str] = set()
    bases: set[type] = set()
    for name, stream in STREAMS.items():
        ids = ", ".join(map(str, stream.source_ids)) or "none published"
        yield f"# Stream {name}: {stream.title}\n"
        absent = f" No object where {stream.absent}." if stream.absent else ""
        yield f"Source ids in .raw files: {ids}.{absent}\n"
        yield _explained(stream)
        for base in type(stream).__mro__[1:]:
            if issubclass(base, Stream) and base is not Stream and base not in bases:
                bases.add(base)
                yield _explained(base)
        for era in stream.layouts.values():
            yield from _new(era, shown)
        for title, dtype in stream.records.items():
            if title not in titles:
                titles.add(title)
                yield _header(title, dtype)
    for name, form in WIRE_FORMATS.items():
        empty = "shows" if form.reports_empty_orbits else "does not show"
        yield f"# Wire format {name}: {form.title}\n"
        yield f"Streams: {', '.join(form.streams)}. It {empty} empty orbits; segments are .{form.suffix}.\n"
        yield _explained(form)
        yield from _new(form.layouts, shown)
        yield from (_header(title, dtype) for title, dtype in form.headers.items())
    yield "# l1scout's own words\n"
    yield RECALIBRATED.markdown()


def _explained(part: object) -> str:
    """Return the docstring of the part's module, in which `x` is code and indented lines are a list."""
    module = inspect.getmodule(part if isinstance(part, type) else type(part))
    return inspect.cleandoc(module.__doc__ or "") + "\n"


def _new(group: tuple[Layout, ...], shown: set[Layout]) -> Iterator[str]:
    """Yield the tables of layouts that the page does not have yet."""
    for layout in group:
        if layout not in shown:
            shown.add(layout)
            yield layout.markdown()


def _header(name: str, dtype: np.dtype[Any]) -> str:
    lines = [f"## {name}", "", f"{dtype.itemsize} bytes.", "", "| field | byte | type |", "|---|---|---|"]
    for field, (kind, offset) in ((n, f[:2]) for n, f in (dtype.fields or {}).items()):
        base, shape = kind.subdtype or (kind, ())
        times = f"{math.prod(shape)} x " if shape else ""
        named = "object" if base.fields else base.str.replace("|", "")
        lines.append(f"| {field} | {offset} | {times}{named} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(markdown(), "utf-8")
    else:
        sys.stdout.write(markdown())
