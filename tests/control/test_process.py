"""A process of the chain as run control sees it."""

import os
import time

from l1scout.control.chain_processes import ChainProcesses
from l1scout.control.process import Process
from l1scout.settings import read_settings
from processes import wait_for


def test_a_process_that_refuses_after_its_log_was_deleted_does_not_end_run_control(tmp_path):
    reading, writing = os.pipe()
    process = Process("store", tmp_path, os.environ, reading, ())
    process.start(time.monotonic(), tmp_path / "no-settings.toml", (), tmp_path / "status.json")
    process._popen.wait()
    process.log.unlink()
    codes = []
    wait_for(lambda: codes.append(process.poll(time.monotonic())) or codes[-1] is not None)
    assert codes[-1] == 2
    assert process.refusal == "no reason known: its log cannot be read (No such file or directory)"
    os.close(reading)
    os.close(writing)


def test_the_first_board_of_a_run_begins_with_the_orbit_of_the_settings(tmp_path):
    over = ["board.simulate=100", "board.first_orbit=2147483000", "board.orbits=3000"]
    with (tmp_path / "lock").open("w") as lock:
        chain = ChainProcesses(read_settings(None, {}, over), tmp_path, {}, lock.fileno())
        (source,) = chain.sources
        assert source.changes(source.board, 7, 0.0) == [
            "run.number=7",
            "board.first_orbit=2147483000",
            "board.orbits=3000",
        ]
        source.board.lives = 1
        pace_1 = source.changes(source.board, 7, 0.1)  # started again after 0.1 s
        assert pace_1 == ["run.number=7", "board.first_orbit=2147484125", "board.orbits=1875"]
        chain.close()
