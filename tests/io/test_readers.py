"""Readers as parts: one from outside does all that ours do, and a file is opened once."""

import gc
import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import uproot
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io import InputFile, conditions_of, describe, detect, read_events
from l1scout.io.batches import read_batches
from l1scout.io.conditions import Conditions
from l1scout.io.folder import expand
from l1scout.io.reader import READERS, FormatReader, origin, reads_objects
from l1scout.io.rewrite import add_columns

TOY = "TOY muons: orbit, BX, hwPt\n5,1,9\n5,7,20\n6,1,11\n"


class ToyReader(FormatReader):
    """Reads a format that somebody else invented."""

    name, title = "toy", "toy muons"
    counts_orbits = True
    options = {"scale": "factor of hwPt"}  # noqa: RUF012

    def detect(self, file):
        return file.head.startswith(b"TOY muons")

    def read(self, file, rows, quality):
        lines = file.text("not a toy", largest=1000).splitlines()[1:]
        orbit, bx, pt = np.array([line.split(",") for line in lines], np.int64).T
        columns = {
            "hwPt": (pt * file.options.get("scale", 1)).astype(np.int16),
            "hwCharge": np.zeros(pt.size, np.int16),
        }
        muons = OrbitBatch.from_objects(orbit, bx, columns, n_orbits=10, simulated=True)
        run = np.full(len(muons), 7)
        yield OrbitData({MUON: replace(muons, run=run)}, None, origin(file, {"seed": 3}))

    def conditions(self, file):
        return Conditions(simulated=True, era="tomorrow")


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Register the toy reader for a test; a file of its format."""
    monkeypatch.setitem(READERS._parts, "toy", ToyReader())
    path = tmp_path / "a.txt"
    path.write_text(TOY)
    return path


def test_a_reader_from_outside_is_used_by_everything(toy):
    assert detect(toy).name == "toy"
    (data,) = read_events(toy)
    assert data.muons["hwPt"].tolist() == [9, 20, 11]
    assert (data.origin.seed, data.source, data.simulated) == (3, str(toy), True)
    (batch,) = read_batches([toy], scale=2)
    assert (batch.muons["hwPt"].tolist(), batch.muons.n_orbits, batch.origin.seed) == ([18, 40, 22], 10, 3)
    assert expand([toy.parent]) == ([toy], [])
    assert conditions_of(toy).era == "tomorrow"
    found = describe(toy)
    assert (found["format"], found["streams"], found["data"]) == ("toy muons", {"muon": 3}, "simulated")
    with pytest.raises(InputError, match="toy muons: columns can be added to files of these formats: L1"):
        add_columns(toy, toy.with_name("out"), lambda c: c)
    shown = CliRunner().invoke(make_app(), ["inspect", str(toy), "--json"])
    assert json.loads(shown.stdout)["final_muons"] == 3


def test_a_reader_from_outside_comes_before_ours(monkeypatch, samples):
    """It knows better what its format is, where both recognise a file."""

    class Better(FormatReader):
        name, title = "better", "better nano"

        def detect(self, file):
            return file.is_root

    monkeypatch.setitem(READERS._parts, "better", Better())
    assert detect(samples["DPG_NANO"]).name == "better"


def test_rows_of_a_reader_from_outside_count_once(toy):
    """Orbits that were read before are left out, though the reader does nothing about it."""
    other = toy.with_name("b.txt")
    other.write_text(TOY + "9,1,30\n")
    assert [b.muons.n_objects for b in read_batches([toy, other])] == [3, 1]


def test_options_of_other_formats_are_refused(toy, samples):
    with pytest.raises(
        InputError, match="toy muons has no option flavour; it is an option of L1 scouting nano"
    ):
        read_events(toy, flavour="dpg")
    with pytest.raises(InputError, match="has no option scale; it is an option of toy muons"):
        describe(samples["PARQUET"], scale=2)
    with pytest.raises(InputError, match="has no option colour; no format has it"):
        detect(toy, colour="red")


@pytest.mark.parametrize("name", READERS)
def test_a_file_is_opened_once(samples, tmp_path, name):
    """It may be gone from its folder as soon as it is open."""
    path = tmp_path / "x"
    path.write_bytes(samples[name.upper().replace("-", "_")].read_bytes())
    with InputFile(path) as file:
        path.unlink()
        assert detect(file).name == name
        assert describe(file)["bytes"] == file.size
        conditions_of(file)
        if reads_objects(detect(file)):
            first, second = (sum(len(e.main) for e in read_events(file)) for _ in range(2))
            assert first == second > 0


def test_two_readings_of_an_open_file_do_not_disturb_each_other(samples):
    with InputFile(samples["RAW"]) as file:
        one, two = read_events(file, rows=10), read_events(file, rows=10)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a.muons["hwPt"], b.muons["hwPt"])


@pytest.mark.parametrize("kind", ["ARCHIVE", "PARQUET", "RAW", "SCOUTING_NANO", "RNTUPLE"])
def test_a_closed_file_leaves_no_memory(samples, kind):
    """A store opens a file for each segment that it archives, for days."""
    with InputFile(samples[kind]) as file:
        for _ in read_events(file):
            pass
    left = weakref.ref(file)
    del file
    gc.collect()
    assert left() is None


def test_classes_of_uproot_stay_as_the_user_has_them(samples, tmp_path):
    """Reading files, damaged ones too, neither adds to uproot's table nor takes anything from it."""

    class Mine:
        pass

    uproot.classes["Mine"] = Mine
    try:
        before = dict(uproot.classes)
        versions = {n: dict(c.known_versions) for n, c in before.items() if hasattr(c, "known_versions")}
        raw = bytearray(samples["DPG_NANO"].read_bytes())
        raw[len(raw) // 2 :: 97] = b"\xff" * len(raw[len(raw) // 2 :: 97])
        (tmp_path / "bad.root").write_bytes(raw)
        with pytest.raises(InputError):
            describe(tmp_path / "bad.root")
        for kind in ("DPG_NANO", "L1NTUPLE", "ORBIT_COLLECTION", "RNTUPLE"):
            describe(samples[kind])
        assert uproot.classes == before
        for name, known in versions.items():
            assert uproot.classes[name].known_versions == known
    finally:
        del uproot.classes["Mine"]


def test_every_reader_states_what_it_gives():
    for name, reader in READERS.items():
        assert reader.name == name
        assert reader.title
        assert set(reader.streams) <= set(STREAMS)
        assert not reader.adds_columns or reads_objects(reader)
