"""`l1scout inspect`: the same content as text and as JSON."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from front_end import Keep, make_run, through_board
from l1scout.cli.inspect import inspect
from l1scout.core.orbit_batch import final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.io import describe
from l1scout.io.format_writer import write_data
from l1scout.io.reader import READERS
from stream_files import every

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


def packets_of(name, folder):
    """Write packets of a wire format."""
    path, form = folder / f"{name}.dat", WIRE_FORMATS[name]
    if isinstance(form, BlockFormat):
        sink = Keep()
        through_board(make_run(form, orbits=3)[1], form, sink)
        path.write_bytes(sink.bytes.getvalue())
    else:
        names = ["jet", "stub", "tower"] if name == "objects" else form.streams
        data = every(names=names, rows=300, orbits=3, first_orbit=0)
        write_data([data], path, "packets" if name == "objects" else name, drop=True)
    return path


@pytest.mark.parametrize("name", WIRE_FORMATS)
def test_packets_of_every_wire_format(tmp_path, name):
    path = packets_of(name, tmp_path)
    found, text = json.loads(run(path, "--json")), run(path)
    assert (found["form"], found["orbits"]) == (name, 3)
    assert found["streams"]
    assert {row["stream"] for row in found["occupancies"]} == set(found["streams"]) - {"intermediate_muon"}
    for row in found["occupancies"]:
        assert row["objects"] == found["streams"][row["stream"]] > 100
        assert row["orbits"] == (None if name == "run2" else 3)
    assert name in text
    if name == "objects":
        assert [row["source"] for row in found["packets_of_sources"]] == [*range(10, 22), 22, 32]
        assert {row["orbits"] for row in found["packets_of_sources"]} == {3}
        assert "packets_of_sources" in text


def test_an_archive_of_several_streams_is_described_with_all(tmp_path):
    data = every(names=["muon", "jet", "tower"])
    write_data([data], tmp_path / "x.parquet")
    found = json.loads(run(tmp_path / "x.parquet", "--json"))
    assert found["format"] == "compact archive (Parquet)"
    assert found["streams"] == {n: final_muons(b).n_objects for n, b in data.streams.items()}
    assert set(found["frames_by_source"]) == {"1", "22", "32"}


def test_the_page_names_every_fact(samples, tmp_path):
    """All that is printed of any kind of file, and nothing that is printed of none."""
    table = (Path(__file__).parents[2] / "docs/inspect.md").read_text("utf-8").partition("<!-- facts -->")[2]
    rows = [row.split("|")[2] for row in table.partition("<!--")[0].splitlines()[3:] if row]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    paths = [*samples.values(), *(packets_of(name, tmp_path) for name in WIRE_FORMATS)]
    write_data([every(names=["jet"])], tmp_path / "set")
    found = {key for path in [*paths, tmp_path / "set"] for key in describe(path)}
    assert named == found - {"file", "bytes", "format"}


def test_a_folder_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="is a folder, and not a data set: name a file in it"):
        run(tmp_path)


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


@pytest.mark.parametrize(
    "writer", ["raw", "archive", "scouting-nano", "scouting-nano-rntuple", "parquet-dataset"]
)
def test_streams_occupancies_and_orbits_seen(tmp_path, writer):
    """Of every stream by itself: towers were seen in fewer orbits than muons."""
    data = every(names=["muon", "tower"])
    seen = np.union1d(data.streams["tower"].orbit, np.arange(262_000, 262_300, 9))
    towers = data.streams["tower"].with_orbits(seen)
    write_data([OrbitData({**data.streams, "tower": towers})], tmp_path / "file", writer, drop=True)
    found = {row["stream"]: row for row in json.loads(run(tmp_path / "file", "--json"))["occupancies"]}
    muons = final_muons(data.muons)
    expected = {"objects": muons.n_objects, "crossings": len(muons), "orbits": 300, "most": 4}
    assert {name: found["muon"][name] for name in expected} == expected
    assert found["muon"]["occupancy"] == pytest.approx(len(muons) / (300 * 3564))
    if writer != "archive":  # towers are kept as bytes there, and come back with the file
        assert (found["tower"]["objects"], found["tower"]["orbits"]) == (towers.n_objects, seen.size)
    text = run(tmp_path / "file")
    assert "occupancies" in text
    assert re.search(r"muon +\d+ +\d+ +4 +300 ", text)
