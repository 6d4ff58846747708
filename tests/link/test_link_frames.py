"""Frames on the fibres: constants, CRC, captures."""

import io
import zlib

import numpy as np
import pytest

from front_end import make_run, rows, splice, through_board
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.capture import Capture, join, read_captures, write_capture
from l1scout.link.frames import COMMA, CRCS, LINE_WORDS, PADDING, PAYLOAD_WORDS, Crc
from l1scout.link.transmit import LinkTiming, Transmitter, payload, transmit
from l1scout.simulate.run import simulate_run


def test_numbers_of_the_line():
    assert (PAYLOAD_WORDS, LINE_WORDS) == (21384, 22275)
    assert LINE_WORDS * 24 == PAYLOAD_WORDS * 25


def test_crcs_of_the_catalogue():
    """Check values of the catalogue of parametrised CRCs: of the bytes "123456789"."""
    checks = {
        "CRC-32/ISO-HDLC": 0xCBF43926,
        "CRC-32/BZIP2": 0xFC891918,
        "CRC-32/MPEG-2": 0x0376E6E7,
        "CRC-32/ISCSI": 0xE3069283,
    }
    assert {name: crc.function()(b"123456789") for name, crc in CRCS.items()} == checks
    own = Crc("ours")  # the default's polynomial, by table
    data = np.random.default_rng(0).bytes(1001)
    assert own.function()(data) == zlib.crc32(data)


def test_golden_line():
    """One muon on link 0: what is on the line, written down by hand."""
    piece = next(iter(simulate_run(1, 1)))
    muons = piece.muons.select(np.arange(piece.muons.n_objects) == 0)
    sender = Transmitter(RUN3, (LinkTiming(0, 30, 4),) * 8)
    words = payload(muons, 0, 1, RUN3)[0, 0]
    capture = join(sender.send(muons, 0, 1), sender.idle(1))
    line, mask = capture.link(0)
    begin = 104
    assert set(line[:begin]) == {COMMA}
    assert set(mask[:begin]) == {1}
    orbit, k = line[begin : begin + LINE_WORDS], mask[begin : begin + LINE_WORDS]
    assert (orbit[4], k[4], orbit[34], k[34]) == (PADDING, 15, PADDING, 15)
    data = orbit[k == 0]
    np.testing.assert_array_equal(data[:-1], words)
    assert data[-1] == zlib.crc32(words.tobytes())
    assert set(orbit[k == 1]) == {COMMA}
    assert np.all(k[np.flatnonzero(k == 1)[0] :] == 1)


@pytest.mark.parametrize("most", [None, 0, 1, 100, 22276, 10**6])
def test_captures_are_joined_as_by_numpy(most):
    _, (one, two, *_), _ = make_run(orbits=5, chunk=2)
    low, high, ends = one.ticks[:, -2], one.ticks[:, -1], two.ticks[:, -1]
    ends = ends if most is None else np.minimum(ends, most)
    ticks = np.stack([low - low, high - low, high - low + ends], axis=1)
    wanted = splice(one.first_orbit + one.orbits - 1, ((one, low, high), (two, low - low, ends)), ticks)
    found = join(one, two, most)
    assert (found.first_orbit, found.simulated) == (wanted.first_orbit, wanted.simulated)
    for name in ("words", "starts", "k_at", "k_mask", "k_starts", "ticks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)


@pytest.mark.parametrize("name", CRCS)
def test_other_polynomials(name):
    pieces = list(simulate_run(2, 2))
    captures = list(transmit(pieces, Transmitter(RUN3, crc=CRCS[name])))
    decoded, _, counters = through_board(captures, crc=CRCS[name])
    assert rows(decoded.objects) == rows(pieces[0].muons)
    other = next(c for n, c in CRCS.items() if n != name)
    _, _, counters = through_board(captures, crc=other)
    assert counters.lost == 2
    assert counters.links.summary()["crc_errors"] == [2] * 8


def test_capture_files(tmp_path):
    truth, captures, _ = make_run()
    path = tmp_path / "links.l1l"
    with path.open("wb") as stream:
        for capture in captures:
            write_capture(stream, capture)
    decoded, _, _ = through_board(read_captures(path))
    assert rows(decoded.objects) == rows(truth)


def test_damaged_capture_files(tmp_path):
    _, captures, _ = make_run(orbits=1)
    stream = io.BytesIO()
    write_capture(stream, captures[0])
    data = stream.getvalue()
    path = tmp_path / "links.l1l"
    random = np.random.default_rng(3)
    told = set()
    for case in range(300):
        bad = bytearray(data)
        if case < 100:
            del bad[int(random.integers(1, len(bad))) :]
        elif case < 110:
            bad[24:32] = (1 << 62).to_bytes(8, "little")
        else:
            for _ in range(3):
                bad[int(random.integers(100 if case % 2 else len(bad)))] = int(random.integers(256))
        path.write_bytes(bad)
        try:
            for capture in read_captures(path):
                through_board([capture])
        except InputError as error:
            told.add(str(error).split(": ")[1].split(",")[0][:9])
    assert {"cut short", "not a lin"} <= told


def test_captures_that_contradict_themselves():
    _, (capture, *_), _ = make_run(orbits=1)
    fields = {n: getattr(capture, n) for n in Capture.__dataclass_fields__}
    for name in ("words", "starts", "k_at", "k_starts", "ticks"):
        with pytest.raises(ValueError, match="do not agree"):
            Capture(**{**fields, name: fields[name][:-1]})


def test_skew_and_padding_are_within_limits():
    for wrong in ({"skew": 101}, {"skew": -101}, {"padding": 25}):
        with pytest.raises(ValueError, match="skew within"):
            LinkTiming(**wrong)
