"""Data sets as files: what we write, and what we make of other people's."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.collect import KEPT, collect
from l1scout.dataset.cuts import CutFlow, MuonSelection, select_pairs
from l1scout.dataset.matched import COLUMNS, STUB_COLUMNS, read_dataset
from l1scout.errors import InputError
from l1scout.io import conditions_of
from l1scout.io.conditions import Conditions, of_metadata
from l1scout.simulate.chain import simulate_events
from toy_muons import toy_dataset, toy_events, write_parquet


def test_what_is_collected_is_what_is_read(tmp_path):
    path = tmp_path / "new" / "d.parquet"
    seen = []
    chunks = [toy_events(3000, seed) for seed in (1, 2)]
    made = Conditions(True, "toy", "BMTF", "official")
    flow = collect(chunks, path, seed=7, conditions=made, on_pairs=seen.append)
    data = read_dataset(path)
    assert len(data) == flow.l1[KEPT] == seen[-1]
    assert seen[0] < seen[1]
    expected = [select_pairs(c, MuonSelection(), CutFlow()) for c in chunks]
    for column in COLUMNS:
        want = np.concatenate([e[column.name] for e in expected])
        assert data[column.name].dtype == column.type
        assert np.array_equal(data[column.name], want.astype(column.type))
    assert data.simulated is True
    assert data.about["source"] == ["toy"]
    assert data.about["seed"] == 7
    assert of_metadata(data.about) == conditions_of(path) == made
    assert data.about["selection"]["hw_pt"] == [1, 511]
    assert data.about["cuts"] == flow.as_list()
    assert [p.name for p in path.parent.iterdir()] == ["d.parquet"]


def with_stubs(data):
    """The toy's muons, with stubs at random."""
    rng = np.random.default_rng(4)
    stubs = {c.name: rng.integers(max(c.low, -50), min(c.high, 50) + 1, len(data)) for c in STUB_COLUMNS}
    return dataclasses.replace(data, columns={**data.columns, **stubs})


def test_stubs_are_kept_where_there_are_any_and_move_no_muon(tmp_path):
    toy = toy_dataset(2000)
    data = with_stubs(toy)
    read = read_dataset(write_parquet(tmp_path / "d", data.columns))
    assert set(read.columns) == set(data.columns)
    assert read["stubStations"].dtype == np.int8
    for part in ("train", "validation", "test"):
        assert np.array_equal(read.part(part)["recoPt"], toy.part(part)["recoPt"])
        assert np.array_equal(
            read.part(part)["stubPhiB2"], data["stubPhiB2"][np.isin(toy["recoPt"], toy.part(part)["recoPt"])]
        )
    wrong = {**data.columns, "stubPhiB1": np.full(2000, 512)}
    with pytest.raises(
        InputError, match=r"stubPhiB1, row 0: 512 is not one of the whole numbers -512\.\.511"
    ):
        read_dataset(write_parquet(tmp_path / "w", wrong))


def test_the_simulation_writes_stubs_and_files_without_them_do_not_mix(tmp_path):
    events = next(simulate_events(3, chunk=20_000))
    collect([events], tmp_path / "d")
    columns = select_pairs(events, MuonSelection(), CutFlow())
    data = read_dataset(tmp_path / "d")
    for c in STUB_COLUMNS:
        assert np.array_equal(data[c.name], columns[c.name])
    assert ((data["hwQual"] == 8) == (np.bitwise_count(data["stubStations"]) == 2)).all()
    with pytest.raises(InputError, match=r"toy: no column stubStations, .*, which files before it have"):
        collect([events, toy_events(100)], tmp_path / "e")
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_an_endless_source_stops_at_the_number_asked_for(tmp_path):
    flow = collect((toy_events(1000, seed) for seed in itertools.count()), tmp_path / "d", max_pairs=2500)
    assert flow.l1[KEPT] == len(read_dataset(tmp_path / "d")) == 2500


def test_an_endless_source_of_nothing_ends(tmp_path):
    barren = toy_events(10).muons.with_columns(hwPt=np.zeros(10, np.int64))
    events = toy_events(10)
    nothing = OrbitData.of_muons(barren, events.offline, "barren")
    with pytest.raises(InputError, match="barren: no matched muons; no L1 muon of 1,010 left after: a muon"):
        collect(itertools.repeat(nothing), tmp_path / "d", max_pairs=10, seed=1)
    assert not list(tmp_path.iterdir())


def test_muons_of_files_without_station_2_are_propagated_there(tmp_path):
    events = next(simulate_events(3, chunk=4000))
    columns = {n: c for n, c in events.offline.columns.items() if "St2" not in n}
    nowhere = dataclasses.replace(events.offline, columns=columns)
    known = collect([events], tmp_path / "known")
    assert collect([OrbitData.of_muons(events.muons, nowhere, "nano")], tmp_path / "nano").l1 == known.l1


def test_nothing_read_is_told_so(tmp_path):
    with pytest.raises(InputError, match="no events: no matched muons; nothing was read"):
        collect([], tmp_path / "d")


def test_the_same_muons_give_the_same_bytes(tmp_path):
    for name in "ab":
        collect([toy_events(1000)], tmp_path / name)
    assert read_dataset(tmp_path / "a").sha256 == read_dataset(tmp_path / "b").sha256


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "d.parquet"
    collect([toy_events(1000)], path)
    before = path.read_bytes()

    def breaks():
        yield toy_events(1000, 2)
        msg = "broken file"
        raise InputError(msg)

    with pytest.raises(InputError, match="broken file"):
        collect(breaks(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["d.parquet"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        collect([toy_events(100)], tmp_path / "file" / "d.parquet")


def test_other_peoples_files_may_have_other_types_and_columns(tmp_path):
    columns = {k: c.astype(np.float64) for k, c in toy_dataset(500).columns.items()}
    path = write_parquet(tmp_path / "d.parquet", {**columns, "extra": np.arange(500)})
    data = read_dataset(path)
    assert data.simulated is None
    for column in COLUMNS:
        assert np.array_equal(data[column.name], toy_dataset(500)[column.name])


def _with(**changes):
    columns = dict(toy_dataset(200).columns)
    columns.update(changes)
    return {k: c for k, c in columns.items() if c is not None}


def _put(name, value, dtype="float64"):
    column = toy_dataset(200)[name].astype(dtype)
    column[7] = value
    return {name: column}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hwPt": None, "recoPt": None}, r"no column hwPt, recoPt"),
        (_put("hwPt", 0), r"hwPt, row 7: 0.0 is not one of the whole numbers 1..511"),
        (_put("hwPt", 1e30), r"hwPt, row 7"),
        (_put("hwPt", 12.5), r"hwPt, row 7: 12.5"),
        (_put("hwPhiAtVtx", 576, "int64"), r"hwPhiAtVtx, row 7: 576"),
        (_put("hwEtaAtVtx", np.nan), r"hwEtaAtVtx, row 7: nan"),
        (_put("hwCharge", -1), r"hwCharge, row 7"),
        (_put("recoPt", np.nan), r"recoPt, row 7: nan is not one of the above 0"),
        (_put("recoPt", 0), r"recoPt, row 7"),
        (_put("recoPhi", 360), r"recoPhi, row 7: 360"),
        (_put("recoEta", np.inf), r"recoEta, row 7"),
        (_put("recoCharge", 0), r"recoCharge, row 7"),
        ({"recoEta": np.array(["x"] * 200)}, r"recoEta holds (large_)?string, not numbers"),
        ({"hwQual": pa.array([None] + [1] * 199)}, r"hwQual has 1 missing values"),
        ({"hwPt": pa.array([[6]] * 200)}, r"hwPt holds list"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_it(tmp_path, changes, message):
    path = write_parquet(tmp_path / "d.parquet", _with(**changes))
    with pytest.raises(InputError, match=message) as error:
        read_dataset(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_an_empty_file_is_refused(tmp_path):
    path = write_parquet(tmp_path / "d", {k: c[:0] for k, c in toy_dataset(10).columns.items()})
    with pytest.raises(InputError, match="holds no muons"):
        read_dataset(path)


@pytest.mark.parametrize("about", [b"{", b"[1]", b"\xff\xfe", b"7"])
def test_broken_metadata_are_refused(tmp_path, about):
    table = pa.table(dict(toy_dataset(10).columns)).replace_schema_metadata({b"l1scout": about})
    pq.write_table(table, tmp_path / "d")
    with pytest.raises(InputError, match="metadata is not a JSON object"):
        read_dataset(tmp_path / "d")


def test_files_that_are_no_parquet_are_refused(tmp_path):
    good = write_parquet(tmp_path / "good", toy_dataset(1000).columns).read_bytes()
    hostile = {"empty": b"", "text": b"hello" * 100, "cut": good[: len(good) // 2], "tail": good[-100:]}
    hostile["damaged"] = good[:200] + b"\xff" * 400 + good[600:]
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as error:
            read_dataset(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)
    for name in ("absent", "."):
        with pytest.raises(InputError, match="not a readable Parquet file"):
            read_dataset(tmp_path / name)
