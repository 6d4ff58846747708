"""Simulated running: where in time and on which links the muons are."""

import json
import tracemalloc

import numpy as np
import pytest

from front_end import Keep
from l1scout.board.board import Board
from l1scout.formats.block import RUN2, RUN3
from l1scout.lhc import BX_PER_ORBIT, FILLING_SCHEMES, colliding
from l1scout.link.transmit import Transmitter, transmit
from l1scout.orbits import concatenate
from l1scout.simulate.faults import FaultRates, Injector
from l1scout.simulate.run import Running, simulate_run

ORBITS = 400


@pytest.fixture(scope="module")
def muons():
    return concatenate([p.muons for p in simulate_run(1, ORBITS)])


def test_filling_schemes(shared_data):
    known = json.loads((shared_data / "derived" / "lhc_colliding_bx.json").read_text())["schemes"]
    for name, ranges in zip(FILLING_SCHEMES, known.values(), strict=False):
        expected = np.concatenate([np.arange(a, b + 1) for a, b in ranges])
        np.testing.assert_array_equal(colliding(name), expected)


def test_numbers_of_bunches():
    assert {name: colliding(name).size for name in FILLING_SCHEMES} == {"2018": 2544, "2024": 2340}


def test_occupancy(muons):
    final = muons.select(muons["intermediate"] == 0)
    assert len(final) / (ORBITS * BX_PER_ORBIT) == pytest.approx(0.05, rel=0.03)
    assert muons.n_orbits == ORBITS
    assert muons.simulated


def test_out_of_time_and_cosmics(muons):
    outside = ~np.isin(muons.bx, colliding("2018"))
    gap = (muons.bx > 3445) & (muons.bx < 3555)
    # two of 48 bunches have a neighbour without collisions: 1/48 of 2 % of the muons, and cosmics
    assert 0 < np.count_nonzero(outside) < 0.003 * len(muons)
    assert np.all(muons.counts[gap] >= 2)
    only_beam = next(iter(simulate_run(3, 200, running=Running(cosmics=0, out_of_time=0), chunk=200))).muons
    assert np.all(np.isin(only_beam.bx, colliding("2018")))
    only_cosmics = next(iter(simulate_run(3, 200, running=Running(occupancy=0, cosmics=1), chunk=200))).muons
    assert len(only_cosmics) == pytest.approx(200, abs=60)
    early_and_late = Running(out_of_time=1, cosmics=0)
    moved = next(iter(simulate_run(3, 50, running=early_and_late, chunk=50))).muons
    assert np.all(np.isin(moved.bx, np.r_[colliding("2018") - 1, colliding("2018") + 1]))


def test_links_and_intermediate_muons(muons):
    final, early = (muons.select(muons["intermediate"] == k) for k in (0, 1))
    assert final["link"].max() <= 3
    assert early["link"].min() >= 4
    assert not early["tfMuonIndex"].any()
    assert not early["hwEtaAtVtx"].any()
    assert early.n_objects / final.n_objects == pytest.approx(0.9, abs=0.02)
    slot = np.stack([muons.row, muons["link"], muons["second"]])
    assert np.unique(slot, axis=1).shape == slot.shape


def test_same_seed_same_run(muons):
    again = concatenate([p.muons for p in simulate_run(1, ORBITS)])
    for name in muons.columns:
        np.testing.assert_array_equal(muons[name], again[name])
    run2 = next(iter(simulate_run(1, 1, form=RUN2))).muons
    assert "hwDXY" not in run2.columns


def test_impossible_conditions():
    for wrong in ({"occupancy": 0.72}, {"out_of_time": 2}, {"cosmics": -1}):
        with pytest.raises(ValueError, match="occupancy below"):
            Running(**wrong)


def test_faults_are_reproducible():
    def damaged():
        sent = transmit(simulate_run(1, 4, chunk=2), Transmitter(RUN3))
        return list(Injector(FaultRates(1e-4, 1e-4, 1e-4, 1e-4, 0.1, 0.1, 0.1, 0.1), 9).damage(sent))

    for one, two in zip(damaged(), damaged(), strict=True):
        np.testing.assert_array_equal(one.words, two.words)
        np.testing.assert_array_equal(one.k_at, two.k_at)
        np.testing.assert_array_equal(one.ticks, two.ticks)


def test_memory_does_not_grow_with_the_run():
    class Nothing(Keep):
        def put(self, packet: memoryview) -> None: ...

    def peak(orbits: int) -> int:
        tracemalloc.start()
        Board(Nothing()).run(transmit(simulate_run(1, orbits, chunk=10), Transmitter(RUN3)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(20)
    assert peak(120) < 1.1 * peak(40)
