"""The processes that run control starts: without the command line, and with its settings only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chain import PATIENCE_S
from l1scout.control.child import REFUSED
from l1scout.control.schemas import schemas
from l1scout.control.services import StatusFile
from l1scout.readout.status import STATUSES, BoardStatus
from l1scout.settings import Settings, as_toml
from live_packets import board_status

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas" / "chain.json"


def run(*code: str, keep: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *code]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, pass_fds=keep)


def test_neither_run_control_nor_its_processes_import_the_command_line():
    code = """
import sys
import l1scout.control.child, l1scout.control.supervisor
import l1scout.readout.readout, l1scout.store.store, l1scout.simulate.live_board
print([m for m in sys.modules if m.startswith("l1scout.cli") or m == "typer"])
"""
    assert run("-c", code).stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        (
            "board",
            "board.simulate=0",
            "[board]: set either packets (a file) or simulate (a number of orbits)",
        ),
        ("readout", "readout.listen=nowhere", "nowhere: host:port expected"),
        ("store", "store.level=x", "--set: store.level = 'x': input should be a valid integer"),
    ],
)
def test_a_process_that_cannot_work_says_why_in_its_last_line(tmp_path, name, changed, reason):
    settings = tmp_path / "settings.toml"
    settings.write_text(as_toml(Settings()))
    end, hold = os.pipe()
    log = tmp_path / "process.log"
    where = (str(end), name, str(settings), f"{tmp_path}/status.json", str(log))
    done = run("-m", "l1scout.control.child", *where, f"readout.spool={tmp_path}/spool", changed, keep=(end,))
    os.close(end)
    os.close(hold)
    assert done.returncode == REFUSED
    assert log.read_text().splitlines()[-1].startswith(f"l1scout: {reason}")


def test_a_status_file_holds_a_status_of_its_kind(tmp_path):
    shown = []
    write = StatusFile(tmp_path / "board.json", shown.append)
    write(board_status(run=3, state="running", delivered=5, dropped=0))
    write(board_status(run=3, state="running", delivered=6, dropped=0))  # too soon after
    write(board_status(run=3, state="idle", delivered=7, dropped=0))
    assert [s.delivered for s in shown] == [5, 7]
    status = BoardStatus.model_validate_json((tmp_path / "board.json").read_bytes())
    assert status == shown[-1]


@pytest.mark.parametrize("name", STATUSES)
def test_statuses_of_other_versions_are_not_read(name):
    status = board_status(run=3, state="idle", delivered=1, dropped=0).model_dump() | {"version": 2}
    with pytest.raises(ValueError, match="version"):
        STATUSES[name].model_validate(status)


def test_published_schemas_are_up_to_date():
    assert json.loads(SCHEMAS.read_text()) == schemas(), "run: make docs"
