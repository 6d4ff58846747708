"""What anyone's Parquet file states of itself: simulated or real, from where, of which era."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l1scout.dataset.matched import read_dataset
from l1scout.io import read_events
from l1scout.io.inspect import describe
from l1scout.io.parquet import METADATA_KEY, statements
from toy_muons import toy_dataset

STATED = {True: "simulated", False: "real", None: None}


def written(path, metadata):
    """Write a data set with metadata of somebody's own."""
    table = pa.table(dict(toy_dataset(60).columns)).replace_schema_metadata(metadata)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("word", "simulated"),
    [
        *((w, True) for w in ("true", "True", "1", " yes ", '"true"', "YES")),
        *((w, False) for w in ("false", "FALSE", "0", "no")),
        *((w, None) for w in ("", "2", "maybe", "nan", "[true]", "truely", "\xff", "None")),
    ],
)
def test_simulated_in_every_spelling(tmp_path, word, simulated):
    path = written(tmp_path / "d.parquet", {b"simulated": word.encode("latin-1")})
    assert read_dataset(path).simulated is simulated
    assert next(read_events(path)).muons.simulated is simulated
    assert describe(path).get("data") == STATED[simulated]


def test_source_and_era_of_anyone(tmp_path):
    metadata = {b"source": b"MC of mine", b"era": b"Run2024F", b"simulated": b"yes", b"era2": b"x"}
    data = read_dataset(written(tmp_path / "d.parquet", metadata))
    assert data.about == {"source": ["MC of mine"], "era": "Run2024F", "simulated": True}
    listed = read_dataset(written(tmp_path / "e.parquet", {b"source": b'["a", "b"]'}))
    assert listed.about == {"source": ["a", "b"]}


@pytest.mark.parametrize(
    ("own", "simulated"), [(True, True), (1, True), ("no", False), (None, None), (3, None), ([], None)]
)
def test_our_own_statement(own, simulated):
    said = statements({METADATA_KEY: json.dumps({"simulated": own, "seed": 3}).encode()})
    assert said.get("simulated") is simulated
    assert said["seed"] == 3


def test_what_two_places_state_differently_is_unknown():
    own = {METADATA_KEY: json.dumps({"simulated": True, "era": "2018", "source": ["a"]}).encode()}
    said = statements({**own, b"simulated": b"false", b"era": b"2018", b"source": b"b"})
    assert said == {"era": "2018"}


@pytest.mark.parametrize("own", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_damaged_statements_say_nothing(own):
    assert statements({METADATA_KEY: own, b"simulated": b"1"}) == {"simulated": True}
