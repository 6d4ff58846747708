"""Stubs in several BX: kernel beside plain Python, chance, planted slow particles, skims across orbits."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import l1scout
from l1scout.analysis import ANALYSES
from l1scout.cli import make_app
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.format_writer import write_data
from l1scout.lhc import BX_PER_ORBIT, crossing
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import of_streams
from l1scout.simulate.collisions import simulate_orbits
from l1scout.statistics import proportion
from l1scout.trigger.multi_bx_stubs import CONDITIONS, StubSelection
from l1scout.trigger.stub_skim import StubSkim

SLOW = ANALYSES["slow"]
NAMES = ("station", "wheel", "sector")


def columns(stubs):
    return {name: np.array([s[k + 1] for s in stubs], np.int16) for k, name in enumerate(NAMES)}


def selected(selection, stubs):
    stubs = sorted(stubs)
    return selection.select(np.array([s[0] for s in stubs], np.int64), columns(stubs)).tolist()


def is_track(chosen, s):
    """Whether stubs, in order of their stations, are those of one particle."""
    for (t1, station1, wheel1, sector1), (t2, station2, wheel2, sector2) in pairwise(chosen):
        apart = abs(sector1 - sector2)
        good = station1 < station2 and t1 <= t2 and abs(wheel1 - wheel2) <= 1
        if not good or min(apart, 12 - apart) > s.sectors:
            return False
    return len({stub[0] for stub in chosen}) >= s.min_bx


def reference(s, stubs):
    """Select windows in plain Python, trying every combination of stubs."""
    found = []
    for t in sorted({stub[0] for stub in stubs}):
        inside = [stub for stub in stubs if t - s.window < stub[0] <= t]
        if s.condition == "track":
            inside = sorted(set(inside), key=lambda stub: stub[1])
            tries = (c for n in range(s.min_stubs, 5) for c in combinations(inside, n))
            good = any(c[-1][0] == t and is_track(c, s) for c in tries)
        else:
            near = any(abs(a[2] - b[2]) <= 1 for a in inside for b in inside if a[0] < b[0])
            good = len(inside) >= s.min_stubs and (near or s.condition == "simple")
        found += [t] if good else []
    return found


STUBS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(-2, 2), st.integers(0, 11)), max_size=14
)


@settings(max_examples=150, deadline=None)
@given(
    stubs=STUBS,
    condition=st.sampled_from(CONDITIONS),
    window=st.integers(1, 5),
    stations=st.integers(1, 4),
    bx=st.integers(1, 4),
    sectors=st.integers(0, 6),
)
def test_selection_is_that_of_plain_python(stubs, condition, window, stations, bx, sectors):
    selection = StubSelection(condition, window, stations, min(bx, window), sectors)
    assert selected(selection, stubs) == reference(selection, stubs)


def test_selection_by_hand():
    track = StubSelection("track")
    slow = [(10, 1, 0, 3), (11, 2, 0, 3), (13, 4, 1, 4)]
    assert selected(track, slow) == [13]
    assert selected(track, [*slow, (14, 4, 2, 4)]) == [13]  # a window of four BX does not reach back to 10
    for changed in ((13, 4, 2, 3), (13, 4, 1, 5), (14, 4, 1, 4), (13, 2, 1, 4), (13, 5, 0, 3)):
        assert selected(track, [*slow[:2], changed]) == []
    assert selected(track, [(10, s, 0, 3) for s in (1, 2, 3, 4)]) == []  # a muon, in one BX
    assert selected(track, [(12, 1, 0, 3), (11, 2, 0, 3), (10, 3, 0, 3)]) == []  # inwards
    assert selected(track, [(10, 1, 0, 0), (11, 2, 0, 11), (11, 3, 0, 0)]) == [11]  # sectors 11 and 0
    wheel = StubSelection("wheel", window=2, min_stubs=2)
    assert selected(wheel, [(10, 1, 0, 0), (11, 1, 1, 6)]) == [11]
    assert selected(wheel, [(10, 1, -1, 0), (11, 1, 1, 6)]) == []
    assert selected(wheel, [(10, 1, 0, 0), (10, 2, 0, 6)]) == []
    assert selected(StubSelection("simple", window=2, min_stubs=2), [(10, 1, 0, 0), (10, 2, 2, 6)]) == [10]


def test_selections_that_make_no_sense():
    assert StubSelection.parse("wheel, window=3,min_stubs=5") == StubSelection("wheel", 3, 5)
    assert StubSelection.parse("simple,window=1").window == 1  # min_bx is of track only
    for text, why in {
        "tracks": "condition tracks of stubs: choose one of",
        "track,window=0": "window of stubs in several BX must be 1 to 16, not 0",
        "track,min_stubs=5": "min_stubs .* must be 1 to 4",
        "track,window=2,min_bx=3": "min_bx .* must be 1 to 2",
        "track,sectors=x": "sectors=x: one of",
        "track,wheel": "wheel: one of",
        "track,window=99999999999": "one of",
    }.items():
        with pytest.raises(InputError, match=why):
            StubSelection.parse(text)


def stub_data(stubs, orbits):
    """Data of orbits with stubs (crossing, station, wheel, sector), and a muon in BX 100 of each."""
    stubs = sorted(stubs)
    orbit, bx = np.divmod(np.array([s[0] for s in stubs], np.int64), BX_PER_ORBIT)
    orbits = np.asarray(orbits)
    made = OrbitBatch.from_objects(orbit, bx + 1, columns(stubs), simulated=True).with_orbits(orbits)
    muons = OrbitBatch.from_objects(orbits, 0 * orbits + 100, {"hwPt": 0 * orbits + 9}, simulated=True)
    return OrbitData({"stub": made, "muon": muons.with_orbits(orbits)})


def across(orbit, turn=0):
    """Return the stubs of a particle in the last BX of an orbit and the first two of the next one."""
    last = int(crossing(orbit, BX_PER_ORBIT))
    return [(last + turn, 1, 0, 3), (last + turn + 1, 2, 0, 3), (last + turn + 2, 3, 0, 3)]


def test_windows_cross_the_ends_of_orbits_that_were_seen():
    """Also from one batch, and from one window of 64 orbits, to the next; each is counted once."""
    stubs = [*across(10), *across(63), *across(70, turn=-1), *across(80, turn=1), *across(127, turn=-2)]
    stubs += across(127, turn=1)  # within the first BX of a window of orbits
    whole = stub_data(stubs, np.arange(0, 200))
    first, second = whole.streams["stub"].cut(64)
    for parts in ([whole], [OrbitData({"stub": first}), OrbitData({"stub": second})]):
        analysis = SLOW()
        for data in parts:
            analysis.add(data)
        assert analysis.result().numbers["selected"] == 6
    gap = whole.streams["stub"].of_orbits(np.delete(np.arange(200), [11, 64]))
    analysis = SLOW()
    analysis.add(OrbitData({"stub": gap}))
    assert analysis.result().numbers["selected"] == 4


def test_skims_keep_windows_across_orbits(tmp_path):
    data = stub_data([*across(10), *across(20, turn=500), (7 * BX_PER_ORBIT + 5, 1, 0, 0)], np.arange(0, 40))
    chosen = StubSkim(StubSelection.parse("track,window=3"))
    (kept,) = chosen.apply([data])
    assert (chosen.counts.selected, chosen.counts.kept, chosen.counts.orbits) == (2, 6, 40)
    stubs = kept.streams["stub"]
    assert stubs.n_orbits == 40
    assert list(zip(stubs.orbit.tolist(), stubs.bx.tolist(), strict=True)) == [
        (10, 3564), (11, 1), (11, 2), (21, 500), (21, 501), (21, 502)
    ]  # fmt: skip
    assert kept.selections["SelBx_Skim"].tolist() == [False, False, True] * 2
    write_data(iter([data]), tmp_path / "set")
    words = ["skim", tmp_path / "set", tmp_path / "out", "--stubs", "track,window=3", "--json"]
    done = CliRunner().invoke(make_app(), list(map(str, words)), catch_exceptions=False)
    assert json.loads(done.stdout)["selected"] == 2
    (read,) = l1scout.open(tmp_path / "out")
    assert read.streams["stub"].n_objects == 6
    assert read.selections["SelBx_Skim"].sum() == 2
    muons = OrbitData({"muon": data.muons})
    with pytest.raises(InputError, match="has muon, of which stub are read"):
        list(StubSkim(StubSelection()).apply([muons]))


def test_planted_slow_particles_are_found_beside_chance():
    """Beta 0.2 to 0.5: what is found beyond chance is what the truth says; without any there is none."""
    found = {}
    for slow in (0.0, 8.0):
        analysis, passed, planted = SLOW(), 0, 0
        activity = Activity(pile_up=10.0, slow=slow)
        for orbits in simulate_orbits(3, 64, activity=activity, chunk=16):
            data = of_streams(orbits, ("stub",))
            stubs, truth = data.streams["stub"], orbits.slow_particles
            analysis.add(data)
            time = crossing(stubs.orbit - orbits.first, stubs.bx)[stubs.row]
            ends = analysis.state.selection.select(time, stubs.columns)
            passed += np.isin(truth.crossing + truth.late.max(axis=1), ends).sum()
            planted += truth.crossing.size
        found[slow] = analysis.result().numbers, passed, planted
    none, (some, passed, planted) = found[0.0][0], found[8.0]
    assert abs(none["excess"]["value"]) < 4 * none["excess"]["error"]
    assert none["rate_hz"]["value"] == pytest.approx(none["selected"] / none["live_s"])
    assert planted == pytest.approx(8 * 64, abs=5 * np.sqrt(8 * 64))
    efficiency = proportion(int(passed), int(planted), 4)
    assert efficiency.low > 0.5  # 0.66, of particles of which three stations are hit in different BX
    assert some["excess"]["value"] == pytest.approx(passed, abs=4 * some["excess"]["error"])
    assert (
        0 <= some["excess_share"]["low"] <= some["excess_share"]["value"] <= some["excess_share"]["high"] <= 1
    )
