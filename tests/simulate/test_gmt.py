"""Extrapolation to the vertex: exact on real muons of 2018 and 2024 and on the hardware's patterns."""

import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.io import read_events
from l1scout.simulate import derive
from l1scout.simulate.gmt import ADDRESSES, Extrapolation, parse, render


def check(columns, luts):
    """Recompute the vertex coordinates of all muons and compare; returns how many there were."""
    muons = columns["hwPt"] > 0
    columns = {name: column[muons] for name, column in columns.items()}
    phi, eta = luts.to_vertex(columns)
    assert np.array_equal(phi, columns["hwPhiAtVtx"])
    assert np.array_equal(eta, columns["hwEtaAtVtx"])
    return int(muons.sum())


@pytest.mark.parametrize(
    ("name", "count"),
    [("l1ntuple_run320040_2018_200ev.root", 60), ("l1nano_run380963_2024_100ev.root", 227)],
)
def test_every_real_muon_is_recomputed_exactly(shared_data, name, count):
    luts = Extrapolation.load(shared_data / "ugmt-luts")
    found = sum(check(dict(e.muons.columns), luts) for e in read_events(shared_data / "real-cms" / name))
    assert found == count


def test_hardware_patterns_are_recomputed_exactly(shared_data):
    luts = Extrapolation.load(shared_data / "ugmt-luts")
    path = shared_data / "ugmt-patterns" / "JPsiToMuMu_Pt20to120_EtaPhiRestricted_out.txt"
    assert sum(check(dict(e.muons.columns), luts) for e in read_events(path)) == 307


def test_own_tables_correct_barrel_muons_towards_the_vertex():
    own = Extrapolation.load()
    n = 4
    columns = {
        "hwPt": np.array([9, 9, 200, 0], np.int16),
        "hwPhi": np.array([100, 570, 100, 100], np.int16),
        "hwEta": np.array([40, -40, 40, 40], np.int16),
        "hwCharge": np.array([0, 0, 0, 0], np.int16),
        "tfMuonIndex": np.full(n, 40, np.int16),
    }
    phi, eta = own.to_vertex(columns)
    assert phi.tolist() == [160, 570 + 60 - 576, 100, 100]  # saturated: 15 x 4 counts, and round the turn
    assert eta[0] == -eta[1]
    assert 36 <= eta[0] < 40
    assert eta.tolist()[2:] == [40, 40]
    negative = own.to_vertex(columns | {"hwCharge": np.ones(n, np.int16)})[0]
    assert negative.tolist() == [40, 510, 100, 100]


def test_shipped_tables_are_what_the_simulation_gives():
    own, fresh = Extrapolation.load(), derive.gmt_tables()
    assert np.abs(fresh.phi["B"] - own.phi["B"]).max() <= 1
    assert np.abs(fresh.eta["B"] - own.eta["B"]).max() <= 1


def test_own_phi_table_agrees_with_the_official_one(shared_data):
    """Within one unit from 4.5 GeV, up to the last eta: a check, not an input."""
    own, official = Extrapolation.load(), Extrapolation.load(shared_data / "ugmt-luts")
    difference = (own.phi["B"] - official.phi["B"]).reshape(32, -1)[:10, 10:]
    assert np.mean(np.abs(difference) <= 1) > 0.98


def test_own_tables_hold_no_endcap():
    columns = {k: np.array([10], np.int16) for k in ("hwPt", "hwPhi", "hwEta", "hwCharge", "tfMuonIndex")}
    with pytest.raises(InputError, match=r"EMTF\+ muons: our own are for the barrel"):
        Extrapolation.load().to_vertex(columns)


def test_render_and_parse_agree():
    table = np.random.default_rng(0).integers(0, 16, ADDRESSES).astype(np.int16)
    assert np.array_equal(parse(render(table, "two\nlines"), "x"), table)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 1\n",
        "a b\n" * ADDRESSES,
        "".join(f"{k} 16\n" for k in range(ADDRESSES)),
        "0 0\n" * ADDRESSES,
        "9" * 400,
    ],
)
def test_bad_tables_are_refused(text):
    with pytest.raises(InputError, match="table-name"):
        parse(text, "table-name")


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="no BPhiExtrapolation"):
        Extrapolation.load(tmp_path)
