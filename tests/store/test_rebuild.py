"""A catalogue that is damaged, deleted or old is made again from the files; nothing is silently lost."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hostile.hostile_stores import KINDS, Truth, check
from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.readout.segment_note import read_note
from l1scout.readout.spool import Spool
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import content
from l1scout.store.on_disk import NOTE_LOST, WORKED_OUT
from l1scout.store.rebuild import check as check_store
from l1scout.store.rebuild import open_catalogue, rebuild
from l1scout.store.store_folder import StoreFolder
from l1scout.store.transfer import transfer
from live_packets import compressed_store, ended_spool, stored_spool

RUN = 7
ORBITS = 24


class Log:
    """Keeps what is logged."""

    def __init__(self):
        self.events = []

    def __call__(self, event, level="info", **values):
        self.events.append((level, event, values))

    def levels(self):
        return [level for level, *_ in self.events]


@pytest.fixture
def log():
    return Log()


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Spool:
    return ended_spool(tmp_path_factory.mktemp("spool"), RUN)


@pytest.fixture(params=["zstd", "parquet", "none"])
def store(request, sent, tmp_path):
    if request.param == "none":
        return stored_spool(sent, tmp_path / "store")
    return compressed_store(sent, tmp_path / "store", request.param)


@pytest.fixture
def packed(sent, tmp_path):
    return compressed_store(sent, tmp_path / "store")


def contents(folder, run=None):
    """All that the catalogue says, without times."""
    catalogue = Catalogue(folder)
    found = [
        (s.segment, catalogue.note(s), s.file, s.method, s.stored_size, s.stored_crc32c, s.deleted, s.fault)
        for s in catalogue.segments(run)
    ]
    catalogue.close()
    return found


def wrong(folder, **more):
    return [w for s in account(RUN, folder, verify=True, **more) for w in s.wrong]


def one(folder, pattern):
    (path,) = folder.glob(f"run000007/{pattern}")
    return path


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff" * 8192),
    "header": lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-5000]),
    "page": lambda path: path.write_bytes(
        path.read_bytes()[:4096] + b"\xff" * 4096 + path.read_bytes()[8192:]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_store_comes_up_with_the_catalogue_that_it_had(store, log, damage):
    before, path = contents(store), store / "catalogue.sqlite"
    DAMAGE[damage](path)
    left = path.read_bytes() if path.exists() else None
    catalogue, alarms = open_catalogue(store, log)
    catalogue.close()
    assert contents(store) == before
    assert wrong(store) == []
    if damage == "empty":  # SQLite takes an empty file for a new one: entered one by one
        assert alarms == [
            "run000007: 5 segments lay there that the catalogue did not know as they are: entered"
        ]
        return
    assert "the catalogue was made again from the files: 5 segments" in alarms[0]
    assert "error" in log.levels()
    kept = list(store.glob("catalogue.sqlite.bad-*"))
    assert [p.read_bytes() for p in kept if not p.name.endswith(("-wal", "-shm"))] == [left] * (
        left is not None
    )


def test_a_catalogue_without_its_log_is_behind_and_is_completed(sent, tmp_path, log):
    """The main file of a moment before: what came after it is in the folder."""
    store = stored_spool(sent, tmp_path / "store")
    before = contents(store)
    catalogue = Catalogue(store)
    catalogue._base.execute('DELETE FROM segments WHERE "index" > 2')
    catalogue.close()
    catalogue, alarms = open_catalogue(store, log)
    catalogue.close()
    assert alarms == ["run000007: 2 segments lay there that the catalogue did not know as they are: entered"]
    assert log.levels() == ["warning"]
    assert contents(store) == before


def test_a_catalogue_from_before_the_compression(sent, tmp_path, log):
    store = stored_spool(sent, tmp_path / "store")
    old = (store / "catalogue.sqlite").read_bytes()
    shutil.rmtree(store)
    compressed_store(sent, store)
    before = contents(store)
    (store / "catalogue.sqlite").write_bytes(old)
    catalogue, _ = open_catalogue(store, log)
    catalogue.close()
    assert contents(store) == before
    assert wrong(store) == []


def test_copies_and_deletions_are_known_again(packed, tmp_path, log):
    transfer(packed, str(tmp_path / "archive"), keep_days=0)
    before = contents(packed)
    assert all(s[6] for s in before)
    (packed / "catalogue.sqlite").unlink()
    catalogue, _ = open_catalogue(packed, log)
    copies = [catalogue.copies(s) for s in catalogue.segments()]
    catalogue.close()
    assert [[f"{tmp_path}/archive/{b[2]}"] for b in before] == copies
    assert contents(packed) == before
    assert wrong(packed) == []


def test_a_damaged_line_of_the_journal_is_not_believed(packed, tmp_path, log):
    """Neither its copy nor its deletion: the segment is missing, and that is said."""
    transfer(packed, str(tmp_path / "archive"), keep_days=0)
    journal = packed / "run000007" / "journal.jsonl"
    text = journal.read_text().replace(
        '"deleted","segment":"run000007_source01_ls0001_index000002',
        '"deleted","segment":"run000007_source01_ls0001_index000003',
    )
    journal.write_text(text)
    (packed / "catalogue.sqlite").unlink()
    catalogue, alarms = open_catalogue(packed, log)
    catalogue.close()
    assert any("have a note but no data, and are not in it" in a for a in alarms)
    assert any("index000002.raw: has a note and no data" in w for w in wrong(packed))
    assert "+5 orbits unaccounted for" in wrong(packed)


@pytest.mark.parametrize("damage", ["missing", "truncated", "bit"])
def test_a_lost_note_is_written_again_while_the_catalogue_knows_it(packed, log, damage):
    note = one(packed, "*index000002.raw.json")
    text = note.read_bytes()
    if damage == "missing":
        note.unlink()
        open_catalogue(packed, log)[0].close()
        assert note.read_bytes() == text
        return
    note.write_bytes(
        text[: len(text) // 2] if damage == "truncated" else text.replace(b'"orbits":5', b'"orbits":4')
    )
    before = contents(packed)
    assert wrong(packed) == []  # the catalogue knows
    rebuild(packed, log)  # and so does the one that is replaced
    assert contents(packed) == before
    assert note.read_bytes() == text


@pytest.mark.parametrize(("index", "fault"), [(0, WORKED_OUT), (2, WORKED_OUT), (4, NOTE_LOST)])
def test_a_segment_without_note_and_catalogue_is_entered_by_its_own_bytes(store, log, index, fault):
    """Its losses follow from the board's counters before and after it, if there is a segment after it."""
    before = contents(store)
    note = one(store, f"*index{index:06d}.raw.json")
    note.write_bytes(note.read_bytes()[:-40])
    (store / "catalogue.sqlite").unlink()
    catalogue, alarms = open_catalogue(store, log)
    data = [content(store, s) for s in catalogue.segments()]
    catalogue.close()
    assert "1 have no note, and were read themselves (run000007_source01" in alarms[0]
    found = contents(store)
    assert found[index][-1] == fault
    seen = [
        [(s[0].name, s[0].crc32c, s[0].orbits, s[0].last_orbit, s[0].objects) for s in x]
        for x in (found, before)
    ]
    assert seen[0] == seen[1]
    assert len(data) == 5
    if fault == WORKED_OUT:
        assert wrong(store) == []
        assert [a.partition(": ")[2] for a in account(RUN, store)[-1].alarms] == [WORKED_OUT]
    else:  # with it went the word that it was the last
        assert "the run has not ended: its last segment is missing" in wrong(store)
        assert any(NOTE_LOST in w for w in wrong(store))


def test_the_readout_may_still_bring_the_note(sent, packed, log):
    """A segment that was entered without its note is replaced when it is sent again."""
    one(packed, "*index000002.raw.json").unlink()
    (packed / "catalogue.sqlite").unlink()
    catalogue, _ = open_catalogue(packed, log)
    segment = [*sent.waiting()][2]
    assert catalogue.get(segment.key).fault
    shutil.copy(sent.path(segment), packed / segment.folder / segment.name)
    catalogue.add(sent.note(segment), f"{segment.folder}/{segment.name}")
    assert catalogue.get(segment.key).fault == ""
    catalogue.close()
    assert wrong(packed) == []


def test_a_damaged_archive_without_a_journal_is_noticed(packed, log):
    """Without the journal, only reading tells whether a compressed file is right."""
    (packed / "run000007" / "journal.jsonl").unlink()
    (packed / "catalogue.sqlite").unlink()
    path = one(packed, "*index000003.raw.zst")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = rebuild(packed, log)
    assert [name[-15:] for name in found.file_changed] == ["index000003.raw"]
    assert not found.harmless
    stages = account(RUN, packed)  # known without reading again
    assert any("has changed since it was stored" in w for w in stages[-1].wrong)
    assert (stages[-1].into, stages[-1].out) == (ORBITS, ORBITS - 5)


def test_files_that_go_while_the_store_is_away_are_an_alarm(packed, log):
    one(packed, "*index000001.raw.zst").unlink()
    path = one(packed, "*index000002.raw.zst")
    path.write_bytes(path.read_bytes()[:-1])
    catalogue, alarms = open_catalogue(packed, log)
    catalogue.close()
    assert any("1 segments are in the catalogue and their files are missing" in a for a in alarms)
    assert any("1 segments have changed since they were stored" in a for a in alarms)
    assert "+10 orbits unaccounted for" in wrong(packed)


def test_an_unacknowledged_segment_is_left_for_the_readout(sent, packed, log):
    """Without note and row it may have come before a crash: it will be sent again."""
    segment = [*sent.waiting()][4]
    catalogue = Catalogue(packed)
    catalogue._base.execute('DELETE FROM segments WHERE "index" = 4')
    for path in packed.glob("run000007/*index000004*"):
        path.unlink()
    shutil.copy(sent.path(segment), packed / segment.folder / segment.name)
    assert "have no note" in check_store(packed, catalogue, log)[0]
    assert catalogue.get(segment.key) is None
    catalogue.close()


def test_settings_are_entered_from_their_file(packed, log):
    path = packed / "run000007" / "source01_settings.toml"
    path.write_text("[readout]\nsegment_orbits = 5\n")
    catalogue, _ = open_catalogue(packed, log)
    assert catalogue.settings(RUN) == {1: path.read_text()}
    path.write_text("[readout]\nsegment_orbits = 6\n")
    check_store(packed, catalogue, log)
    check_store(packed, catalogue, log)
    assert catalogue._rows("SELECT COUNT(*) FROM settings") == [(2,)]
    assert catalogue.settings(RUN) == {1: path.read_text()}
    catalogue.close()


def test_the_command(packed):
    before = contents(packed)
    words = ["store", "--rebuild", f"--set=store.folder={packed}"]
    done = CliRunner().invoke(make_app(), words)
    assert done.stdout.startswith("the catalogue was made again from the files: 5 segments; the old one is")
    assert done.exit_code == 0
    assert contents(packed) == before
    one(packed, "*index000002.raw.zst").write_bytes(b"x" * one(packed, "*index000002.raw.zst").stat().st_size)
    assert CliRunner().invoke(make_app(), words).exit_code == 0  # the journal is believed
    done = CliRunner().invoke(make_app(), [*words, "--verify"])
    assert "1 have changed since they were stored" in done.stderr
    assert done.exit_code == 1
    with pytest.raises(InputError, match="no such folder"):
        rebuild(packed / "nowhere", print)
    with closing(StoreFolder(packed)), pytest.raises(InputError, match="another store uses this folder"):
        CliRunner().invoke(make_app(), words, catch_exceptions=False)


def test_a_catalogue_that_is_in_use_is_not_taken_for_damaged(packed, log, monkeypatch):
    """It stays as it is, and whoever wanted it is told to try again."""

    def busy(*_, **__):
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(Catalogue, "_open", busy)
    with pytest.raises(InputError, match="cannot be used now"):
        open_catalogue(packed, log)
    assert list(packed.glob("*.bad-*")) == []


def test_foreign_files_and_links_are_left_alone(packed, log, tmp_path):
    before = contents(packed)
    for name in ("notes.txt", "run_of_somebody.raw", "journal.jsonl.old"):
        (packed / "run000007" / name).write_text("not ours")
    (packed / "run000099x").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("x")
    (packed / "run000007" / "run000007_source01_ls0001_index000009.raw").symlink_to(secret)
    (packed / "run000008").symlink_to(packed / "run000007")
    (packed / "catalogue.sqlite").unlink()
    catalogue, _ = open_catalogue(packed, log)
    catalogue.close()
    assert contents(packed) == before
    assert secret.read_text() == "x"


def test_a_file_that_goes_while_the_store_looks_is_nothing(packed, log, monkeypatch):
    """What compresses for a store that was killed renames its files while the next store starts."""
    before, scan = contents(packed), os.scandir
    part = next(packed.glob("run*")) / "run000007_source01_index000002.raw.zst.part"
    part.write_bytes(b"half")

    class Listed(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    def scandir(path):
        entries = Listed(scan(path))
        if Path(path) == part.parent:
            part.unlink(missing_ok=True)
        return entries

    monkeypatch.setattr("l1scout.store.on_disk.os.scandir", scandir)
    open_catalogue(packed, log)[0].close()
    assert not part.exists()
    assert contents(packed) == before


def test_a_new_store_has_nothing_to_say(tmp_path, log):
    catalogue, alarms = open_catalogue(tmp_path, log)
    catalogue.close()
    assert (alarms, log.events) == ([], [])
    assert read_note(Path(tmp_path / "none")) is None


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(tmp_path_factory.mktemp("truth"))


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_harmless_or_noticed(truth, tmp_path, kind):
    """`hostile_stores.py` does the same a thousand times."""
    outcomes = {
        check(truth, tmp_path, kind, 1 + 4 * (seed % 2), np.random.default_rng(seed)) for seed in range(8)
    }
    if kind in ("note", "catalogue", "write-ahead log", "journal"):  # the other side still knows
        assert outcomes == {"right"}
    elif kind == "data":
        assert outcomes == {"counted"}


def test_an_entry_of_the_journal_that_is_cut_is_an_error(packed, monkeypatch):
    """A disk that is full takes a part of a line without an error: nothing may be deleted on its word."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    catalogue = Catalogue(packed)
    (stored, *_) = catalogue.segments()
    with pytest.raises(OSError, match="No space left"):
        catalogue.deleted(stored)
    assert catalogue.segments()[0].deleted is None
    catalogue.close()


def test_a_full_disk_is_not_hidden_by_the_catalogue(packed):
    """SQLite rolls back by itself then: another rollback would be the error that is reported."""
    catalogue = Catalogue(packed)
    (pages,) = catalogue._base.execute("PRAGMA page_count").fetchone()
    catalogue._base.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        catalogue.put_settings(RUN, 1, "x" * 1_000_000)
    catalogue._base.execute("PRAGMA max_page_count=1000000")
    catalogue.put_settings(RUN, 1, "# later")
    assert catalogue.settings(RUN) == {1: "# later"}
    catalogue.close()
