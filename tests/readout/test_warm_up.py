"""Kernels are compiled before a board connects: nothing is left to compile for its first packets."""

import subprocess
import sys
from pathlib import Path

_IN_CHILD = """
import gc, sys, tempfile
from io import BytesIO
from pathlib import Path

from numba.core.dispatcher import Dispatcher
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.readout.spool import Spool
from l1scout.readout.warm_up import compile_kernels
from l1scout.readout.writer import SegmentWriter

def compiled():
    return {str(d.py_func): len(d.signatures) for d in gc.get_objects() if isinstance(d, Dispatcher)}

for form in WIRE_FORMATS.values():
    packet = form.example_packet()
    assert packet, f"{form.name}: no example"
    compile_kernels(form)
    before = compiled()
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Spool(Path(folder) / "spool"), 1, 1, form)
        stream = packet + b"\\x55" * 6400 + packet[-32:] + packet  # good, damaged, held back
        for one in form.split(BytesIO(stream)):
            writer.step(one)
        assert writer.finish().orbits, form.name
    after = compiled()
    assert after == before, {k: n for k, n in after.items() if n != before.get(k)}
    assert sum(before.values()) > 0
print("nothing left")
"""


def test_nothing_is_compiled_when_packets_come():
    """In a process of its own: here, other tests have compiled what is missing."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_CHILD],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.stdout == "nothing left\n", done.stderr
