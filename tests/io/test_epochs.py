"""Orbit numbers that began anew: the second epoch follows the first, in files, archives and analyses."""

import struct

import numpy as np
import pytest
from crc32c import crc32c

from l1scout.formats.packets import Trailer
from l1scout.formats.raw import file_header
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import read_events
from l1scout.io.archive import to_parquet, to_raw
from l1scout.io.inspect import describe
from l1scout.io.quality import ReadQuality
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter

RUN, EPOCH = 320040, 1 << 31


def raw_file(orbits, *, links: int = 0xFF) -> bytes:
    """A muon in BX 5 of each orbit, of another hwPt in each; `links` are those that agree on the BX."""
    body = b""
    for k, orbit in enumerate(orbits):
        number = orbit % EPOCH
        words = (links << 24 | 0x01FF00, 5, number, (3 + k) << 10 | 1, 36 << 4, 0)
        payload = struct.pack("<7I", 1, *words)
        lumisection = orbit // (1 << 18) + 1
        body += (
            struct.pack("<HHIIIII", 6, 0, RUN, lumisection, number, len(payload), crc32c(payload)) + payload
        )
    return file_header(RUN, 1, len(orbits), 32 + len(body)) + body


CASES = {
    "a wrap": [*range(EPOCH - 3, EPOCH + 3)],
    "a restart at 0": [5000, 5001, 5002, EPOCH, EPOCH + 1, EPOCH + 2],
    "the same numbers again": [1000, 1001, 1002, EPOCH + 1000, EPOCH + 1001, 3 * EPOCH + 1000],
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_two_epochs(tmp_path, name):
    orbits = CASES[name]
    path, archive, back = (tmp_path / n for n in ("file.raw", "file.parquet", "back.raw"))
    path.write_bytes(raw_file(orbits))
    to_parquet(path, archive)
    to_raw(archive, back)
    assert back.read_bytes() == path.read_bytes()
    for stored in (path, archive):
        quality = ReadQuality()
        (events,) = read_events(stored, quality=quality)
        muons = events.muons
        assert muons.orbit.tolist() == orbits
        assert muons["hwPt"].tolist() == [3, 4, 5, 6, 7, 8]
        np.testing.assert_array_equal(muons.lumisection, np.array(orbits) // (1 << 18) + 1)
        assert (quality.duplicate_orbits, quality.damaged_parts) == (0, 0)
    assert describe(path)["orbits"] == [orbits[0], orbits[-1]]


def test_words_that_rows_do_not_give_back_have_their_epoch_too(tmp_path):
    """Spare bits of a record, which the archive keeps beside its rows."""
    data = bytearray(raw_file(CASES["a wrap"]))
    at = 32 + 28 + 20  # third word of the first muon
    data[at] |= 0x02
    data[32 + 20 : 32 + 24] = crc32c(bytes(data[32 + 24 : 32 + 52])).to_bytes(4, "little")
    path, archive = tmp_path / "file.raw", tmp_path / "file.parquet"
    path.write_bytes(data)
    to_parquet(path, archive)
    (events,) = read_events(archive)
    assert events.muons.orbit.tolist() == CASES["a wrap"]


def test_flagged_orbits_of_a_later_epoch_are_left_out(tmp_path):
    orbits = CASES["the same numbers again"]
    path, archive = tmp_path / "file.raw", tmp_path / "file.parquet"
    path.write_bytes(raw_file(orbits, links=0xFE | 1))
    to_parquet(path, archive)
    good, bad = raw_file(orbits[:3]), raw_file(orbits[3:], links=0x7F)
    path.write_bytes(file_header(RUN, 1, 6, len(good) + len(bad) - 32) + good[32:] + bad[32:])
    to_parquet(path, archive)
    for stored in (path, archive):
        quality = ReadQuality(skip_flagged=True)
        kept = [o for e in read_events(stored, quality=quality) for o in e.muons.orbit.tolist()]
        assert (kept, quality.flagged_orbits) == (orbits[:3], 3)


def test_a_run_over_the_end_of_the_orbit_numbers(tmp_path):
    """From packets to the files of a run: every muon once, in order."""
    numbers = [EPOCH - 4, EPOCH - 3, EPOCH - 2, EPOCH - 1, 0, 1, 2, 3]
    writer = SegmentWriter(Spool(tmp_path / "spool"), RUN, 1, RUN3)
    for sent in range(2, 9, 2):
        writer.step((memoryview(packet(numbers[sent - 2 : sent], sent)), 0))
    writer.finish()
    quality, found = ReadQuality(), []
    for path in sorted((tmp_path / "spool").glob("*.raw")):
        for events in read_events(path, quality=quality):
            found += zip(events.muons.orbit.tolist(), events.muons["hwPt"].tolist(), strict=True)
    assert found == [(EPOCH - 4 + k, 5) for k in range(8)]
    assert (quality.duplicate_orbits, quality.damaged_parts, quality.missing_orbits) == (0, 0, 0)


def packet(numbers: list[int], sent: int) -> bytes:
    """A packet of orbits with a muon of hwPt 5 in BX 7 each."""
    data = b""
    for number in numbers:
        block = np.zeros((6, 8), "<u4")
        block[0], block[1], block[2, 0] = number, 7, 5 << 10 | 1
        bits = bytearray(448)
        bits[0] = 1 << 6
        end = np.full(8, 0xBEEFDEAD, "<u4").tobytes() + bits + bytes(64)
        data += bytes(32) + block.tobytes() + end
    return data + Trailer(0, 0, sent).encode()


def test_two_files_of_one_run(tmp_path):
    """The second epoch has the numbers and the muons of the first, and is no repetition."""
    quality = ReadQuality()
    for name, first in (("one.raw", 1000), ("two.raw", EPOCH + 1000), ("three.raw", 1000)):
        (tmp_path / name).write_bytes(raw_file(range(first, first + 4)))
        for _ in read_events(tmp_path / name, quality=quality):
            pass
        assert quality.duplicate_orbits == 4 * (name == "three.raw")
