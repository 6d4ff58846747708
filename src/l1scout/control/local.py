"""Commands to run control from other shells of this user: lines of JSON over a Unix socket.

A line is an object with ``do`` and at most `MAX_LINE` bytes; the answer is one line, an object:
``{"refused": "why"}`` or the status.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from l1scout.control.messages import ChainStatus
from l1scout.errors import InputError, first_fault

NAME = "control.sock"
MAX_LINE = 4096
_MAX_ANSWER = 1 << 20
_PATIENCE_S = 2.0
_ANSWER_S = 10.0


class LocalServer:
    """Answers one connection after the other; only this user's processes can connect.

    Parameters
    ----------
    folder : Path
        Where the socket is made; an old one is removed: the caller knows that nobody uses it.
    answer : callable
        Takes the object of a line; what it returns is sent. `InputError` is sent as a refusal.

    Raises
    ------
    InputError
        If the socket cannot be made.
    """

    def __init__(self, folder: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._path, self._answer = _shorter(folder / NAME), answer
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            self._path.unlink(missing_ok=True)
            self._socket.bind(str(self._path))
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            msg = f"{self._path}: no socket can be made there ({error.strerror or error})"
            raise InputError(msg) from error
        finally:
            os.umask(before)
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Take no more commands, and remove the socket."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                time.sleep(0.05)
                continue
            with connection, contextlib.suppress(OSError):
                connection.sendall(json.dumps(self._reply(connection)).encode() + b"\n")

    def _reply(self, connection: socket.socket) -> dict[str, Any]:
        try:
            request = json.loads(_line(connection, MAX_LINE, _PATIENCE_S))
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return {"refused": "a line with a JSON object expected"}
        try:
            return self._answer(request)
        except InputError as error:
            return {"refused": str(error)}


def ask(folder: Path, **request: Any) -> dict[str, Any]:
    """Send a command to the run control of a folder.

    Raises
    ------
    InputError
        If none is at work there, or it refuses.
    """
    path = _shorter(folder / NAME)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(_ANSWER_S)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_line(connection, _MAX_ANSWER, _ANSWER_S))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            msg = f"{folder}: no `l1scout run` is at work there"
            raise InputError(msg) from error
        except (OSError, ValueError, RecursionError) as error:
            msg = f"{path}: no answer ({error})"
            raise InputError(msg) from error
    if "refused" in answer:
        raise InputError(str(answer["refused"]))
    return dict(answer)


def command(folder: Path, **request: Any) -> ChainStatus:
    """Send a command to the run control of a folder; return its status after it (InputError as `ask`)."""
    try:
        return ChainStatus.model_validate(ask(folder, **request))
    except ValidationError as error:
        msg = f"{folder}: not the answer of this version's `l1scout run` ({first_fault(error)})"
        raise InputError(msg) from error


def _line(connection: socket.socket, limit: int, seconds: float) -> bytes:
    got, end = bytearray(), time.monotonic() + seconds
    while b"\n" not in got and len(got) <= limit:
        connection.settimeout(max(end - time.monotonic(), 0.001))
        piece = connection.recv(4096)
        if not piece:
            break
        got += piece
    line, newline, _ = got.partition(b"\n")
    if not newline or len(line) > limit:
        msg = "no complete line"
        raise ValueError(msg)
    return bytes(line)


def _shorter(path: Path) -> Path:
    """Return the shorter form of a path: sockets allow about 100 bytes."""
    return min(path.absolute(), Path(os.path.relpath(path)), key=lambda p: len(str(p)))
