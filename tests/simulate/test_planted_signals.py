"""Planted signals: kinematics of decays, what is added to crossings, and what stays as it was."""

import numpy as np
import pytest

from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.planted_signals import SIGNALS, filled_crossings, plant, two_body


@pytest.fixture(scope="module")
def data():
    (made,) = simulate_streams(
        5, 2, ("muon", "jet", "egamma", "tau", "etsum"), activity=Activity(pile_up=2.0, towers=1.0)
    )
    return made


def test_pairs_have_the_mass_and_momentum_of_their_parent():
    event, pt, eta, phi = two_body(np.random.default_rng(1), 2000, 30.0, 10.0)
    one, two = event[:2000], event[2000:]
    np.testing.assert_array_equal(one, two)
    mass = np.sqrt(
        2 * pt[:2000] * pt[2000:] * (np.cosh(eta[:2000] - eta[2000:]) - np.cos(phi[:2000] - phi[2000:]))
    )
    np.testing.assert_allclose(mass, 30.0, rtol=1e-6)
    x, y = (pt[:2000] * turn(phi[:2000]) + pt[2000:] * turn(phi[2000:]) for turn in (np.cos, np.sin))
    assert np.hypot(x, y).mean() == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize("signal", SIGNALS)
def test_events_add_objects_and_keep_the_rest(data, signal):
    crossings = filled_crossings(data, 10)
    planted = plant(data, signal, crossings, 7)
    again = plant(data, signal, crossings, 7)
    more = {}
    for name, batch in planted.streams.items():
        assert (len(batch), batch.n_orbits, batch.simulated) == (len(crossings), 2, True)
        assert set(batch.columns) == set(data.streams[name].columns)
        for column, values in batch.columns.items():
            assert values.dtype == data.streams[name][column].dtype
            np.testing.assert_array_equal(values, again.streams[name][column])
        assert batch.counts.max() <= (8 if name == "muon" else 12)
        at = np.isin(
            data.streams[name].orbit * 4000 + data.streams[name].bx, crossings.orbit * 4000 + crossings.bx
        )
        more[name] = batch.n_objects - int(data.streams[name].counts[at].sum())
    grown = {
        "soft_unclustered": {"jet", "egamma", "tau"}, "displaced_muons": {"muon"},
        "high_multiplicity": {"jet", "egamma", "tau", "muon"}, "dimuon_resonance": {"muon"},
        "dijet_resonance": {"jet", "tau"},
    }  # fmt: skip
    assert {name for name, n in more.items() if n > 0} == grown[signal]
    if signal == "displaced_muons":
        muons = planted.muons
        assert np.mean(muons["hwDXY"] >= 2) > 0.5
        assert more["muon"] < 2 * len(crossings)  # some are missed or outside the acceptance
    sums, before = planted.streams["etsum"], data.streams["etsum"]
    usual = before["hwTotalEt"][
        np.isin(before.orbit * 4000 + before.bx, crossings.orbit * 4000 + crossings.bx)
    ]
    gain = np.mean(sums["hwTotalEt"].astype(int) - usual)
    assert (gain > 0) == (signal not in ("displaced_muons", "dimuon_resonance"))
