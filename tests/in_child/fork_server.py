"""Server that has everything imported and compiled, and forks processes of the command line from itself.

A process that is started anew spends a second or more on imports; a forked one is there at once, and is a
process like any other: it can be killed, stopped and waited for. `serve` prepares processes of the chain;
with `import_libraries` nothing of l1scout is imported yet. Requests and reports are lines of JSON:

standard input
    ``{"arguments": [...], "environment": {...}, "log": path, "errors": path, "folder": path}``: run the
    command line with these in a folder; the two files may be one.
standard output
    ``{"started": pid}``, in the order of the requests; ``{"stopped": pid}`` when all its threads stand still;
    ``{"ended": pid, "code": code}``, with code -9 after kill -9.

At the end of standard input it kills what still runs, and ends.
"""

import atexit
import gc
import importlib
import io
import json
import os
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hooks

_TICK_S = 0.02
LIBRARIES = (
    *("numba.core.entrypoints", "pyarrow.parquet", "pydantic_settings", "rich.table", "scipy.special"),
    *("scipy.stats", "structlog", "typer.rich_utils", "uproot", "matplotlib.figure", "mplhep"),
)


def _prepare() -> None:
    """Import everything, and run every kernel of the chain once."""
    import l1scout.cli.readout
    import l1scout.cli.source
    import l1scout.cli.store
    import l1scout.control.services
    import l1scout.simulate.live_board
    import l1scout.store.store
    from l1scout.board.repeat import RepeatedPackets
    from l1scout.formats.wire_formats.run3 import RUN3
    from l1scout.readout.readout import Readout  # noqa: F401
    from l1scout.readout.spool import Spool
    from l1scout.readout.writer import SegmentWriter

    class Sink:
        stream = io.BytesIO()

        def ready(self) -> bool:
            return True

        def step(self, packet: memoryview) -> None:
            self.stream.write(packet)

    packets = l1scout.simulate.live_board.simulated_packets(RUN3, 3, 0.01)
    RepeatedPackets(packets, RUN3).run(Sink(), pace=0, orbits=6)
    Sink.stream.seek(0)
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Spool(Path(folder) / "spool"), 1, 1, RUN3)
        for packet in RUN3.split(Sink.stream):
            writer.step(packet)
        writer.finish()


def import_libraries() -> None:
    """Import what l1scout uses, but nothing of l1scout: that looks for other packages when it is imported."""
    for name in LIBRARIES:
        importlib.import_module(name)
    import numba
    import numpy as np

    numba.core.entrypoints._already_initialized = True  # as commands do
    numba.njit(lambda x: x.sum())(np.zeros(1))  # what numba imports before its first kernel


def _run(request: dict[str, Any]) -> int:
    """Become the process of a request; return its exit status."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    files = os.devnull, request["log"], request["errors"]
    for descriptor, path in enumerate(files):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND if descriptor else os.O_RDONLY, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = ["l1scout", *request["arguments"]]
    sys.path[:0] = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    try:
        from l1scout.cli import main

        hooks.install(os.environ.get("CHAIN_HOOKS", ""))
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _become(request: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = _run(request)
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as Python does at its end: wait for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _report(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _reap(children: set[int]) -> None:
    for child in list(children):
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            _report(stopped=pid)
        elif pid:
            children.discard(pid)
            _report(ended=pid, code=os.waitstatus_to_exitcode(status))


def serve(prepare: Callable[[], None] = _prepare) -> None:
    """Fork as asked until standard input ends."""
    prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    rest = b""
    while True:
        if select.select([0], [], [], _TICK_S)[0]:
            new = os.read(0, 1 << 16)
            if not new:
                break
            *lines, rest = (rest + new).split(b"\n")
            for line in lines:
                assert threading.active_count() == 1, "a process with threads cannot be forked"
                child = os.fork()
                if child == 0:
                    _become(json.loads(line))
                children.add(child)
                _report(started=child)
        _reap(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
