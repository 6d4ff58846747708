"""Simulated running: where in time and on which links the muons are."""

import json
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from front_end import Keep
from l1scout.board.board import Board
from l1scout.cli import make_app
from l1scout.core.orbit_batch import concatenate
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import read_events
from l1scout.lhc import BX_PER_ORBIT, FILLING_SCHEMES, colliding, crossing
from l1scout.link.transmit import Transmitter, transmit
from l1scout.simulate.faults import FaultRates, Injector
from l1scout.simulate.run import BEAM, LOWER, NOISE, UPPER, Running, simulate_run

ORBITS = 400


@pytest.fixture(scope="module")
def muons():
    return concatenate([p.muons for p in simulate_run(1, ORBITS)])


def test_filling_schemes(shared_data):
    known = json.loads((shared_data / "derived" / "lhc_colliding_bx.json").read_text())["schemes"]
    for name, ranges in zip(FILLING_SCHEMES, list(known.values())[:2], strict=True):
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
    # two of 48 bunches have a neighbour without collisions: 1/48 of 2 % of the muons, and cosmics
    assert 0 < np.count_nonzero(outside) < 0.003 * len(muons)
    only_beam = next(iter(simulate_run(3, 200, running=Running(cosmics=0, out_of_time=0), chunk=200))).muons
    assert np.all(np.isin(only_beam.bx, colliding("2018")))
    early_and_late = Running(out_of_time=1, cosmics=0)
    moved = next(iter(simulate_run(3, 50, running=early_and_late, chunk=50))).muons
    assert np.all(np.isin(moved.bx, np.r_[colliding("2018") - 1, colliding("2018") + 1]))


def run_of(orbits=200, **conditions):
    running = Running(intermediate=0, **conditions)
    return next(iter(simulate_run(3, orbits, running=running, chunk=orbits, origin=True))).muons


def test_cosmic_legs_are_apart_in_time_and_back_to_back():
    muons = run_of(2000, occupancy=0, cosmics=1)
    time = crossing(muons.orbit, muons.bx)[muons.row]
    upper, lower = (np.flatnonzero(muons["origin"] == k) for k in (UPPER, LOWER))
    assert upper.size == pytest.approx(2000, abs=5 * 45)
    assert abs(upper.size - lower.size) <= 3  # at the end of the run
    partner = upper[np.searchsorted(time[upper], time[lower]) - 1]  # nearly always its own
    good = (time[lower] - time[partner] >= 1) & (time[lower] - time[partner] <= 2)
    assert good.mean() > 0.99
    apart = (muons["hwPhi"][partner] - muons["hwPhi"][lower])[good] % 576
    assert abs(np.median(apart) - 288) <= 1
    assert np.all(muons["hwPhi"][upper] <= 288)
    assert np.all(muons["hwCharge"][partner][good] + muons["hwCharge"][lower][good] == 1)
    half = run_of(2000, occupancy=0, cosmics=1, leg_efficiency=0.5)
    assert half.n_objects == pytest.approx(2000, abs=5 * 45)


def test_the_truth_has_the_bx_to_which_a_muon_belongs():
    muons = run_of(300, out_of_time=0.2, firing=(("BMTF", 0.1, 0.05, 0.2),), noise=((3, 5.0),), cosmics=5)
    seen, shift, true = muons.bx[muons.row], muons["bx_shift"], muons["true_bx"]
    np.testing.assert_array_equal((seen - 1 - shift) % BX_PER_ORBIT + 1, true)
    beam = muons["origin"] == BEAM
    assert np.all(np.isin(true[beam], colliding("2018")))
    assert not shift[~beam].any()
    barrel = np.isin(muons["tfMuonIndex"], range(36, 72)) & beam
    for chosen, early, late in ((barrel, 0.1 + 0.2, 0.05), (beam & ~barrel, 0.1, 0.1)):
        n = chosen.sum() / (1.2 if chosen is barrel else 1)  # doubled muons are seen twice
        assert np.count_nonzero(shift[chosen] == -1) / n == pytest.approx(early, abs=4 * (0.3 / n) ** 0.5)
        assert np.count_nonzero(shift[chosen] == 1) / n == pytest.approx(late, abs=4 * (0.3 / n) ** 0.5)


def test_the_truth_file_states_its_origin_and_command(tmp_path):
    args = ["simulate", "run", "--orbits", "2", "--out", str(tmp_path), "--condition", "out_of_time=0.5"]
    assert CliRunner().invoke(make_app(), args).exit_code == 0
    with pq.ParquetFile(tmp_path / "truth.parquet") as file:
        table, said = file.read(), file.metadata.metadata
    assert {"bx", "orbit", "true_bx", "bx_shift", "origin", "intermediate"} <= set(table.column_names)
    assert set(table["bx_shift"].to_pylist()) == {-1, 0, 1}
    record = json.loads(said[b"l1scout_provenance"])
    assert (record["command"], record["data"]) == ("simulate run", "simulated")
    assert record["options"]["condition"] == ["out_of_time=0.5"]
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["provenance"] == record
    assert run["conditions"]["out_of_time"] == 0.5
    assert next(read_events(tmp_path / "truth.parquet")).muons.simulated


def test_planted_luminosity():
    muons = run_of(400, cosmics=0, out_of_time=0, bunches=((81, 0.5), (3500, 0.1)), steps=((200, 2.0),))
    at, nominal = np.bincount(muons.bx[muons.row], minlength=3565), Running().nominal
    for bx, factor in ((81, 0.5), (82, 1.0), (3500, 0.1)):
        assert at[bx] == pytest.approx(600 * factor * nominal, abs=5 * np.sqrt(600 * factor * nominal))
    late = np.count_nonzero(muons.orbit[muons.row] >= 200) / muons.n_objects
    assert late == pytest.approx(2 / 3, abs=0.005)
    glow = run_of(400, cosmics=0, out_of_time=0, afterglow=(0.01, 5.0))
    after = np.isin(glow.bx, np.setdiff1d(colliding("2018") + 1, colliding("2018"))).sum()
    # each of the 48 bunches before adds 1 % exp(-k / 5)
    expected = 53 * 400 * nominal * 0.01 * np.exp(-np.arange(48) / 5).sum()
    assert after == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_planted_detector_faults():
    muons = run_of(
        400,
        cosmics=0,
        firing=(("BMTF", 0.1, 0.05, 0.2),),
        out_of_time=0,
        processors=((12, 0.0), (13, 0.5)),
        noise=((30, 2.0),),
    )
    beam = muons["origin"] == BEAM
    by = np.bincount(muons["tfMuonIndex"][beam] // 3, minlength=36)
    assert by[12] == 0

    def ratio(expected, of):  # to five standard deviations of two counts
        return pytest.approx(expected, abs=5 * np.sqrt(expected * (1 + expected) / of))

    assert by[13] / by[14] == ratio(0.5, by[14])
    noise = muons["origin"] == NOISE
    assert noise.sum() == pytest.approx(800, abs=5 * 28)
    assert set(muons["tfMuonIndex"][noise] // 3) == {30}
    barrel = beam & (muons["tfMuonIndex"] // 3 >= 12) & (muons["tfMuonIndex"] // 3 < 24)
    times = np.bincount(muons.bx[muons.row[barrel]], minlength=3565)
    starts = np.setdiff1d(colliding("2018"), colliding("2018") + 1)
    ends = np.setdiff1d(colliding("2018"), colliding("2018") - 1)
    inside = times[starts + 20].sum()
    assert times[starts - 1].sum() / inside == ratio(0.3 / 1.2, inside)
    assert times[ends + 1].sum() / inside == ratio(0.05 / 1.2, inside)


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
    for wrong in (
        {"occupancy": 0.72},
        {"out_of_time": 2},
        {"cosmics": -1},
        {"firing": (("BMTF", 0.6, 0.6, 0),)},
        {"firing": (("barrel", 0.1, 0.1, 0),)},
        {"firing": (("BMTF", 0.1),)},
        {"bunches": ((0, 1.0),)},
        {"processors": ((36, 0.5),)},
        {"noise": ((1, -1.0),)},
        {"afterglow": (0.1, 0.0)},
    ):
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
        def step(self, packet: memoryview) -> None: ...

    def peak(orbits: int) -> int:
        tracemalloc.start()
        Board(Nothing()).run(transmit(simulate_run(1, orbits, chunk=10), Transmitter(RUN3)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(20)
    assert peak(120) < 1.1 * peak(40)
