"""The page of formats follows from the tables."""

import subprocess
import sys
from pathlib import Path

from l1scout.formats.__main__ import LAYOUTS, markdown

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == markdown(), "run: python -m l1scout.formats > docs/formats.md"


def test_page_has_every_field():
    text = markdown()
    for layout in LAYOUTS:
        for f in layout.fields:
            assert f"| {f.name} | {f.start}:{f.width} |" in text


def test_command_prints_the_page():
    done = subprocess.run(
        [sys.executable, "-m", "l1scout.formats"], capture_output=True, text=True, check=True
    )
    assert done.stdout == markdown()
