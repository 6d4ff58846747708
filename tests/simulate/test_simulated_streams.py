"""Simulated streams: they belong to the same crossings, and their words can be written and read back."""

import numpy as np
import pytest

from l1scout import lhc
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS, encode_source
from l1scout.formats.streams.muon import BMTF_INDEX
from l1scout.formats.streams.tower import eta_centres
from l1scout.lhc import crossing
from l1scout.simulate.activity import ACTIVITIES, Activity, planted
from l1scout.simulate.all_streams import of_streams, simulate_streams
from l1scout.simulate.collisions import simulate_orbits
from l1scout.simulate.detector import STATION_RADII
from l1scout.simulate.stream_simulation import SIMULATIONS

EVERY = ("muon", "jet", "egamma", "tau", "etsum", "tower", "stub")
QUIET = Activity(pile_up=3.0, occupancy=0.15)


@pytest.fixture(scope="module")
def data():
    """Two orbits with little pile-up and many muons."""
    return next(simulate_streams(5, 2, EVERY, activity=QUIET, chunk=2))


def times(batch):
    """Return the crossing of each object."""
    return lhc.crossing(batch.orbit, batch.bx)[batch.row]


@pytest.mark.parametrize("name", EVERY)
def test_objects_are_those_of_their_records(data, name):
    """What a stream's words give back is the truth, column by column."""
    stream, batch = STREAMS[name], data.streams[name]
    assert batch.simulated is True
    assert (batch.first_orbit, batch.n_orbits) == (0, 2)
    sources = stream.sources(batch)
    parts = [encode_source({name: batch}, source)[0] for source in sources]
    bounds = np.r_[0, np.cumsum([part.size for part in parts])]
    decoded, ends = stream.decode(np.concatenate(parts), bounds, np.array(sources))
    assert np.array_equal(ends, bounds[1:])
    found = decoded.objects
    assert found.n_objects > 50
    for column in ("orbit", "bx", "offsets"):
        assert np.array_equal(getattr(found, column), getattr(batch, column)), column
    assert set(batch.columns) - {"link"} == set(found.columns)
    for column, values in found.columns.items():
        assert np.array_equal(values, batch[column]), column
        assert values.dtype == batch[column].dtype


def test_every_simulation_is_of_a_stream():
    assert set(SIMULATIONS) <= set(STREAMS)
    assert set(EVERY) == set(SIMULATIONS) - {"gt"}  # which the package trigger adds
    with pytest.raises(InputError, match="no 'jets' among the stream simulations"):
        next(simulate_streams(1, 1, ["jets"]))


def test_objects_do_not_depend_on_the_other_streams(data):
    alone = next(simulate_streams(5, 2, ["jet"], activity=QUIET, chunk=2)).streams["jet"]
    for name, column in alone.columns.items():
        assert np.array_equal(column, data.streams["jet"][name])


def test_barrel_muons_have_the_stubs_they_were_made_of(data):
    muons, stubs = data.muons, data.streams["stub"]
    barrel = (muons["intermediate"] == 0) & np.isin(muons["tfMuonIndex"], BMTF_INDEX)
    phi = STREAMS["stub"].physics(stubs.columns)["phi"]
    when, of_stubs, second = times(muons), times(stubs), stubs["station"] == 2
    near = []
    for k in np.flatnonzero(barrel):
        here = (of_stubs == when[k]) & second
        muon_phi = muons["hwPhi"][k] * 2 * np.pi / 576
        step = np.abs((phi[here] - muon_phi + np.pi) % (2 * np.pi) - np.pi)
        near.append(step.min(initial=9.0) < 0.012)
    assert len(near) > 100
    assert np.mean(near) > 0.75  # some were found without a stub in station 2, or are cosmic


def test_pile_up_drives_towers_and_sums():
    """Twice the pile-up gives about twice the towers, and sums follow the towers of their crossing."""
    few, many = (
        next(simulate_streams(2, 1, ["tower", "etsum"], activity=Activity(pile_up=mu), chunk=1)).streams
        for mu in (3.0, 6.0)
    )
    assert 1.8 < many["tower"].n_objects / few["tower"].n_objects < 2.2
    sums, towers = few["etsum"], few["tower"]
    assert np.array_equal(lhc.crossing(sums.orbit, sums.bx), lhc.crossing(towers.orbit, towers.bx))
    assert np.array_equal(sums["towerCount"], towers.counts)
    central = np.where(np.abs(towers["hwEta"]) <= 28, towers["hwEt"], 0)
    assert np.array_equal(sums["hwTotalEt"], np.bincount(towers.row, central).astype(np.int64).clip(max=4095))
    assert not np.isnan(eta_centres(towers["hwEta"])).any()


def test_a_muon_pair_has_a_recoil():
    """Missing energy points along the sum of the muons: the calorimeters do not see them."""
    loud = Activity(pile_up=0.5, occupancy=0.4)
    data = next(simulate_streams(9, 4, ["muon", "etsum"], activity=loud, chunk=4))
    muons = data.muons.select(data.muons["intermediate"] == 0)
    pt = (muons["hwPt"] - 1) * 0.5
    phi = muons["hwPhiAtVtx"] * 2 * np.pi / 576
    x = np.bincount(muons.row, pt * np.cos(phi))
    y = np.bincount(muons.row, pt * np.sin(phi))
    hard = np.hypot(x, y) > 25
    rows = lhc.crossing(muons.orbit, muons.bx)
    sums = data.streams["etsum"]
    of_sums = lhc.crossing(sums.orbit, sums.bx)
    both = np.intersect1d(rows[hard], of_sums)
    at, muon_row = np.searchsorted(of_sums, both), np.searchsorted(rows, both)
    turn = sums["hwMissEtHFPhi"][at] * 2 * np.pi / 144 - np.arctan2(y, x)[muon_row]
    turn = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    assert both.size > 30
    assert np.mean(turn < 0.8) > 0.5  # at random: 0.25


def test_activities_of_the_two_years():
    assert ACTIVITIES["2024"].pile_up > ACTIVITIES["2018"].pile_up
    with pytest.raises(ValueError, match="0 to 1000"):
        Activity(pile_up=-1)


def test_effects_are_planted_by_name():
    activity = planted(Activity(), ["slow=2", "slow_beta=0.2,0.4", "clusters_late=0.01"])
    assert (activity.slow, activity.slow_beta, activity.clusters_late) == (2.0, (0.2, 0.4), 0.01)
    for text in (
        "slow",
        "slow=x",
        "slow_beta=0.2",
        "pile_up=3",
        "clusters_early=2",
        "slow=nan",
        "slow_beta=0,1",
    ):
        with pytest.raises(InputError, match=r"expected|numbers from 0"):
            planted(Activity(), [text])


def test_slow_particles_are_late_by_their_time_of_flight():
    (made,) = simulate_orbits(1, 20, activity=Activity(pile_up=2.0, slow=50, slow_beta=(0.2, 0.9)), chunk=20)
    truth, stubs = made.slow_particles, of_streams(made, ("stub",)).streams["stub"]
    seen = truth.late >= 0
    assert truth.crossing.size == pytest.approx(1000, abs=5 * 1000**0.5)
    path = np.array(STATION_RADII) * np.cosh(truth.eta)[:, None]
    delay = path / 299_792_458 * (1 / truth.beta - 1)[:, None] / 24.95e-9
    assert np.all(np.abs(truth.late - delay)[seen] <= 0.501)
    assert np.all(np.isin(truth.crossing, made.collisions[0]))
    time = (
        crossing(stubs.orbit - made.first, stubs.bx)[stubs.row] * 1000
        + stubs["station"] * 10
        + stubs["wheel"]
    )
    row, station = np.nonzero(seen)
    late = truth.crossing[row] + truth.late[row, station]
    assert np.isin(late * 1000 + (station + 1) * 10 + truth.wheel[row, station], time).all()
