"""What the store acknowledges survives any kill and power cut."""

from contextlib import suppress

import pytest

from l1scout.files import checksum
from l1scout.readout.segment_note import read_note
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method, compress
from l1scout.store.rebuild import open_catalogue
from l1scout.store.receiver import SegmentReceiver, Upload
from l1scout.store.store_folder import StoreFolder
from live_packets import whole_segment
from power_cut import Disk, Killed

RUN = 7
STEPS = 7
"""Bytes given to the disk, new folder, the note given to the disk, its name, the segment's, both folders."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    return whole_segment(tmp_path_factory.mktemp("spool"), RUN)


class OpenStore:
    """What of a store receives segments, as at its start."""

    def __init__(self, path):
        self.folder = StoreFolder(path)
        self.catalogue, self.alarms = open_catalogue(path, lambda event, **_: None)
        self.receiver = SegmentReceiver(
            self.folder,
            self.catalogue,
            lambda event, **_: None,
            max_bytes=1 << 30,
            reserve_bytes=0,
            uploads=1,
        )

    def take(self, note, data):
        """Receive a segment as a readout that resumes sends it; return the status and the bytes sent."""
        progress = self.receiver.progress(note.segment.name)
        start = progress if isinstance(progress, int) else 0
        upload = self.receiver.begin(note, start)
        if not isinstance(upload, Upload):
            return upload, 0
        try:
            upload.write([data[start:]])
            upload.finish()
        finally:
            upload.close()
        return 201, len(data) - start

    def close(self):
        self.catalogue.close()
        self.folder.close()


def test_sqlite_waits_for_the_disk(tmp_path):
    """It does so out of sight of the layer that the other tests put below `os`: FULL is 2."""
    store = OpenStore(tmp_path)
    assert store.catalogue._base.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def killed_at(step, sent, path):
    """Kill a store before a step, and start it again.

    Returns whether it was killed, and what the second one answers. That one may acknowledge only what a power
    cut would leave, and what is in the catalogue.
    """
    note, data = sent
    killed = False
    with pytest.MonkeyPatch.context() as patch:
        first = OpenStore(path)
        disk = Disk(path, patch, step)
        try:
            first.take(note, data)
        except Killed:
            killed = True
        disk.kill_at = 0
        first.close()
        second = OpenStore(path)
        answer = second.take(note, data)
        file, beside = second.folder.file(note.segment), second.folder.note_file(note.segment)
        assert disk.holds(file) == data
        assert disk.holds(beside) == note.encode()
        (stored,) = second.catalogue.segments()
        assert (stored.segment, path / stored.file) == (note.segment, file)
        second.close()
    assert list((path / "incoming").iterdir()) == []
    return killed, *answer


def test_killed_at_any_step(sent, tmp_path_factory):
    """Readout offers the segment again: it is stored once, whole, and only then acknowledged."""
    steps = [killed_at(step, sent, tmp_path_factory.mktemp("store")) for step in range(1, STEPS + 3)]
    size = len(sent[1])
    # until it has its name the last byte is sent again; then the next start enters it
    assert steps == [(True, 201, 1)] * 5 + [(True, 200, 0)] * 2 + [(False, 200, 0)] * 2
    assert size > 1


@pytest.mark.parametrize("step", range(1, STEPS + 2))
def test_a_power_cut_at_any_step(sent, tmp_path, step):
    """What was acknowledged is there afterwards, even without the catalogue; what was not is taken again."""
    note, data = sent
    with pytest.MonkeyPatch.context() as patch:
        store = OpenStore(tmp_path / "store")
        disk = Disk(tmp_path / "store", patch, step)
        acknowledged = False
        with suppress(Killed):
            acknowledged = store.take(note, data)[0] == 201
        disk.kill_at = 0
        left = disk.restore(tmp_path / "left")
        store.close()
    assert acknowledged == (step > STEPS)
    (left / "catalogue.sqlite").unlink(missing_ok=True)
    store = OpenStore(left)
    if acknowledged:
        assert store.catalogue.get(note.segment.key).segment == note.segment
    assert store.take(note, data)[0] == (200 if acknowledged else 201)
    assert store.folder.file(note.segment).read_bytes() == data
    assert read_note(store.folder.note_file(note.segment)).segment == note.segment
    store.close()


def test_a_power_cut_in_settings_leaves_the_old_ones_or_the_new(tmp_path):
    path = tmp_path / "run000007" / "source01_settings.toml"
    folder, catalogue = StoreFolder(tmp_path), Catalogue(tmp_path, create=True)
    folder.keep_settings(RUN, 1, "[a]\n", catalogue)
    found = []
    for step in (1, 2, 3, 4):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(tmp_path, patch, step)
            with pytest.raises(Killed):
                folder.keep_settings(RUN, 1, "[b]\n", catalogue)
            found.append(path.read_text())
            disk.kill_at = 0
            folder.keep_settings(RUN, 1, "[a]\n", catalogue)
            assert disk.holds(path) == b"[a]\n"
    assert found == ["[a]\n", "[a]\n", "[a]\n", "[b]\n"]
    catalogue.close()
    folder.close()


@pytest.mark.parametrize("method", ["zstd", "bzip2", "parquet"])
def test_a_compressed_file_survives_a_power_cut(sent, tmp_path, monkeypatch, method):
    """When `compress` is done, the file that it was made from is deleted."""
    note, data = sent
    disk = Disk(tmp_path, monkeypatch)
    path = tmp_path / note.segment.name
    path.write_bytes(data)
    made = compress(path, note.segment.crc32c, Method(method))
    suffix = {"zstd": ".zst", "bzip2": ".bz2", "parquet": ".parquet"}[method]
    assert made.path.name == note.segment.name + suffix
    assert disk.holds(made.path) == made.path.read_bytes()
    assert (made.size, made.crc32c) == checksum(made.path)
