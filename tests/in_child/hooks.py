"""Hold, hurry and kill processes of the live chain from inside, at places that a test names.

A test puts this folder on PYTHONPATH and describes in the variable CHAIN_HOOKS, as JSON, what it wants:

limit_s
    Every limit on how long the other side may take becomes this long: a busy machine closes no connection.
gate
    File with a number: the board sends this number of orbits, then waits until the number is larger.
kill, time, mark
    The process kills itself with SIGKILL when it comes to this point of `POINTS`, for the n-th time, unless
    the file `mark`, which it leaves behind, is there.
compressor_fails
    This number of times, the step of the store's compressor raises an error.
clock_jumps
    The time of day jumps by a day, forth and back, every second.

The hooks use names of the package; `test_hooks.py` fails when one of them has moved.
"""

import fnmatch
import importlib.machinery
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

LIMITS = {
    "l1scout.wire": ("CONNECT_S", "IDLE_S"),
    "l1scout.board.sinks": ("IDLE_S", "PATIENCE_S", "CONFIRM_S"),
    "l1scout.readout.readout": ("_LAST_BYTES_S",),
    "l1scout.readout.board_listener": ("IDLE_S", "HANDSHAKE_S"),
    "l1scout.readout.store_client": ("IDLE_S", "ANSWER_S"),
    "l1scout.store.http_server": ("STOP_S",),
    "l1scout.store.http_clients": ("REQUEST_S", "IDLE_S"),
    "l1scout.control.local": ("_PATIENCE_S", "_ANSWER_S"),
    "l1scout.control.process": ("_NO_STATUS_S",),
}
BOARD = "l1scout.board.repeat"
CLIENT = "l1scout.readout.store_client"
COMPRESSOR = "l1scout.store.compressor"
API = "l1scout.store.http_api"
WORKER = "worker of the store"


class Point(NamedTuple):
    """Where a process can be killed.

    Parameters
    ----------
    process : str
    event : str
        ``rename``, ``remove`` or ``open`` of a file, just before it is done; ``before PUT`` of a segment and
        ``half a segment``, sent; ``before 201`` and ``after 201``, the answer; ``half a packet``, sent.
    pattern : str
        Of the file's path (of the old one in a renaming).
    """

    process: str
    event: str
    pattern: str = ""


POINTS = {
    "before the note has its name": Point("readout", "rename", "*/spool/*.json.new"),
    "between note and segment": Point("readout", "rename", "*/spool/*.raw.part"),
    "before the names in the spool are on disk": Point("readout", "open", "*/spool"),
    "before PUT": Point("readout", "before PUT"),
    "in the middle of a segment": Point("readout", "half a segment"),
    "before an acknowledged segment goes": Point("readout", "remove", "*/spool/*.raw"),
    "before the first byte of a segment": Point("store", "open", "*/incoming/*.part"),
    "before the stored note has its name": Point("store", "rename", "*/run000005/*.json.new"),
    "before a segment has its name": Point("store", "rename", "*/incoming/*.part"),
    "before the catalogue knows": Point("store", "open", "*/store/run000005"),
    "before 201": Point("store", "before 201"),
    "after 201": Point("store", "after 201"),
    "before a compressed file has its name": Point(WORKER, "rename", "*/run000005/*.zst.part"),
    "before an archive is complete": Point(WORKER, "rename", "*/incoming/*.parquet.part.part"),
    "before an archive has its name": Point("store", "rename", "*/incoming/*.parquet.part"),
    "before an archived upload goes": Point("store", "remove", "*/incoming/*.part"),
    "before an original goes": Point("store", "remove", "*/run000005/*.raw"),
    "in the middle of a packet": Point("source", "half a packet"),
}
POINT_OUTCOMES = {
    "readout": (
        "nothing is lost: it goes on where it was, and leaves out what it has",
        "run control starts it again",
    ),
    "store": (
        "nothing is lost: the segment is sent again, or found at the next start",
        "run control starts it again",
    ),
    WORKER: ("nothing is lost: another process compresses the segment", "by itself"),
    "source": ("its orbits, and all until it is started again, are counted", "run control starts it again"),
}
"""What becomes of a process that is killed at one of its points, and how it goes on."""
_AUDITED = {"rename": "os.rename", "remove": "os.remove", "open": "open"}
_LARGE = 10_000
"""A packet and a piece of a segment are larger, the head of a request is not."""


def install(text: str) -> None:
    """Install what the JSON in the variable describes."""
    if not text or "resource_tracker" in " ".join(sys.orig_argv):
        return
    asked = json.loads(text)
    finder = _AfterImport()
    if limit_s := asked.get("limit_s"):
        for module in LIMITS:
            finder.then(module, lambda loaded: lengthen(loaded, limit_s))
    if gate := asked.get("gate"):
        finder.then(BOARD, lambda loaded: _gate(loaded, Path(gate)))
    if (name := asked.get("kill")) and (POINTS[name].process == WORKER) == (
        "spawn_main" in sys.orig_argv[-2]
    ):
        _kill_at(POINTS[name], asked["time"], Path(asked["mark"]), finder)
    if times := asked.get("compressor_fails"):
        finder.then(COMPRESSOR, lambda loaded: _compressor_fails(loaded, times))
    if asked.get("clock_jumps"):
        real, began = time.time, time.monotonic()
        time.time = lambda: real() + 86400 * (int(time.monotonic() - began) % 2)
    sys.meta_path.insert(0, finder)


def lengthen(module: ModuleType, limit_s: float, replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Make the time limits of a module as long as `limit_s`."""
    for name in LIMITS[module.__name__]:
        replace(module, name, limit_s)


class _AfterImport:
    """Finds modules as Python does, and calls functions when they have been imported (now, if they are)."""

    def __init__(self) -> None:
        self._then: dict[str, list[Callable[[ModuleType], None]]] = {}

    def then(self, module: str, act: Callable[[ModuleType], None]) -> None:
        if module in sys.modules:
            act(sys.modules[module])
        else:
            self._then.setdefault(module, []).append(act)

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._then:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec is not None:
            loader: Any = spec.loader
            load = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                for act in self._then[name]:
                    act(module)

            loader.exec_module = exec_module
        return spec


def _gate(module: ModuleType, path: Path) -> None:
    real = module.RepeatedPackets.run

    def run(self: Any, sink: Any, *, pace: float, orbits: int = 0, going: Callable[[], bool]) -> None:
        def may() -> bool:
            while going():
                if self.delivered + self.dropped < int(path.read_text()):
                    return True
                time.sleep(0.01)
            return False

        real(self, sink, pace=pace, orbits=orbits, going=may)

    module.RepeatedPackets.run = run


def _compressor_fails(module: ModuleType, times: int) -> None:
    real, left = module.Compressor.step, times

    def step(self: Any) -> float:
        nonlocal left
        left -= 1
        if left >= 0:
            msg = "fault of a test"
            raise RuntimeError(msg)
        return float(real(self))

    module.Compressor.step = step


def _kill_at(point: Point, time_: int, mark: Path, finder: _AfterImport) -> None:
    been = 0

    def here() -> bool:
        nonlocal been
        been += 1
        return been == time_ and not mark.exists()

    def die() -> None:
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == wanted and fnmatch.fnmatch(str(args[0]), point.pattern) and here():
            die()

    def watch_client(module: ModuleType) -> None:
        real = module.StoreClient.put

        def put(self: Any, note: Any, path: Path, start: int) -> Any:
            if here():
                die()
            return real(self, note, path, start)

        module.StoreClient.put = put

    def watch_answers(module: ModuleType) -> None:
        real_put, real_call = module._Api.put_segment, module.TokenGuard.__call__

        async def put_segment(self: Any, request: Any) -> Any:
            answer = await real_put(self, request)
            if here():
                die()
            return answer

        async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
            await real_call(self, scope, receive, send)
            if scope["method"] == "PUT" and here():
                die()

        if point.event == "before 201":
            module._Api.put_segment = put_segment
        else:
            module.TokenGuard.__call__ = call

    def half(real: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: socket.socket, data: Any, *flags: int) -> Any:
            if len(data) > _LARGE and here():
                real(self, memoryview(data)[: len(data) // 2], *flags)
                die()
            return real(self, data, *flags)

        return send

    if wanted := _AUDITED.get(point.event):
        sys.addaudithook(audit)
    elif point.event == "before PUT":
        finder.then(CLIENT, watch_client)
    elif point.event.endswith("201"):
        finder.then(API, watch_answers)
    else:
        socket.socket.sendall, socket.socket.send = half(socket.socket.sendall), half(socket.socket.send)
