"""The live page's data: frames and downloads hold what a spool, a store or files hold; it only reads."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.errors import InputError
from l1scout.formats.raw import FILE_HEADER
from l1scout.io.batches import read_batches
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection
from l1scout.monitor import follow_spool, live_histograms
from l1scout.monitor.follow_spool import GrowingFile
from l1scout.monitor.page_frames import View, live_frame, unpack
from l1scout.quality.accumulators import RunHistograms
from l1scout.simulate.run import Running, simulate_run
from live_packets import ended_spool, stored_spool
from monitor_page import RUN, Served, SpoolWriter
from processes import wait_for


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A spool in which a segment is being written, and a monitor that follows it."""
    folder = tmp_path_factory.mktemp("live")
    writer = SpoolWriter(folder / "spool")
    writer.write()
    served = Served(folder)
    served.wait_for_orbits(writer.orbits)
    yield served, writer
    served.close()
    assert (folder / "histograms" / f"run{RUN:06d}.root").exists()
    writer.close()


def test_orbits_of_an_open_segment_are_shown_and_follow(written):
    served, writer = written
    for _ in range(2):
        writer.write()
        served.wait_for_orbits(writer.orbits)
    head, arrays = served.frame("view=physics&stream=muon")
    assert (head["run"], head["data"], head["orbits"]) == (RUN, "simulated", writer.orbits)
    assert head["newest_orbit"] == writer.orbits - 1
    assert arrays["muon/multiplicity"] @ np.arange(33) == writer.writer.totals.objects["muon"]
    assert arrays["muon/pt"].sum() == arrays["muon/quality"].sum() > 0


def test_segments_are_followed_one_after_the_other(tmp_path):
    writer = SpoolWriter(tmp_path / "spool", segment_orbits=30)
    writer.write(24)
    served = Served(tmp_path)
    try:
        for _ in range(4):
            served.wait_for_orbits(writer.orbits)
            writer.write(24)
        served.wait_for_orbits(writer.orbits)
        segments = [served.monitor.followers[0].skipped_segments, served.monitor.followers[0].corrupt]
        assert segments == [0, 0]
        head, _ = served.frame("view=overview")
        assert head["newest_orbit"] == writer.orbits - 1
    finally:
        served.close()
        writer.close()


def test_a_slow_monitor_takes_a_sample_and_says_how_large(tmp_path, monkeypatch):
    monkeypatch.setattr(follow_spool, "PIECE_BYTES", 100_000)
    monkeypatch.setattr(follow_spool, "BEHIND_S", 0.0)  # of what waits, a piece is read
    monkeypatch.setattr(follow_spool, "FRESH_S", 0.0)
    writer = SpoolWriter(tmp_path / "spool")
    writer.write(96)
    served = Served(tmp_path)
    try:
        wait_for(lambda: served.orbits >= 20 or writer.write(24))
        writer.close()
        wait_for(lambda: served.monitor.status().skipped_bytes)
        status = served.monitor.status()
        assert 0 < status.orbits < writer.orbits
        assert status.corrupt == 0
        head, arrays = served.frame("view=overview")
        assert head["skipped"]["bytes"] == status.skipped_bytes
        passed = head["newest_orbit"] - served.monitor.live.oldest_orbit + 1
        assert head["seen_fraction"] == head["orbits"] / passed < 1
        assert np.nanmin(arrays["series/seen_fraction"]) < 1
    finally:
        served.close()


def test_what_waits_too_long_is_left_out(tmp_path):
    part, now, waits = tmp_path / "segment.part", [0.0], []
    with part.open("wb", buffering=0) as written, part.open("rb", buffering=0) as file:
        written.write(bytes(FILE_HEADER.itemsize) + b"a" * 10)
        growing = GrowingFile(
            file, part, threading.Event(), lambda: waits.append(now[0]), clock=lambda: now[0]
        )
        assert growing.read(FILE_HEADER.itemsize + 2).endswith(b"aa")
        now[0] = follow_spool.BEHIND_S - follow_spool.FRESH_S / 2
        written.write(b"b" * 10)
        assert growing.read(2) == b"aa"  # all that waits is young enough
        now[0] = follow_spool.BEHIND_S + 0.001
        assert growing.read(2) == b"bb"  # what was written within FRESH_S is kept
        assert (growing.jumps, growing.skipped_bytes, waits) == (1, 6, [now[0]])
        now[0] += 10
        written.write(b"c" * 10)
        assert growing.read(20) == b"c" * 10
        assert growing.skipped_bytes == 6 + 8
        written.write(b"d" * 10)
        now[0] += 10
        assert growing.read(2) == b"dd"
        now[0] += 10
        part.rename(tmp_path / "segment")  # complete: the rest is older than the next segment
        assert growing.read(2) == b""
        assert growing.complete_s == now[0]
        assert growing.skipped_bytes == 6 + 8 + 8


def test_data_that_are_not_there_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"nothing.dat: no such file or folder"):
        Served(tmp_path, tmp_path / "nothing.dat")
    with pytest.raises(InputError, match="no catalogue"):
        Served(tmp_path, 7)
    with pytest.raises(InputError, match="not a file of histograms"):
        Served(tmp_path, monitor__reference=__file__)
    with pytest.raises(InputError, match="other machines can reach it"):
        Served(tmp_path, monitor__listen="0.0.0.0:0")


def test_a_newer_run_begins_anew_and_the_old_one_is_kept(tmp_path):
    writer = SpoolWriter(tmp_path / "spool")
    writer.write()
    served = Served(tmp_path)
    try:
        served.wait_for_orbits(writer.orbits)
        old = served.frame("view=physics")[1]["muon/pt"]
        writer.close()
        after = SpoolWriter(tmp_path / "spool", RUN + 1)
        after.write(24)
        wait_for(lambda: served.monitor.live.run == RUN + 1)
        served.wait_for_orbits(after.orbits)
        head, arrays = served.frame("view=physics")
        assert head["runs"] == [f"run{RUN:06d}"]
        assert arrays["muon/pt"].sum() < old.sum()
        kept, saved = served.frame(f"view=physics&run=run{RUN:06d}")
        assert kept["run"] == RUN
        assert saved["muon/pt"].sum() >= old.sum()
        after.close()
    finally:
        served.close()


def test_a_stored_run_is_shown_as_its_files_hold_it(tmp_path):
    folder = stored_spool(ended_spool(tmp_path / "spool"), tmp_path / "store")
    expected = RunHistograms()
    for data in read_batches(
        sorted(p for p in Path(folder).rglob("run*") if p.suffix != ".json" and p.is_file())
    ):
        expected.add(data)
    served = Served(tmp_path, 7)
    try:
        served.wait_for_orbits(expected.orbits)
        wait_for(lambda: served.monitor.followers[0].ended)
        found = served.frame("view=physics")[1]
        assert found["muon/pt"].tolist() == expected.streams["muon"].run()["pt"].tolist()
        history = served.frame("view=history")[1]
        assert history["trend/muon/orbits"].sum() == expected.orbits
    finally:
        served.close()


def test_watchers_see_every_lumisection_once_and_alarms_reach_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(live_histograms, "KEEP_SECTIONS", 2)
    live = live_histograms.LiveHistograms(Provenance("test"), folder=tmp_path)
    seen = []
    live.watchers.append(lambda histograms, section: seen.append((section, histograms.section(section))))
    (piece,) = simulate_run(1, 4, running=Running(occupancy=0.1), chunk=4)
    for k in range(5):
        orbit = piece.muons.orbit + k * ORBITS_PER_LUMISECTION
        first = k * ORBITS_PER_LUMISECTION
        muons = replace(piece.muons, orbit=orbit, lumisection=lumisection(orbit), first_orbit=first)
        live.take(OrbitData.of_muons(replace(muons, run=np.full(len(muons), RUN))))
        live.tick()
    assert [section.number for section, _ in seen] == [1, 2, 3, 4]
    assert all(counts["muon"]["pt"].sum() > 0 for _, counts in seen)
    live.alarms.append({"text": "hot tower", "link": "?view=maps"})
    head, _ = unpack(live_frame(live, View("overview")))
    assert head["alarms"] == [{"text": "hot tower", "link": "?view=maps"}]
    wait_for(lambda: live.runs() == [f"run{RUN:06d}"])  # saved after each lumisection


def test_a_source_that_is_late_does_not_bring_the_old_run_back():
    live = live_histograms.LiveHistograms(Provenance("test"))
    (piece,) = simulate_run(1, 4, running=Running(occupancy=0.1), chunk=4)
    of_run = {n: OrbitData.of_muons(replace(piece.muons, run=np.full(len(piece.muons), n))) for n in (7, 8)}
    for number in (7, 8, 7):
        live.take(of_run[number])
    assert live.run == 8
    assert live.histograms.orbits == 4


def test_sources_that_begin_a_run_at_once_do_not_end_it(tmp_path):
    """Each is followed in a thread of its own; the histograms of the run before are saved meanwhile."""
    live = live_histograms.LiveHistograms(Provenance("test"), folder=tmp_path)
    (piece,) = simulate_run(1, 4, running=Running(occupancy=0.1), chunk=4)
    of_run = {n: OrbitData.of_muons(replace(piece.muons, run=np.full(len(piece.muons), n))) for n in (7, 8)}
    live.take(of_run[7])
    threads = [threading.Thread(target=live.take, args=(of_run[8],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live.take(of_run[8])
    assert live.run == 8
    assert live.histograms.orbits == 20


def test_downloads_hold_what_is_shown(written):
    served, _ = written
    shown = served.frame("view=physics")[1]["muon/pt"].sum()
    status, content, headers = served.get("/api/download?format=root")
    assert status == 200
    assert headers["content-disposition"] == 'attachment; filename="l1scout-current.root"'
    with uproot.open(io.BytesIO(content)) as file:
        assert file["muon/pt"].values().sum() == shown
    made = json.loads(served.get("/api/download?format=json&stream=muon")[1])
    assert np.sum(made["muon/pt"]["storage"]["values"]) == shown
    assert made["muon/pt"]["metadata"]["data"] == "simulated"
    rows = served.get("/api/download?format=csv&stream=muon&histogram=pt")[1].decode().splitlines()
    assert rows[1] == "pt_low,pt_high,count"
    assert sum(int(row.rpartition(",")[2]) for row in rows[2:]) == shown


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/static/..%2fpage_server.py", 404),
        ("/static/../page_server.py", 404),
        ("/static/uplot-LICENSE.txt", 404),
        ("/api/frame?view=physics&run=../../etc/passwd", 400),
        ("/api/frame?view=physics&run=%00", 400),
        ("/api/download?run=/etc/passwd", 400),
        ("/api/download?format=exe", 400),
        ("/api/download?format=csv&stream=muon", 400),
        ("/api/definitions?stream=__class__", 400),
        ("/api/frame?view=<script>", 400),
        (f"/api/frame?view={'x' * 600}", 414),
        ("/nothing", 404),
    ],
)
def test_odd_requests_are_refused(written, path, status):
    answer, content, headers = written[0].get(path)
    assert answer == status
    assert b"Traceback" not in content
    assert b"root:" not in content
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")


def test_other_sites_cannot_read(written):
    served, _ = written
    assert served.get("/", Host="evil.example")[0] == 421
    assert served.get("/api/frame", Origin="http://evil.example")[0] == 403
    assert served.get("/", Origin=served.url)[0] == 200
    address = served.url.replace("http", "ws") + "/live?view=physics"
    with pytest.raises(Exception, match="403"):
        connect(address, origin="http://evil.example")
    with pytest.raises(Exception, match="403"):
        connect(address.replace("physics", "nothing"))


def test_only_reading_is_possible(written):
    import urllib.error
    import urllib.request

    for method in ("POST", "PUT", "DELETE"):
        request = urllib.request.Request(written[0].url + "/api/frame", b"x", method=method)
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request)


def test_a_page_that_does_not_read_gets_the_newest_frame_later(written):
    served, writer = written
    address = served.url.replace("http", "ws") + "/live?view=physics"
    with connect(address, max_queue=1, max_size=None) as slow, connect(address, max_size=None) as quick:
        before = unpack(quick.recv(timeout=60))[0]["orbits"]
        writer.write()
        wait_for(lambda: unpack(quick.recv(timeout=60))[0]["orbits"] == writer.orbits)
        assert writer.orbits > before
        wait_for(lambda: unpack(slow.recv(timeout=60))[0]["orbits"] == writer.orbits)
    wait_for(lambda: served.monitor.status().clients == 0)


def test_what_a_page_sends_has_no_effect(written):
    served, _ = written
    address = served.url.replace("http", "ws") + "/live?view=overview"
    with connect(address, max_size=None) as page:
        page.send("stop")
        assert unpack(page.recv(timeout=60))[0]["view"] == "overview"
    with connect(address, max_size=None) as page:
        page.send(b"x" * 100_000)  # too long: the connection ends, the server goes on
        with pytest.raises(ConnectionClosed):
            list(page)
    assert served.get("/healthz")[0] == 200


def test_a_stopped_monitor_does_not_hold_up_the_readout(tmp_path):
    """It follows the spool and is then frozen: segments are written, sent and removed as without it."""
    writer = SpoolWriter(tmp_path / "spool", segment_orbits=24)
    writer.write(24)
    status = tmp_path / "status.json"
    over = {
        "monitor.listen": "127.0.0.1:0",
        "monitor.folder": tmp_path / "histograms",
        "run.folder": tmp_path / "run",
        "readout.spool": tmp_path / "spool",
    }
    command = [sys.executable, "-m", "l1scout", "monitor", "--status", str(status)]
    frozen = subprocess.Popen(
        [*command, *(f"--set={k}={v}" for k, v in over.items())], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: status.exists() and json.loads(status.read_text())["orbits"] >= writer.orbits - 3)
        os.kill(frozen.pid, signal.SIGSTOP)
        written = writer.orbits
        for _ in range(10):
            writer.write(24)
        assert writer.orbits >= written + 200
        waiting = list(writer.spool.waiting())
        assert len(waiting) >= 9
        for segment in waiting:  # as the sender does when the store has acknowledged them
            writer.spool.remove(segment)
        assert not list(writer.spool.waiting())
        os.kill(frozen.pid, signal.SIGCONT)
        writer.write(24)
        wait_for(lambda: json.loads(status.read_text())["last_orbit"] >= writer.orbits - 10)
        assert json.loads(status.read_text())["skipped_segments"] > 0
        frozen.send_signal(signal.SIGTERM)
        assert frozen.wait(60) == 0
    finally:
        frozen.kill()
        frozen.wait()
        writer.close()
