"""Whether data are simulated or real is what they state, never what a run number suggests."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from front_end import Keep, make_run, through_board
from l1scout.core.provenance import Provenance
from l1scout.formats.marks import REAL, SIMULATED
from l1scout.formats.raw import FILE_HEADER, file_header
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import archive, conditions_of, describe, read_events
from l1scout.io.batches import read_batches
from l1scout.io.rewrite import add_columns

RUN_OF_2024 = 380_963
WORDS = {True: "simulated", False: "real", None: None}


def raw_file(path, marks):
    """Write orbits of a run of 2024 whose board stated something of each."""
    sink = Keep()
    through_board(make_run(orbits=6, chunk=6)[1], sink=sink)
    sink.bytes.seek(0)
    body = b""
    for packet, _ in RUN3.split(sink.bytes):
        orbits = RUN3.find_orbits(packet)
        if len(orbits.orbit):
            given = np.resize(np.array(marks, np.uint32), len(orbits.orbit))
            body += RUN3.frame(replace(orbits, marks=given), RUN_OF_2024, 1).words.tobytes()
    path.write_bytes(file_header(RUN_OF_2024, 1, 6, FILE_HEADER.itemsize + len(body)) + body)
    return path


@pytest.mark.parametrize(
    ("marks", "simulated"),
    [([SIMULATED], True), ([REAL], False), ([0], None), ([REAL, 0], None), ([REAL, SIMULATED, 0], True)],
)
def test_a_raw_file_its_archive_and_a_recalibrated_one(tmp_path, marks, simulated):
    raw = raw_file(tmp_path / "run380963.raw", marks)
    archive.to_parquet(raw, tmp_path / "a.parquet")
    add_columns(tmp_path / "a.parquet", tmp_path / "b.parquet", lambda c: {"x": c["hwPt"] * np.float32(1)})
    for name in ("run380963.raw", "a.parquet", "b.parquet"):
        path = tmp_path / name
        found = describe(path)
        assert found["data"] == WORDS[simulated]
        assert found["runs"] == [RUN_OF_2024]
        assert found["era"] == (None if simulated else "2024 (by run number)")
        assert {e.muons.simulated for e in read_events(path)} == {simulated}
        assert {b.simulated for b in read_batches([path])} == {simulated}
    said = json.loads(pq.read_metadata(tmp_path / "a.parquet").metadata[b"l1scout"])
    assert said.get("simulated") is simulated
    conditions = conditions_of(tmp_path / "a.parquet")
    assert conditions.simulated is simulated
    assert conditions.tables == ("hardware" if simulated is False else None)


def test_one_simulated_chunk_makes_an_archive_simulated(tmp_path, monkeypatch):
    """As one simulated batch makes a result simulated."""
    monkeypatch.setattr("l1scout.io.archive_writer.CHUNK", 1)
    archive.to_parquet(raw_file(tmp_path / "x", [REAL, REAL, REAL, REAL, SIMULATED]), tmp_path / "a")
    assert describe(tmp_path / "a")["data"] == "simulated"


@pytest.mark.parametrize("run", [1, 7, 320_040, RUN_OF_2024, 999_999])
@pytest.mark.parametrize("stated", [True, False, None])
def test_no_run_number_makes_a_parquet_file_real_or_simulated(tmp_path, run, stated):
    table = pa.table({"hwPt": [7, 8], "hwCharge": [0, 1], "run": [run, run]})
    metadata = {} if stated is None else {"simulated": str(stated)}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a")
    assert describe(tmp_path / "a")["data"] == WORDS[stated]
    assert conditions_of(tmp_path / "a").simulated is stated
    assert {e.simulated for e in read_events(tmp_path / "a")} == {stated}


@pytest.mark.parametrize(
    ("branches", "simulated"),
    [({}, None), ({"genWeight": np.ones(2, np.float32)}, True), ({"nGenPart": np.zeros(2, np.int32)}, True)],
)
@pytest.mark.parametrize("run", [1, RUN_OF_2024])
def test_a_nano_file_is_simulation_if_it_has_generated_particles(tmp_path, run, branches, simulated):
    n = np.full(2, run, np.uint32)
    scalars = {"run": n, "luminosityBlock": n, "orbitNumber": np.arange(2, dtype=np.uint32)}
    scalars |= {"bunchCrossing": np.ones(2, np.uint32), **branches}
    import awkward as ak

    muons = {"L1Mu_hwPt": ak.Array([[5], [6]]), "L1Mu_hwCharge": ak.Array([[0], [1]])}
    with uproot.recreate(tmp_path / "nano.root") as file:
        types = {k: v.dtype for k, v in scalars.items()} | dict.fromkeys(muons, "var * int64")
        file.mktree("Events", types).extend(scalars | muons)
    found = describe(tmp_path / "nano.root", flavour="dpg")
    assert found["data"] == WORDS[simulated]
    conditions = conditions_of(tmp_path / "nano.root", flavour="dpg")
    assert (conditions.simulated, conditions.tables) == (simulated, None)


def test_what_samples_of_every_format_state(samples):
    """Only CMSSW's files, which have a flag, and patterns, which are test vectors, state anything."""
    states = {"ORBIT_COLLECTION": False, "PATTERN": True}
    for kind in ("DPG_NANO", "SCOUTING_NANO", "L1NTUPLE", "NANOAOD", "PARQUET", "DIMUON_CSV", *states):
        assert {e.muons.simulated for e in read_events(samples[kind])} == {states.get(kind)}, kind


def test_records_have_no_marks_so_whoever_archives_them_states_it(samples, tmp_path):
    archive.to_parquet(samples["RECORDS"], tmp_path / "a", made=Provenance("store", simulated=True))
    assert describe(tmp_path / "a")["data"] == "simulated"
    assert {e.muons.simulated for e in read_events(tmp_path / "a")} == {True}
