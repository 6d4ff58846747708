"""What the store takes, and that what it acknowledges survives any kill and power cut."""

import shutil
from types import SimpleNamespace

import pytest

from l1scout.files import checksum
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import SegmentWriter
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method, compress
from l1scout.store.receiver import SegmentReceiver
from l1scout.wire import WireError
from live_packets import feed, packets
from power_cut import Disk, Killed

RUN = 7


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A segment and its bytes."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    writer = SegmentWriter(spool, RUN, 1, RUN3)
    feed(writer, b"".join(packets()))
    segment = writer.finish()
    return segment, spool.path(segment).read_bytes()


class Readout:
    """The other end of a connection to the store: offers a segment once, and sends what is asked for."""

    def __init__(self, segment, data):
        self._offers, self._data, self._rest = [segment], data, b""
        self.answers = []
        self.acknowledged = lambda: None
        self.socket = self

    def receive(self, limit_s):
        if not self._offers:
            msg = "closed by the other side"
            raise WireError(msg)
        return {"offer": self._offers.pop().to_dict()}

    def send(self, **message):
        self.answers.append(message)
        if "send" in message:
            self._rest = self._data[message["send"] :]
        if message.get("done") is True:
            self.acknowledged()

    def recv_into(self, room):
        n = min(len(room), len(self._rest), 5000)
        room[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


class Store:
    """A store's receiver on a folder."""

    def __init__(self, folder, **limits):
        self.catalogue = Catalogue(folder, create=True)
        limits = {"max_bytes": 1 << 30, "reserve_bytes": 0} | limits
        self._receiver = SegmentReceiver(folder, self.catalogue, lambda event, **_: None, **limits)

    def take(self, readout):
        try:
            with pytest.raises(WireError, match="closed by the other side"):
                self._receiver.handle(readout, "test")
        finally:
            self._receiver = None

    def close(self):
        self.catalogue.close()


def answers(sent, folder, **limits):
    """Return what a store with some limits answers when it is offered a segment."""
    store, readout = Store(folder, **limits), Readout(*sent)
    store.take(readout)
    store.close()
    return readout.answers


def test_segments_may_be_as_long_as_is_set_and_no_longer(sent, tmp_path):
    size = sent[0].size
    text = f"the segment has {size} bytes; the limit is {size - 1} (max_segment_bytes)"
    assert answers(sent, tmp_path, max_bytes=size - 1) == [{"refused": text}]
    assert answers(sent, tmp_path, max_bytes=size) == [{"send": 0}, {"done": True}]


def test_a_store_keeps_some_of_the_disk_free(sent, tmp_path, monkeypatch):
    free = sent[0].size + 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert answers(sent, tmp_path, reserve_bytes=1001) == [{"wait": "disk full"}]
    assert answers(sent, tmp_path, reserve_bytes=1000) == [{"send": 0}, {"done": True}]


def test_sqlite_waits_for_the_disk(tmp_path):
    """It does so out of sight of the layer that the other tests put below `os`: FULL is 2."""
    store = Store(tmp_path)
    assert store.catalogue._base.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def killed_at(step, sent, folder):
    """Kill a store before a step, and start it again: whether it was killed, and the answers of the second.

    The second may acknowledge only what a power cut would leave, and what is in the catalogue.
    """
    segment, data = sent
    path = folder / segment.folder / segment.name
    store, first, second = Store(folder), Readout(segment, data), Readout(segment, data)
    killed, held = False, []
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(folder, patch, step)
        try:
            store.take(first)
        except Killed:
            killed = True
            assert {"done": True} not in first.answers
        disk.kill_at = 0
        store.close()
        store = Store(folder)
        known = store.catalogue.get
        second.acknowledged = lambda: held.append((disk.holds(path), known(segment.key).segment))
        store.take(second)
    assert second.answers[-1] == {"done": True}
    assert held == [(data, segment)]
    (stored,) = store.catalogue.segments()
    assert (folder / stored.file).read_bytes() == data
    assert list((folder / "incoming").iterdir()) == []
    store.close()
    return killed, second.answers[0].get("send")


def test_killed_at_any_step(sent, tmp_path_factory):
    """Readout offers the segment again: it is stored once, whole, and only then acknowledged."""
    steps = [killed_at(step, sent, tmp_path_factory.mktemp("store")) for step in range(1, 8)]
    assert [killed for killed, _ in steps] == [True] * 5 + [False] * 2
    # file given to the disk, new folder, new name, both folders given to the disk: what is asked for again
    size = len(sent[1])
    assert [asked for _, asked in steps] == [size, size, size, None, None, None, None]


@pytest.mark.parametrize("method", ["zstd", "bzip2", "parquet"])
def test_a_compressed_file_survives_a_power_cut(sent, tmp_path, monkeypatch, method):
    """When `compress` is done, the file that it was made from is deleted."""
    segment, data = sent
    disk = Disk(tmp_path, monkeypatch)
    path = tmp_path / segment.name
    path.write_bytes(data)
    made = compress(path, segment.crc32c, Method(method))
    assert made.path.name == segment.name + {"zstd": ".zst", "bzip2": ".bz2", "parquet": ".parquet"}[method]
    assert disk.holds(made.path) == made.path.read_bytes()
    assert (made.size, made.crc32c) == checksum(made.path)
