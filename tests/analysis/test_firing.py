"""Pre- and post-firing: planted shares are found, and none where there is none."""

import numpy as np
import pytest

from l1scout.analysis import ANALYSES, Setup
from l1scout.analysis.common.bunch_edges import BunchEdges
from l1scout.analysis.common.chosen_objects import ChosenObjects
from l1scout.analysis.common.correlation import Correlation
from l1scout.analysis.common.muons import FINDERS, final, times
from l1scout.analysis.common.schemes import Scheme, load_scheme
from l1scout.analysis.common.seen_orbits import seen_orbits
from l1scout.analysis.common.stream_firing import StreamFiring
from l1scout.analysis.common.wrong_bx import Firing
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.run import Running, simulate_run

SCHEME = load_scheme("2018")
FIRING = ANALYSES["firing"]
BMTF = FINDERS.index("BMTF")


def firing(seed=1, orbits=1000, **conditions):
    state = Firing(SCHEME)
    running = Running(
        **{"intermediate": 0.0, "cosmics": 0.0, "occupancy": 0.3, "out_of_time": 0.0} | conditions
    )
    for piece in simulate_run(seed, orbits, running=running, chunk=100):
        state.add(piece.muons)
    return state


def test_half_a_percent_of_pre_firing():
    """In the barrel only, over cosmics, afterglow and unequal bunches."""
    bunches = tuple((int(b), 0.5 + (7 * b % 100) / 100) for b in SCHEME.bx)
    planted = {"firing": (("BMTF", 0.005, 0.002, 0.0),), "cosmics": 0.3, "bunches": bunches}
    state = firing(orbits=4000, afterglow=(0.0002, 20.0), **planted)
    for k, counts in enumerate(state.by_finder):
        early, late = state.edges(counts)
        expected = (0.005, 0.002) if k == BMTF else (0.0, 0.0)
        for found, share in zip((early, late), expected, strict=True):
            error = np.hypot(found.share.error, found.syst)
            assert found.share.value == pytest.approx(share, abs=4 * error)
            assert error < (0.001 if k == BMTF else 0.002)
            assert share == 0.002 or (found.significance > 5) == (share == 0.005)
        assert abs(state.doubled(k).value) < 4 * state.doubled(k).error
    row = state.result()["shares"][BMTF]
    assert row["early_sigma"] > 5
    etas = {r["objects_of"]: r for r in state.result()["shares"] if "eta" in r["objects_of"]}
    assert etas["eta +0.00 to +0.41"]["early"] > 3 * etas["eta +0.00 to +0.41"]["early_stat"]
    assert etas["eta +1.65 to +2.09"]["early"] < 4 * etas["eta +1.65 to +2.09"]["early_stat"]


def test_muons_that_are_seen_twice():
    state = firing(firing=(("BMTF", 0.0, 0.0, 0.005), ("EMTF+", 0.01, 0.01, 0.0)))
    for k, name in enumerate(FINDERS):
        found = state.doubled(k)
        true = 0.005 if name == "BMTF" else 0.0
        assert found.value == pytest.approx(true, abs=4 * found.error)
        assert found.error < 0.0015
    early, late = state.edges(state.by_finder[BMTF])
    assert early.share.value == pytest.approx(0.005, abs=4 * early.share.error)
    assert abs(late.share.value) < 4 * late.share.error


def test_pulls_have_unit_width():
    """Edges and doubles of five track finders in eight runs, firing and not."""
    pulls = []
    for seed in range(8):
        true = (0.01, 0.02, 0.005) if seed % 2 else (0.0, 0.0, 0.0)
        state = firing(seed, 300, firing=tuple((name, *true) for name in FINDERS))
        seen = 1 + true[2]
        for k, counts in enumerate(state.by_finder):
            early, late = state.edges(counts)
            pulls += [
                (early.share.value - (true[0] + true[2]) / seen) / early.share.error,
                (late.share.value - true[1] / seen) / late.share.error,
                (state.doubled(k).value - true[2]) / state.doubled(k).error,
            ]
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(120))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(240))


def test_early_and_late_jets_are_found():
    """All clusters: so jets and e/gamma objects, whose numbers in a crossing are not independent."""
    shares = {}
    for early, late in ((0.0, 0.0), (0.04, 0.02)):
        activity = Activity(pile_up=5.0, clusters_early=early, clusters_late=late)
        states = [FIRING(FIRING.Options(objects=o), Setup(scheme=SCHEME)) for o in ("jet", "egamma[pt>=2.5]")]
        for data in simulate_streams(3, 24, ("jet", "egamma"), activity=activity):
            for state in states:
                state.add(data)
        for state in states:
            result = state.result()
            row = result.numbers["shares"][-1]
            assert row["objects_of"] == "all"
            assert row["objects"] == sum(r["objects"] for r in result.numbers["shares"][:-1])
            for what, planted in (("early", early), ("late", late)):
                assert row[what] == pytest.approx(planted, abs=4 * row[f"{what}_stat"])
                assert row[f"{what}_stat"] < 0.008
                assert 0 <= row[f"{what}_low"] <= row[what] <= row[f"{what}_high"] <= 1
                assert (row[f"{what}_sigma"] > 4) == (planted > 0.03) or planted == 0.02
            shares[early, state.options.objects] = row
    assert shares[0.0, "jet"]["early"] == 0


def test_uncertainties_know_that_objects_of_a_crossing_belong_together():
    """Ten objects at once, or none: the scatter of ten toys is what their uncertainty says."""
    random, found, errors = np.random.default_rng(5), [], []
    edges, orbits = BunchEdges(SCHEME).first - 1, 10
    for _ in range(30):
        state = StreamFiring(SCHEME, ChosenObjects.parse("jet"))
        orbit = np.repeat(np.arange(orbits), SCHEME.bx.size + edges.size)
        bx = np.tile(np.sort(np.r_[SCHEME.bx, edges]), orbits)
        early = 10 * (random.random(bx.size) < 0.02)
        n = np.where(np.isin(bx, SCHEME.bx), random.poisson(5, bx.size), early)
        orbit, bx = np.repeat(orbit, n), np.repeat(bx, n)
        jets = OrbitBatch.from_objects(orbit, bx, {"hwPt": 0 * bx + 9}, n_orbits=orbits, first_orbit=0)
        state.add(OrbitData({"jet": jets}))
        early, _ = state.edges(-1)
        found.append(early.share.value)
        errors.append(early.share.error)
    assert np.std(found) == pytest.approx(np.mean(errors), rel=4 / np.sqrt(60))


def test_correlation_of_two_kinds_of_objects():
    """Objects that follow muons by three crossings with probability 0.1; the rate has a step."""
    random, state = np.random.default_rng(1), Correlation(5)
    running = Running(intermediate=0, cosmics=0, occupancy=0.2, steps=((500, 3.0),))
    muons = 0
    for piece in simulate_run(1, 1000, running=running, chunk=50):
        start, stop = piece.first * 3564, piece.stop * 3564
        time = times(final(piece.muons))
        other = np.r_[time[random.random(time.size) < 0.1] + 3, random.integers(start, stop, 5000)]
        state.add(time, np.sort(other[other < stop]), seen_orbits(piece.muons)[0][0])
        muons += time.size
    assert state.objects == muons
    at = int(np.flatnonzero(state.distances == 3)[0])
    assert state.excess[at] / muons == pytest.approx(0.1, abs=4 * state.error[at] / muons)
    rest = np.delete(state.excess / state.error, at)
    assert np.all(np.abs(rest) < 4.5)
    assert np.all(state.pairs[np.arange(11) != at] > 10_000)


def test_neighbours_in_the_train_are_taken_into_account():
    """Exact numbers, unequal bunches, much firing: exact shares."""
    made = np.zeros(3564)
    made[SCHEME.bx - 1] = 1000.0 + SCHEME.bx % 7 * 200
    early, late = 0.08, 0.05
    seen = (1 - early - late) * made + early * np.roll(made, -1) + late * np.roll(made, 1)
    for found, share in zip(Firing(SCHEME).edges(np.r_[0, seen]), (early, late), strict=True):
        assert found.share.value == pytest.approx(share, rel=1e-6)
        assert found.syst == pytest.approx(0)


def test_schemes_without_an_edge():
    with pytest.raises(InputError, match="no train"):
        Firing(Scheme("full", np.arange(1, 3565)))
    isolated = Scheme("one", np.array([1]))
    assert BunchEdges(isolated).first.tolist() == BunchEdges(isolated).last.tolist() == [1]
