"""DMA packets: written by the board, and by hand."""

import io

import numpy as np
import pytest

from front_end import BOARD_FORMATS, Keep, decode_muons, make_run, random_blocks, through_board
from l1scout.board.board import Board
from l1scout.formats.packets import Trailer
from l1scout.formats.wire_formats.run2 import RUN2, Run2
from l1scout.formats.wire_formats.run3 import RUN3


def test_golden_run2_packet():
    block = np.zeros((6, 8), "<u4")
    block[0], block[1], block[2, 1] = 5, 9, 3 << 10
    data = block.tobytes() + Trailer(1, 2, 3).encode()
    assert (
        data[-32:].hex() == "efbeaddeefbeadde" + "0100000000000000" + "0200000000000000" + "0300000000000000"
    )
    decoded, found = decode_muons(io.BytesIO(data), RUN2)
    assert (decoded.objects.orbit.tolist(), decoded.objects.bx.tolist()) == ([9], [5])
    assert (decoded.objects["hwPt"].tolist(), decoded.objects["link"].tolist()) == ([3], [1])
    assert (found.packets, found.blocks, found.trailer) == (1, 1, Trailer(1, 2, 3))


def run3_orbit(orbit: int, bx: list[int], header: bytes = b"\0" * 32) -> bytes:
    """An orbit as others write it: nothing of ours in header and trailer."""
    blocks = np.zeros((len(bx), 6, 8), "<u4")
    blocks[:, 0], blocks[:, 1] = orbit, np.array(bx, np.uint32)[:, None]
    blocks[:, 2, 0] = 4 << 10
    bits = np.zeros(3584, np.uint8)
    bits[np.array(bx, np.int64) - 1] = 1
    end = (
        np.full(8, 0xBEEFDEAD, "<u4").tobytes() + np.packbits(bits, bitorder="little").tobytes() + b"\7" * 64
    )
    assert len(end) == 544
    return header + blocks.tobytes() + end


def test_run3_packet_of_others():
    data = run3_orbit(11, [1, 40, 3564]) + run3_orbit(12, []) + run3_orbit(13, [2]) + b"\xef\xbe\xad\xde" * 8
    decoded, found = decode_muons(io.BytesIO(data), RUN3)
    assert decoded.objects.orbit.tolist() == [11, 11, 11, 13]
    assert decoded.objects.bx.tolist() == [1, 40, 3564, 2]
    assert (found.packets, found.orbits, found.corrupt, found.trailer, found.flagged) == (1, 3, 0, None, 0)


def test_map_and_blocks_must_agree():
    good, bad = run3_orbit(11, [1, 40]), bytearray(run3_orbit(12, [2, 3]))
    bad[32 + 32] ^= 4  # BX of the first block, link 0
    data = good + bytes(bad) + run3_orbit(13, [7]) + Trailer(0, 0, 3).encode()
    decoded, found = decode_muons(io.BytesIO(data + good + Trailer(0, 0, 4).encode()), RUN3)
    assert decoded.objects.orbit.tolist() == [11, 11, 11, 11]
    assert (found.packets, found.orbits, found.corrupt) == (2, 2, 1)
    assert found.corrupt_bytes == len(bad) + len(run3_orbit(13, [7]))


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_a_lost_packet_is_seen_in_the_counters(form):
    _, captures, _ = make_run(form, 9)
    sink = Keep()
    Board(sink, form, orbits_per_packet=3).run(captures)
    data = sink.bytes.getvalue()
    cut = len(data) // 2
    decoded, found = decode_muons(io.BytesIO(data[:cut] + data[cut + 1 :]), form)
    assert found.trailer == Trailer(0, 0, 9)
    assert found.orbits < 9
    assert found.corrupt == 1
    assert np.all(np.isin(decoded.objects.orbit, np.arange(1000, 1009)))


def test_orbit_end_is_no_packet_end():
    """0xbeefdead eight times has the bytes of the packet's mark in it, two bytes late."""
    truth, captures, _ = make_run(RUN3, 4)
    decoded, found, _ = through_board(captures, RUN3)
    assert (found.packets, found.orbits, len(decoded.objects)) == (1, 4, len(truth))


def test_a_stretch_without_end_is_left_out(monkeypatch):
    monkeypatch.setattr(Run2, "max_packet_bytes", lambda _: 3 << 20)
    blocks = random_blocks(np.random.default_rng(0), 4, RUN2)
    good = blocks.tobytes() + Trailer(0, 0, 1).encode()
    _, found = decode_muons(io.BytesIO(good + bytes(9 << 20) + Trailer(0, 0, 1).encode() + good), RUN2)
    assert (found.packets, found.corrupt) in ((2, 2), (3, 1))
    assert found.corrupt_bytes > 5 << 20


def test_orbit_room():
    assert (RUN2.orbit_room, RUN3.orbit_room) == (3564 * 192, 3564 * 192 + 576)
