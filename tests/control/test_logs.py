"""Log lines: levels, a limit per event, rotation, the journal, and what a process writes besides."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chain import PATIENCE_S, wait_for
from l1scout.control import logs
from l1scout.control.logs import LINES, EventLimit, logger


def in_process(code: str, **more) -> subprocess.CompletedProcess[str]:
    code = "from pathlib import Path\nfrom l1scout.control.logs import *\n" + code
    return subprocess.run([sys.executable, "-c", code], text=True, timeout=PATIENCE_S, **more)


def test_a_line_has_time_level_process_and_values(tmp_path):
    log = logger("store", tmp_path / "store.log")
    log("disk full", level="error", folder="/a b", free=3)
    log("it goes on, 100 % sure")
    first, second = (tmp_path / "store.log").read_text().splitlines()
    assert re.fullmatch(
        r'timestamp="\d{4}-\d\d-\d\d \d\d:\d\d:\d\d" level=error process=store event="disk full" '
        r'(folder="/a b" free=3|free=3 folder="/a b")',
        first,
    )
    assert 'level=info process=store event="it goes on, 100 % sure"' in second


def test_a_flood_of_one_event_is_limited_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "SECONDS", PATIENCE_S)
    log = logger("store", tmp_path / "store.log")
    for k in range(1000):
        log("client rejected", level="warning", peer=k)
        if k == 500:
            log("something else")
    lines = (tmp_path / "store.log").read_text().splitlines()
    assert sum("client rejected" in line for line in lines) == LINES
    assert sum("something else" in line for line in lines) == 1


def test_what_was_held_back_is_told_at_the_end():
    done = in_process("log = logger('store')\nfor k in range(30): log('flood')", capture_output=True)
    assert done.stderr.splitlines()[-1].endswith('event=flood suppressed="20 more suppressed"')


def test_what_was_held_back_is_told_when_the_time_is_over(monkeypatch):
    monkeypatch.setattr(logs, "SECONDS", 0.01)
    told, came = [], threading.Event()

    def report(event: str, n: int) -> None:
        told.append((event, n))
        came.set()

    limit = EventLimit(report)
    sent = passed = 0
    while not told:  # within one hundredth of a second, more than `LINES` of them
        passed += limit.allows("x")
        sent += 1
    assert came.wait(PATIENCE_S)
    assert {event for event, _ in told} == {"x"}
    wait_for(lambda: passed + sum(n for _, n in told) == sent)


def test_a_full_log_is_rotated_and_a_few_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 2000)
    log = logger("store", tmp_path / "store.log")
    for k in range(300):
        log(f"event {k}")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["store.log", *(f"store.log.{k}" for k in range(1, 6))]
    assert all(p.stat().st_size <= 2000 for p in tmp_path.iterdir())
    assert "event 299" in (tmp_path / "store.log").read_text()


def test_tracebacks_follow_the_log_when_it_is_rotated(tmp_path):
    path = tmp_path / "store.log"
    done = in_process(
        f"import l1scout.control.logs as logs; logs.MAX_LOG_BYTES = 1000\n"
        f"log = logger('store', Path({str(path)!r}), own_stderr=True)\n"
        "for k in range(100): log(f'event {k}')\n"
        "import os; os.write(1, b'from a library\\n')\n"
        "raise RuntimeError('unforeseen')",
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert path.with_name("store.log.1").exists()
    text = path.read_text()
    assert "from a library" in text
    assert "RuntimeError: unforeseen" in text
    assert "event 99" in text


def test_lines_for_the_journal_have_a_priority_and_no_time(tmp_path):
    with (tmp_path / "journal").open("w") as journal:
        status = os.fstat(journal.fileno())
        in_process(
            "log = logger('store'); log('a'); log('b', level='warning'); log('c', level='error')",
            stderr=journal,
            env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        )
    assert (tmp_path / "journal").read_text().splitlines() == [
        "<6>level=info process=store event=a",
        "<4>level=warning process=store event=b",
        "<3>level=error process=store event=c",
    ]
    # a file, although the service manager's journal is elsewhere
    env = {**os.environ, "JOURNAL_STREAM": "1:1"}
    assert in_process("logger('store')('a')", capture_output=True, env=env).stderr.startswith("timestamp=")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing():
    done = in_process(
        "import sys; sys.stderr = open('/dev/full', 'w'); logger('store')('a'); print('goes on')",
        capture_output=True,
    )
    assert "goes on" in done.stdout
