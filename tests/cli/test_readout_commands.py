"""readout, store, account and transfer as a user types them."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from chain import COMMAND, PATIENCE_S, Ports, wait_for
from live_packets import small_packets
from processes import fork_server, run_forked

RUN = 12


def l1scout(*words: object, check: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_forked(*words)
    assert done.returncode == check, done.stderr
    return done


@pytest.fixture
def settings(tmp_path) -> Path:
    ports = Ports(1)
    (port,) = ports.numbers
    path = tmp_path / "l1scout.toml"
    path.write_text(
        f'[run]\nnumber = {RUN}\n[readout]\nspool = "{tmp_path}/spool"\nstore = "127.0.0.1:{port}"\n'
        f'segment_orbits = 10\n[store]\nlisten = "127.0.0.1:{port}"\nfolder = "{tmp_path}/store"\n'
        'method = "bzip2"\nlevel = 9\nreserve_bytes = 0\n'
    )
    yield path
    ports.close()


def test_from_a_file_to_another_place(settings, tmp_path):
    packets = tmp_path / "packets.dat"
    packets.write_bytes(small_packets())
    # no store yet: all waits in the spool
    done = l1scout("readout", packets, "--settings", settings, "--set", "readout.drain_seconds=0", check=2)
    assert "3 segments wait in" in done.stderr
    assert "--drain" in done.stderr
    store = fork_server().start(["store", "--settings", str(settings)], os.environ, tmp_path / "store.log")
    try:
        again = l1scout("readout", packets, "--settings", settings, check=2)
        assert f"run {RUN} has ended: set another run.number" in again.stderr
        l1scout("readout", "--drain", "--settings", settings)
        folder = tmp_path / "store" / f"run{RUN:06d}"
        wait_for(lambda: len(list(folder.glob("*.bz2"))) == 3, (tmp_path / "store.log").read_text)
    finally:
        store.send_signal(signal.SIGTERM)
        assert store.wait(PATIENCE_S) == 0, (tmp_path / "store.log").read_text()
    said = json.loads(l1scout("account", RUN, "--settings", settings, "--verify", "--json").stdout)
    assert said["balanced"]
    assert [s["out"] for s in said["stages"]] == [24] * 4
    (run,) = json.loads(l1scout("runs", "--settings", settings, "--json").stdout)["runs"]
    assert (run["run"], run["orbits"], run["segments"], run["ended"]) == (RUN, 24, 3, 1)
    assert "24" in l1scout("runs", RUN, "--settings", settings).stdout
    assert "has no segments of run 3" in l1scout("runs", 3, "--settings", settings, check=2).stderr
    done = l1scout("transfer", tmp_path / "archive", "--settings", settings, "--keep-days", 0)
    assert "3 files copied and verified" in done.stdout
    assert "3 deleted here" in " ".join(done.stdout.split())
    assert not list(folder.glob("*.bz2"))
    assert len(list((tmp_path / "archive").rglob("*.bz2"))) == 3
    l1scout("account", RUN, "--settings", settings)
    assert "run 99 is not in" in l1scout("account", 99, "--settings", settings, check=2).stderr


def test_from_a_pipe_and_from_a_link_capture(settings, tmp_path, samples):
    over = ("--settings", settings, "--set", "readout.drain_seconds=0")
    l1scout("readout", samples["LINK_CAPTURE"], *over, "--set", "run.number=1", check=2)
    capture = sorted((tmp_path / "spool").glob("run000001*.raw"))
    assert capture
    read, write = os.pipe()
    os.write(write, small_packets()[:60000])
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        command = [*COMMAND, "readout", "-", *over, "--set", "run.number=2"]
        assert subprocess.run(command, stdin=pipe, timeout=PATIENCE_S, check=False).returncode == 2
    assert sorted((tmp_path / "spool").glob("run000002*.raw"))


def test_what_is_wrong_is_said_in_one_line(settings, tmp_path):
    for words, said in (
        (("readout", tmp_path / "none.dat"), "no such file"),
        (("readout", "--set", "readout.lisen=x"), "did you mean listen?"),
        (("store", "--set", "store.method=gzip"), "store.method"),
        (("source",), "set either packets (a file) or simulate"),
        (("readout", "--set", "readout.listen=0.0.0.0:7000"), "set readout.trusted_networks"),
    ):
        done = l1scout(*words, "--settings", settings, check=2)
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("l1scout: ")
        assert said in last, last
