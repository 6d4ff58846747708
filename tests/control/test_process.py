"""A process of the chain as run control sees it."""

import os
import time

from l1scout.control.process import Process
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
