"""The store: what it acknowledges it has, once; compressed files open elsewhere; copies are verified."""

import bz2
import json
import shutil
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest

from chain import PATIENCE_S, wait_for
from hand_made import model as hand_made
from hand_made import model_directory
from in_child.hooks import lengthen
from l1scout import wire
from l1scout.access import Access
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.files import checksum
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.object_counts import sum_counts
from l1scout.readout.segments import Segment
from l1scout.readout.sender import Sender
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.settings import read_settings
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import ChangedError, Method, compress, content
from l1scout.store.store import Store
from l1scout.wire import WireError, connect
from live_packets import feed, packets

RUN = 7
EVENTS: list[str] = []


def log(event: str, **values: object) -> None:
    EVENTS.append(event)


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    lengthen(wire, PATIENCE_S, monkeypatch.setattr)


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Spool:
    """A spool with five segments of a run that has ended."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=5))
    feed(writer, b"".join(packets()))
    writer.finish()
    return spool


@pytest.fixture
def spool(sent, tmp_path) -> Spool:
    shutil.copytree(sent.folder, tmp_path / "spool")
    return Spool(tmp_path / "spool")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_directory(tmp_path_factory.mktemp("models") / "constant")


def make_store(folder, **settings) -> Store:
    over = [f"store.{k}={v}" for k, v in {"listen": "127.0.0.1:0", "folder": folder, **settings}.items()]
    store = Store(read_settings(None, {}, over), log)
    store.listener.start()
    if store._compressor:
        store._compressor.start()
    return store


def end(store: Store) -> None:
    store.listener.close()
    if store._compressor:
        store._compressor.finish()
    store.catalogue.close()


def push(spool: Spool, store: Store) -> Sender:
    sender = Sender(spool, store.listener.address, Access(), log).start()
    wait_for(sender.drained)
    sender.stop()
    return sender


@pytest.mark.parametrize(("method", "command"), [("bzip2", "bunzip2"), ("zstd", "zstd -dq --rm")])
def test_files_open_with_the_common_tools(spool, tmp_path, method, command):
    whole = {s.name: spool.path(s).read_bytes() for s in spool.waiting()}
    store = make_store(tmp_path / "store", method=method)
    push(spool, store)
    end(store)
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"no {command.split()[0]} here")
    files = sorted((tmp_path / "store" / "run000007").iterdir())
    assert len(files) == len(whole) == 5
    for path in files:
        subprocess.run([*command.split(), path], check=True)
        assert path.with_suffix("").read_bytes() == whole[path.stem]


def test_the_catalogue_knows_everything(spool, tmp_path):
    segments = list(spool.waiting())
    store = make_store(tmp_path / "store")
    push(spool, store)
    end(store)
    catalogue = Catalogue(tmp_path / "store")
    stored = catalogue.segments(RUN)
    assert [s.segment for s in stored] == segments
    for s in stored:
        path = tmp_path / "store" / s.file
        assert checksum(path) == (s.stored_size, s.stored_crc32c)
        assert len(content(tmp_path / "store", s)) == s.segment.size
    (run,) = catalogue.runs()
    assert (run["orbits"], run["segments"], run["ended"]) == (24, 5, 1)
    assert [row["orbits"] for row in catalogue.lumisections(RUN)] == [24]
    assert run["objects"] == sum_counts(*(s.objects for s in segments))
    assert run["objects"]["muon"] > 0
    catalogue.close()
    assert len(spool) == 0


def test_what_a_killed_store_left_behind_goes(spool, tmp_path):
    """Killed between the entry of a compressed file and the end of the file that it was made of."""
    whole = {s: spool.path(s).read_bytes() for s in spool.waiting()}
    store = make_store(tmp_path / "store")
    push(spool, store)
    end(store)
    before = sorted((tmp_path / "store").rglob("*.raw*"))
    for segment, data in whole.items():
        (tmp_path / "store" / segment.folder / segment.name).write_bytes(data)
    other = tmp_path / "store" / "run000007" / "run_of_somebody.raw"
    other.write_text("not ours")
    end(make_store(tmp_path / "store"))
    assert sorted((tmp_path / "store").rglob("*.raw*")) == sorted([*before, other])


def test_the_same_segment_twice_is_no_harm(spool, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(spool.folder, copy)
    store = make_store(tmp_path / "store", method="none")
    push(spool, store)
    push(Spool(copy), store)
    assert (store.receiver.segments, store.receiver.again) == (5, 5)
    assert len(store.catalogue.segments()) == 5
    end(store)


def offer(channel, segment: Segment, **change: object) -> dict:
    channel.send(offer=segment.to_dict() | change)
    return channel.receive()


def test_a_cut_segment_goes_on_where_it_was_cut(spool, tmp_path):
    segment = next(iter(spool.waiting()))
    data = spool.path(segment).read_bytes()
    store = make_store(tmp_path / "store", method="none")
    channel = connect(store.listener.address, "store", Access())
    assert offer(channel, segment) == {"send": 0}
    channel.socket.sendall(data[:1000])
    channel.close()
    part = tmp_path / "store" / "incoming" / f"{segment.name}.{segment.crc32c:08x}.part"
    wait_for(lambda: part.exists() and part.stat().st_size == 1000)
    answers = []

    def may_go_on():  # the first connection's thread may not have seen the end yet
        nonlocal channel
        channel = connect(store.listener.address, "store", Access())
        answers.append(offer(channel, segment))
        if "wait" in answers[-1]:
            channel.close()
        return "wait" not in answers[-1]

    wait_for(may_go_on)
    assert answers[-1] == {"send": 1000}
    channel.socket.sendall(data[1000:])
    assert channel.receive() == {"done": True}
    assert (tmp_path / "store" / "run000007" / segment.name).read_bytes() == data
    # stored before a crash, the catalogue was not told: taken as it is
    store.catalogue._base.execute("DELETE FROM segments")
    assert offer(channel, segment) == {"done": True}
    assert store.catalogue.get(segment.key).segment == segment
    channel.close()
    end(store)


def test_a_sender_goes_on_where_another_was_cut(spool, tmp_path):
    EVENTS.clear()
    segment = next(iter(spool.waiting()))
    data = spool.path(segment).read_bytes()
    incoming = tmp_path / "store" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{segment.name}.{segment.crc32c:08x}.part").write_bytes(data[:1000])
    store = make_store(tmp_path / "store", method="none")
    sender = push(spool, store)
    assert (sender.sent, store.receiver.segments) == (5, 5)
    assert (tmp_path / "store" / segment.folder / segment.name).read_bytes() == data
    assert "segment damaged on the way" not in EVENTS
    end(store)


def test_wrong_bytes_are_not_acknowledged(spool, tmp_path):
    segment = next(iter(spool.waiting()))
    data = spool.path(segment).read_bytes()
    store = make_store(tmp_path / "store", method="none")
    channel = connect(store.listener.address, "store", Access())
    assert offer(channel, segment) == {"send": 0}
    channel.socket.sendall(data[:-1] + bytes([data[-1] ^ 1]))
    assert channel.receive() == {"again": "checksum"}
    assert store.catalogue.get(segment.key) is None
    assert offer(channel, segment) == {"send": 0}
    channel.socket.sendall(data)
    assert channel.receive() == {"done": True}
    channel.close()
    end(store)


@pytest.mark.parametrize(
    "change",
    [{"size": 1 << 39}, {"run": -1}, {"wire_format": "../../etc/passwd"}, {"index": "1/../2"}, {"extra": 1}],
    ids=str,
)
def test_impossible_offers_are_refused(spool, tmp_path, change):
    segment = next(iter(spool.waiting()))
    store = make_store(tmp_path / "store")
    channel = connect(store.listener.address, "store", Access())
    assert "refused" in offer(channel, segment, **change)
    channel.close()
    for message in ({"offer": [1]}, {"offer": None}, {"hello": 1}):
        channel = connect(store.listener.address, "store", Access())
        channel.send(**message)
        assert "refused" in channel.receive()
        with pytest.raises(WireError):
            channel.receive()
        channel.close()
    end(store)
    assert [p.name for p in (tmp_path / "store").iterdir() if p.is_dir()] == ["incoming"]


def test_another_segment_under_the_same_name_is_refused(spool, tmp_path):
    segment = next(iter(spool.waiting()))
    store = make_store(tmp_path / "store", method="none")
    push(spool, store)
    channel = connect(store.listener.address, "store", Access())
    assert "refused" in offer(channel, segment, crc32c=1)
    channel.close()
    end(store)


def test_compression_checks_what_it_reads(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(b"abc" * 1000)
    crc = checksum(path)[1]
    made = compress(path, crc, Method("bzip2", 9))
    assert bz2.decompress(made.path.read_bytes()) == b"abc" * 1000
    assert (made.size, made.crc32c) == checksum(made.path)
    with pytest.raises(ChangedError, match="has changed"):
        compress(path, crc ^ 1, Method("zstd"))


def test_the_archive_and_its_recalibrated_columns(spool, tmp_path, model):
    EVENTS.clear()
    whole = [spool.path(s).read_bytes() for s in spool.waiting()]
    over = [f"recalibrate.model={model}", "store.method=parquet"]
    chosen = ["store.listen=127.0.0.1:0", f"store.folder={tmp_path}/store", *over]
    store = Store(read_settings(None, {}, chosen), log)
    store.listener.start()
    store._compressor.start()
    push(spool, store)
    end(store)
    catalogue = Catalogue(tmp_path / "store")
    stored = catalogue.segments(RUN)
    assert {s.method for s in stored} == {"parquet"}
    assert [content(tmp_path / "store", s) for s in stored] == whole
    table = pq.read_table(tmp_path / "store" / stored[0].file)
    made = json.loads(table.schema.metadata[b"l1scout_provenance"])
    assert (made["command"], made["model"]["name"]) == ("store", Recalibrator.load(model).card.name)
    columns = {
        n: table[n].to_numpy() for n in ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "tfMuonIndex")
    }
    expected = Recalibrator.load(model, engine="fused")(columns)
    np.testing.assert_array_equal(table["L1Mu_ptRecal"].to_numpy(), expected.pt)
    np.testing.assert_array_equal(table["L1Mu_isRecal"].to_numpy(), expected.recalibrated)
    (warning,) = store.status("idle").warnings  # once, not once a segment
    assert warning.startswith(f"run {RUN}: cannot compare origin, era")
    assert EVENTS.count("recalibration: other conditions than in training") == 1
    assert expected.recalibrated.any()
    catalogue.close()
    assert not [w for s in account(RUN, tmp_path / "store", verify=True) for w in s.wrong]


def test_a_real_run_is_compared_with_the_models_training(model):
    about = {"simulated": True, "era": "2017/18 trigger, simulated", "trigger": "BMTF", "tables": "own"}
    path = model_directory(model.parent / "stated", *hand_made(data=about))
    lines = Method("parquet", model=path).warnings(380_963, "real")
    assert [line.split(",")[0] for line in lines] == [
        f"run 380963: {what}"
        for what in (
            "real muons",
            "era 2024 (by run number)",
            "trigger Kalman BMTF",
            "look-up tables hardware",
        )
    ]
    assert Method("zstd").warnings(380_963, "real") == []


def test_recalibration_needs_columns(tmp_path, model):
    over = [f"recalibrate.model={model}", f"store.folder={tmp_path}", "store.listen=127.0.0.1:0"]
    with pytest.raises(InputError, match="set store"):
        Store(read_settings(None, {}, over), log)
