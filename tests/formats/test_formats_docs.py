"""The page of formats follows from the tables."""

import subprocess
import sys
from pathlib import Path

from l1scout.formats.__main__ import layouts, markdown
from l1scout.formats.stream import STREAMS
from l1scout.formats.wire_format import WIRE_FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == markdown(), "run: python -m l1scout.formats > docs/formats.md"


def test_page_has_every_field():
    text = markdown()
    for layout in layouts():
        assert text.count(f"## {layout.name}\n") == 1
        for f in layout.fields:
            assert f"| {f.name} | {f.start}:{f.width} |" in text


def test_page_has_every_registered_stream_and_format():
    text = markdown()
    for kind, parts in (("Stream", STREAMS), ("Wire format", WIRE_FORMATS)):
        for name, part in parts.items():
            assert f"# {kind} {name}: {part.title}\n" in text


def test_command_prints_the_page():
    done = subprocess.run(
        [sys.executable, "-m", "l1scout.formats"], capture_output=True, text=True, check=True
    )
    assert done.stdout == markdown()
