"""The account of a run names every orbit: stored, counted, or wrong."""

import json
import resource
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.spool import Spool
from l1scout.store.account import LOSSES, account
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import ChangedError, content
from live_packets import board_status, change_rows, compressed_store, ended_spool

RUN = 7
ORBITS = 24


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Spool:
    return ended_spool(tmp_path_factory.mktemp("spool"), RUN)


@pytest.fixture
def stored(sent, tmp_path):
    return compressed_store(sent, tmp_path / "store")


def wrong(*stores, **more):
    return [w for s in account(RUN, list(stores), **more) for w in s.wrong]


def changed(store, change):
    catalogue = Catalogue(store)
    change_rows(catalogue, change)
    catalogue.close()


def note_of(store, index):
    """Path of the note of a segment."""
    (path,) = (store / "run000007").glob(f"*index{index:06d}.raw.json")
    return path


def forget(store, index):
    """Take a segment out of the catalogue."""
    catalogue = Catalogue(store)
    catalogue._base.execute(f'DELETE FROM segments WHERE "index" = {index}')
    catalogue.close()


def test_account_balances_and_says_where_not(stored):
    stages = account(RUN, stored, verify=True)
    names = ["board of source 1, as readout saw it", "readout of source 1", "wire", "store"]
    assert [s.name for s in stages] == names
    assert not [w for s in stages for w in s.wrong]
    assert {s.out for s in stages} == {ORBITS}
    forget(stored, 2)
    for path in (stored / "run000007").glob("*index000002*"):
        path.unlink()
    assert wrong(stored) == ["1 segments neither stored nor waiting: index 2"]
    (stored / "run000007").joinpath(note_of(stored, 1).stem + ".zst").unlink()
    found = wrong(stored)
    assert any("is missing" in w for w in found)
    assert any("5 orbits unaccounted for" in w for w in found)
    assert account(RUN + 1, stored) == []
    with pytest.raises(InputError, match="no catalogue"):
        account(RUN, stored / "nowhere")


def test_what_the_catalogue_does_not_know_is_wrong_and_counted(stored):
    """With its data, with its note only, and without its note."""
    for index in (1, 2, 3):
        forget(stored, index)
    (stored / "run000007").joinpath(note_of(stored, 2).stem + ".zst").unlink()
    note_of(stored, 3).unlink()
    found = wrong(stored)
    assert [w.partition(": ")[2].partition(" (")[0] for w in found if w.startswith("run")] == [
        "lies in the store and is not in its catalogue",
        "has a note and no data",
        "lies in the store without a note and is not in its catalogue",
    ]
    assert "+10 orbits unaccounted for" in found  # of 1 and 2: of 3 not even their number is known
    assert "1 segments neither stored nor waiting: index 3" in found


def test_segments_that_share_an_orbit_overlap(stored):
    changed(
        stored, 'first_orbit = CASE "index" WHEN 1 THEN 4 ELSE first_orbit END'
    )  # 0 to 4 are in the first
    assert wrong(stored) == ["segments 0 and 1 overlap"]


def test_orbits_of_a_new_epoch_do_not_overlap_and_are_an_alarm(stored):
    restarted = 'first_orbit = CASE "index" WHEN 3 THEN 0 ELSE first_orbit END'
    changed(stored, restarted)
    assert wrong(stored) == ["segments 2 and 3 overlap"]
    changed(stored, 'epoch = "index" > 2')
    stages = account(RUN, stored)
    assert not [w for s in stages for w in s.wrong]
    assert stages[1].alarms == ["the orbit number began again 1 times: it wrapped, or a board restarted"]


def test_a_file_that_holds_another_segment_is_noticed(stored):
    """Its own checksum is right, but what it was made from is not what the store acknowledged."""
    changed(stored, 'crc32c = CASE "index" WHEN 1 THEN (crc32c + 1) % 4294967296 ELSE crc32c END')
    catalogue = Catalogue(stored)
    first, second, *_ = catalogue.segments(RUN)
    catalogue.close()
    assert len(content(stored, first)) == first.segment.size
    with pytest.raises(ChangedError, match="has changed"):
        content(stored, second)


def test_account_and_the_boards_own_count(stored, tmp_path):
    report = board_status(run=RUN, state="idle", delivered=ORBITS + 2, dropped=3, unsent=2)
    (tmp_path / "board-0.json").write_text(report.model_dump_json())
    first = account(RUN, stored, boards=tmp_path)[0]
    assert (first.name, first.into, first.out, first.wrong) == ("board of source 1", 29, ORBITS, [])
    assert first.counted == {"dropped": 3, "unsent": 2}
    assert first.alarms == ["3 orbits dropped (10.34%)", "2 orbits unsent (6.90%)"]
    more = report.model_copy(update={"delivered": 4})
    (tmp_path / "board-1.json").write_text(more.model_dump_json())
    assert account(RUN, stored, boards=tmp_path)[0].wrong == ["+2 orbits unaccounted for"]


def test_what_left_the_board_and_was_never_read_is_counted(stored, tmp_path):
    """Readout died with bytes in its sockets, and neither of them came back: only the board knows."""
    report = board_status(run=RUN, state="idle", delivered=ORBITS + 7, dropped=0, unsent=2, confirmed=False)
    (tmp_path / "board-0.json").write_text(report.model_dump_json())
    first = account(RUN, stored, boards=tmp_path)[0]
    assert (first.counted, first.wrong) == ({"dropped": 0, "unsent": 2, "unread": 5}, [])
    assert first.lost == 7


def test_a_board_of_which_nothing_arrived_is_accounted_for(stored, tmp_path):
    """It has a source of its own: the other's account says nothing of it."""
    report = board_status(run=RUN, state="idle", delivered=100, dropped=0, source=2)
    (tmp_path / "board-0.json").write_text(report.model_dump_json())
    stages = account(RUN, stored, boards=tmp_path)
    assert [(s.name, s.wrong) for s in stages if s.source == 2 and s.into] == [
        ("board of source 2", ["+100 orbits unaccounted for"])
    ]
    assert not [w for s in stages if s.source == 1 for w in s.wrong]


def test_refused_segments_are_counted(sent, stored, tmp_path):
    refused = tmp_path / "spool" / "refused"
    refused.mkdir(parents=True)
    segment = next(iter(sent.waiting()))
    shutil.copy(sent.path(segment), refused / segment.name)
    (refused / f"{segment.name}.json").write_bytes(sent.note(segment).encode())
    stages = account(RUN, stored, spool=tmp_path / "spool")
    wire = stages[2]
    assert (wire.into, wire.out, wire.counted) == (ORBITS + 5, ORBITS, {"waiting_in_spool": 0, "refused": 5})
    assert wire.alarms == ["5 orbits refused (17.24%)"]
    assert not [w for s in stages for w in s.wrong]


def test_an_index_far_away_costs_nothing(sent, stored):
    """Ranges of missing segments are described, not made: one index may be 2**32 - 1."""
    note = sent.note(next(iter(sent.waiting())))
    far = SegmentNote(segment=replace(note.segment, index=(1 << 32) - 1, orbits=0), position=note.position)
    (stored / "run000007" / f"{far.segment.name}.json").write_bytes(far.encode())
    shutil.copy(sent.path(note.segment), stored / "run000007" / far.segment.name)
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = wrong(stored)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert "4294967290 segments neither stored nor waiting: index 5 to 4294967294" in found
    assert after.ru_maxrss - before.ru_maxrss < 100_000  # KiB
    assert after.ru_utime - before.ru_utime < 5


class TestSeveralStores:
    """The readout went to a second store when the first was away."""

    @pytest.fixture
    def two(self, sent, tmp_path):
        """Segments 0 to 2 in one store, 2 to 4 in the other."""
        stores = []
        for name, own in (("a", range(3)), ("b", range(2, 5))):
            spool = Spool(tmp_path / f"spool-{name}")
            for segment in sent.waiting():
                if segment.index in own:
                    shutil.copy(sent.path(segment), spool.path(segment))
                    spool.path(segment).with_name(f"{segment.name}.json").write_bytes(
                        sent.note(segment).encode()
                    )
            stores.append(compressed_store(spool, tmp_path / name))
        return stores

    def test_together_they_balance_and_what_both_have_counts_once(self, two):
        assert wrong(*two, verify=True) == []
        assert account(RUN, two)[-1].out == ORBITS
        assert "2 segments neither stored nor waiting: index 0 to 1" in wrong(two[1])

    def test_a_file_lost_in_one_is_taken_from_the_other(self, two):
        for path in two[0].glob("run000007/*index000002.raw.zst"):
            path.unlink()
        assert wrong(*two, verify=True) == []

    def test_a_segment_that_differs_is_wrong(self, two):
        changed(two[1], 'orbits = CASE "index" WHEN 2 THEN orbits - 1 ELSE orbits END')
        (line,) = wrong(*two)
        assert "is another one in" in line

    def test_the_command_takes_several(self, two):
        words = ["account", str(RUN), "--json", *(f"--store={s}" for s in two)]
        words += [f"--set=readout.spool={two[0]}/none", f"--set=run.folder={two[0]}/none"]
        done = CliRunner().invoke(make_app(), words)
        assert (done.exit_code, json.loads(done.stdout)["balanced"]) == (0, True)
        assert CliRunner().invoke(make_app(), words[:-3] + words[-2:]).exit_code == 1


def test_losses_are_shown_and_what_is_wrong_is_the_exit_status(stored, tmp_path):
    words = ["account", str(RUN), f"--store={stored}"]
    words += [f"--set=readout.spool={tmp_path}/none", f"--set=run.folder={tmp_path}"]
    changed(stored, 'missed = CASE "index" WHEN 1 THEN 6 ELSE 0 END')
    done = CliRunner().invoke(make_app(), words)
    assert "readout of source 1: 6 orbits missed (20.00%)" in done.stderr
    assert "balances" in done.stdout
    assert done.exit_code == 0
    told = json.loads(CliRunner().invoke(make_app(), [*words, "--json"]).stdout)
    assert told["lost"] == dict.fromkeys(LOSSES, 0) | {"missed": 6}
    forget(stored, 4)
    done = CliRunner().invoke(make_app(), words)
    assert "does not balance" in done.stderr
    assert done.exit_code == 1
