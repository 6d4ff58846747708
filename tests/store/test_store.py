"""The store: what it acknowledges it has, once; compressed files open elsewhere; copies are verified."""

import bz2
import json
import shutil
import subprocess
import threading
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pytest

from chain import wait_for
from hand_made import model as hand_made
from hand_made import model_directory
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.files import checksum
from l1scout.readout.object_counts import sum_counts
from l1scout.readout.spool import Spool
from l1scout.settings import read_settings
from l1scout.store.account import account
from l1scout.store.catalogue import FILE, Catalogue
from l1scout.store.compress import ChangedError, Method, compress, content
from l1scout.store.http_server import HttpServer
from l1scout.store.store import DeadThreadError, Store
from live_packets import ended_spool
from store_requests import StoreClient, make_store, push

RUN = 7
EVENTS: list[str] = []
DISK_FULL = "disk full: {}/store has less than store.reserve_bytes free; make space"


def log(event: str, **values: object) -> None:
    EVENTS.append(event)


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Spool:
    return ended_spool(tmp_path_factory.mktemp("spool"), RUN)


@pytest.fixture
def spool(sent, tmp_path) -> Spool:
    shutil.copytree(sent.folder, tmp_path / "spool")
    return Spool(tmp_path / "spool")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_directory(tmp_path_factory.mktemp("models") / "constant")


@pytest.mark.parametrize(("method", "command"), [("bzip2", "bunzip2"), ("zstd", "zstd -dq --rm")])
def test_files_open_with_the_common_tools(spool, tmp_path, method, command):
    whole = {s.name: spool.path(s).read_bytes() for s in spool.waiting()}
    store = make_store(tmp_path / "store", method=method)
    push(spool, store)
    store.close()
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"no {command.split()[0]} here")
    files = sorted(p for p in (tmp_path / "store" / "run000007").glob("*.raw.*") if p.suffix != ".json")
    assert len(files) == len(whole) == 5
    for path in files:
        subprocess.run([*command.split(), path], check=True)
        assert path.with_suffix("").read_bytes() == whole[path.stem]


def test_the_catalogue_knows_everything(spool, tmp_path):
    segments = list(spool.waiting())
    store = make_store(tmp_path / "store")
    push(spool, store)
    store.close()
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


def test_what_a_killed_store_left_behind_goes(spool, tmp_path):
    """Killed between the entry of a compressed file and the end of the file that it was made of."""
    whole = {s: spool.path(s).read_bytes() for s in spool.waiting()}
    store = make_store(tmp_path / "store")
    push(spool, store)
    store.close()
    before = sorted((tmp_path / "store").rglob("*.raw*"))
    for segment, data in whole.items():
        (tmp_path / "store" / segment.folder / segment.name).write_bytes(data)
    other = tmp_path / "store" / "run000007" / "run_of_somebody.raw"
    other.write_text("not ours")
    make_store(tmp_path / "store").close()
    assert sorted((tmp_path / "store").rglob("*.raw*")) == sorted([*before, other])


def test_the_same_segment_twice_is_no_harm(spool, tmp_path):
    store = make_store(tmp_path / "store", method="none")
    assert push(spool, store) == [201] * 5
    assert push(spool, store) == [200] * 5
    assert (store.receiver.segments, store.receiver.again) == (5, 5)
    assert len(store.catalogue.segments()) == 5
    store.close()


def test_two_stores_do_not_use_one_folder(tmp_path):
    store = make_store(tmp_path / "store")
    with pytest.raises(InputError, match=f"{tmp_path}/store: another store uses this folder; stop it"):
        make_store(tmp_path / "store")
    store.close()
    make_store(tmp_path / "store").close()


def test_a_store_that_starts_on_a_full_disk_waits_for_space(spool, tmp_path, monkeypatch):
    """It says so, takes nothing, and works when there is space."""
    free = [0]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free[0]))
    statuses, events = [], []
    store = make_store(tmp_path / "store", lambda event, **_: events.append(event), start=False)
    thread = threading.Thread(target=store.run, args=(statuses.append,))
    thread.start()
    wait_for(lambda: len(statuses) > 1)
    client = StoreClient(store.server.address)
    assert client.ask("GET", "/healthz").status == 503
    assert (statuses[-1].alarms, "disk full: waits for space" in events) == (
        [DISK_FULL.format(tmp_path)],
        True,
    )
    (first, *_) = spool.waiting()
    reply = client.put(spool.note(first), spool.path(first).read_bytes())
    assert (reply.status, reply.headers["Retry-After"]) == (507, "5")
    free[0] = 1 << 40
    wait_for(lambda: client.ask("GET", "/healthz").status == 200)
    client.close()
    assert push(spool, store) == [201] * 5
    store.stop()
    thread.join()
    assert (statuses[-1].state, statuses[-1].segments, statuses[-1].alarms) == ("idle", 5, [])


def test_a_store_whose_server_has_died_ends_with_an_error(tmp_path, monkeypatch):
    async def fail(_):
        msg = "cannot accept"
        raise RuntimeError(msg)

    monkeypatch.setattr(HttpServer, "_accept", fail)
    store = make_store(tmp_path / "store", start=False)
    with pytest.raises(
        DeadThreadError, match=r"the thread that serves 127\.0\.0\.1:\d+ has died .*cannot accept"
    ):
        store.run(lambda status: None)
    store.close()


def test_a_lost_note_comes_again_with_the_segment(spool, tmp_path):
    """What the catalogue knows only from the bytes is replaced by what readout offers again."""
    store = make_store(tmp_path / "store", method="none")
    push(spool, store)
    store.close()
    first = next(iter(spool.waiting()))
    folder = tmp_path / "store" / first.folder
    (folder / f"{first.name}.json").unlink()
    (tmp_path / "store" / FILE).unlink()
    store = make_store(tmp_path / "store", method="none")
    assert store.catalogue.get(first.key).fault
    assert any("have no note" in alarm for alarm in store.alarms)
    assert push(spool, store) == [201, 200, 200, 200, 200]
    assert [s.fault for s in store.catalogue.segments()] == [""] * 5
    assert store.catalogue.segments()[0].segment == first
    store.close()


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
    store = make_store(tmp_path / "store", log, method="parquet", recalibrate__model=model)
    push(spool, store)
    store.close()
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
    (warning,) = store.status().warnings  # once, not once a segment
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
    over = [
        f"recalibrate.model={model}",
        "store.method=zstd",
        f"store.folder={tmp_path}",
        "store.listen=127.0.0.1:0",
    ]
    with pytest.raises(InputError, match="set store"):
        Store(read_settings(None, {}, over), log)


@pytest.mark.parametrize("name", ["lock", FILE, "incoming"])
def test_a_store_tells_that_somebody_has_deleted_what_it_uses(spool, tmp_path, name):
    store = make_store(tmp_path / "store", method="none")
    gone = tmp_path / "store" / name
    assert (store.alarms, store.is_healthy) == ([], True)
    if gone.is_dir():
        gone.rmdir()
    else:
        for path in gone.parent.glob(f"{name}*"):
            path.unlink()
    assert store.alarms == [f"{gone} was deleted or replaced while the store uses it; restart the store"]
    with closing(StoreClient(store.server.address)) as client:
        assert client.ask("GET", "/healthz").status == 503
    acknowledged = push(spool, store).count(201)
    store.close()
    again = make_store(tmp_path / "store", method="none", start=False)
    assert len(again.catalogue.segments(RUN)) == acknowledged == (0 if name == "incoming" else 5)
    again.start()
    assert set(push(spool, again)) == {201 if name == "incoming" else 200}
    again.close()


def test_a_store_whose_folder_is_gone_lives_and_tells(spool, tmp_path):
    store = make_store(tmp_path / "store", method="none")
    shutil.rmtree(tmp_path / "store")
    assert set(push(spool, store)) <= {503, 507}
    status = store.status()
    assert (status.segments, any("was deleted or replaced" in alarm for alarm in status.alarms)) == (0, True)
    store.close()


def test_what_cannot_be_written_is_an_alarm_until_it_can_be(spool, tmp_path):
    store = make_store(tmp_path / "store", method="none")
    in_the_way = tmp_path / "store" / "run000007"
    in_the_way.write_text("not a folder")
    assert set(push(spool, store)) == {503}
    (alarm,) = store.alarms
    assert (alarm.startswith("segments cannot be stored: run000007_"), store.is_healthy) == (True, False)
    in_the_way.unlink()
    assert set(push(spool, store)) == {201}
    assert (store.alarms, store.is_healthy) == ([], True)
    store.close()
