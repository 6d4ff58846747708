"""The page of formats says what the tables say, and what a reader looks for."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import l1scout.formats
from l1scout.formats.__main__ import layouts, markdown
from l1scout.formats.layout import Layout
from l1scout.formats.stream import STREAMS
from l1scout.formats.wire_format import WIRE_FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"

ROWS = (
    "| hwPt | 10:9 | 0..511 | 0.5 x hw -0.5 GeV | 0 = no muon; 511 = overflow |",
    "| hwPhiAtVtx | 0:10 | 0..575 | 0.0109083 x hw rad |  |",
    "| hwEtaAtVtx | 23:9 | -256..255 | 0.010875 x hw | -256 stays -256 (CMSSW reads +256) |",
    "| hwCharge | 34:1 | 0..1 |  | 1 = negative |",
    "| hwChargeValid | 35:1 | 0..1 |  |  |",
    "| marker | 27:4 | 0..15 |  | 15 = intermediate muons, 0 = final |",
    "| n1 | 16:4 | 0..15 |  | muons from first slots, 0..8 |",
    "| fileSize | 24 | <u8 |",
    "| crc32c | 20 | <u4 |",
)
"""Written down by hand: bits, values and physics of a field of each kind, bytes and types of headers."""


def test_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == markdown(), "run: python -m l1scout.formats > docs/formats.md"


def test_page_says_what_a_reader_looks_for():
    lines = PAGE.read_text("utf-8").splitlines()
    assert [row for row in ROWS if row not in lines] == []


def test_page_has_every_layout():
    names = [m.name for m in pkgutil.walk_packages(l1scout.formats.__path__, "l1scout.formats.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    defined = {v.name for m in modules for v in vars(m).values() if isinstance(v, Layout)}
    assert defined == {layout.name for layout in layouts()}


def test_page_has_every_registered_stream_and_format():
    text = PAGE.read_text("utf-8")
    for kind, parts in (("Stream", STREAMS), ("Wire format", WIRE_FORMATS)):
        for name, part in parts.items():
            assert f"\n# {kind} {name}: {part.title}\n" in text


def test_command_prints_the_page():
    done = subprocess.run(
        [sys.executable, "-m", "l1scout.formats"], capture_output=True, text=True, check=True
    )
    assert done.stdout == PAGE.read_text("utf-8")
