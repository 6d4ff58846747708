"""The public API: its names, what a notebook does with them, and their types."""

import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

import l1scout
from l1scout.formats.streams.muon import MUON_MASS
from l1scout.io import read_events

NAMES = [
    "Analysis",
    "Data",
    "Engine",
    "InputError",
    "OrbitBatch",
    "OrbitData",
    "Origin",
    "Provenance",
    "Reader",
    "Recalibrator",
    "Result",
    "ScoutingError",
    "Stream",
    "WireFormat",
    "analyse",
    "analyses",
    "engines",
    "load_model",
    "open",
    "readers",
    "streams",
    "wire_formats",
]


def test_the_public_names_are_these():
    assert sorted(l1scout.__all__) == NAMES
    assert dir(l1scout) == sorted([*NAMES, "__version__"])
    for name in NAMES:
        assert getattr(l1scout, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'pandas'"):
        _ = l1scout.pandas


def test_importing_the_package_imports_nothing_else():
    code = "import sys, l1scout\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "awkward", "numba", "l1scout.api"} & set(done.stdout.split())


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "l1scout"]
    subprocess.run([*command, "simulate", "run", "--orbits=30", f"--out={folder}"], check=True, stdout=-3)
    target = folder / "packets.dma"
    subprocess.run([*command, "board", str(folder / "links.l1l"), f"--out={target}"], check=True, stdout=-3)
    return target


def test_crossings_have_physics_values_beside_the_hardware_columns(packets):
    data = l1scout.open(packets)
    assert repr(data) == "<l1scout data: packets.dma; not read yet>"
    crossings = data.to_awkward()
    muons = ak.flatten(crossings.muon)
    batch = data.muons
    assert len(muons) == batch.n_objects > 1000
    np.testing.assert_array_equal(muons.hwPt, batch["hwPt"])
    np.testing.assert_array_equal(muons.pt, (batch["hwPt"] - 1) * np.float32(0.5))
    np.testing.assert_array_equal(muons.charge, 1 - 2 * batch["hwCharge"])
    assert ak.all(abs(muons.phi) <= np.pi)
    np.testing.assert_array_equal(crossings.bx, batch.bx)
    assert repr(data).startswith(f"<l1scout data: packets.dma; {batch.n_objects:,} muons in {len(batch):,} ")
    assert repr(data).endswith("30 orbits, simulated>")
    assert data.orbits == 30
    assert data.simulated is True
    assert data.offline is None


def test_muons_are_lorentz_vectors(packets):
    crossings = l1scout.open(packets).to_awkward()
    two = crossings[ak.num(crossings.muon) >= 2].muon
    assert len(two)
    first, second = two[:, 0], two[:, 1]
    expected = np.sqrt(
        2 * first.pt * second.pt * (np.cosh(first.eta - second.eta) - np.cos(first.phi - second.phi))
    )
    mass = (first + second).mass
    assert np.allclose(mass[expected > 2], expected[expected > 2], rtol=0.02)  # the muon's mass is neglected
    assert ak.all(first.mass == np.float32(MUON_MASS))


def test_iterating_reads_in_pieces_what_the_properties_read_at_once(packets):
    data = l1scout.open([packets])
    pieces = list(data)
    assert sum(p.muons.n_objects for p in pieces) == data.muons.n_objects
    assert sum(p.muons.n_orbits for p in pieces) == data.orbits
    assert data.quality.orbits == 30


def test_files_with_offline_muons_give_them(samples):
    data = l1scout.open(samples["L1NTUPLE"])
    crossings = data.to_awkward()
    (events,) = read_events(samples["L1NTUPLE"])
    np.testing.assert_array_equal(ak.num(crossings.offline), events.offline.counts)
    np.testing.assert_array_equal(ak.flatten(crossings.offline).pt, events.offline["recoPt"])
    assert crossings.offline.mass.type.content.content.primitive == "float32"
    assert data.orbits is None


def test_streams_of_other_crossings_are_put_side_by_side():
    columns = {"hwPt": np.array([10, 20], np.int16)}
    muons = l1scout.OrbitBatch.from_objects([5, 7], [1, 2], columns, n_orbits=3)
    jets = l1scout.OrbitBatch.from_objects([5, 6], [1, 9], columns, n_orbits=3)

    def chunks(quality):
        yield l1scout.OrbitData({"muon": muons, "jet": jets})

    crossings = l1scout.Data("two streams", chunks).to_awkward()
    assert crossings.orbit.tolist() == [5, 6, 7]
    assert crossings.bx.tolist() == [1, 9, 2]
    assert crossings.muon.hwPt.tolist() == [[10], [], [20]]
    assert crossings.jet.hwPt.tolist() == [[10], [20], []]


def test_offline_muons_alone(samples):
    crossings = l1scout.open(samples["DIMUON_CSV"]).to_awkward()
    assert ak.num(crossings.offline).tolist() == [2] * len(crossings)
    assert ak.num(crossings.muon).tolist() == [0] * len(crossings)


def test_files_with_other_columns_are_not_joined(samples):
    data = l1scout.open([samples["RAW"], samples["PARQUET"]])
    with pytest.raises(l1scout.InputError, match="2 files: not every muon has the columns hwChargeValid"):
        _ = data.muons
    assert sum(d.muons.n_objects for d in data) > 0  # one after the other they can be read


def test_analyses_take_any_iterable(packets):
    data = l1scout.open(packets)
    whole = l1scout.analyse("occupancy", data).numbers
    assert l1scout.analyse("occupancy", list(data)).numbers == whole
    assert l1scout.analyse("occupancy", []).numbers["muons"] == 0
    with pytest.raises(l1scout.InputError, match="min_pt must be 0 GeV or more, not nan"):
        l1scout.analyse("occupancy", data, min_pt=float("nan"))
    with pytest.raises(l1scout.InputError, match="do not say how many orbits"):
        l1scout.analyse("luminosity", [])


def test_what_goes_wrong_is_one_exception(packets, tmp_path):
    with pytest.raises(l1scout.ScoutingError, match=r"nothing\.root: no such file or folder"):
        l1scout.open(tmp_path / "nothing.root")
    with pytest.raises(l1scout.InputError, match="no such file or folder"):
        l1scout.open("a" * 5000)
    with pytest.raises(l1scout.InputError, match="no file to open"):
        l1scout.open([])
    with pytest.raises(l1scout.InputError, match="no 'luminance' among the analyses: choose one of"):
        l1scout.analyse("luminance", l1scout.open(packets))
    with pytest.raises(l1scout.InputError, match=r"no model there|card\.json"):
        l1scout.load_model(tmp_path)
    assert issubclass(l1scout.InputError, l1scout.ScoutingError)


def test_an_analysis_gives_what_its_command_gives(packets, tmp_path):
    import json

    result = l1scout.analyse("occupancy", l1scout.open(packets), min_pt=3.0)
    done = subprocess.run(
        [sys.executable, "-m", "l1scout", "analyse", "occupancy", str(packets), "--min-pt=3", "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert said["muons"] == result.numbers["muons"] > 100
    assert len(said["finders"]) == len(result.tables["finders"])
    assert repr(result).startswith(f"<Result kind='muon', muons={said['muons']}")
    with pytest.raises(TypeError, match="unexpected keyword"):
        l1scout.analyse("occupancy", l1scout.open(packets), minimum=3)


def test_a_list_of_data_gives_what_a_file_gives(packets):
    data = l1scout.open(packets)
    found = l1scout.analyse("occupancy", list(data))
    assert found.as_dict() == l1scout.analyse("occupancy", data).as_dict()


def test_programs_see_the_types(tmp_path):
    """The package has `py.typed`. What mypy makes of its types, `make types` asks with `typed_program.py`."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=skip", "-c", "import l1scout"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
