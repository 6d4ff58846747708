"""Zero-suppressed records, against a plain Python writer."""

import numpy as np
import pytest

from front_end import BOARD_FORMATS, random_blocks
from l1scout.formats.block import decode_blocks, occupied
from l1scout.formats.fine_suppression import record_room, suppress
from l1scout.formats.records import next_records
from l1scout.formats.streams.muon import read_records
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3

PT = 0x1FF << 10


def slow_records(blocks, form):
    """The format's definition, word by word."""
    out = []
    for block in blocks.tolist():
        bx, orbit = block[form.bx_row], [w & 0x7FFFFFFF for w in block[form.orbit_row]]
        bad = [w >> 31 for w in block[form.orbit_row]]
        if not 1 <= bx[0] & form.bx_mask <= 3564:
            continue
        one = [k for k in range(8) if block[2][k] & PT]
        two = [k for k in range(8) if block[4][k] & PT]
        if not one + two:
            continue
        bx_match = sum((bx[k] & form.bx_mask == bx[0] & form.bx_mask) << k for k in range(8))
        orbit_match = sum((orbit[k] == orbit[0] and not bad[k]) << k for k in range(8))
        out += [bx_match << 24 | len(one) << 16 | orbit_match << 8 | len(two), bx[0] & form.bx_mask, orbit[0]]
        for slot, links in enumerate((one, two)):
            for k in links:
                out += [block[2 + 2 * slot][k], block[3 + 2 * slot][k]]
                if form is RUN3:
                    out.append(bx[k] & ~form.bx_mask | slot)
    return np.array(out, np.uint32)


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_records_follow_their_definition(form):
    blocks = random_blocks(np.random.default_rng(2), 500, form)
    records, bad = suppress(blocks, form)
    np.testing.assert_array_equal(records, slow_records(blocks, form))
    masked = blocks[:, form.bx_row, 0] & form.bx_mask
    assert bad == np.count_nonzero((masked < 1) | (masked > 3564))
    assert records.size <= record_room(500)
    with pytest.raises(ValueError, match="room for 10"):
        suppress(blocks, form, np.zeros(10, np.uint32))


def test_golden_records():
    block = np.zeros((1, 6, 8), np.uint32)
    block[0, 0], block[0, 1] = 0x78000123, 7
    block[0, 2, 3], block[0, 3, 3] = 0x00000400, 0xAABBCCDD
    block[0, 4, 0], block[0, 5, 0] = 0xFFFFFFFF, 1
    records, _ = suppress(block, RUN2)
    expected = "0100 01ff 2301 0000 0700 0000 0004 0000 ddcc bbaa ffff ffff 0100 0000"
    assert records.tobytes() == bytes.fromhex("01ff01ff" + "23010000" + "07000000") + bytes.fromhex(
        expected.replace(" ", "")[24:]
    )
    swapped = block[:, [1, 0, 2, 3, 4, 5]]
    swapped[0, 1] = 0x123 | 5 << 13
    records, _ = suppress(swapped, RUN3)
    assert records.tolist() == [
        0xFF01FF01, 0x123, 7, 0x400, 0xAABBCCDD, 5 << 13, 0xFFFFFFFF, 1, 5 << 13 | 1,
    ]  # fmt: skip


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_records_and_blocks_tell_the_same_muons(form):
    blocks = random_blocks(np.random.default_rng(3), 300, form)
    blocks[:, form.orbit_row] += np.arange(300, dtype=np.uint32)[:, np.newaxis] << 8
    blocks[::3, 2:] = 0
    direct = decode_blocks(blocks, form)
    records, _ = suppress(blocks, form)
    by_records = read_records(records, form)
    assert by_records.corrupt == 0
    for name in by_records.objects.columns:
        if form is RUN2 and name == "intermediate":
            continue  # records of Run 2 do not state it; here any link has any marker
        np.testing.assert_array_equal(by_records.objects[name], direct.objects[name])
    np.testing.assert_array_equal(by_records.objects.orbit, direct.objects.orbit)
    np.testing.assert_array_equal(by_records.objects.bx, direct.objects.bx)
    # blocks without a muon leave no record, and so nothing to flag
    with_muons = np.isin(direct.flagged, direct.objects.orbit)
    assert 10 < by_records.flagged.size < direct.flagged.size
    np.testing.assert_array_equal(by_records.flagged, direct.flagged[with_muons])


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_records_cut_anywhere(form):
    records, _ = suppress(random_blocks(np.random.default_rng(4), 5, form), form)
    data = records.tobytes()
    whole = read_records(data, form).objects.n_objects
    for stop in range(len(data)):
        got = read_records(data[:stop], form)
        assert got.objects.n_objects < whole
        assert got.corrupt_bytes < 4 * 51


def test_occupied_against_numpy():
    blocks = random_blocks(np.random.default_rng(5), 1000, RUN3)
    blocks[::3, 2:] = 0
    np.testing.assert_array_equal(occupied(blocks), (blocks[:, 2:6:2] & PT != 0).any(axis=(1, 2)))


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_the_nine_bits_of_hw_pt_make_a_muon_and_no_others(form):
    """Blocks with one bit each in a muon's first word, and one with all but those nine."""
    blocks = np.zeros((33, 6, 8), np.uint32)
    blocks[:, form.bx_row] = np.arange(1, 34)[:, None]
    blocks[:, 2, 3] = [1 << k for k in range(32)] + [0xFFFFFFFF ^ PT]
    expected = [11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert (np.flatnonzero(occupied(blocks)) + 1).tolist() == expected
    assert decode_blocks(blocks, form).objects.bx.tolist() == expected
    assert read_records(suppress(blocks, form)[0], form).objects.bx.tolist() == expected


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_a_record_has_at_most_eight_muons_of_each_slot(form):
    """Every link sends both of its muons; a header that tells of nine is damaged."""
    block = np.zeros((1, 6, 8), np.uint32)
    block[0, form.bx_row], block[0, form.orbit_row] = 77, 5
    block[0, 2], block[0, 4] = np.arange(1, 9) << 10, np.arange(11, 19) << 10
    records, _ = suppress(block, form)
    found = read_records(records, form)
    assert found.objects["hwPt"].tolist() == [*range(1, 9), *range(11, 19)]
    assert found.objects["second"].tolist() == [0] * 8 + [1] * 8
    for change in (1, 1 << 16):
        wrong = np.append(records, np.zeros(form.record_words, np.uint32))
        wrong[0] += change
        found = read_records(wrong, form)
        assert (found.objects.n_objects, found.corrupt_bytes) == (0, 4 * wrong.size)


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_where_records_begin_again(form):
    """After damage: four records in a row, each later than the one before it."""
    blocks = np.zeros((5, 6, 8), np.uint32)
    blocks[:, form.bx_row], blocks[:, form.orbit_row] = np.arange(10, 15)[:, np.newaxis], 5
    blocks[:, 2, 0] = 9 << 10
    later, _ = suppress(blocks, form)
    blocks[2, form.bx_row] = 11  # that of the block before
    same, _ = suppress(blocks, form)
    rubbish = np.full(3, 0xFFFFFFFF, np.uint32)
    assert next_records(np.concatenate([rubbish, later]), 0, form) == 3
    assert next_records(np.concatenate([rubbish, same]), 0, form) == 3 + same.size
