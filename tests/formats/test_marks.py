"""Marks of simulated and real orbits: written by the board, carried through packets, frames and captures."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest

from front_end import BOARD_FORMATS, Keep, decode_muons, make_run, stored_bytes
from l1scout.board.board import Board
from l1scout.board.repeat import RepeatedPackets
from l1scout.errors import InputError
from l1scout.formats.marks import REAL, REPEATED, SIMULATED, origin_mark, stated_origin
from l1scout.formats.packets import Trailer, trailer_marks
from l1scout.formats.raw import FILE_HEADER, read_frames, read_header, split_raw
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.streams.muon import MUONS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import read_events
from l1scout.link.align import windows
from l1scout.link.capture import read_captures, write_capture
from l1scout.simulate.faults import FaultRates, Injector

ORIGINS = pytest.mark.parametrize("simulated", [True, False, None])
FORMATS = pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))


def packets(captures, form) -> bytes:
    sink = Keep()
    Board(sink, form, orbits_per_packet=3).run(captures)
    return sink.bytes.getvalue()


def stated(captures, simulated):
    return [replace(c, simulated=simulated) for c in captures]


def test_bits_packed_by_hand():
    row = bytes.fromhex("efbeaddeefbeadde010000000000004002000000000000000300000000000000")
    assert Trailer(1, 2, 3).encode(SIMULATED) == row
    assert (Trailer.decode(row), trailer_marks(row)) == (Trailer(1, 2, 3), SIMULATED)
    assert trailer_marks(Trailer(1, 2, 3).encode(REAL | REPEATED)) == 5
    plain = bytes.fromhex("efbeadde" * 8)
    assert (Trailer.decode(plain), trailer_marks(plain)) == (None, 0)


def test_one_simulated_orbit_makes_all_simulated_and_one_unknown_makes_none_real():
    assert [origin_mark(s) for s in (True, False, None)] == [SIMULATED, REAL, 0]
    assert stated_origin(np.array([REAL, SIMULATED, 0])) is True
    assert stated_origin(np.array([REAL, REAL | REPEATED])) is False
    assert stated_origin(np.array([REAL, 0])) is None
    assert stated_origin(np.zeros(0, np.int64)) is None


@FORMATS
@ORIGINS
def test_packets_state_what_the_capture_states(form, simulated):
    _, captures, _ = make_run(form, orbits=7)
    assert {c.simulated for c in captures} == {True}
    decoded, found = decode_muons(io.BytesIO(packets(stated(captures, simulated), form)), form)
    assert decoded.objects.simulated is simulated
    assert found.trailer == Trailer(0, 0, 7)


@FORMATS
def test_marks_change_nothing_else(form):
    _, captures, _ = make_run(form, orbits=7)
    one, two = (np.frombuffer(packets(stated(captures, s), form), np.uint8) for s in (True, None))
    differ = np.flatnonzero(one != two)
    assert set((one[differ] ^ two[differ]).tolist()) == {2, 0x40} if form is RUN3 else {0x40}
    orbits_and_trailers = 7 * (form is RUN3) + 3
    assert differ.size == orbits_and_trailers


def test_header_of_an_orbit_packed_by_hand():
    _, captures, _ = make_run(RUN3, orbits=1)
    head = struct.unpack_from("<8I", packets(captures, RUN3))
    assert (head[0], head[6], head[7]) == (0x6C316F72, 2, 0)


@FORMATS
def test_repeated_packets_keep_their_origin(form):
    _, captures, _ = make_run(form, orbits=6)
    sink = Keep()
    RepeatedPackets(io.BytesIO(packets(stated(captures, False), form)), form).run(sink, pace=0, orbits=18)
    parts = [form.find_orbits(bytes(p)).marks for p, _ in form.split(io.BytesIO(sink.bytes.getvalue()))]
    marks = np.concatenate(parts)
    assert np.unique(marks).tolist() == [REAL, REAL | REPEATED]
    assert marks[0] == REAL


@ORIGINS
def test_raw_files_carry_it(simulated, tmp_path):
    _, captures, _ = make_run(RUN3, orbits=5)
    data = stored_bytes(stated(captures, simulated))["RAW"]
    flags = struct.unpack_from("<H", data, FILE_HEADER.itemsize + 2)[0]
    assert flags == {True: 0x4000, False: 0x8000, None: 0}[simulated]
    header = read_header(data)
    assert decode_frames(list(read_frames(data, header)), MUONS, header).objects.simulated is simulated
    (tmp_path / "x.raw").write_bytes(data)
    assert {e.simulated for e in read_events(tmp_path / "x.raw")} == {simulated}


def test_marked_frames_are_found_again_after_damage():
    _, captures, _ = make_run(RUN3, orbits=5)
    data = bytearray(stored_bytes(captures)["RAW"])
    frames = list(read_frames(bytes(data), read_header(bytes(data))))
    data[frames[1].start + 40] ^= 1
    header = read_header(bytes(data))
    kept = [f.orbit for f in read_frames(bytes(data), header)]
    assert kept == [f.orbit for k, f in enumerate(frames) if k != 1]
    assert header.corrupt == 1
    stream = io.BytesIO(data[FILE_HEADER.itemsize :])
    assert sum(isinstance(p, bytes) for p in split_raw(stream, read_header(bytes(data)))) == 1


@ORIGINS
def test_capture_files_carry_it_and_so_do_faults_and_seams(simulated, tmp_path):
    _, captures, _ = make_run(RUN3, orbits=4, chunk=2)
    path = tmp_path / "links.l1l"
    with path.open("wb") as file:
        for capture in stated(captures, simulated):
            write_capture(file, capture)
    read = list(read_captures(path))
    assert [c.simulated for c in read] == [simulated] * len(captures)
    assert {c.simulated for c, _ in windows(read)} == {simulated}
    assert {c.simulated for c in Injector(FaultRates(flips=1e-4), 1).damage(read)} == {simulated}


def test_a_capture_that_states_something_else_is_refused(tmp_path):
    _, captures, _ = make_run(RUN3, orbits=1)
    stream = io.BytesIO()
    write_capture(stream, captures[0])
    data = bytearray(stream.getvalue())
    data[24:32] = struct.pack("<q", 7)
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match="piece 0: 7 says neither simulated"):
        list(read_captures(tmp_path / "x"))
