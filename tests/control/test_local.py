"""The local socket: for this user, and nothing that comes in hurts."""

import json
import socket
import stat

import pytest

from chain import PATIENCE_S
from in_child.hooks import lengthen
from l1scout.control import local
from l1scout.control.local import MAX_LINE, NAME, LocalServer, ask
from l1scout.errors import InputError


def echo(request):
    if request.get("do") != "echo":
        msg = "only echo"
        raise InputError(msg)
    return {"said": request}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    lengthen(local, PATIENCE_S, monkeypatch.setattr)
    (tmp_path / NAME).write_text("left by a process that was killed")
    server = LocalServer(tmp_path, echo)
    yield tmp_path
    server.close()
    assert not (tmp_path / NAME).exists()


def test_answers_and_refuses(folder):
    assert ask(folder, do="echo", run=3) == {"said": {"do": "echo", "run": 3}}
    with pytest.raises(InputError, match="only echo"):
        ask(folder, do="delete")


def test_only_this_user(folder):
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b"\xff\xfe\n", b"[" * 3000 + b"\n",
     b'{"do": "' + b"x" * MAX_LINE + b'"}\n', b"x" * 10_000_000],
    ids=lambda line: repr(line[:12]),
)  # fmt: skip
def test_strange_lines_are_refused(folder, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(folder / NAME))
        try:
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            said = connection.recv(1000)
        except OSError:
            said = b""  # closed while we were still sending
    if said or b"\n" in line[:MAX_LINE]:  # a line that is too long may be cut off without an answer
        assert "refused" in json.loads(said)
    assert ask(folder, do="echo")


def test_nobody_there(tmp_path):
    with pytest.raises(InputError, match="no `l1scout run` is at work there"):
        ask(tmp_path, do="status")


def test_path_too_long_is_said(tmp_path):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with pytest.raises(InputError, match="too long"):
        LocalServer(deep, echo)
    with pytest.raises(InputError, match="too long"):
        ask(deep, do="status")
