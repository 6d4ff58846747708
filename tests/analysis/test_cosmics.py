"""Cosmic muons: rate, delay, efficiency and purity of what was planted; none where there is none."""

import numpy as np
import pytest

from l1scout.analysis.cosmics import Cosmics, Cuts
from l1scout.analysis.filling import load_scheme
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.orbits import OrbitBatch
from l1scout.simulate.cosmic import FLIGHT_BX
from l1scout.simulate.run import Running, simulate_run

SCHEME = load_scheme("2018")


def cosmics(seed=1, orbits=2000, chunk=100, scheme=SCHEME, **conditions):
    state = Cosmics(scheme)
    running = Running(**{"intermediate": 0.0} | conditions)
    for piece in simulate_run(seed, orbits, running=running, chunk=orbits, origin=True):
        edges = np.arange(0, orbits, chunk)
        rows = np.searchsorted(piece.muons.orbit, [*edges, orbits])
        for start, a, b in zip(edges, rows[:-1], rows[1:], strict=True):
            m = piece.muons
            objects = slice(m.offsets[a], m.offsets[b])
            columns = {n: c[objects] for n, c in m.columns.items()}
            offsets = m.offsets[a : b + 1] - m.offsets[a]
            n = min(chunk, orbits - int(start))
            state.add(OrbitBatch(m.orbit[a:b], m.bx[a:b], offsets, columns, n_orbits=n, simulated=True))
    return state


def test_rate_delay_and_purity_during_collisions():
    """In the abort gap and between trains, beside early and late muons, afterglow and noise."""
    state = cosmics(orbits=4000, cosmics=1.0, afterglow=(0.0005, 20.0), noise=((14, 1.0), (20, 1.0)))
    rate = state.rate
    assert rate.value == pytest.approx(ORBIT_FREQUENCY_HZ, abs=4 * rate.error)
    assert rate.error / rate.value < 0.06
    delay = state.delay
    assert delay.value == pytest.approx(FLIGHT_BX, abs=4 * delay.error)
    purity = state.purity
    assert state.result()["purity_of_truth"] == pytest.approx(purity.value, abs=4 * purity.error)
    assert purity.value > 0.9


def test_zenith_angle():
    """A flux that falls as cos^2, through the barrel's ends at |eta| 0.83."""
    state = cosmics(orbits=4000, cosmics=4.0, occupancy=0, scheme=load_scheme("none"))
    rows = state.result()["cos_zenith"]
    cosine, around = np.meshgrid(np.linspace(0.0005, 0.9995, 1000), np.linspace(0, 2 * np.pi, 1000))
    across = np.sqrt(1 - cosine**2)
    inside = np.abs(across * np.sin(around)) < np.sinh(0.83) * np.hypot(across * np.cos(around), cosine)
    share = (cosine**2 * inside).sum(axis=0).reshape(20, 50).sum(axis=1)
    expected = share / share.sum() * sum(r["pairs"] for r in rows)
    pulls = [(r["pairs"] - e) / np.sqrt(max(e, 1)) for r, e in zip(rows, expected, strict=True)]
    assert np.abs(pulls).max() < 4.5
    assert np.std(pulls) < 1.6
    phi = np.array([r["pairs"] for r in state.result()["phi"]])
    np.testing.assert_allclose(phi[:6], phi[:5:-1], atol=5 * np.sqrt(phi.max()))
    assert phi[5] > 5 * phi[0]


@pytest.mark.parametrize("noise", [(), tuple((k, 0.05) for k in range(12, 24))])
def test_efficiency_of_each_leg_by_tag_and_probe(noise):
    """Also when a fifth of the tags are noise."""
    state = cosmics(
        orbits=3000, cosmics=2.0, occupancy=0, leg_efficiency=0.9, noise=noise, scheme=load_scheme("none")
    )
    for leg in ("lower", "upper"):
        found = state.efficiency(leg)
        assert found.value == pytest.approx(0.9, abs=4 * found.error)
        assert found.error < 0.02


def test_pulls_over_seeds():
    pulls = []
    for seed in range(12):
        state = cosmics(seed, 400, cosmics=2.0, occupancy=0, leg_efficiency=0.8, scheme=load_scheme("none"))
        rate, eff, delay = state.rate, state.efficiency(), state.delay
        pulls += [
            (rate.value - 2 * 0.64 * ORBIT_FREQUENCY_HZ) / rate.error,
            (eff.value - 0.8) / eff.error,
            (delay.value - FLIGHT_BX) / delay.error,
        ]
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(36))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(72))


def test_none_where_there_is_none():
    state = cosmics(
        orbits=500, cosmics=0, occupancy=0, noise=((14, 200), (20, 200)), scheme=load_scheme("none")
    )
    assert min(state.pairs) > 100  # by chance
    assert abs(state.rate.value) < 4 * state.rate.error
    assert abs(state.purity.value) < 4 * state.purity.error
    assert np.isnan(cosmics(orbits=10, occupancy=0, cosmics=0).purity.value)


def test_the_same_in_any_chunks():
    one, many = (cosmics(orbits=200, chunk=chunk, cosmics=20.0) for chunk in (200, 1))
    assert one.pairs == many.pairs
    for name in ("apart", "cosine", "tags", "chance"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    assert one.live.orbits == many.live.orbits == 200


def test_cuts_and_missing_columns():
    state = Cosmics(SCHEME, cuts=Cuts(min_hw_pt=600))
    for piece in simulate_run(1, 40, running=Running(cosmics=10.0)):
        state.add(piece.muons)
    assert state.pairs == (0, 0)
    lacking = OrbitBatch.from_objects([1], [3500], {"hwPt": np.array([9])}, n_orbits=1)
    with pytest.raises(InputError, match="tfMuonIndex"):
        state.add(lacking)
