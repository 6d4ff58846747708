"""Damaged files of every format: one line of InputError or an answer; no crash, hang or memory."""

import random
import re
import resource
import signal
import struct
from pathlib import Path

import numpy as np
import pytest
import uproot

from chain import PATIENCE_S
from l1scout.errors import InputError
from l1scout.io import detect, read_events
from l1scout.io.inspect import describe
from l1scout.io.reader import READERS
from l1scout.io.rewrite import add_columns

KINDS = [*(name.upper().replace("-", "_") for name in READERS), "RNTUPLE"]
CPU_SECONDS = 60
MEMORY = 1 << 29


@pytest.fixture(autouse=True)
def _limits():
    """Stop what works or waits for ever; and see that no file makes the process grow by half a gigabyte."""

    def stop(number, _):
        msg = f"stopped by {signal.Signals(number).name}: worked for {CPU_SECONDS} s, or waited"
        raise TimeoutError(msg)

    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.alarm(int(PATIENCE_S))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    unit = 1 if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 1 << 28 else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < MEMORY


def attempt(path: Path, *, rewrite: bool = False) -> bool:
    """Do all that can be done to a file; True if it was accepted."""
    try:
        describe(path)
        for _ in read_events(path, rows=17):
            pass
        if rewrite:
            add_columns(path, path.with_name("out"), lambda c: {"x": np.zeros(len(c["hwPt"]), np.float32)})
    except InputError as error:
        text = str(error)
        assert "\n" not in text
        assert text.isprintable()
        assert str(path) in text
        assert len(text) < 500 + len(str(path))
        return False
    return True


def damaged(raw: bytes, rng: random.Random) -> bytes:
    data = bytearray(raw)
    how = rng.randrange(4)
    at = rng.randrange(len(data))
    if how == 0:
        for _ in range(rng.choice([1, 1, 8])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 1:
        data[at] = rng.choice([0, 127, 128, 255])
    elif how == 2:  # absurd sizes
        data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\x40\0\0\0"])
    else:
        data[at : at + 8] = rng.randbytes(8)
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(samples, tmp_path, kind):
    raw = samples[kind].read_bytes()
    path = tmp_path / "cut"
    points = {1, 3, 4, 7, 8, 9, 63, 64, 100, len(raw) - 1, len(raw) - 8} | set(
        range(0, len(raw), len(raw) // 25 + 1)
    )
    refused = 0
    for size in sorted(p for p in points if 0 < p < len(raw)):
        path.write_bytes(raw[:size])
        refused += not attempt(path)
    if kind in (
        "L1NTUPLE",
        "DPG_NANO",
        "SCOUTING_NANO",
        "NANOAOD",
        "RNTUPLE",
        "ORBIT_COLLECTION",
        "PARQUET",
        "HISTOGRAMS",
        "NPZ",
    ):
        assert refused == len([p for p in points if 0 < p < len(raw)])
    assert refused > 0


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_anywhere(samples, tmp_path, kind):
    raw = samples[kind].read_bytes()
    rng = random.Random(kind)
    path, before = tmp_path / "damaged", describe(samples[kind])
    refused = 0
    for k in range(40):
        path.write_bytes(damaged(raw, rng))
        refused += not attempt(path, rewrite=k % 4 == 0)
    assert refused > 0
    assert describe(samples[kind]) == before  # no damaged file changes how the next one is read


def test_a_damaged_file_does_not_spoil_the_next(samples, monkeypatch):
    """A file's wrong description of TBranch once stayed in uproot's table for every later file."""
    monkeypatch.setitem(uproot.classes["TBranch"].known_versions, 13, uproot.classes["TList"])
    monkeypatch.setitem(uproot.classes, "TObjArray", uproot.classes["TList"])
    assert sum(len(e.muons) for e in read_events(samples["DPG_NANO"])) == 40
    assert sum(len(e.muons) for e in read_events(samples["L1NTUPLE"])) == 40


@pytest.mark.parametrize(
    "magic",
    [
        b"root",
        b"PAR1",
        b"PK\x03\x04",
        b"Board x\n",
        b"#<header>",
        b"Run,Event,pt1,pt2\n",
        b"\x89PNG",
        b"RAW_0002",
    ],
)
def test_random_bytes_after_each_magic(tmp_path, magic):
    rng = random.Random(1)
    path = tmp_path / "noise"
    for size in (0, 1, 60, 5000):
        path.write_bytes(magic + rng.randbytes(size))
        attempt(path)
    path.write_bytes(magic + b"\0" * 4000)
    assert not attempt(path)


@pytest.mark.parametrize(
    "body", [b"", b"\n", b" ", b"\0", b"\xff" * 1000, b"x" * 100_000, b"1 " * 50_000, b"\r\n" * 9]
)
def test_foreign_text_and_bytes(tmp_path, body):
    path = tmp_path / "foreign"
    path.write_bytes(body)
    assert not attempt(path)


def test_wrong_things_at_the_path(tmp_path):
    for path in (tmp_path, tmp_path / "missing", Path("/dev/null")):
        with pytest.raises(InputError, match=re.escape(str(path))):
            detect(path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match=re.escape(str(loop))):
        detect(loop)


def test_huge_claims_in_a_header(tmp_path):
    """A ROOT header that claims more than there is, and a Parquet footer of four gigabytes."""
    path = tmp_path / "file"
    path.write_bytes(b"root" + struct.pack(">iii", 62400, 100, 2**31 - 1) + bytes(200))
    with pytest.raises(InputError, match="truncated"):
        detect(path)
    path.write_bytes(b"root" + struct.pack(">iiq", 1_062_400, 100, 2**62) + bytes(200))
    with pytest.raises(InputError, match="truncated"):
        detect(path)
    path.write_bytes(b"PAR1" + bytes(100) + struct.pack("<I", 2**32 - 1) + b"PAR1")
    assert not attempt(path)


def test_names_with_control_characters_are_shown_harmless(tmp_path):
    path = tmp_path / "pattern"
    text = "Board \x1b[31m\n Quad/Chan : q00c0\n      Link : 00\nFrame 0000 : 1v00000001\n"
    path.write_text(text)
    from typer import Typer
    from typer.testing import CliRunner

    from l1scout.cli.inspect import inspect

    app = Typer()
    app.command()(inspect)
    assert "\x1b" not in CliRunner().invoke(app, [str(path)]).output
