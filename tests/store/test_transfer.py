"""Copies are verified, found again, and a store of their own; nothing is deleted of which there is none."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.readout.spool import Spool
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.rebuild import rebuild
from l1scout.store.transfer import transfer
from live_packets import change_rows, compressed_store, ended_spool, stored_spool
from power_cut import Killed

RUN = 7


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Spool:
    return ended_spool(tmp_path_factory.mktemp("spool"), RUN)


@pytest.fixture
def stored(sent, tmp_path):
    store = compressed_store(sent, tmp_path / "store")
    (store / "run000007" / "source01_settings.toml").write_text("[readout]\nsource = 1\n")
    return store


def data_files(folder):
    return sorted((folder / "run000007").glob("*.raw.zst"))


def silent(*_, **__):
    pass


def wrong(run, store, **more):
    return [w for s in account(run, store, **more) for w in s.wrong]


def test_transfer_verifies_and_deletes_only_what_is_there(stored, tmp_path):
    target, there = f"file://{tmp_path}/archive", tmp_path / "archive"
    done = transfer(stored, target)
    assert (done.copied, done.there, done.again, done.deleted, done.failed) == (5, 0, 0, 0, {})
    done = transfer(stored, target, keep_days=1)
    assert (done.copied, done.there, done.deleted) == (0, 5, 0)  # too young
    files = data_files(there)
    files[0].write_bytes(b"x" * files[0].stat().st_size)
    files[1].unlink()
    done = transfer(stored, target, keep_days=0)
    assert (done.copied, done.again, done.there, done.deleted) == (1, 1, 4, 4)
    assert list(done.failed.values()) == ["copy reads back different"]
    assert [p.name for p in data_files(stored)] == [files[0].name]
    assert len(list((stored / "run000007").glob("*.json"))) == 5  # notes stay
    stages = account(RUN, stored)
    assert not [w for s in stages for w in s.wrong]
    assert stages[-1].counted == {"copied_and_deleted": 19}


def test_a_target_that_was_deleted_or_damaged_is_copied_to_again(stored, tmp_path):
    target = tmp_path / "archive"
    transfer(stored, str(target))
    before = {p.name: p.read_bytes() for p in data_files(target)}
    shutil.rmtree(target)
    done = transfer(stored, str(target))
    assert (done.copied, done.again, done.there) == (5, 5, 0)
    assert {p.name: p.read_bytes() for p in data_files(target)} == before
    first = data_files(target)[0]
    first.write_bytes(b"x" * first.stat().st_size)  # of the same size: only reading tells
    assert transfer(stored, str(target)).copied == 0
    assert transfer(stored, str(target), verify=True).again == 1
    assert first.read_bytes() == before[first.name]


def test_a_copy_is_a_store_of_its_own(stored, tmp_path):
    """Its catalogue has what is there; it can be made again there, and is the same."""
    target = tmp_path / "archive"
    transfer(stored, str(target), keep_days=0)
    assert (target / "run000007" / "source01_settings.toml").read_text() == "[readout]\nsource = 1\n"
    assert wrong(RUN, target, verify=True) == []
    listed = CliRunner().invoke(make_app(), ["runs", "--json", f"--set=store.folder={target}"])
    assert '"orbits": 24' in listed.stdout
    catalogue = Catalogue(target)
    copied = [s.segment for s in catalogue.segments()]
    catalogue.close()
    (target / "catalogue.sqlite").unlink()
    assert rebuild(target, silent).harmless
    catalogue = Catalogue(target)
    assert [s.segment for s in catalogue.segments()] == copied
    catalogue.close()
    assert wrong(RUN, target, verify=True) == []


def test_the_catalogue_of_a_copy_has_what_is_there_only(stored, tmp_path):
    target = tmp_path / "archive"
    path = data_files(stored)[2]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    done = transfer(stored, str(target))
    assert (done.copied, list(done.failed.values())) == (4, ["has changed since it was stored: not copied"])
    assert wrong(RUN, target) == ["1 segments neither stored nor waiting: index 2"]


def test_transfer_keeps_files_for_so_many_days(stored, tmp_path):
    catalogue = Catalogue(stored)
    change_rows(catalogue, "received = 1e9")
    catalogue.close()
    for seconds, deleted in ((2 * 86400 - 1, 0), (2 * 86400, 5)):
        done = transfer(stored, f"file://{tmp_path}/archive", keep_days=2, now=1e9 + seconds)
        assert (done.deleted, done.failed) == (deleted, {})


def test_transfer_to_memory_and_to_nowhere(stored):
    assert transfer(stored, "memory://archive").copied == 5
    assert transfer(stored, "memory://archive", verify=True).there == 5
    with pytest.raises(InputError, match="nosuch"):
        transfer(stored, "nosuch://x")


def test_what_is_not_compressed_waits_unless_nothing_is(sent, tmp_path):
    store = stored_spool(sent, tmp_path / "store")
    done = transfer(store, str(tmp_path / "archive"))
    assert (done.copied, done.not_compressed) == (0, 5)
    done = transfer(store, str(tmp_path / "archive"), uncompressed=True)
    assert (done.copied, done.not_compressed) == (5, 0)
    words = ["transfer", str(tmp_path / "other"), f"--set=store.folder={store}", "--set=store.method=none"]
    assert "5 files copied" in CliRunner().invoke(make_app(), words).stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_target_that_takes_no_more(stored, tmp_path, monkeypatch, number):
    """It is told once, not for every file; what was copied counts, and no part stays."""
    target, real, calls = tmp_path / "archive", LocalFileSystem.put_file, []

    def put_file(self, source, there, **more):
        calls.append(there)
        if len(calls) > 4:  # two segments and their notes
            Path(there).write_bytes(b"half")
            raise OSError(number, "takes no more")
        real(self, source, there, **more)

    monkeypatch.setattr(LocalFileSystem, "put_file", put_file)
    done = transfer(stored, str(target))
    assert (done.copied, len(done.failed), done.not_tried) == (2, 1, 2)
    assert list(target.rglob("*.part")) == []
    monkeypatch.undo()
    done = transfer(stored, str(target))
    assert (done.copied, done.there, done.failed) == (3, 2, {})
    assert wrong(RUN, target, verify=True) == []


KILLED_AT_RENAME = """
import os, signal, sys
from pathlib import Path
renamed = 0
def audit(event, args):
    global renamed
    if event == "os.rename" and str(args[0]).endswith(".zst.part"):
        renamed += 1
        if renamed == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
from l1scout.store.transfer import transfer
sys.addaudithook(audit)
transfer(Path(sys.argv[1]), sys.argv[2], keep_days=0)
"""


@pytest.mark.parametrize("number", [1, 3])
def test_killed_in_the_middle(stored, tmp_path, number):
    """Started again it goes on; of every segment there is a right file, here or there, at any time."""
    target = tmp_path / "archive"
    words = [sys.executable, "-c", KILLED_AT_RENAME, stored, target, number]
    assert subprocess.run(list(map(str, words)), check=False).returncode == -9
    assert len(data_files(stored)) == 5 - (number - 1)
    assert len(data_files(target)) == number - 1
    assert wrong(RUN, stored, verify=True) == []
    done = transfer(stored, str(target), keep_days=0)
    assert (done.copied, done.failed) == (5 - (number - 1), {})
    assert list(target.rglob("*.part")) == []
    assert wrong(RUN, target, verify=True) == []
    assert wrong(RUN, stored, verify=True) == []


def test_killed_between_copy_and_entry(stored, tmp_path, monkeypatch):
    """The copy is read and entered, not made again."""

    def killed(*_):
        raise Killed

    monkeypatch.setattr(Catalogue, "copied", killed)
    with pytest.raises(Killed):
        transfer(stored, str(tmp_path / "archive"))
    monkeypatch.undo()
    done = transfer(stored, str(tmp_path / "archive"))
    assert (done.copied, done.there) == (4, 1)


@pytest.mark.parametrize(
    "where", ["store", "store/", "store/archive", "link", "link/archive/deep", "store/../store"]
)
def test_a_store_is_not_copied_into_itself(stored, tmp_path, where):
    (tmp_path / "link").symlink_to(stored)
    for target in (f"{tmp_path}/{where}", f"file://{tmp_path}/{where}"):
        with pytest.raises(InputError, match="lies in the store that is to be copied"):
            transfer(stored, target, keep_days=0)
    assert (len(data_files(stored)), wrong(RUN, stored, verify=True)) == (5, [])
    assert not (stored / "archive").exists()


def test_a_copy_that_is_the_file_itself_is_none(stored, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "run000007").symlink_to(stored / "run000007")
    done = transfer(stored, str(archive), keep_days=0)
    assert (done.copied, done.there, done.deleted, len(done.failed)) == (0, 0, 0, 5)
    assert set(done.failed.values()) == {"the copy is the file itself: a link leads back to the store"}
    assert (len(data_files(stored)), wrong(RUN, stored, verify=True)) == (5, [])
