"""The summary of a run for the logbook."""

import json

import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.settings import as_toml, read_settings
from l1scout.store.catalogue import Catalogue
from live_packets import board_status, change_rows, compressed_store, dropping, feed, packets

RUN = 7
SETTINGS = as_toml(read_settings(None, {}, ["readout.segment_orbits=10", "run.number=7"]))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run of 100 s whose board dropped 6 of 24 orbits."""
    top = tmp_path_factory.mktemp("summary")
    spool = Spool(top / "spool")
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=10))
    feed(writer, b"".join(dropping(packets(), {2, 3})))
    writer.finish()
    folder = compressed_store(spool, top / "store")
    catalogue = Catalogue(folder)
    change_rows(catalogue, 'began = 1.7e9 + 10 * "index", ended = 1.7e9 + 100 - (1 - "last") * 50')
    catalogue.close()
    (folder / "run000007" / "source01_settings.toml").write_text(SETTINGS)
    return folder


def words(store, *more):
    nowhere = [f"--set=readout.spool={store}/none", f"--set=run.folder={store}/none"]
    return ["runs", str(RUN), *more, f"--store={store}", *nowhere]


def run(*given):
    return CliRunner().invoke(make_app(), list(given), env={"COLUMNS": "250"}, catch_exceptions=False)


def test_the_text_for_the_logbook(store):
    text = run(*words(store, "--logbook")).stdout
    for expected in (
        "# Run 7 (simulated data)",
        "## Source 1",
        "- start 2023-11-14 22:13:20 UTC, stop 2023-11-14 22:15:00 UTC, 100.0 s",
        "- simulated data, wire format run3, lumisection 1",
        "- orbits: 24 sent, 18 stored, 0 duplicates",
        "- lost: dropped 6 (25.000%)",
        "- settings that differ from the defaults: run.number = 7, readout.segment_orbits = 10",
        "- board of source 1, as readout saw it: 6 orbits dropped (25.00%)",
        "- balances: every orbit is stored or counted",
    ):
        assert expected in text.splitlines()
    assert "objects: muon " in text
    assert "3 segments, " in text


def test_the_same_as_json(store):
    told = json.loads(run(*words(store, "--logbook", "--json")).stdout)
    (source,) = told["sources"]
    assert (told["run"], told["data"], told["balanced"]) == (RUN, "simulated", True)
    assert {kind: n for kind, n in source["lost"].items() if n} == {"dropped": 6}
    assert source["lost_fraction"] == 0.25
    assert source["duration_s"] == 100.0
    rate = source["objects"]["muon"] / 18 * ORBIT_FREQUENCY_HZ
    assert source["object_rates_hz"]["muon"] == pytest.approx(rate)
    assert source["settings"] == {"run.number": 7, "readout.segment_orbits": 10}


def test_what_is_wrong_is_in_it(store, tmp_path):
    (tmp_path / "board-0.json").write_text(
        board_status(run=RUN, state="idle", delivered=30, dropped=6).model_dump_json()
    )
    text = run(*words(store, "--logbook")[:-1], f"--set=run.folder={tmp_path}").stdout
    assert "- **board of source 1: +12 orbits unaccounted for**" in text
    assert "- does not balance" in text


def test_times_and_losses_of_runs_and_lumisections(store):
    (row,) = json.loads(run("runs", "--json", f"--store={store}").stdout)["runs"]
    assert (row["start_time"], row["stop_time"], row["dropped"], row["epochs"]) == (1.7e9, 1.7e9 + 100, 6, 1)
    (row,) = json.loads(run(*words(store, "--json")).stdout)["lumisections"]
    assert (row["start_time"], row["stop_time"], row["dropped"]) == (1.7e9, 1.7e9 + 100, 6)
    assert (row["first_orbit"], row["last_orbit"]) == (0, 23)
    assert "2023-11-14 22:13:20" in run("runs", f"--store={store}").stdout


def test_what_cannot_be_summarised_is_one_line(store, tmp_path):
    with pytest.raises(InputError, match="--logbook needs a run"):
        run("runs", "--logbook", f"--store={store}")
    with pytest.raises(InputError, match="run 8 is not in"):
        run("runs", "8", *words(store, "--logbook")[2:])
    with pytest.raises(InputError, match="name one --store"):
        run("runs", f"--store={store}", f"--store={tmp_path}")
