"""Write the documentation of the wire formats from their tables: ``python -m l1scout.formats``."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.formats.raw import FILE_HEADER, ORBIT_HEADER
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.records import ORBIT, RECORD_HEADER
from l1scout.formats.streams.muon import MUON_2018, MUON_RUN3, MUON_RUN3_EXTRA
from l1scout.formats.wire_formats.run2 import BX_RUN2
from l1scout.formats.wire_formats.run3 import BX_RUN3

LAYOUTS = (MUON_2018, MUON_RUN3, MUON_RUN3_EXTRA, RECALIBRATED, ORBIT, BX_RUN2, BX_RUN3, RECORD_HEADER)
_INTRODUCTION = """\
# Wire formats

Made by `python -m l1scout.formats > docs/formats.md` from the tables that decode and encode the
words; change the tables, not this page.

Words are little-endian; a 64-bit word made of two 32-bit words has the first (f) in its low half.
`values` are the hardware's integers, two's complement where they begin below 0; `physics` is what
they mean. Phi is cyclic: 576 values are a full turn, wrapped to [-pi, pi). Bunch crossings are
numbered 1..3564.
"""


HEADERS = {"Header of a .raw file": FILE_HEADER, "Header of an orbit in a .raw file": ORBIT_HEADER}


def markdown() -> str:
    """Return the page, a table a layout."""
    headers = (_header(name, dtype) for name, dtype in HEADERS.items())
    return "\n".join([_INTRODUCTION, *(layout.markdown() for layout in LAYOUTS), *headers])


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
