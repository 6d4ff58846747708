"""The receiver, step by step: no sockets."""

import errno
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from crc32c import crc32c

from chain import PATIENCE_S
from front_end import BOARD_FORMATS
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.check_segment import contradiction
from l1scout.store.on_disk import FILE_CHANGED, FILE_MISSING, NOTE_LOST, WORKED_OUT
from l1scout.store.receiver import RefusedError, SegmentReceiver
from l1scout.store.store_folder import StoreFolder
from live_packets import feed, repeated, whole_segment

RUN = 7


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    return whole_segment(tmp_path_factory.mktemp("spool"), RUN)


@pytest.fixture
def make(tmp_path):
    """Make a receiver on a folder; the one before is closed, as if its process were killed."""
    made = []

    def receiver(**limits):
        for catalogue, folder in made:
            catalogue.close()
            folder.close()
        folder, catalogue = StoreFolder(tmp_path), Catalogue(tmp_path, create=True)
        made.append((catalogue, folder))
        limits = {"max_bytes": 1 << 30, "reserve_bytes": 0, "uploads": 4} | limits
        return SegmentReceiver(folder, catalogue, lambda event, **_: None, **limits)

    yield receiver
    for catalogue, folder in made:
        catalogue.close()
        folder.close()


def take(receiver, note, data, start=0):
    """Receive a segment; the status is the one of `begin` if there is nothing to send."""
    upload = receiver.begin(note, start)
    if isinstance(upload, int):
        return upload
    try:
        upload.write([data[start : start + 1000], data[start + 1000 :]])
        upload.finish()
    finally:
        upload.close()
    return 201


def refusal(act, *arguments):
    with pytest.raises(RefusedError) as caught:
        act(*arguments)
    return caught.value


def changed(note, content, **fields):
    """A note that describes some bytes, with other fields."""
    segment = replace(note.segment, size=len(content), crc32c=crc32c(content), **fields)
    return SegmentNote(segment=segment, position=note.position)


def test_a_segment_is_taken_once(sent, make, tmp_path):
    note, data = sent
    receiver = make()
    assert receiver.progress(note.segment.name) == 0
    assert [take(receiver, note, data) for _ in range(3)] == [201, 200, 200]
    assert (receiver.segments, receiver.bytes, receiver.again) == (1, len(data), 2)
    assert receiver.progress(note.segment.name) == note.segment
    assert (tmp_path / note.segment.folder / note.segment.name).read_bytes() == data
    beside = (tmp_path / note.segment.folder / f"{note.segment.name}.json").read_bytes()
    assert SegmentNote.decode(beside) == SegmentNote.decode(note.encode())
    assert receiver.position(RUN, 1) == note.position
    assert receiver.position(RUN, 2).index == 0


def test_an_upload_goes_on_where_it_was_cut(sent, make):
    note, data = sent
    name = note.segment.name
    receiver = make()
    upload = receiver.begin(note)
    upload.write([data[:1500]])
    upload.close()
    assert receiver.progress(name) == 1500
    cut = refusal(receiver.begin, note, 1501)
    assert (cut.status, cut.offset) == (416, 1500)
    receiver = make()  # the last byte is sent again: an upload that was complete can so be finished
    assert receiver.progress(name) == 1499
    assert take(receiver, note, data, 700) == 201
    assert list(receiver.folder.incoming.iterdir()) == []


def test_a_complete_upload_whose_store_was_killed_can_be_finished(sent, make):
    note, data = sent
    upload = make().begin(note)
    upload.write([data])
    upload.close()
    receiver = make()
    start = receiver.progress(note.segment.name)
    assert start == len(data) - 1
    assert take(receiver, note, data, start) == 201


def test_another_segment_of_the_same_identity_is_refused(sent, make):
    note, data = sent
    receiver = make()
    take(receiver, note, data)
    other = SegmentNote(segment=replace(note.segment, missed=5), position=note.position)
    assert refusal(receiver.begin, other).status == 409
    elsewhere = SegmentNote(segment=replace(note.segment, lumisection=2), position=note.position)
    assert refusal(receiver.begin, elsewhere).status == 409
    assert receiver.refused == 2


@pytest.mark.parametrize(
    "fault",
    [NOTE_LOST, WORKED_OUT, FILE_MISSING, FILE_CHANGED],
    ids=["note lost", "worked out", "missing", "changed"],
)
@pytest.mark.parametrize("state", ["intact", "damaged before", "changed", "missing", "deleted"])
def test_a_segment_with_a_fault_gives_way_to_its_own_bytes_or_if_it_is_damaged(sent, make, fault, state):
    """Its note was lost, so whether another is the same only its bytes tell."""
    note, data = sent
    other = data[:-4] + b"\1\2\3\4"  # of another board
    receiver = make()
    path = receiver.folder.file(note.segment)
    path.parent.mkdir()
    damaged = data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
    there = damaged if state == "damaged before" else data
    path.write_bytes(damaged if state in ("damaged before", "changed") else data)
    if state in ("missing", "deleted"):
        path.unlink()
    known = changed(note, there, missed=0)
    stored = Stored(known.segment, f"{path.parent.name}/{path.name}", "", len(there), crc32c(there), 1.0)
    deleted = 2.0 if state == "deleted" else None
    receiver.catalogue.put([(known, replace(stored, fault=fault, deleted=deleted))])
    offered = changed(note, other)
    if fault in (NOTE_LOST, WORKED_OUT) and state in ("intact", "deleted"):
        assert refusal(receiver.begin, offered).status == 409
        assert path.exists() == (state == "intact")
    else:
        receiver.begin(offered).close()
    lost_losses = changed(note, data, missed=5)
    assert take(receiver, lost_losses, data) == 201
    assert receiver.catalogue.get(note.segment.key).segment.missed == 5


def test_segments_may_be_as_long_as_is_set_and_no_longer(sent, make):
    note, data = sent
    short = refusal(make(max_bytes=len(data) - 1).begin, note)
    assert short.status == 413
    assert f"{len(data)} bytes; the limit is {len(data) - 1} (store.max_segment_bytes)" in str(short)
    assert take(make(max_bytes=len(data)), note, data) == 201


def test_nothing_is_written_beyond_the_size_of_the_note(sent, make):
    note, data = sent
    receiver = make()
    upload = receiver.begin(note)
    assert refusal(upload.write, [data, b"x"]).status == 422
    upload.close()
    assert list(receiver.folder.incoming.iterdir()) == []


def test_one_connection_at_a_time_sends_a_segment_and_few_send_at_all(sent, make):
    note, data = sent
    receiver = make(uploads=2)
    upload = receiver.begin(note)
    busy = refusal(receiver.begin, note)
    assert (busy.status, busy.retry_s) == (503, 1)
    second = SegmentNote(segment=replace(note.segment, index=1), position=note.position)
    third = SegmentNote(segment=replace(note.segment, index=2), position=note.position)
    other = receiver.begin(second)
    assert refusal(receiver.begin, third).status == 503
    other.close()
    upload.close()
    assert take(receiver, note, data) == 201


def test_what_a_killed_readout_was_sending_is_not_stored_after_the_next_has_asked(sent, make):
    """The next one uses the same index: its segment would be refused, and the orbits counted twice."""
    note, data = sent
    receiver = make()
    upload = receiver.begin(note)
    upload.write([data])
    assert receiver.position(RUN, 2).index == receiver.position(RUN + 1, 1).index == 0
    assert receiver.position(RUN, 1).index == 0
    late = refusal(upload.finish)
    assert (late.status, late.retry_s) == (503, 1)
    upload.close()
    assert receiver.position(RUN, 1).index == 0
    assert take(receiver, note, data) == 201
    assert receiver.position(RUN, 1) == note.position


def test_a_readout_that_asks_waits_for_what_is_entered_at_this_moment(sent, make, monkeypatch):
    note, data = sent
    receiver = make()
    keep, asked, going = receiver.folder.keep, [], threading.Event()

    def slow(*arguments):
        asked.append(threads.submit(receiver.position, RUN, 1))
        assert going.wait(PATIENCE_S)
        keep(*arguments)

    monkeypatch.setattr(receiver.folder, "keep", slow)
    wait_for = receiver._entered.wait_for

    def waiting(*arguments):
        going.set()
        return wait_for(*arguments)

    monkeypatch.setattr(receiver._entered, "wait_for", waiting)
    with ThreadPoolExecutor(1) as threads:
        assert take(receiver, note, data) == 201
        assert asked[0].result(PATIENCE_S) == note.position


def test_a_store_keeps_some_of_the_disk_free(sent, make, monkeypatch):
    note, data = sent
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(data) + 1000))
    full = refusal(make(reserve_bytes=1001).begin, note)
    assert (full.status, full.retry_s) == (507, 5)
    receiver = make(reserve_bytes=1000)
    upload = receiver.begin(note)
    second = SegmentNote(segment=replace(note.segment, index=1), position=note.position)
    assert refusal(receiver.begin, second).status == 507  # the space is promised to the first
    upload.close()
    assert take(receiver, note, data) == 201


def test_unfinished_uploads_give_way_when_the_disk_is_full(sent, make, monkeypatch):
    note, data = sent
    receiver = make(reserve_bytes=10)
    upload = receiver.begin(note)
    upload.write([data[:100]])
    upload.close()
    free = iter([0, 1 << 20])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    second = SegmentNote(segment=replace(note.segment, index=1), position=note.position)
    receiver.begin(second).close()
    assert receiver.progress(note.segment.name) == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_an_upload(sent, make, monkeypatch, number):
    """Nothing of it stays, and it is taken when there is space again."""
    note, data = sent
    receiver = make()
    upload = receiver.begin(note)

    def full(_):
        raise OSError(number, "no space left on device")

    monkeypatch.setattr(upload, "_file", SimpleNamespace(write=full, close=upload._file.close))
    assert refusal(upload.write, [data]).status == 507
    upload.close()
    assert receiver.progress(note.segment.name) == 0
    assert take(receiver, note, data) == 201


def test_a_catalogue_that_cannot_be_written(sent, make, monkeypatch):
    """Nothing is acknowledged; the segment is entered when it is offered again, without being sent."""
    note, data = sent
    receiver = make()

    def full(*_):
        msg = "database or disk is full"
        raise sqlite3.OperationalError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(receiver.catalogue, "add", full)
        refused = refusal(take, receiver, note, data)
    assert refused.status == 503
    assert "catalogue cannot be used (database or disk is full)" in str(refused)
    assert receiver.segments == 0
    assert receiver.begin(note) == 201
    assert receiver.catalogue.get(note.segment.key).segment == note.segment


def test_bytes_with_another_checksum_are_dropped(sent, make):
    note, data = sent
    receiver = make()
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    assert refusal(take, receiver, note, wrong).status == 422
    assert (receiver.damaged, receiver.progress(note.segment.name)) == (1, 0)
    assert take(receiver, note, data) == 201


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"orbits": 5}, "another header"),
        ({"lumisection": 2}, "another header"),
        ({"run": RUN + 1}, "another header"),
        ({"source": 2}, "another source"),
        ({"first_orbit": 1}, "the file has orbits 0 to 23, the note 1 to 23"),
        ({"last_orbit": 22}, "the file has orbits 0 to 23, the note 0 to 22"),
        ({"epoch": 1}, "orbits 0 to 23 are not in its lumisection"),
        ({"last_orbit": 1 << 18}, "orbits 0 to 262144 are not in its lumisection"),
        ({"data": "real"}, "the orbits are simulated, the note says real"),
        ({"data": "unknown"}, "the orbits are simulated, the note says unknown"),
    ],
    ids=str,
)
def test_a_note_that_contradicts_the_bytes(sent, make, fields, why):
    note, data = sent
    refused = refusal(take, make(), changed(note, data, **fields), data)
    assert refused.status == 422
    assert why in str(refused)


def test_frames_that_contradict_each_other(sent):
    """Any change of a header of a frame that the checksum of the file, made by the peer, would hide."""
    note, data = sent
    assert contradiction(memoryview(data), note.segment) == ""
    frame, misfits = 32, []
    for word, value in ((0, 7), (1, 8), (2, 9), (3, 5), (4, 1), (4, 1 << 31), (6, 2)):
        wrong = bytearray(data)
        wrong[frame + 4 * word : frame + 4 * word + 4] = value.to_bytes(4, "little")
        misfits.append(contradiction(memoryview(bytes(wrong)), note.segment))
    version, fit = "frame 0 has another version, run or lumisection", "frame 0 does not fit into the file"
    order = "frame 1 has an orbit number that is not larger than the one before"
    assert misfits == [version, version, version, order, fit, fit, "frame 0 has another source"]
    for cut in range(1, 60):
        assert "another header" in contradiction(memoryview(data[:cut]), note.segment) or cut >= 32


@pytest.mark.parametrize("form", ["run2", "run3"])
@pytest.mark.parametrize("first", [0, (1 << 18) - 7, (1 << 31) - 10])
def test_what_readout_writes_does_not_contradict_itself(tmp_path, form, first):
    """Also where a lumisection ends, and where the orbit number begins again."""
    before = Segment(RUN, 1, 0, 1, form)
    position = ReadoutPosition(index=1, last_orbit=first - 1)
    note = SegmentNote(segment=before, position=position)
    (tmp_path / f"{before.name}.json").write_bytes(note.encode())
    spool = Spool(tmp_path)
    writer = SegmentWriter(spool, RUN, 1, BOARD_FORMATS[form], Limits(orbits=16))
    feed(writer, repeated(form, first, 40), form)
    writer.finish()
    segments = list(spool.waiting())
    assert sum(segment.orbits for segment in segments) >= 24
    assert max(segment.epoch for segment in segments) == (first + 40) >> 31
    for segment in segments:
        assert contradiction(memoryview(spool.path(segment).read_bytes()), segment) == ""
