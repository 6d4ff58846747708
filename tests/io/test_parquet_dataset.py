"""Parquet data sets and flat tables, opened by the libraries that others use."""

import base64
import json
import zlib

import awkward as ak
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from l1scout.errors import InputError
from l1scout.io import describe, read_events
from l1scout.io.data_set import MANIFEST, MARK
from l1scout.io.format_writer import write_data
from l1scout.io.read import conditions_of
from stream_files import every, same


@pytest.fixture(scope="module")
def truth():
    return every(3, names=["muon", "jet", "gt"])


@pytest.fixture(scope="module")
def folder(truth, tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "set"
    write_data([truth], path, physics=True)
    return path


def expected(truth, name):
    batch = truth.streams[name]
    ids = {n: getattr(batch, n)[batch.row] for n in ("run", "lumisection", "orbit", "bx")}
    return ids | dict(batch.columns)


@pytest.mark.parametrize("name", ["muon", "jet", "gt"])
def test_polars_duckdb_and_pandas_read_what_was_written(folder, truth, name):
    """With run and lumisection from the names of folders, in order of time."""
    pattern = f"{folder}/stream={name}/**/*.parquet"
    order = ["orbit", "bx"]
    frames = [
        pl.scan_parquet(pattern, hive_partitioning=True).sort(order, maintain_order=True).collect().to_dict(),
        duckdb.sql(f"select * from read_parquet('{pattern}', hive_partitioning=true)").fetchnumpy(),
        pd.read_parquet(folder / f"stream={name}"),
    ]
    for frame in frames:
        for column, values in expected(truth, name).items():
            found = np.asarray(frame[column])
            np.testing.assert_array_equal(np.sort(found.astype(np.int64)), np.sort(values), err_msg=column)
            if frame is not frames[1]:  # SQL promises no order
                np.testing.assert_array_equal(found.astype(np.int64), values, err_msg=column)


def test_awkward_reads_a_file(folder, truth):
    part = next((folder / "stream=jet").rglob("*.parquet"))
    jets = ak.from_parquet(part)
    assert ak.fields(jets)[:2] == ["orbit", "bx"]
    first = truth.streams["jet"]
    assert jets.hwPt.to_list() == first["hwPt"][: len(jets)].tolist()
    assert jets.pt.to_list() == (0.5 * first["hwPt"][: len(jets)]).tolist()


def test_types_and_metadata_are_as_documented(folder):
    part = next((folder / "stream=gt").rglob("*.parquet"))
    schema = pq.read_schema(part)
    types = {field.name: str(field.type) for field in schema}
    assert (types["orbit"], types["bx"], types["algo000"], types["orbitUgt"]) == (
        "int64", "int16", "uint32", "int64",
    )  # fmt: skip
    assert not any(field.nullable for field in schema)
    stated = json.loads(pq.read_metadata(part).metadata[b"l1scout"])
    assert stated["simulated"] is True
    assert stated[MARK]["schema_version"] == 1
    assert (stated[MARK]["run"], stated[MARK]["stream"]) == (390000, "gt")
    assert [chunk[1] for chunk in stated[MARK]["chunks"]] in ([144], [156])
    assert json.loads(pq.read_metadata(part).metadata[b"l1scout_provenance"])["data"] == "simulated"


def test_a_data_set_is_described(folder):
    found = describe(folder / MANIFEST)
    assert (found["format"], found["schema_version"], found["orbits_covered"]) == ("Parquet data set", 1, 300)
    assert (found["data"], found["runs"], found["lumisections"]) == ("simulated", [390000], 2)
    assert conditions_of(folder / MANIFEST).simulated is True
    alone = describe(next((folder / "stream=jet").rglob("*.parquet")))
    assert set(alone["streams"]) == {"jet"}


def test_lumisections_that_are_added_are_read(truth, tmp_path):
    """As in every data set with partitions of this kind."""
    late = every(4, names=["muon", "jet", "gt"], first_orbit=600_000)
    write_data([truth], tmp_path / "a")
    write_data([late], tmp_path / "b")
    for path in (tmp_path / "b").rglob("*.parquet"):
        moved = tmp_path / "a" / path.relative_to(tmp_path / "b")
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    chunks = list(read_events(tmp_path / "a" / MANIFEST))
    assert sum(chunk.main.n_orbits for chunk in chunks) == 600
    same(chunks[-1].streams["gt"], late.streams["gt"])


def bitmap(data):
    return base64.b64encode(zlib.compress(data)).decode()


def change_metadata(path, change):
    table = pq.read_table(path)
    stated = json.loads(table.schema.metadata[b"l1scout"])
    change(stated[MARK])
    pq.write_table(table.replace_schema_metadata({"l1scout": json.dumps(stated)}), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(schema_version=2), "schema version 2, not 1: make it again"),
        (lambda s: s.update(run=7), "another run, lumisection, stream or number than its place"),
        (lambda s: s.update(stream="muon"), "another run, lumisection, stream or number than its place"),
        (lambda s: s.update(stream="../x"), "its metadata are damaged"),
        (lambda s: s.update(columns=["hwPt", "gone"]), "columns gone are missing"),
        (lambda s: s["chunks"].append([0, 1, None, 0, True]), "have different numbers of chunks"),
        (lambda s: s["chunks"][0].__setitem__(0, 5), "row groups are not the chunks"),
        (lambda s: s["chunks"][0].__setitem__(1, 1 << 40), "list of chunks is damaged"),
        (lambda s: s["chunks"][0].__setitem__(2, -1), "list of orbits is damaged"),
        (lambda s: s["chunks"][0].__setitem__(2, [0, 1 << 40]), "list of orbits is damaged"),
        (lambda s: s["chunks"][0].__setitem__(2, [0, "?"]), "damaged"),
        (
            lambda s: s["chunks"][0].__setitem__(2, [0, bitmap(b"\1" * (1 << 20))]),
            "bitmap of orbits is damaged",
        ),
        (lambda s: s["chunks"][0].__setitem__(2, [0, "eJw="]), "bitmap of orbits is damaged"),
        (lambda s: s["chunks"][0].__setitem__(2, [10, s["chunks"][0][1]]), "are of other orbits than those"),
        (lambda s: s["chunks"][0].__setitem__(2, [10, 5]), "list of chunks is damaged"),
        (lambda s: s.update(chunks="x"), "its metadata are damaged"),
        (lambda s: s.clear(), "its metadata are damaged"),
    ],
)
def test_hostile_files_are_refused(truth, tmp_path, change, message):
    write_data([truth], tmp_path / "set")
    path = sorted((tmp_path / "set/stream=jet").rglob("*.parquet"))[0]
    change_metadata(path, change)
    with pytest.raises(InputError, match=message):
        list(read_events(tmp_path / "set" / MANIFEST))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"l1scout_data_set": 1}', "manifest of a Parquet data set is damaged"),
        ('{"l1scout_data_set": {"schema_version": 1, "streams": {"../..": {}}}}', "is damaged"),
        ('{"l1scout_data_set": ' + "[" * 100_000, "is damaged"),
        ('{"l1scout_data_set": {"schema_version": 9, "streams": {}}}', "schema version 9, not 1"),
        (" " * (1 << 20) + "{}", "larger than 1048576 bytes"),
    ],
)
def test_hostile_manifests_are_refused(tmp_path, text, message):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_events(tmp_path / MANIFEST))


def test_missing_and_foreign_files_are_refused(truth, tmp_path):
    write_data([truth], tmp_path / "set")
    path = sorted((tmp_path / "set/stream=jet").rglob("*.parquet"))[0]
    path.rename(path.with_name("other.parquet"))
    with pytest.raises(InputError, match="no name of a file in a data set"):
        list(read_events(tmp_path / "set" / MANIFEST))
    path.with_name("other.parquet").unlink()
    with pytest.raises(InputError, match="no file of jet for run 390000, lumisection 1, number 0"):
        list(read_events(tmp_path / "set" / MANIFEST))


def test_flat_tables_have_a_row_per_crossing(truth, tmp_path):
    path = tmp_path / "flat.parquet"
    with pytest.raises(InputError, match=r"first 2 muons of a crossing, stream gt, number of orbits"):
        write_data([truth], path, "flat-table", objects="muon=2,jet=6")
    done = write_data([truth], path, "flat-table", objects="muon=2,jet=6", drop=True)
    table = pd.read_parquet(path)
    assert len(table) == done.crossings
    assert {"run", "lumisection", "orbit", "bx", "muon_n", "muon0_pt", "muon1_hwQual", "jet5_eta"} <= set(
        table
    )
    assert "muon2_pt" not in table
    muons = truth.streams["muon"]
    rows = table[table.muon_n > 0]
    assert rows.orbit.tolist() == muons.orbit.tolist()
    np.testing.assert_array_equal(rows.muon0_hwPt, muons["hwPt"][muons.offsets[:-1]])
    assert rows.muon1_pt.isna().tolist() == (muons.counts < 2).tolist()
    write_data([truth], path, "flat-table", objects="muon=2", drop=True, empty_crossings=True)
    assert pq.read_metadata(path).num_rows == 300 * 3564
    for text in ("muon", "muon=0", "muon=999", "bananas=1", "muon=-1"):
        with pytest.raises(InputError, match="is not a stream and 1 to 256 objects"):
            write_data([truth], path, "flat-table", objects=text, drop=True)
