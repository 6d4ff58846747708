"""Decode every layout from words packed by hand: literal numbers in which all fields differ.

The words were made from the published bit positions with shifts of their own, not with the tables of
`l1scout.formats`, so that an error in a table cannot hide in encoder and decoder alike.
"""

import io
import struct

import numpy as np
import pytest

from front_end import decode_muons
from l1scout.formats.block import decode_blocks
from l1scout.formats.layout import Layout
from l1scout.formats.packets import Trailer
from l1scout.formats.raw import FILE_HEADER, FRAME_HEADER, read_frames, read_header
from l1scout.formats.raw_objects import decode_frames
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.records import ORBIT, RECORD_HEADER
from l1scout.formats.streams.muon import FIELDS, MUON_2018, MUON_RUN3, MUON_RUN3_EXTRA, MUONS, read_records
from l1scout.formats.wire_formats.run2 import BX_RUN2, RUN2
from l1scout.formats.wire_formats.run3 import BX_RUN3, RUN3
from l1scout.io import read_events
from l1scout.io.inspect import describe
from l1scout.io.quality import ReadQuality

F = {"hwPhiAtVtx": 413, "hwPt": 301, "hwQual": 10, "hwEtaAtVtx": -93}
S = {"hwIso": 2, "hwCharge": 1, "hwChargeValid": 0, "tfMuonIndex": 77, "hwPhi": 530}
S_SWAPPED = {"hwIso": 1, "hwCharge": 0, "hwChargeValid": 1, "tfMuonIndex": 41, "hwPhi": 65}
F_OTHER = {"hwPhiAtVtx": 97, "hwPt": 21, "hwQual": 5, "hwEtaAtVtx": 170}
NOTHING = dict.fromkeys(f.name for f in MUON_RUN3.fields)

WORDS: list[tuple[Layout, int, dict[str, int]]] = [
    (MUON_2018, 0xE6F094D6_D1D4B59D, {**F, **S, "hwEta": -201, "reserved": 3}),
    (MUON_2018, 0x8EC20A99_55285461, {**F_OTHER, **S_SWAPPED, "hwEta": 118, "reserved": 2}),
    (MUON_RUN3, 0xD4B094D6_D1D4B59D, {**F, **S, "hwPtUnconstrained": 0xA5, "shower": 0, "hwDXY": 3}),
    (
        MUON_RUN3,
        0xAB420A99_55285461,
        {**F_OTHER, **S_SWAPPED, "hwPtUnconstrained": 90, "shower": 1, "hwDXY": 2},
    ),
    (MUON_RUN3, 0x20000000_00000000, {**dict.fromkeys(NOTHING, 0), "shower": 1}),
    (MUON_RUN3, 0x40000000_00000000, {**dict.fromkeys(NOTHING, 0), "hwDXY": 1}),
    (MUON_RUN3_EXTRA, 0x9DB46000, {"second": 0, "hwEta1": -93, "hwEta2": 118, "intermediate": 1}),
    (MUON_RUN3_EXTRA, 0x4DC4A001, {"second": 1, "hwEta1": 37, "hwEta2": -201, "intermediate": 0}),
    (ORBIT, 0x92345678, {"orbit": 0x12345678, "linkBad": 1}),
    (BX_RUN2, 0x7C800BB9, {"bx": 3001, "link": 9, "marker": 15}),
    (BX_RUN3, 0x9DB46BB9, {"bx": 3001, "hwEta1": -93, "hwEta2": 118, "intermediate": 1}),
    (RECORD_HEADER, 0xB705ED03, {"bxMatch": 0xB7, "n1": 5, "orbitMatch": 0xED, "n2": 3}),
    (
        RECALIBRATED,
        0xB74DAE70_FD121F41,
        {
            **{"phiRecal": 8001, "etaRecal": -3000, "ptRecal": 9999, "hwQual": 11, "hwIso": 2, "hwCharge": 1},
            **{"hwChargeValid": 0, "tfMuonIndex": 83, "isRecal": 1, "reserved": 45},
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "word", "fields"), WORDS, ids=lambda x: getattr(x, "name", None))
def test_word_packed_by_hand(layout, word, fields):
    decoded = layout.decode(np.array([word], layout.word))
    assert {name: int(column[0]) for name, column in decoded.items()} == fields
    assert int(layout.encode({name: [value] for name, value in fields.items()})[0]) == word


def test_unconstrained_pt_has_1_gev_per_step():
    """Scales of the uGT of 2024; the constrained pT has 0.5 GeV per step."""
    np.testing.assert_array_equal(FIELDS["hwPtUnconstrained"].to_physical([1, 2, 255]), [0, 1, 254])
    np.testing.assert_array_equal(FIELDS["hwPt"].to_physical([1, 2, 255]), [0, 0.5, 127])


def test_headers_of_a_raw_file():
    head = np.frombuffer(
        bytes.fromhex("5241575f30303032200014000403020123d005000d0c0b0a8877665544332211"), FILE_HEADER
    )[0]
    assert head.tolist() == (b"RAW_0002", 32, 20, 0x01020304, 380963, 0x0A0B0C0D, 0x1122334455667788)
    head = np.frombuffer(bytes.fromhex("0600214323d005000b0a0000785634120e0d0c00dec0adde"), FRAME_HEADER)[0]
    assert head.tolist() == (6, 0x4321, 380963, 0x0A0B, 0x12345678, 0x0C0D0E, 0xDEADC0DE)


MUON_1 = (0xD1D4B59D, 0xD4B094D6)
MUON_2 = (0x55285461, 0xAB420A99)
RECORD_RUN3 = struct.pack("<9I", 0xFF01FF01, 3001, 0x12345678, *MUON_1, 0x1DB46000, *MUON_2, 0xCDC4A001)
"""A first-slot muon (final) and a second-slot one (intermediate)."""


def test_record_of_run_3():
    muons = read_records(RECORD_RUN3, RUN3).objects
    assert (muons.orbit.tolist(), muons.bx.tolist()) == ([0x12345678], [3001])
    told = {n: muons[n].tolist() for n in ("hwPt", "hwEta", "hwDXY", "shower", "second", "intermediate")}
    assert told == {
        "hwPt": [301, 21],
        "hwEta": [-93, -201],
        "hwDXY": [3, 2],
        "shower": [0, 1],
        "second": [0, 1],
        "intermediate": [0, 1],
    }


def test_record_of_run_2():
    words = (0xFF01FF01, 3001, 0x12345678, 0xD1D4B59D, 0xE6F094D6, 0x00285461, 0x8EC20809)
    muons = read_records(struct.pack("<7I", *words), RUN2).objects
    assert (muons.orbit.tolist(), muons.bx.tolist()) == ([0x12345678], [3001])
    assert (muons["hwPt"].tolist(), muons["hwEta"].tolist()) == ([301, 21], [-201, 118])
    # the second has index 0 and eta 0 at the vertex, as no final muon can: it is intermediate
    assert (muons["tfMuonIndex"].tolist(), muons["hwEtaAtVtx"].tolist()) == ([77, 0], [-93, 0])
    assert muons["intermediate"].tolist() == [0, 1]


def test_frame_of_a_raw_file():
    payload = struct.pack("<I", 1) + RECORD_RUN3
    frame = struct.pack("<HHIIIII", 6, 0, 380963, 7, 0x12345678, len(payload), 0) + payload
    data = b"RAW_0002" + struct.pack("<HHIIIQ", 32, 20, 1, 380963, 7, 32 + len(frame)) + frame
    found = read_header(data)
    frames = list(read_frames(data, found))
    assert [(f.run, f.lumisection, f.orbit, f.source) for f in frames] == [(380963, 7, 0x12345678, 1)]
    assert decode_frames(frames, MUONS, found).objects["hwDXY"].tolist() == [3, 2]


def block(first: list[int], second: list[int]) -> bytes:
    """Rows of a crossing with one muon in the first slot of link 3 and one in the second slot of link 5."""
    rows = [first, second, *([0] * 8 for _ in range(4))]
    (rows[2][3], rows[3][3]), (rows[4][5], rows[5][5]) = MUON_1, MUON_2
    return struct.pack("<48I", *(word for row in rows for word in row))


def test_packet_of_run_3():
    bx = [0x9DB46BB9 if link == 5 else 0x1DB46BB9 for link in range(8)]
    bits = bytearray(448)
    bits[3000 // 8] = 1 << (3000 % 8)
    orbit = bytes(32) + block([0x12345678] * 8, bx) + struct.pack("<8I", *[0xBEEFDEAD] * 8) + bits + bytes(64)
    packet = orbit + struct.pack("<4Q", 0xDEADBEEFDEADBEEF, 11, 22, 33)
    decoded, found = decode_muons(io.BytesIO(packet), RUN3)
    muons = decoded.objects
    assert (found.orbits, found.blocks, found.corrupt, found.trailer) == (1, 1, 0, Trailer(11, 22, 33))
    assert (muons.orbit.tolist(), muons.bx.tolist()) == ([0x12345678], [3001])
    told = {n: muons[n].tolist() for n in ("hwPt", "hwEta", "hwDXY", "link", "second", "intermediate")}
    assert told == {
        "hwPt": [301, 21],
        "hwEta": [-93, 118],
        "hwDXY": [3, 2],
        "link": [3, 5],
        "second": [0, 1],
        "intermediate": [0, 1],
    }


def test_packet_of_run_2():
    bx = [3001 | link << 23 | (15 << 27 if link > 3 else 0) for link in range(8)]
    packet = block(bx, [0x12345678] * 8) + struct.pack("<4Q", 0xDEADBEEFDEADBEEF, 11, 22, 33)
    decoded, found = decode_muons(io.BytesIO(packet), RUN2)
    muons = decoded.objects
    assert (found.orbits, found.corrupt, found.trailer) == (1, 0, Trailer(11, 22, 33))
    assert (muons.orbit.tolist(), muons.bx.tolist()) == ([0x12345678], [3001])
    assert (muons["link"].tolist(), muons["intermediate"].tolist()) == ([3, 5], [0, 1])
    assert muons["hwEta"].tolist() == [165, -166]  # here the bits of the unconstrained pT, shower and hwDXY


def test_a_block_says_what_a_record_says():
    """Words of a block as the hardware orders them, compared with those of the record above."""
    bx = [0x1DB46BB9] * 8
    words = np.frombuffer(block([0x12345678] * 8, bx), "<u4").reshape(1, 6, 8)
    assert decode_blocks(words, RUN3).objects["shower"].tolist() == [0, 1]


SAMPLES = {
    "run380963_ls0001_index000000.raw": ([1, 3564, 77], [-90, 95, -256, 5], [0, 0, 1, 0], [1, 2, 3, 1]),
    "bare_run3_records.dat": ([1, 3564, 77], [-90, 95, -256, 5], [0, 0, 1, 0], [1, 2, 3, 1]),
    "bxword_with_eta.raw": ([7], [5], [0], [1]),
    "bx0.raw": ([0, 5], [5, 5], [0, 0], [1, 2]),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_run_3_packed_after_the_public_code(shared_cases, name):
    bx, eta, intermediate, dxy = SAMPLES[name]
    (events,) = read_events(shared_cases / "chain" / "format-samples" / name, intermediate=True)
    muons = events.muons
    assert muons.bx.tolist() == bx
    assert muons["hwEta"].tolist() == eta
    assert muons["intermediate"].tolist() == intermediate
    assert muons["hwDXY"].tolist() == dxy
    assert not muons["shower"].any()


PACKETS = {
    "dma_run3_map_bit_is_bx_minus_0.dat": 3563,
    "dma_run3_map_bit_is_bx_minus_1.dat": 3563,
    "dma_run2_2018.dat": 3564,
}


@pytest.mark.parametrize("name", PACKETS)
def test_samples_of_packets_packed_after_the_public_code(shared_cases, name):
    found = [e.muons for e in read_events(shared_cases / "chain" / "format-samples" / name)]
    columns = [np.concatenate([m[n] for m in found]) for n in ("tfMuonIndex", "hwEta", "hwPt", "link")]
    assert np.stack(columns, axis=1).tolist() == [[36, -90, 21, 3], [71, 95, 511, 3], [90, -256, 9, 3]] * 100
    orbit, bx = (np.concatenate([getattr(m, n)[m.row] for m in found]) for n in ("orbit", "bx"))
    assert orbit.tolist() == np.repeat(np.arange(100, 200), 3).tolist()
    assert bx.reshape(100, 3).tolist() == [[5 + o % 20, 100, PACKETS[name]] for o in range(100)]
    if "run3" in name:
        dxy = np.concatenate([m["hwDXY"] for m in found])
        assert dxy.tolist() == [1, 2, 3] * 100


def test_inspect_says_how_the_map_and_bx_are_numbered(shared_cases):
    folder = shared_cases / "chain" / "format-samples"
    counts = [describe(folder / f"dma_run3_map_bit_is_bx_minus_{k}.dat")["maps_from_0"] for k in (0, 1)]
    assert counts == [5, 0]
    assert describe(folder / "bx0.raw")["bx"] == [0, 5]


def test_sample_of_run_2_records(shared_cases):
    (events,) = read_events(shared_cases / "chain" / "format-samples" / "scout_GMT_000001_000000.dat")
    assert events.muons.bx.tolist() == list(range(10, 22))
    assert events.muons["tfMuonIndex"].reshape(-1, 2).tolist() == [[36, 71], [71, 90], [90, 36]] * 4
    assert events.muons["hwEta"][:6].tolist() == [-90, 95, 95, -256, -256, -90]


def test_bx_0_gives_a_warning(shared_cases):
    quality = ReadQuality()
    for events in read_events(shared_cases / "chain" / "format-samples" / "bx0.raw", quality=quality):
        quality.add(events.main)
    assert [w for w in quality.warnings() if "1 crossings have BX 0" in w]
