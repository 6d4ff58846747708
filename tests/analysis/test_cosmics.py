"""Cosmic muons: rate, delay, efficiency and purity of what was planted; none where there is none."""

import numpy as np
import pytest
from scipy.stats import binom

from l1scout.analysis.common.cosmic_legs import CONTROL_BINS, LEGS, PHI_BINS, Cosmics, Cuts
from l1scout.analysis.common.schemes import load_scheme
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.formats.streams.muon import PHI
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.simulate.cosmic import FLIGHT_BX, legs
from l1scout.simulate.run import Running, simulate_run
from l1scout.statistics import bounded, efficiency, proportion, signal_fraction

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
    purity = signal_fraction(*state.pairs, sigmas=4)
    assert purity.low <= state.result()["purity_of_truth"] <= purity.high
    assert state.purity.value > 0.9


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
    np.testing.assert_allclose(phi[:12], phi[:11:-1], atol=5 * np.sqrt(phi.max()))
    assert phi[10:12].sum() > 5 * phi[:2].sum()


@pytest.mark.parametrize("noise", [(), tuple((k, 0.05) for k in range(12, 24))])
def test_efficiency_of_each_leg_by_tag_and_probe(noise):
    """Also when a fifth of the tags are noise."""
    state = cosmics(
        orbits=3000, cosmics=2.0, occupancy=0, leg_efficiency=0.9, noise=noise, scheme=load_scheme("none")
    )
    for leg in LEGS:
        found, wide = state.efficiency(leg), state.efficiency(leg, sigmas=4)
        assert wide.low < 0.9 < wide.high
        assert found.high - found.low < 0.04
        assert state.status(leg).tolist().count("live") == PHI_BINS - 2 * CONTROL_BINS


def true_efficiency(leg, dead, used, leg_efficiency):
    """Of simulated cosmic muons whose tag is seen in these bins of phi: how often the other leg is seen."""
    (_, upper), (_, lower) = legs(np.random.default_rng(77), 300_000)
    tag, probe = (upper, lower) if leg == "lower" else (lower, upper)
    live = {n: ~np.isin(leg["tfMuonIndex"] // 3, dead) for n, leg in (("tag", tag), ("probe", probe))}
    at = np.mod(PHI.to_physical(tag["hwPhi"]), np.pi) / np.pi * PHI_BINS
    taken = live["tag"] & used[np.clip(at.astype(int), 0, PHI_BINS - 1)]
    return live["probe"][taken].mean() * leg_efficiency


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("dead", "leg_efficiency"), [((), 0.9), ((14,), 1.0), ((20, 21), 0.95), ((15, 21), 1.0), ((18,), 0.8)]
)
def test_dead_sectors(dead, leg_efficiency, seed):
    """The efficiency of live regions is not touched by dead ones; that of all regions is what is seen."""
    state = cosmics(
        seed,
        1200,
        cosmics=3.0,
        occupancy=0,
        leg_efficiency=leg_efficiency,
        processors=tuple((p, 0.0) for p in dead),
        scheme=load_scheme("none"),
    )
    result = state.result()
    for low, high in result["dead_phi_deg"]:  # processors are 30 degrees wide in the simulation, from BMTF 0
        assert {int(d // 30) for d in (low, high - 1)} <= {p - 12 for p in dead}
    if dead and dead != (18,):  # too few muons near the horizon
        assert result["dead_phi_deg"]
        assert sum(b - a for a, b in result["dead_phi_deg"]) == 30 * len(dead)
    for leg in LEGS:
        status = state.status(leg)
        live = state.efficiency(leg, sigmas=4)
        true = true_efficiency(leg, dead, status == "live", leg_efficiency)
        assert 0 <= live.low <= live.value <= live.high <= 1
        assert live.low <= true <= live.high + 1e-9
        every = state.efficiency(leg, dead=True, sigmas=4)
        true = true_efficiency(leg, dead, np.isin(status, ("live", "edge", "dead")), leg_efficiency)
        assert every.low <= true <= every.high + 1e-9
        rows = state.efficiency_rows(leg)
        assert sum(r["tags"] for r in rows) == state.counts.tags[LEGS.index(leg)].sum()
        assert sum(r["with_partner"] for r in rows) == state.counts.tags[LEGS.index(leg), 1].sum()
        known = [r for r in rows if not np.isnan(r["efficiency"])]
        assert known
        assert all(0 <= r["low"] <= r["efficiency"] <= r["high"] <= 1 for r in known)
        assert all(r["efficiency"] < 0.2 for r in known if r["status"] == "dead")


def test_tags_are_counted_exactly():
    """Without noise and beam, every muon above the horizon is a tag for the lower leg, and the other way."""
    state = cosmics(orbits=300, cosmics=5.0, occupancy=0, leg_efficiency=0.7, scheme=load_scheme("none"))
    upper = lower = 0
    for piece in simulate_run(
        1,
        300,
        running=Running(intermediate=0, cosmics=5.0, occupancy=0, leg_efficiency=0.7),
        chunk=300,
        origin=True,
    ):
        origin = piece.muons["origin"]
        upper, lower = upper + np.count_nonzero(origin == 1), lower + np.count_nonzero(origin == 2)
    assert abs(state.counts.tags[0].sum() - upper) <= 2  # those of the last crossings wait for what follows
    assert abs(state.counts.tags[1].sum() - lower) <= 2
    assert state.barrel_phi.sum() == upper + lower


def test_efficiencies_cannot_leave_0_to_1():
    random, unknown = np.random.default_rng(3), 0
    for passed, failed, chance, control in random.integers(0, 30, (150, 4)).tolist():
        found = efficiency(passed, failed, chance=chance, control=control, scale=random.uniform(0, 3))
        if np.isnan(found.value):
            unknown += 1
        else:
            assert 0 <= found.low <= found.value <= found.high <= 1
        purity = signal_fraction(passed, failed)
        assert passed == 0 or 0 <= purity.low <= purity.value <= purity.high <= 1
    assert unknown < 100
    assert np.isnan([proportion(0, 0).value, signal_fraction(0, 5).value, efficiency(0, 0).value]).all()
    found = proportion(8, 10)
    tails = binom.sf(7, 10, found.low), binom.cdf(8, 10, found.high)
    np.testing.assert_allclose([found.value, *tails], [0.8, 0.158655, 0.158655], rtol=1e-4)
    likelihood = efficiency(800, 200)
    assert likelihood.value == 0.8
    assert likelihood.high - likelihood.low == pytest.approx(2 * np.sqrt(0.8 * 0.2 / 1000), rel=0.01)


def test_differences_of_counts_give_fractions_from_0_to_1():
    found = bounded(-0.02, 0.01)
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0 < found.high < 0.01  # far below 0: little room is left
    inside, above = bounded(0.3, 0.1), bounded(1.2, 0.3)
    np.testing.assert_allclose([inside.value, inside.low, inside.high], [0.3, 0.2, 0.4])
    assert (above.value, above.high) == (1.0, 1.0)
    assert 0 < above.low < 1
    assert np.isnan(bounded(float("nan"), 1.0).value)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Tags with background, at an efficiency near its limit."""
    random, held, n = np.random.default_rng(5), 0, 300
    for _ in range(n):
        passed, failed = random.poisson(95 + 3), random.poisson(5 + 2 * 6)
        found = efficiency(passed, failed, chance=random.poisson(3), control=random.poisson(6), scale=2)
        held += found.low <= 0.95 <= found.high
    assert held / n == pytest.approx(0.683, abs=0.12)


def test_pulls_over_seeds():
    pulls = []
    for seed in range(12):
        state = cosmics(seed, 400, cosmics=2.0, occupancy=0, leg_efficiency=0.8, scheme=load_scheme("none"))
        rate, eff, delay = state.rate, state.efficiency(), state.delay
        pulls += [
            (rate.value - 2 * 0.64 * ORBIT_FREQUENCY_HZ) / rate.error,
            (eff.value - 0.8) / (eff.high - eff.low) * 2,
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
    assert signal_fraction(*state.pairs, sigmas=4).low == 0
    nothing = cosmics(orbits=10, occupancy=0, cosmics=0)
    assert np.isnan(nothing.purity.value)
    assert np.isnan(nothing.efficiency().value)
    assert not nothing.dead().any()


def test_the_same_in_any_chunks():
    one, many = (cosmics(orbits=200, chunk=chunk, cosmics=20.0) for chunk in (200, 1))
    assert one.pairs == many.pairs
    for name in ("apart", "cosine", "tags", "chance", "barrel_phi"):
        np.testing.assert_array_equal(
            *(getattr(s if name == "barrel_phi" else s.counts, name) for s in (one, many))
        )
    assert one.live.orbits == many.live.orbits == 200


def test_cuts_and_missing_columns():
    state = Cosmics(SCHEME, cuts=Cuts(min_hw_pt=600))
    for piece in simulate_run(1, 40, running=Running(cosmics=10.0)):
        state.add(piece.muons)
    assert state.pairs == (0, 0)
    lacking = OrbitBatch.from_objects([1], [3500], {"hwPt": np.array([9])}, n_orbits=1)
    with pytest.raises(InputError, match="tfMuonIndex"):
        state.add(lacking)
