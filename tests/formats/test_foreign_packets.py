"""Packets of Run 3 as other boards write them: maps from BX 0, headers that tell nothing, BX words from 0."""

import io

import numpy as np
import pytest

from front_end import decode_muons
from l1scout.formats.packets import Trailer
from l1scout.formats.wire_format import recognise_format
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import read_events
from l1scout.io.inspect import describe
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter

OURS = 0x6C316F72


def orbit3(orbit: int, bx: list[int], map_from: int = 1, header: tuple[int, ...] = (0,) * 8) -> bytes:
    """An orbit with a muon of hwPt 4 in the first slot of link 0 in each BX."""
    blocks = np.zeros((len(bx), 6, 8), "<u4")
    blocks[:, 0], blocks[:, 1] = orbit, np.array(bx, np.uint32)[:, None]
    blocks[:, 2, 0] = 4 << 10
    bits = np.zeros(3584, np.uint8)
    bits[np.array(bx, np.int64) - map_from] = 1
    end = np.full(8, 0xBEEFDEAD, "<u4").tobytes() + np.packbits(bits, bitorder="little").tobytes() + bytes(64)
    return np.array(header, "<u4").tobytes() + blocks.tobytes() + end


def packet(*orbits: bytes, sent: int = 1) -> bytes:
    return b"".join(orbits) + Trailer(0, 0, sent).encode()


def orbits_of(data: bytes) -> tuple[list[int], int]:
    found = RUN3.find_orbits(memoryview(data))
    return found.orbit.tolist(), found.found.corrupt


@pytest.mark.parametrize(("map_from", "last"), [(0, 3564), (0, 3563), (1, 3564)])
def test_the_blocks_tell_where_the_map_begins(map_from, last):
    data = packet(orbit3(11, [1, 32, 33, 2000, last], map_from), orbit3(12, []), orbit3(13, [64], map_from))
    decoded, found = decode_muons(io.BytesIO(data), RUN3)
    assert decoded.objects.bx.tolist() == [1, 32, 33, 2000, last, 64]
    assert (found.orbits, found.corrupt, found.maps_from_0) == (3, 0, map_from == 0)


def test_bx_0_is_kept_as_written():
    """The last BX of an orbit and BX 0 of the next are two crossings, and in order."""
    data = packet(orbit3(11, [5, 3564], 0), orbit3(12, [0, 1], 0))
    decoded, found = decode_muons(io.BytesIO(data), RUN3)
    assert decoded.objects.orbit.tolist() == [11, 11, 12, 12]
    assert decoded.objects.bx.tolist() == [5, 3564, 0, 1]
    assert found.corrupt == 0
    frames = RUN3.frame(RUN3.find_orbits(memoryview(data)), 7, 1)
    assert (frames.bad_blocks, frames.objects["muon"]) == (0, 4)


def test_orbits_of_a_packet_agree_on_the_map():
    """A bit of a BX word that changes looks like the other kind of map."""
    data = packet(orbit3(11, [77, 80]), orbit3(12, [77], 0), orbit3(13, [77]))
    assert orbits_of(data) == ([11], 1)


def test_maps_of_l1scout_begin_with_bx_1():
    header = (OURS, 11, 1, 0xFF, 0, 0, 0, 0)
    assert orbits_of(packet(orbit3(11, [77], 1, header))) == ([11], 0)
    assert orbits_of(packet(orbit3(11, [77], 0, header))) == ([], 1)


@pytest.mark.parametrize("bit", range(32))
def test_a_damaged_mark_is_not_the_header_of_another_board(bit):
    """Good links and flags would not be seen."""
    heads = [[OURS, 11 + k, 1, 0xFE, 0, 0, 0, 0] for k in range(3)]
    heads[1][0] ^= 1 << bit
    data = packet(*(orbit3(11 + k, [77], 1, tuple(head)) for k, head in enumerate(heads)))
    assert orbits_of(data) == ([11], 1)


@pytest.mark.parametrize(
    ("orbits", "numbers"),
    [
        ([None, None, 501, None, 503, None], [499, 500, 501, 502, 503, 504]),
        ([501, None, None, 510], [501, 502, 503, 510]),
        ([None, 0x7FFFFFFF, None, 1], [0x7FFFFFFE, 0x7FFFFFFF, 0, 1]),
        ([501, 501, None], [501, 501, 502]),
    ],
)
def test_empty_orbits_have_the_numbers_between_those_of_their_neighbours(orbits, numbers):
    data = packet(*(orbit3(o, [77]) if o is not None else orbit3(0, []) for o in orbits))
    assert orbits_of(data) == (numbers, 0)


def test_more_empty_orbits_than_numbers():
    """One of the numbers beside them is damaged: what comes after is not read."""
    data = packet(orbit3(501, [77]), orbit3(0, []), orbit3(0, []), orbit3(502, [77]), orbit3(503, [77]))
    assert orbits_of(data) == ([501, 502, 503], 1)


def test_packets_that_tell_no_number(tmp_path):
    """They follow the packet before, in a file and in a run."""
    empty = orbit3(0, [])
    data = packet(orbit3(501, [77]), empty, sent=2) + packet(empty, empty, sent=4)
    data += packet(empty, orbit3(506, [5]), sent=6)
    path = tmp_path / "packets"
    path.write_bytes(data)
    assert not RUN3.find_orbits(memoryview(packet(empty, empty))).numbered
    found = describe(path)
    assert (found["orbits"], found["duplicate_orbits"], found["corrupt"]) == (6, 0, 0)
    assert [e.muons.orbit.tolist() for e in read_events(path)] == [[501], [], [506]]


@pytest.mark.parametrize("bx", [0, 5])
def test_run_2_with_bx_0(bx):
    block = np.zeros((6, 8), "<u4")
    block[0], block[1], block[2, 1] = bx, 9, 3 << 10
    data = block.tobytes() + Trailer(0, 0, 1).encode()
    assert recognise_format(io.BytesIO(data)) is RUN2
    decoded, found = decode_muons(io.BytesIO(data), RUN2)
    assert (decoded.objects.orbit.tolist(), decoded.objects.bx.tolist()) == ([9], [bx])
    assert found.corrupt == 0


def test_a_block_of_zeros_is_damage_in_run_2():
    block = np.zeros((2, 6, 8), "<u4")
    block[1, 0], block[1, 1], block[1, 2, 1] = 5, 9, 3 << 10
    _, found = decode_muons(io.BytesIO(block.tobytes() + Trailer(0, 0, 1).encode()), RUN2)
    assert (found.orbits, found.corrupt) == (0, 1)


def test_foreign_headers_through_a_writer(shared_cases, tmp_path):
    """4000 orbits from 500 on, every third with a muon, headers of zeros: all are kept, none twice."""
    import lzma

    with lzma.open(shared_cases / "chain" / "foreign.dat.xz") as file:
        data = file.read()
    writer = SegmentWriter(Spool(tmp_path), 7, 1, RUN3)
    for item in RUN3.split(io.BytesIO(data)):
        writer.step(item)
    segment = writer.finish()
    counts = writer.totals.counts
    assert {n: counts[n] for n in ("orbits", "duplicate", "corrupt")} == {
        "orbits": 4000,
        "duplicate": 0,
        "corrupt": 0,
    }
    assert (segment.last_orbit, counts["blocks"]) == (4499, 1333)
