"""Orbits that were lost: account, `runs` and the live fraction of an analysis tell the same."""

import io
import json
import shutil
import sqlite3

import pytest
from typer.testing import CliRunner

from front_end import Keep
from l1scout.analysis.common.live_time import LiveTime
from l1scout.board.repeat import RepeatedPackets
from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.formats.packets import Trailer
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io.batches import read_batches
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.losses import lost_in_file, with_losses
from live_packets import board_status, change_rows, dropping, feed, packets, small_packets, stored_spool

RUN = 7


def board_report(folder, delivered, dropped, state="idle"):
    folder.mkdir()
    report = board_status(run=RUN, state=state, delivered=delivered, dropped=dropped)
    (folder / "board-0.json").write_text(report.model_dump_json())
    return folder


def l1scout(*words):
    done = CliRunner().invoke(make_app(), [str(w) for w in words], catch_exceptions=False)
    return json.loads(done.stdout)


@pytest.fixture
def chain(tmp_path):
    """A run whose board dropped 6 orbits in the middle, and 12 more that only its own report tells."""
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=10))
    feed(writer, b"".join(dropping(packets(), {2, 3})))
    writer.finish()
    store = stored_spool(spool, tmp_path / "store")
    boards = board_report(tmp_path / "run", 18, 18)
    over = (
        f"--set=store.folder={store}",
        f"--set=run.folder={boards}",
        f"--set=readout.spool={spool.folder}",
    )
    return store, over


def test_runs_and_account_tell_the_same_number_of_dropped_orbits(chain):
    _, over = chain
    board = l1scout("account", RUN, "--json", *over)["stages"][0]
    (run,) = l1scout("runs", "--json", *over)["runs"]
    assert board["counted"]["dropped"] == run["dropped"] == 18
    sections = l1scout("runs", RUN, "--json", *over)["lumisections"]
    assert sum(row["dropped"] for row in sections) == 18
    table = CliRunner().invoke(make_app(), ["runs", *over], env={"COLUMNS": "200"}).stdout
    assert " 18 " in table


def test_reports_of_killed_boards_and_other_runs_are_not_used(chain, tmp_path):
    store, over = chain
    for change in ({"state": "running"}, {"run": RUN + 1}):
        report = board_status(**{"run": RUN, "state": "idle", "delivered": 18, "dropped": 18} | change)
        (tmp_path / "run" / "board-0.json").write_text(report.model_dump_json())
        (run,) = l1scout("runs", "--json", *over)["runs"]
        assert run["dropped"] == 6
        assert account(RUN, store, boards=tmp_path / "run")[0].counted == {"dropped": 6}


def test_the_live_fraction_of_stored_files_knows_what_was_lost(chain, tmp_path):
    store, _ = chain
    files = sorted((store / f"run{RUN:06d}").glob("*.raw"))
    seen = l1scout("analyse", "livetime", *files, "--json")["sections"]
    assert [row["orbits"] for row in seen] == [18]
    assert [row["lost_orbits"] for row in seen] == [6]
    assert seen[0]["live_fraction"] == pytest.approx(18 / 24)
    # what is lost at the end of a segment leaves no gap between orbits: only the catalogue tells
    catalogue = Catalogue(store)
    change_rows(catalogue, 'missed = CASE "index" WHEN 1 THEN 6 ELSE missed END')
    catalogue.close()
    live = LiveTime()
    for events in with_losses(read_batches(files)):
        live.add(events.muons)
    assert (live.orbits, live.lost) == (18, 12)
    assert live.table()[0]["live_fraction"] == pytest.approx(18 / 30)
    away = [shutil.copy(f, tmp_path / f.name) for f in files]
    moved = l1scout("analyse", "livetime", *away, "--json")["sections"]
    assert [row["lost_orbits"] for row in moved] == [0]


@pytest.mark.parametrize("damage", ["row", "page"])
def test_a_damaged_catalogue_is_one_line(chain, damage):
    store, _ = chain
    files = sorted((store / f"run{RUN:06d}").glob("*.raw"))
    catalogue = Catalogue(store)
    if damage == "row":
        catalogue._base.execute("UPDATE segments SET missed = 'many'")
    else:
        (page,) = catalogue._base.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'segments'"
        ).fetchone()
        (size,) = catalogue._base.execute("PRAGMA page_size").fetchone()
        catalogue._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    catalogue.close()
    if damage == "page":
        with (store / "catalogue.sqlite").open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
    with pytest.raises(InputError, match="the catalogue is damaged") as caught:
        list(with_losses(read_batches(files)))
    assert "\n" not in str(caught.value)


def test_readout_hears_of_orbits_dropped_after_the_last_packet(tmp_path):
    """A packet without orbits tells of them at the end; in the middle of a run the next packet does."""
    sink = Keep(busy=(5, 6, 7))
    source = RepeatedPackets(io.BytesIO(small_packets()), RUN3)
    source.run(sink, pace=0, orbits=4 * 24)
    writer = SegmentWriter(Spool(tmp_path / "spool"), RUN, 1, RUN3)
    feed(writer, sink.bytes.getvalue())
    told = source.dropped
    assert source.last_trailer() is None  # the last packet was sent, and its trailer told all
    source.dropped += 40
    feed(writer, source.last_trailer())
    assert source.last_trailer() is None
    segment = writer.finish()
    assert segment.dropped == told + 40
    assert segment.orbits == source.delivered


@pytest.mark.parametrize(("orbits", "dropped"), [(23, 5), (24, 1 << 40), (25, 5)])
def test_impossible_last_words_of_a_board_are_not_believed(tmp_path, orbits, dropped):
    writer = SegmentWriter(Spool(tmp_path / "spool"), RUN, 1, RUN3)
    feed(writer, b"".join(packets()))
    feed(writer, Trailer(0, dropped, orbits).encode())
    assert writer.finish().dropped == 0


def test_losses_are_read_from_a_folder_that_may_not_be_written(chain, monkeypatch):
    store, _ = chain
    files = sorted((store / f"run{RUN:06d}").glob("*.raw"))
    before = sorted(p.name for p in store.iterdir())
    monkeypatch.setattr("os.access", lambda *_: False)
    assert sum(map(lost_in_file, files)) == 6
    assert sorted(p.name for p in store.iterdir()) == before
    with pytest.raises(sqlite3.OperationalError):
        Catalogue(store)._base.execute("DELETE FROM segments")
