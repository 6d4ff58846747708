"""What an operator is told: alarms of processes and of run control, once each; forecasts; losses."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from l1scout.control.chain_alarms import SILENT_S, Alarms
from l1scout.control.chain_processes import ChainProcesses
from l1scout.control.messages import ChainStatus, finding
from l1scout.control.overview import overview
from l1scout.control.status_table import table
from l1scout.readout.status import ReadoutStatus, StoreStatus
from l1scout.settings import read_settings
from live_packets import board_status

COUNTS = dict.fromkeys(
    ("packets", "bytes_in", "bytes_out", "orbits", "corrupt", "missed", "duplicate", "dropped", "flagged",
     "corrupt_bytes", "real_time_factor", "spool_segments", "spool_bytes", "spool_limit", "waited_s", "sent",
     "sent_bytes", "refused", "last_orbit"), 0
)  # fmt: skip
STORE = dict.fromkeys(
    ("segments", "bytes_in", "again", "compressed", "uncompressed", "compressed_in", "compressed_out",
     "damaged"), 0
)  # fmt: skip


def readout(seconds: float, **values: object) -> ReadoutStatus:
    fixed = {"state": "running", "run": 7, "data": "unknown", "objects": {}, "store_connected": True}
    return ReadoutStatus(**{**fixed, **COUNTS, "seconds": seconds, **values})


def store(seconds: float, **values: object) -> StoreStatus:
    fixed = {"state": "running", "warnings": [], "disk_free": 10**12}
    return StoreStatus(**{**fixed, **STORE, "seconds": seconds, **values})


@pytest.fixture
def chain(tmp_path):
    """A chain of two sources whose processes are not started: tests say what they report."""
    over = [
        "sources.gmt.board.simulate=10",
        "sources.calo.readout.source=2",
        "sources.calo.readout.listen=127.0.0.1:7411",
        "store.reserve_bytes=0",
    ]
    settings = read_settings(None, {}, over)
    processes = ChainProcesses(settings, tmp_path, {}, 0)
    lines: list[tuple[str, str, str]] = []

    def log(event: str, level: str = "info", **values: str) -> None:
        lines.append((level, event, values["what"]))

    alarms = Alarms(processes, log)
    gmt, calo = processes.sources
    yield SimpleNamespace(
        processes=processes, settings=settings, alarms=alarms, lines=lines, gmt=gmt, calo=calo,
        update=lambda now: alarms.update(now, overview(processes, settings)),
    )  # fmt: skip
    processes.close()


def report(process, *statuses) -> None:
    for status in statuses:
        process.last = status
        process._seen.append(status)


def test_an_alarm_is_logged_once_when_it_appears_and_once_when_it_ends(chain):
    for now, alarms in enumerate([[], ["disk full: 12 bytes"], ["disk full: 3 bytes"], []]):
        report(chain.processes.store, store(now, alarms=alarms))
        chain.update(now)
        assert chain.alarms.up == [f"store: {text}" for text in alarms]
    assert chain.lines == [
        ("error", "alarm", "store: disk full: 12 bytes"),
        ("info", "alarm has ended", "store: disk full: 3 bytes"),
    ]


def test_why_a_process_refuses_is_not_logged_again_as_its_alarm(chain):
    board, why = chain.gmt.board, "8 orbits were not sent"
    board.refusal = why
    report(board, board_status(state="draining", run=7, delivered=8, dropped=0, alarms=[why]))
    chain.update(0)
    assert chain.alarms.up == [f"board.gmt: {why}"]
    assert chain.lines == []


def test_losses_are_an_alarm_while_they_grow_and_stay_in_the_finding(chain):
    for now, missed in [(0, 0), (1, 20), (2, 20), (30, 20)]:
        report(chain.calo.readout, readout(now, missed=missed))
        chain.update(now)
        assert chain.alarms.up == (["orbits: missed 20 more in the last 10 s"] if now in (1, 2) else [])
    assert finding(status_of(chain)) == "run 7: orbits lost: 20 missed"


def test_run_control_sees_deaths_threads_and_silence(chain):
    board = chain.gmt.board
    board.restarts = board.lives = 2
    report(chain.gmt.readout, readout(0, dead_threads=["sender (KeyError: 1)"]))
    chain.processes.store._popen = SimpleNamespace(pid=3)
    chain.update(SILENT_S + 1)
    chain.processes.store._popen = None
    up = chain.alarms.up
    assert [text for text in up if text.startswith("board.gmt: has died, and was started again 2 times")]
    assert [text for text in up if text.startswith("board.gmt: dead: see")]
    assert "readout.gmt: thread sender (KeyError: 1) has ended: start the process again" in up
    assert "store: has not reported for 31 s" in up


def test_forecasts(chain):
    report(chain.gmt.readout, readout(0, spool_seconds_left=18.0))
    report(
        chain.processes.store,
        store(0, disk_free=7200 * 900),
        store(50, bytes_in=100_000, compressed_in=60_000, compressed_out=10_000, disk_free=7200 * 900),
    )
    rows = overview(chain.processes, chain.settings)
    assert rows["readout.gmt"].full_in_s == 18
    assert rows["readout.calo"].full_in_s is None
    assert rows["store"].full_in_s == 7200 * 0.9
    chain.update(0)
    assert chain.alarms.up == ["readout.gmt: its spool is full soon", "store: its disk is full soon"]


def status_of(chain) -> ChainStatus:
    return ChainStatus(
        state="running", run=7, data="unknown", seconds=1.0, up=True, error="", folder="", pid=1, orbits=0,
        objects={}, lost=chain.processes.lost, duplicates=0, alarms=chain.alarms.up, waiting_for="",
        warnings=[], processes=overview(chain.processes, chain.settings),
    )  # fmt: skip


def drawn(status: ChainStatus, **terminal: object) -> str:
    console = Console(width=80, **terminal)
    with console.capture() as capture:
        console.print(table(status))
    return capture.get()


def test_the_table_shows_every_source_and_alarms_in_red_within_80_columns(chain):
    report(chain.calo.readout, readout(0, dropped=4), readout(1, dropped=4, alarms=["the store refuses"]))
    report(chain.gmt.board, board_status(run=7, state="running", delivered=9, dropped=3))
    chain.update(1)
    shown = drawn(status_of(chain), force_terminal=True, color_system="standard")
    plain = drawn(status_of(chain))
    assert "\x1b[31mreadout.calo: the store refuses\x1b[0m" in shown
    assert "readout.gmt: written 0, missed 0, corrupt 0, dropped 3" in plain
    assert "readout.calo: written 0, missed 0, corrupt 0, dropped 4" in plain
    assert "missed 0, corrupt 0, dropped 7" in plain
    assert max(map(len, plain.splitlines())) <= 80


@given(st.text(max_size=30), st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_do_not_make_an_alarm_another_one(text, a, b):
    from l1scout.control.chain_alarms import _kind

    assert _kind(f"readout.x1: {text} {a} bytes") == _kind(f"readout.x1: {text} {b:,} bytes")
    assert _kind("readout.x1: a") != _kind("readout.x2: a")
