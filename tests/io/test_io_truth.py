"""The truth of a simulated run states its orbits, empty ones too, so that rates can be made of it."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import read_events
from l1scout.simulate.run import Running, simulate_run
from l1scout.simulate.write import Fibres, write_run

ORBITS = 40


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    running = Running(occupancy=0.0005)  # some orbits are empty
    write_run(folder, simulate_run(3, ORBITS, running=running), Fibres(RUN3, 3), running)
    return folder / "truth.parquet"


@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_chunks_of_any_size_stand_for_all_orbits(truth, rows):
    batches = [data.muons for data in read_events(truth, rows=rows)]
    assert sum(b.n_orbits for b in batches) == ORBITS
    ends = np.cumsum([0, *(b.n_orbits for b in batches)])
    assert [b.first_orbit for b in batches] == ends[:-1].tolist()
    for batch, first, end in zip(batches, ends[:-1], ends[1:], strict=True):
        assert np.all((batch.orbit >= first) & (batch.orbit < end))
    seen = len(np.unique(np.concatenate([b.orbit for b in batches])))
    assert seen < ORBITS
    assert len(batches) > 1 or rows > 100


@pytest.mark.parametrize(("first", "orbits"), [("0", "5"), ("20", "40"), ("999999", "40")])
def test_a_wrong_statement_is_refused(truth, tmp_path, first, orbits):
    table = pq.read_table(truth)
    metadata = {**table.schema.metadata, b"first_orbit": first.encode(), b"orbits": orbits.encode()}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match="its muons are of others, or not in order of time"):
        list(read_events(tmp_path / "wrong.parquet"))


@pytest.mark.parametrize("orbits", ["-3", "1e5", "9" * 40, "many", ""])
def test_what_is_no_number_of_orbits_states_nothing(truth, tmp_path, orbits):
    table = pq.read_table(truth)
    metadata = {**table.schema.metadata, b"first_orbit": b"0", b"orbits": orbits.encode()}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "odd.parquet")
    assert {data.muons.n_orbits for data in read_events(tmp_path / "odd.parquet")} == {None}


@pytest.mark.parametrize("orbits", [1, 40])
def test_orbits_without_any_muon_are_counted(truth, tmp_path, orbits):
    table = pq.read_table(truth)
    metadata = {**table.schema.metadata, b"first_orbit": b"0", b"orbits": str(orbits).encode()}
    state = (
        pq.read_table(truth)
        .slice(0, 0)
        .replace_schema_metadata({k: v for k, v in metadata.items() if k != b"l1scout"})
    )
    pq.write_table(state, tmp_path / "empty.parquet")
    (data,) = read_events(tmp_path / "empty.parquet")
    assert (len(data.muons), data.muons.n_orbits, data.muons.first_orbit) == (0, orbits, 0)


@pytest.mark.parametrize("column", ["bx", "orbit"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.float64("nan"), "not whole numbers"),
        (np.float64(7.5), "not whole numbers"),
        (np.float64("inf"), "more than 15 digits"),
        (np.uint64(2**64 - 1), "more than 15 digits"),  # -1 as a signed number: unknown
        (np.int64(-(2**62)), "more than 15 digits"),
    ],
)
def test_identities_that_are_no_whole_numbers_are_refused(truth, tmp_path, column, value, why):
    table = pq.read_table(truth)
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, [np.full(len(table), value)])
    pq.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(InputError, match=rf"odd\.parquet: column {column} holds .*{why}"):
        list(read_events(tmp_path / "odd.parquet"))
