"""``l1scout simulate run`` and ``l1scout board``."""

import json
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from chain import PATIENCE_S
from front_end import BOARD_FORMATS, Keep, decode_muons
from l1scout.board.sinks import BufferedSink, StreamSink
from l1scout.board.sources import paced, replay_packets
from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import describe, detect
from l1scout.lhc import ORBIT_FREQUENCY_HZ


def call(*arguments: object):
    result = CliRunner().invoke(make_app(), [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result


@pytest.fixture(scope="module", params=BOARD_FORMATS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    arguments = ("--orbits", 25, "--out", folder, "--seed", 4, "--format", request.param)
    told = json.loads(call("simulate", "run", *arguments, "--json").stdout)
    assert (told["orbits"], told["faults"], told["simulated"]) == (25, 0, True)
    return folder, BOARD_FORMATS[request.param]


def check(packets: Path, folder: Path, form) -> None:
    truth = pq.read_table(folder / "truth.parquet")
    with packets.open("rb") as stream:
        muons = decode_muons(stream, form)[0].objects
    np.testing.assert_array_equal(muons.orbit[muons.row], truth["orbit"])
    np.testing.assert_array_equal(muons.bx[muons.row], truth["bx"])
    for name in set(muons.columns) - {"reserved"}:
        np.testing.assert_array_equal(muons[name], truth[name])


def test_run_to_packets(run, tmp_path):
    folder, form = run
    packets = tmp_path / "packets.dat"
    result = call("board", folder / "links.l1l", "--out", packets, "--format", form.name, "--json")
    summary = json.loads(result.stdout)
    assert (summary["delivered"], summary["lost"], summary["dropped"]) == (25, 0, 0)
    assert summary["bx_suppression"] == pytest.approx(20, abs=1.5)
    check(packets, folder, form)
    assert detect(packets).name == "dma-packets"
    told = describe(packets)
    assert (told["form"], told["corrupt"], told["orbit"]) == (form.name, 0, [0, 24])
    assert describe(folder / "links.l1l")["orbit"] == [0, 25]
    again = tmp_path / "again.dat"
    call("board", packets, "--out", again, "--pace", "lhc")
    assert again.read_bytes() == packets.read_bytes()


def test_over_tcp(run, tmp_path):
    folder, form = run
    got = tmp_path / "got.dat"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive() -> None:
            connection, _ = server.accept()
            with connection, got.open("wb") as file:
                while data := connection.recv(1 << 16):
                    file.write(data)

        thread = threading.Thread(target=receive)
        thread.start()
        target = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        call("board", folder / "links.l1l", "--out", target, "--format", form.name)
        thread.join(PATIENCE_S)
    check(got, folder, form)


def test_live_with_faults(tmp_path):
    packets = tmp_path / "p.dat"
    faults = ("--fault", "bad_crc=0.05", "--fault", "dead=0.02")
    summary = json.loads(call("board", "--simulate", 30, "--out", packets, *faults, "--json").stdout)
    assert summary["flagged"] > 0
    assert describe(packets)["flagged_orbits"] == summary["flagged"]
    assert sum(summary["links"]["crc_errors"]) > 0


def test_patterns(samples, truth, tmp_path):
    packets = tmp_path / "p.dat"
    call("board", samples["PATTERN"], "--out", packets, "--format", "run2")
    told = describe(packets)
    assert sum(told["streams"].values()) == truth.counts.sum()
    assert told["blocks"] == np.count_nonzero(truth.counts)


def test_errors_are_one_line(tmp_path):
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing that is known" * 10)
    for arguments, text in (
        ((bad, "--out", tmp_path / "x"), "bad"),
        ((tmp_path / "none", "--out", tmp_path / "x"), "no such file"),
        (("--out", tmp_path / "x"), "either a source"),
        (("--simulate", 1, "--out", tmp_path / "x", "--fault", "rain=1"), "name=probability"),
        (("--simulate", 1, "--out", tmp_path / "x", "--format", "run4"), "choose one of .*run2, run3"),
        (("--simulate", 1, "--out", tmp_path / "x", "--scheme", "1999"), "2018 and 2024"),
        (("--simulate", 1, "--out", tmp_path / "x", "--occupancy", "0.9"), "below 0.714"),
        (("--simulate", 1, "--out", "tcp://nowhere"), "host:port expected"),
        (("--simulate", 1, "--out", tmp_path / "no" / "x"), "no such file"),
    ):
        with pytest.raises(InputError, match=text) as raised:
            call("board", *arguments)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="unknown format"):
        describe(bad)


class Slow:
    """A stream whose consumer takes nothing until told."""

    def __init__(self) -> None:
        self.go, self.taken, self.data = threading.Event(), threading.Event(), b""

    def write(self, data) -> int:
        self.taken.set()
        self.go.wait(PATIENCE_S)
        self.data += bytes(data)
        return len(data)

    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_a_full_buffer_is_told():
    stream = Slow()
    sink = BufferedSink(StreamSink(stream), 2, wait=False)
    sink.step(memoryview(b"packet"))
    stream.taken.wait(PATIENCE_S)
    sent = 1
    while sink.ready() and sent < 10:
        sink.step(memoryview(b"packet"))
        sent += 1
    assert sent == 3  # one is being written, two are held
    stream.go.set()
    sink.finish()
    assert stream.data == b"packet" * sent


def test_a_consumer_that_goes_away():
    class Gone(Slow):
        def write(self, data) -> int:
            raise BrokenPipeError

    sink = BufferedSink(StreamSink(Gone()), 4, wait=True)
    sink.step(memoryview(b"packet"))
    with pytest.raises(BrokenPipeError):
        sink.finish()


def test_pace(run, monkeypatch):
    folder, form = run
    now = [100.0]
    # its own clock: threads of other tests sleep, too
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr("l1scout.board.sources.time", clock)
    from l1scout.link.capture import read_captures

    orbits = sum(c.orbits for c in paced(read_captures(folder / "links.l1l")))
    assert now[0] == pytest.approx(100 + orbits / ORBIT_FREQUENCY_HZ)
    packets = folder / "paced.dat"
    call("board", folder / "links.l1l", "--out", packets, "--format", form.name, "--orbits-per-packet", 5)
    now[0], sink = 0.0, Keep((2,))
    done = replay_packets(packets, form, sink, real_time=True)
    assert now[0] == pytest.approx(20 / ORBIT_FREQUENCY_HZ)
    assert (done["packets"], done["dropped"], done["skipped"]) == (4, 1, 0)
    assert RUN3.name in BOARD_FORMATS
