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
