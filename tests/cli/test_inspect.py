"""`l1scout inspect`: the same content as text and as JSON."""

import json

import pytest
import typer
from typer.testing import CliRunner

from l1scout.cli.inspect import inspect
from l1scout.errors import InputError
from l1scout.io.reader import READERS

app = typer.Typer()
app.command()(inspect)


def run(*arguments: object):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", READERS)
def test_every_format_in_words_and_json(samples, name):
    kind, title = name.upper().replace("-", "_"), READERS[name].title
    text = run(samples[kind])
    found = json.loads(run(samples[kind], "--json"))
    assert found["format"] == title
    assert title in text
    assert found["bytes"] == samples[kind].stat().st_size


def test_counts(samples, truth):
    found = json.loads(run(samples["DPG_NANO"], "--json"))
    n = len(truth.muons["hwPt"])
    assert (found["rows"], found["final_muons"], found["offline_muons"]) == (40, n, len(truth.reco["recoPt"]))
    assert found["runs"] == [320040]
    assert found["era"] == "2018 (by run number)"
    assert found["data"] is None  # nothing in the file says so
    assert found["bx"] == [int(truth.bx.min()), int(truth.bx.max())]
    assert found["orbits"] == [int(truth.orbit[0]), int(truth.orbit[-1])]
    index = truth.muons["tfMuonIndex"]
    assert found["by_track_finder"]["BMTF"] == int(((index >= 36) & (index < 72)).sum())
    assert sum(found["by_track_finder"].values()) == n
    pt = next(c for c in found["columns"] if c["name"] == "hwPt")
    assert (pt["low"], pt["high"]) == (int(truth.muons["hwPt"].min()), int(truth.muons["hwPt"].max()))
    assert {t["name"] for t in found["trees"]} == {"Events"}


def test_scouting_says_how_many_orbits(samples):
    assert json.loads(run(samples["SCOUTING_NANO"], "--json"))["orbits_covered"] == 1003


def test_invalid_codes_and_missing_muons_are_counted(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "odd.parquet"
    columns = {
        "hwPt": [0, 0, 5],
        "hwCharge": [0, 1, 2],
        "hwPhi": [575, 576, 1023],
        "tfMuonIndex": [36, 107, 120],
    }
    pq.write_table(
        pa.table(columns).replace_schema_metadata({"l1scout": '{"simulated": true, "era": "2018"}'}), path
    )
    found = json.loads(run(path, "--json"))
    assert found["hwPt_0"] == 2
    assert found["invalid_codes"] == {"hwCharge": 1, "hwPhi": 2, "tfMuonIndex": 1}
    assert found["by_track_finder"]["other"] == 1
    assert (found["data"], found["era"]) == ("simulated", "2018")
    assert "recoPt" in found["missing_columns"]


def test_unknown_files_are_one_line(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match="unknown format"):
        run(path)


def test_duplicates_are_not_stated_where_nothing_says_which_orbit_it_is(shared_cases):
    """A CSV has no orbit numbers: its events are not compared, so 0 duplicates would be a guess."""
    for name, duplicates in (("10_bom.csv", None), ("03_orbits_twice.raw", 20)):
        found = json.loads(run(shared_cases / name, "--json"))
        assert found["duplicate_orbits"] == duplicates
