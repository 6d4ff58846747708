"""Coincidences of streams: exact beside plain numpy, right across orbits, and what is planted is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from l1scout.analysis import ANALYSES, Setup
from l1scout.analysis.common.chosen_objects import ChosenObjects
from l1scout.analysis.common.coincidence_counts import add_window, no_counts
from l1scout.analysis.common.orbit_windows import WINDOW, OrbitWindow, TimedObjects, orbits_of
from l1scout.cli import make_app
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, colliding, crossing
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams

CORRELATIONS = ANALYSES["correlations"]


def correlated(chunks, **options):
    analysis = CORRELATIONS(CORRELATIONS.Options(**options))
    for data in chunks:
        analysis.add(data)
    return analysis.result()


def rows(result, first, second):
    return {
        r["offset_bx"]: r
        for r in result.numbers["correlations"]
        if (r["first"], r["second"]) == (first, second)
    }


def reference(window, kinds, reach):
    """Count the coincidences of a window in plain numpy: an array of orbits and BX for each kind."""
    filled, seen = [], []
    for kind in kinds:
        here = np.zeros((WINDOW + 1, BX_PER_ORBIT), np.bool_)
        looked = np.zeros(WINDOW + 1, np.bool_)
        for part, row in ((window, 0), (window.head, WINDOW)):
            if part is not None:
                orbit, bx = np.divmod(part.objects(kind).time - part.first, BX_PER_ORBIT)
                here[orbit + row, bx] = True
                looked[orbits_of(part.seen.get(kind, 0)) + row] = True
        filled.append(here)
        seen.append(looked)
    out = no_counts(1, reach)
    one, two = filled
    # a pair counts for the window of its earlier orbit
    compared = {
        turn: [
            o
            for o in range(WINDOW + 1)
            if 0 <= o + turn <= WINDOW and min(o, o + turn) < WINDOW and seen[0][o] and seen[1][o + turn]
        ]
        for turn in (-1, 0, 1)
    }
    for d in range(-reach, reach + 1):
        turns, others = np.divmod(np.arange(BX_PER_ORBIT) + d, BX_PER_ORBIT)
        for turn, orbits in compared.items():
            bx = np.flatnonzero(turns == turn)
            a = one[np.ix_(orbits, bx)]
            b = two[np.ix_([o + turn for o in orbits], others[bx])]
            n, n_a, n_b = len(orbits), a.sum(axis=0), b.sum(axis=0)
            if n >= 2:
                sums = (a & b), n_a * n_b, n_a * n_b * (n - n_a) * (n - n_b)
                out[n, 0, d + reach] += [s.sum() for s in sums]
    return out


def random_window(random, number, orbits, with_head):
    """Make a window with objects of two kinds in some BX, at both ends of the orbit above all."""
    bx = np.array([0, 1, 2, 700, 701, BX_PER_ORBIT - 2, BX_PER_ORBIT - 1])
    parts, seen = {}, {}
    for kind in "ab":
        looked = np.flatnonzero(random.random(orbits) < 0.8)
        place = looked[:, None] * BX_PER_ORBIT + bx
        time = np.sort(place[random.random(place.shape) < 0.4]) + number * WINDOW * BX_PER_ORBIT
        parts[kind] = [TimedObjects(time[:5], {}), TimedObjects(time[5:], {})]
        seen[kind] = sum(1 << int(k) for k in looked)
    head = random_window(random, number + 1, 1, with_head=False) if with_head else None
    return OrbitWindow(1, number, parts, seen, head)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), orbits=st.integers(1, WINDOW), with_head=st.booleans())
def test_counts_are_those_of_plain_numpy(seed, orbits, with_head):
    window = random_window(np.random.default_rng(seed), 3, orbits, with_head)
    counts = no_counts(1, 2)
    add_window(window, ["a", "b"], np.array([[0, 1]]), 2, counts)
    np.testing.assert_array_equal(counts, reference(window, "ab", 2))


def batch(orbit, bx, seen, **columns):
    orbit, bx = np.asarray(orbit), np.asarray(bx)
    order = np.argsort(crossing(orbit, bx), kind="stable")
    columns = {n: np.asarray(c)[order] for n, c in columns.items()} or {"hwPt": np.full(orbit.size, 9)}
    return OrbitBatch.from_objects(orbit[order], bx[order], columns, simulated=True).with_orbits(
        np.asarray(seen)
    )


def test_orbits_that_were_not_seen_are_not_empty():
    """Jets are recorded in every second orbit only: muons of the others neither count nor are expected."""
    orbits = np.arange(0, 128)
    muons = batch(orbits, 0 * orbits + 9, orbits)
    jets = batch(orbits[::2], 0 * orbits[::2] + 10, orbits[::2])
    result = correlated([OrbitData({"muon": muons, "jet": jets})], objects=("muon", "jet"), reach=1)
    (found,) = [r for d, r in rows(result, "muon", "jet").items() if d == 1]
    assert (found["observed"], found["expected"], found["ratio"]) == (64, 64, 1)
    late = batch(orbits[::2], 0 * orbits[::2] + BX_PER_ORBIT, orbits[::2])
    early = batch(orbits, 0 * orbits + 1, orbits)
    result = correlated([OrbitData({"muon": early, "jet": late})], objects=("jet", "muon"), reach=1)
    found = rows(result, "jet", "muon")[1]
    assert (found["observed"], found["expected"]) == (64, 64)  # muons of the next orbit, which was seen
    result = correlated([OrbitData({"muon": early, "jet": late})], objects=("muon", "jet"), reach=1)
    assert rows(result, "muon", "jet")[-1]["observed"] == 64


def test_uncorrelated_sources_have_unit_pulls_and_a_planted_one_is_found():
    """Sources with a rate by BX that changes in time; one jet in ten comes two BX after a muon."""
    random, orbits, pulls = np.random.default_rng(2), 256, []
    bx = colliding("2018")[:200]
    for planted in (0, 0, 0.1):
        step = np.where(np.arange(orbits) < 128, 0.3, 0.1)[:, None] * random.uniform(0.5, 1.5, bx.size)
        muon, jet = (random.random((2, orbits, bx.size)) < step).astype(bool)
        at = np.argwhere(muon)
        orbit, place = at.T
        follow = random.random(orbit.size) < planted
        jets = np.argwhere(jet)
        every = np.r_[crossing(jets[:, 0], bx[jets[:, 1]]), crossing(orbit, bx[place])[follow] + 2]
        every = np.unique(every)
        jet_orbit, jet_bx = np.divmod(every, BX_PER_ORBIT)
        streams = {
            "muon": batch(orbit, bx[place], np.arange(orbits)),
            "jet": batch(jet_orbit, jet_bx + 1, np.arange(orbits)),
        }
        found = rows(correlated([OrbitData(streams)], objects=("muon", "jet"), reach=8), "muon", "jet")
        if planted:
            two = found[2]
            assert two["sigma"] > 10
            more = (two["observed"] - two["expected"]) / orbit.size
            # a jet that is there anyway adds nothing, and chance knows the jets that follow muons
            later = np.searchsorted(bx, bx[place] + 2)
            own = np.append(bx, 0)[later] == bx[place] + 2
            other = np.where(own, step[orbit, np.minimum(later, bx.size - 1)], 0.0)
            added = 0.1 * np.mean((1 - other) * (1 - step[orbit, place]))
            assert more == pytest.approx(added, abs=5 * two["expected_spread"] / orbit.size)
        else:
            pulls += [r["sigma"] for r in found.values()]
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(len(pulls)))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(2 * len(pulls)))


def test_muons_and_their_stubs_and_jets_are_correlated_in_their_crossing():
    chunks = list(simulate_streams(1, 12, ("muon", "jet", "stub"), activity=Activity(pile_up=1.0)))
    result = correlated(chunks, angles=True)
    assert rows(result, "muon", "stub")[0]["sigma"] > 10
    assert rows(result, "jet", "muon")[0]["sigma"] > 10
    assert abs(rows(result, "muon", "stub")[3]["sigma"]) < 4.5
    angles = [
        r for r in result.numbers["angles"] if (r["first"], r["second"], r["angle"]) == ("jet", "muon", "phi")
    ]
    own = [r for r in angles if r["offset_bx"] == 0]
    back = own[-6:]  # recoils: half of the leading jets, in a quarter of the turn
    excess = sum(r["observed"] - r["expected"] for r in back)
    assert excess > 5 * np.sqrt(sum(r["expected_stat"] ** 2 + r["expected"] for r in back))
    assert sum(r["observed"] for r in own) == rows(result, "jet", "muon")[0]["observed"]


def test_angles_are_expected_as_often_as_they_are_observed_where_eta_is_beyond_the_edges():
    """Jets at both ends: two of four pairs are more than 6 apart in eta, which no bin has."""
    orbits = np.arange(2000)
    random = np.random.default_rng(4)
    streams = {
        kind: batch(
            orbits, 0 * orbits + 9, orbits, hwPt=0 * orbits + 60, hwPhi=random.integers(0, 144, orbits.size),
            hwEta=random.choice([-100, 100], orbits.size),
        )
        for kind in ("jet", "egamma")
    }  # fmt: skip
    result = correlated([OrbitData(streams)], objects=("jet", "egamma"), reach=1, angles=True)
    own = [r for r in result.numbers["angles"] if r["angle"] == "eta" and r["offset_bx"] == 0]
    observed, expected = (sum(r[name] for r in own) for name in ("observed", "expected"))
    assert observed == pytest.approx(1000, abs=150)
    assert expected == pytest.approx(1000, abs=150)


def test_kinds_have_cuts():
    columns = {"hwPt": [20, 60, 60], "hwEta": [0, 70, 10], "hwPhi": [0, 0, 0], "hwQual": [0, 0, 1]}
    jets = batch([1, 1, 2], [5, 5, 6], [1, 2], **{n: np.array(c, np.int16) for n, c in columns.items()})
    for text, kept in (
        ("jet", [True] * 3),
        ("jet[hwPt>=60]", [False, True, True]),
        ("jet[pt>=30, abs(eta)<2.4]", [False, False, True]),
        ("jet[hwPt==60,hwQual!=1]", [False, True, False]),
    ):
        assert ChosenObjects.parse(text).choose({"jet": jets})[1].tolist() == kept
    for text, why in {
        "jets": "no 'jets' among the streams",
        "jet[pt]": "pt is not a cut",
        "jet[pt>30": "not a stream with cuts",
        "jet[ptx>30]": "jets have no ptx, but hwPt",
        "muon": "no stream muon in these data, which have jet",
    }.items():
        with pytest.raises(InputError, match=why):
            ChosenObjects.parse(text).choose({"jet": jets})
    with pytest.raises(InputError, match="named twice"):
        CORRELATIONS(CORRELATIONS.Options(objects=("jet", "jet")))
    data = OrbitData({"jet": replace(jets, n_orbits=None, first_orbit=None)})
    with pytest.raises(InputError, match="do not say how many orbits"):
        correlated([data])


def test_streams_that_are_named_are_needed_and_simulated():
    done = CliRunner().invoke(
        make_app(),
        ["analyse", "correlations", "--simulate", "4", "--objects", "muon", "--objects", "stub", "--json"],
        catch_exceptions=False,
    )
    found = json.loads(done.stdout)
    assert [row["kind"] for row in found["kinds"]] == ["muon", "stub"]
    assert found["origin"] == "simulation"
    muons = OrbitData({"muon": batch([1], [1], [1])}, origin=Origin("m.raw"))
    with pytest.raises(InputError, match=r"m\.raw: no stream jet, which this analysis needs"):
        correlated([muons], objects=("muon", "jet"))
    with pytest.raises(InputError, match="give no --prescale"):
        CORRELATIONS(setup=Setup(prescale=2.0)).add(muons)
