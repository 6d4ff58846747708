"""What systemd and containers hear of a process: up, alive, stopping; a dead thread is not hidden."""

import socket
import threading

import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.control import services
from l1scout.control.health import FRESH_S
from l1scout.control.sd_notify import notify
from l1scout.control.services import StatusFile, watch_threads
from live_packets import board_status


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """The socket on which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        address = str(tmp_path / "notify") if request.param == "path" else f"@l1scout-{tmp_path.name}"
        ours.bind(address.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        ours.setblocking(False)
        yield lambda: received(ours)


def received(ours: socket.socket) -> list[str]:
    lines = []
    while True:
        try:
            lines += ours.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


def status(state: str, **values):
    return board_status(run=3, state=state, delivered=5, dropped=0, **values)


def test_systemd_hears_when_a_process_is_up_alive_and_stopping(systemd):
    write = StatusFile(None, line=lambda s: f"{s.delivered} orbits")
    write(status("running"))
    assert systemd() == ["READY=1", "STATUS=5 orbits", "WATCHDOG=1"]
    write(status("draining"))
    assert systemd() == ["STOPPING=1", "STATUS=5 orbits", "WATCHDOG=1"]


def test_without_systemd_nothing_is_sent(monkeypatch):
    for address in ("", "/no/such/socket", "relative"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")


@pytest.fixture
def dead_thread(monkeypatch):
    """A thread of this process has died of an error."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(services, "_dead_threads", [])
    logged = []
    watch_threads(lambda event, **values: logged.append((event, values)))

    def fail():
        {}["x"]

    thread = threading.Thread(target=fail, name="compressor")
    thread.start()
    thread.join()
    ((event, values),) = logged
    assert (event, values["level"], values["thread"]) == ("thread died", "error", "compressor")
    assert "in fail" in values["trace"]


def test_a_dead_thread_is_in_every_status_and_the_watchdog_is_not_fed(dead_thread, systemd, tmp_path):
    write = StatusFile(tmp_path / "board.json")
    write(status("running"))
    assert systemd() == ["READY=1", "STATUS=running"]
    done = health(tmp_path / "board.json")
    assert done.exit_code == 1
    assert "a thread has died: compressor (KeyError: 'x')" in done.output


def health(path):
    return CliRunner().invoke(make_app(), ["status", "--health", str(path)])


def test_health_of_a_container(tmp_path):
    path = tmp_path / "status.json"
    assert (health(path).exit_code, "no status there" in health(path).output) == (1, True)
    for text, code, said in (
        (status("running").model_dump_json(), 0, "healthy"),
        (status("running", alarms=["orbits are lost"]).model_dump_json(), 0, "healthy"),
        (status("running", time=0.0).model_dump_json(), 1, "no status for"),
        (status("idle").model_dump_json(), 1, "has ended"),
        ("{", 1, "not the status of a process"),
    ):
        path.write_text(text)
        done = health(path)
        assert (done.exit_code, said in done.output) == (code, True), done.output
    assert FRESH_S >= 1
