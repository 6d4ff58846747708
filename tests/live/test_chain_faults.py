"""Everything that can go wrong in the chain: what is lost is counted, the rest is there, and it is said.

The table in docs/faults.md is made from the rows that run here: ``python tests/live/test_chain_faults.py``.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # to be run as a script too

from live.fault_table import FAULTS, Fault, page, run_on_chain, says
from live.rows import access, data, disks, network, processes, stops, stores  # noqa: F401

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.mark.parametrize("row", FAULTS, ids=[row.test_id for row in FAULTS])
def test_fault(row: Fault, tmp_path: Path) -> None:
    if row.mounts and os.geteuid():
        pytest.skip("only root can mount a small disk")
    said = run_on_chain(row, tmp_path) if row.on_chain else row.hurt(tmp_path) or ""
    assert says(said, row.message), said


def test_rows_are_many_and_different() -> None:
    assert len({(row.name, row.stage) for row in FAULTS}) == len(FAULTS) >= 40


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python tests/live/test_chain_faults.py > docs/faults.md"


if __name__ == "__main__":
    print(page(), end="")
