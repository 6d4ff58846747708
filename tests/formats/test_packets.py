"""DMA packets: written by the board, and by hand."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def header(orbit: int, blocks: int, mark: int = 0x6C316F72, good: int = 0xFF) -> bytes:
    """An orbit's header as l1scout writes it, or as somebody else's hardware might."""
    return np.array([mark, orbit, blocks, good, 0, 0, 0, 0], "<u4").tobytes()


CONTRADICTIONS = {
    "another orbit": ([2, 3], header(13, 2)),
    "one bit of the orbit": ([2, 3], header(12 | 1 << 30, 2)),
    "too many blocks": ([2, 3], header(12, 3)),
    "too few blocks": ([2, 3], header(12, 1)),
    "no blocks": ([2, 3], header(12, 0)),
    "blocks of an empty orbit": ([], header(12, 1)),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_header_that_contradicts_its_blocks(name):
    """One of them is damaged, and nobody knows which: the orbit and those after it are not read."""
    bx, head = CONTRADICTIONS[name]
    good, bad, after = run3_orbit(11, [1, 40], header(11, 2)), run3_orbit(12, bx, head), run3_orbit(13, [7])
    data = good + bad + after + Trailer(0, 0, 3).encode()
    decoded, found = decode_muons(io.BytesIO(data), RUN3)
    assert decoded.objects.orbit.tolist() == [11, 11]
    assert (found.orbits, found.blocks, found.corrupt) == (1, 2, 1)
    assert found.corrupt_bytes == len(bad) + len(after)


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_headers_of_others_are_not_believed(name):
    """The same words without l1scout's mark mean something else, and contradict nothing."""
    bx, head = CONTRADICTIONS[name]
    data = run3_orbit(11, [1]) + run3_orbit(12, bx, b"\1" + head[1:]) + run3_orbit(13, [7])
    decoded, found = decode_muons(io.BytesIO(data + Trailer(0, 0, 3).encode()), RUN3)
    assert decoded.objects.orbit.tolist() == [11, *([12] * len(bx)), 13]
    assert (found.orbits, found.corrupt, found.flagged) == (3, 0, 0)


def test_headers_that_agree():
    """Bit 31 of the orbit is no part of its number; an empty orbit has its number from its header."""
    data = run3_orbit(11, [1], header(11 | 1 << 31, 1)) + run3_orbit(500, [], header(500, 0, good=0x7F))
    decoded, found = decode_muons(io.BytesIO(data + Trailer(0, 0, 2).encode()), RUN3)
    assert (decoded.objects.orbit.tolist(), found.orbits, found.corrupt) == ([11], 2, 0)
    assert decoded.flagged.tolist() == [500]


def test_blocks_and_map_of_different_length():
    """The map has a BX more, or a BX less, than there are blocks."""
    for bits, blocks in (([2, 3], [2, 3, 4]), ([2, 3, 4], [2, 3]), ([], [2]), ([2], [])):
        bad = run3_orbit(12, bits)
        inner = run3_orbit(12, blocks)
        bad = inner[: 32 + 192 * len(blocks)] + bad[32 + 192 * len(bits) :]
        data = run3_orbit(11, [1]) + bad + Trailer(0, 0, 2).encode()
        decoded, found = decode_muons(io.BytesIO(data), RUN3)
        assert (decoded.objects.orbit.tolist(), found.corrupt_bytes) == ([11], len(bad))


def test_blocks_of_two_orbits_under_one_header():
    bad = bytearray(run3_orbit(12, [2, 3]))
    bad[32 + 192] ^= 1  # orbit of the second block, link 0
    decoded, found = decode_muons(
        io.BytesIO(run3_orbit(11, [1]) + bytes(bad) + Trailer(0, 0, 2).encode()), RUN3
    )
    assert (decoded.objects.orbit.tolist(), found.corrupt_bytes) == ([11], len(bad))


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
    # corrupt: what is too long to be a packet, and its rest before the next trailer
    assert (found.packets, found.corrupt) == (2, 2)
    assert found.corrupt_bytes == (9 << 20) + 32


def test_orbit_room():
    assert (RUN2.orbit_room, RUN3.orbit_room) == (3564 * 192, 3564 * 192 + 576)


class InPieces(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def readinto(self, buffer, /):
        return super().readinto(memoryview(buffer)[: self._size])


MARK, ORBIT_END = bytes.fromhex("efbeaddeefbeadde"), bytes.fromhex("addeefbe") * 8
FRAGMENTS = (
    MARK,
    MARK[:5],
    MARK[2:],
    ORBIT_END,
    ORBIT_END[:-1],
    ORBIT_END + MARK,
    bytes(32),
    b"\7" * 24,
    b"\xef",
)


def packets_by_find(data: bytes) -> list[tuple[bytes, int]]:
    """Cut a stream at its trailers, with `bytes.find`."""
    packets, start, at = [], 0, 0
    while (at := data.find(MARK, at)) >= 0 and at + 32 <= len(data):
        if at - 2 >= start and data[at - 2 : at + 30] == ORBIT_END:
            at += 30
            continue
        packets.append((data[start : at + 32], 0))
        start = at = at + 32
    return [*packets, (b"", len(data) - start)] if start < len(data) else packets


@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=9), max_size=25), st.integers(1, 200))
def test_trailers_are_found_as_by_find(fragments, piece):
    data = b"".join(fragments)
    found = [(bytes(packet), skipped) for packet, skipped in RUN3.split(InPieces(data, piece))]
    assert found == packets_by_find(data)
