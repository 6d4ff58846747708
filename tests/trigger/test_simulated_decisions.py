"""Simulated decisions of the Global Trigger: the bits are what the objects of the crossing fulfil."""

import numpy as np

from l1scout.formats.stream import STREAMS, encode_source
from l1scout.formats.streams.gt import fired, from_links, to_links
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from l1scout.trigger.simulate_decisions import OWN_MENU, own_menu


def test_bits_are_what_the_objects_fulfil():
    names = ("muon", "jet", "egamma", "etsum", "gt")
    data = next(simulate_streams(4, 2, names, activity=Activity(pile_up=3.0, occupancy=0.2), chunk=2))
    gt = data.streams["gt"]
    assert not own_menu().problems
    assert (gt.simulated, gt.n_orbits, gt.first_orbit) == (True, 2, 0)
    muons = data.muons.select(data.muons["intermediate"] == 0)
    time = gt.orbit * 4000 + gt.bx
    expected = {
        2: _with(muons, muons["hwPt"] >= 15),
        31: _with(muons, muons["hwPt"] >= 1, 2),
        100: _with(data.streams["jet"], data.streams["jet"]["hwPt"] >= 120),
        211: _with(data.streams["egamma"], data.streams["egamma"]["hwPt"] >= 20, 2),
        300: _with(data.streams["etsum"], data.streams["etsum"]["hwMissEt"] >= 80),
    }
    for index, when in expected.items():
        assert time[fired(gt.columns, index)].tolist() == when, OWN_MENU[index]
    assert len(expected[2]) > 10
    assert all(any(fired(gt.columns, index)[k] for index in OWN_MENU) for k in range(len(gt)))


def _with(batch, passes, n=1):
    """Return the times of crossings with at least `n` objects that pass."""
    rows = np.flatnonzero(np.bincount(batch.row[passes], minlength=len(batch)) >= n)
    return (batch.orbit[rows] * 4000 + batch.bx[rows]).tolist()


def test_they_fit_the_links_and_the_record():
    """What the four scouting links would carry gives the same decisions, and so does the record."""
    gt = next(simulate_streams(4, 1, ("gt",), activity=Activity(pile_up=2.0), chunk=1)).streams["gt"]
    assert len(gt) > 5
    back = from_links(to_links(gt), 0)
    words, _, _ = encode_source({"gt": gt}, 4)
    decoded, _ = STREAMS["gt"].decode(words, np.array([0, words.size]), np.array([4]))
    for found in (back, decoded.objects):
        assert np.array_equal(found.bx, gt.bx)
        for name, column in found.columns.items():
            assert np.array_equal(column, gt[name]), name
