"""The limit: known where the answer is known, never better than it can be, and better with more inputs."""

import numpy as np
import pytest
from scipy.stats import norm

from l1scout.dataset.matched import COLUMNS, Dataset
from l1scout.evaluate.limit import limit
from l1scout.evaluate.metrics import CORE, TAIL, scores
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model.quantities import VARIABLES
from toy_muons import toy_dataset

SIGMA = {"phi": 0.05, "eta": 0.02, "pt": 0.08}


def gaussian(n, seed, hidden=0.0):
    """Muons whose offline values are known functions of the L1 integers, plus Gaussian noise.

    `hidden` is an offset of phi (rad) that only the quality tells.
    """
    rng = np.random.default_rng(seed)
    columns = {c.name: toy_dataset(10)[c.name][:1].repeat(n) for c in COLUMNS}
    pt, eta = rng.integers(6, 12, n), rng.integers(-4, 5, n)
    charge, quality = rng.integers(0, 2, n), rng.choice([8, 12], n)
    columns |= {"hwPt": pt, "hwEtaAtVtx": eta, "hwCharge": charge, "hwQual": quality}
    columns["hwPhiAtVtx"] = rng.integers(0, 576, n)
    sign, side = 1 - 2 * charge, np.sign(eta)
    noise = {v: s * rng.standard_normal(n) for v, s in SIGMA.items()}
    phi = 0.1 * sign * np.sin(pt) + hidden * (quality == 8) + noise["phi"]
    columns["recoPhi"] = np.mod(PHI_VTX.to_physical(columns["hwPhiAtVtx"]) - phi + np.pi, 2 * np.pi) - np.pi
    columns["recoEta"] = ETA_VTX.to_physical(eta) - side * 0.01 * np.abs(eta) - noise["eta"]
    columns["recoPt"] = PT.to_physical(pt) * (1.3 + 0.2 * np.cos(pt)) * np.exp(noise["pt"])
    types = {c.name: c.type for c in COLUMNS}
    return Dataset({k: c.astype(types[k]) for k, c in columns.items()})


@pytest.fixture(scope="module")
def parts():
    return gaussian(60_000, 1), gaussian(30_000, 2), gaussian(60_000, 3)


def test_the_limit_is_what_the_noise_leaves(parts):
    found = limit(*parts)
    for v in VARIABLES:
        assert found.reached.rms[v].value == pytest.approx(SIGMA[v], rel=0.02)
        core = 2 * norm.cdf(CORE[v] / SIGMA[v]) - 1
        tail = 2 * norm.sf(TAIL[v] / SIGMA[v])
        assert found.reached.core[v].value == pytest.approx(core, rel=0.06)
        assert found.reached.tail[v].value == pytest.approx(tail, rel=0.06)
    assert found.inputs == ("hwPt", "hwEtaAtVtx", "hwCharge")


def test_answers_look_better_on_the_muons_they_were_read_off(parts):
    few = [p.select(np.arange(500)) for p in parts[:2]]
    found = limit(*few, parts[2])
    assert found.optimistic.rms["phi"].value < SIGMA["phi"] < found.reached.rms["phi"].value
    assert found.optimistic.core["phi"].value > 1.5 * found.reached.core["phi"].value
    again = scores(found.residuals["rms"])
    assert again.rms["phi"].value == pytest.approx(found.reached.rms["phi"].value)


def test_an_input_that_tells_something_lowers_the_limit():
    parts = [gaussian(20_000, seed, hidden=0.3) for seed in (1, 2, 3)]
    without, with_quality = limit(*parts), limit(*parts, ["hwQual"])
    assert with_quality.inputs[-1] == "hwQual"
    assert with_quality.reached.rms["phi"].value == pytest.approx(SIGMA["phi"], rel=0.02)
    assert without.reached.rms["phi"].value > 2 * SIGMA["phi"]


def test_cells_that_were_never_seen_keep_their_raw_values(parts):
    few = [p.select(p["hwPt"] < 9) for p in parts[:2]]
    new = parts[2].select(parts[2]["hwPt"] >= 9)
    from l1scout.evaluate.targets import raw_residuals

    found = limit(*few, new)
    for v, raw in raw_residuals(new).items():
        assert np.allclose(found.residuals["core"][v], raw)
