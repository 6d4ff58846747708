"""The page of formats says what the tables say, and what a reader looks for."""

import subprocess
import sys
from pathlib import Path

from l1scout.formats.__main__ import markdown

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
    titles = [line.removeprefix("## ") for line in PAGE.read_text("utf-8").splitlines() if line[:3] == "## "]
    assert len(titles) == len(set(titles))
    assert set(titles) >= {
        "GMT muon, 2017/18",
        "GMT muon, Run 3",
        "BX word of a link, Run 2",
        "Calorimeter jet, Run 3",
        "Puppi candidate, charged",
        "Header of a Phase-2 event (native64)",
        "Recalibrated muon",
        "Header of a .raw file",
    }


def test_command_prints_the_page():
    done = subprocess.run(
        [sys.executable, "-m", "l1scout.formats"], capture_output=True, text=True, check=True
    )
    assert done.stdout == PAGE.read_text("utf-8")
