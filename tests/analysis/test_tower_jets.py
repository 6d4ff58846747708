"""Jets from towers: clusters that were put there by hand, and corrections."""

import json

import numpy as np
import pytest

from l1scout.analysis.common.tower_jets import cluster_towers, correct_jets
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError

pytest.importorskip("fastjet")


@pytest.fixture
def towers():
    """Crossing 1: two clusters far apart; 2: a soft tower; 3: one on both sides of phi = pi."""
    rows = [
        *((1, 40, 10, 1), (1, 20, 11, 1), (1, 60, -15, 30)),
        (2, 8, 3, 3),
        *((3, 50, 5, 36), (3, 50, 5, 37), (3, 0, 5, 38)),
    ]
    bx, et, eta, phi = np.array(rows).T
    columns = {"hwEt": et, "hwEta": eta, "hwPhi": phi, "erBits": 0 * et, "miscBits": 0 * et}
    columns = {name: values.astype(np.int16) for name, values in columns.items()}
    return OrbitBatch.from_objects(0 * bx, bx, columns, n_orbits=1)


def test_clusters_become_jets(towers):
    jets = cluster_towers(towers)
    assert (jets.bx.tolist(), jets.counts.tolist()) == ([1, 3], [2, 1])
    assert jets["constituents"].tolist() == [1, 2, 2]
    np.testing.assert_allclose(jets["pt"][:2], [30.0, 30.0], rtol=2e-3)
    assert jets["eta"][0] == pytest.approx(-0.087 * 14.5, abs=1e-3)
    assert abs(jets["phi"][2]) == pytest.approx(np.pi, abs=0.01)
    assert jets["mass"][0] == pytest.approx(0, abs=0.01)
    assert jets["mass"][2] == pytest.approx(2 * np.sqrt(25 * 25) * np.sin(np.pi / 72), rel=1e-2)
    assert jets.n_orbits == 1


def test_small_jets_and_empty_data(towers):
    assert cluster_towers(towers, min_pt=1.0).bx.tolist() == [1, 2, 3]
    assert len(cluster_towers(towers, min_pt=500.0)) == 0
    assert len(cluster_towers(towers.select(towers["hwEt"] > 500))) == 0


def test_corrections(towers, tmp_path):
    pytest.importorskip("correctionlib")
    data = {"nodetype": "formula", "expression": "1.5+0*x", "parser": "TFormula", "variables": ["JetPt"]}
    correction = {
        **{"name": "L1", "version": 1, "data": data, "output": {"name": "factor", "type": "real"}},
        "inputs": [{"name": "JetPt", "type": "real"}, {"name": "JetEta", "type": "real"}],
    }
    path = tmp_path / "jec.json"
    path.write_text(json.dumps({"schema_version": 2, "corrections": [correction]}))
    jets = cluster_towers(towers)
    corrected = correct_jets(jets, path, "L1")
    np.testing.assert_allclose(corrected["pt"], 1.5 * jets["pt"])
    np.testing.assert_allclose(corrected["mass"], 1.5 * jets["mass"])
    with pytest.raises(InputError, match="no correction L2; it has L1"):
        correct_jets(jets, path, "L2")
    correction["inputs"][1]["name"] = "Rho"
    path.write_text(json.dumps({"schema_version": 2, "corrections": [correction]}))
    with pytest.raises(InputError, match="needs Rho, which these jets do not have"):
        correct_jets(jets, path, "L1")
    path.write_text("{")
    with pytest.raises(InputError, match="not a correctionlib file"):
        correct_jets(jets, path, "L1")
