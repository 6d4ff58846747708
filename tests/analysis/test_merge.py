"""Every analysis: a run cut anywhere, analysed in pieces and merged, gives exactly what the whole gives."""

import json
import pickle
from dataclasses import replace
from functools import cache, reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.analysis import ANALYSES, Analysis, Needs, Result, Setup
from l1scout.analysis.common.correlation import Correlation
from l1scout.analysis.common.cosmic_legs import Cosmics
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.muons import times
from l1scout.analysis.common.schemes import load_scheme
from l1scout.analysis.common.seen_orbits import seen_orbits
from l1scout.cli.output import json_text
from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection
from l1scout.simulate.dimuons import Pairs, simulate_dimuons
from l1scout.simulate.run import Running, simulate_run
from menu_documents import MUON_MENU
from toy_anomaly import write_anomaly_model

STEPS = np.linspace(-3, 3, 9)
START = ORBITS_PER_LUMISECTION - 150
"""The runs pass into the next lumisection."""
SCHEMES = {"collisions": "2018", "quiet": "none"}


@cache
def run_of(kind):
    """Batches of a scan with collisions, or of a quiet run, with a gap and a second run; not all is seen."""
    factor = tuple((START + 20 * k, float(np.exp(-s * s / 2))) for k, s in enumerate([*STEPS, *STEPS]))
    conditions = {
        "collisions": {"occupancy": 0.1, "steps": factor, "cosmics": 5.0},
        "quiet": {"occupancy": 0.0, "cosmics": 0.4, "noise": ((20, 0.2),)},
    }[kind]
    batches = []
    for seed, (first, orbits, number) in enumerate([(START, 250, 7), (START + 270, 90, 7), (30, 40, 8)]):
        (piece,) = simulate_run(
            seed, orbits, first=first, running=Running(**conditions), chunk=orbits, origin=True
        )
        b = piece.muons
        rows = {"run": np.full(len(b), number), "lumisection": lumisection(b.orbit)}
        origin = None if seed == 0 else True  # the first does not say that it is simulated
        batches.append(replace(b, **rows, lost_orbits=3 * seed, simulated=origin))
    return batches


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Options of analyses that must have some."""
    folder = tmp_path_factory.mktemp("options")
    rows = [f"{k},{1 + k / 50}" for k in range(1, 3564)]
    (folder / "reference.csv").write_text("\n".join(["bx,reference", *rows]))
    planes = {
        plane: [[START + 20 * (k + n), START + 20 * (k + n) + 19, 0.1 * s] for k, s in enumerate(STEPS)]
        for plane, n in (("x", 0), ("y", 9))
    }
    (folder / "scan.json").write_text(json.dumps(planes | {"protons": [[1e11, 1e9], [1e11, 0]]}))
    (folder / "menu.toml").write_text(MUON_MENU)
    return {
        "anomaly": {"model": write_anomaly_model(folder / "anomaly"), "top": 7},
        "menu": {"menu": folder / "menu.toml"},
        "linearity": {"reference": folder / "reference.csv"},
        "calibrate": {"scan": folder / "scan.json"},
    }


def cut(batches, points):
    """Cut batches at places, counted in orbits from the first."""
    parts, before = [], 0
    for batch in batches:
        start, orbits = batch.first_orbit, batch.n_orbits
        for place in sorted(points):
            if before < place < before + orbits:
                first, batch = batch.cut(start + place - before)
                parts.append(first)
        parts.append(batch)
        before += orbits
    return parts


def analysed(make, batches):
    state = make()
    for batch in batches:
        state.add(OrbitData({"muon": batch, "stub": stubs_of(batch)}))
    return state


def stubs_of(muons):
    """Stubs in place of muons, for analyses that take these."""
    values = muons["hwPt"] % 4 + 1, muons["hwPt"] % 5 - 2, muons["hwPhi"] // 48
    return replace(muons, columns=dict(zip(("station", "wheel", "sector"), values, strict=True)))


def outcome(state):
    """The result as JSON, with histograms; or the reason why there is none."""
    try:
        result = state.result()
    except InputError as error:
        return str(error), {}
    histograms = {name: h.values(flow=True).tolist() for name, h in result.histograms.items()}
    simulated = {"simulated": getattr(state.state, "simulated", None)}
    return json_text({**result.as_dict(), "tables": dict(result.tables), **simulated}), histograms


WHOLE = {}


OF_STREAMS = {"firing of stubs": {"objects": "stub"}, "occupancy of stubs": {"objects": "stub"}}


@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("name", [*ANALYSES, *OF_STREAMS])
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_pieces_give_what_the_whole_gives(name, kind, options, data):
    section = data.draw(st.sampled_from([13, ORBITS_PER_LUMISECTION]), "orbits of a section")
    setup = Setup(scheme=load_scheme(SCHEMES[kind]), section_orbits=section)
    analysis = ANALYSES[name.partition(" ")[0]]

    def make():
        return analysis(analysis.Options(**(options | OF_STREAMS).get(name, {})), setup)

    try:
        make()
    except InputError:
        return  # it refuses a scheme without beam
    batches = run_of(kind)
    key = name, kind, section
    if key not in WHOLE:
        WHOLE[key] = outcome(analysed(make, batches))
    places = st.lists(st.integers(1, sum(b.n_orbits for b in batches) - 1), max_size=8, unique=True)
    parts = cut(batches, data.draw(places, "batches begin at orbit"))
    ends = data.draw(st.sets(st.integers(1, len(parts)), min_size=1, max_size=4), "pieces end at batch")
    edges = [0, *sorted(ends | {len(parts)})]
    pieces = [analysed(make, parts[a:b]) for a, b in pairwise(edges)]
    pieces = [pickle.loads(pickle.dumps(piece)) for piece in pieces]

    def merged(one, two):
        one.merge(two)
        return one

    if data.draw(st.booleans(), "last pieces first"):
        whole = reduce(lambda later, earlier: merged(earlier, later), reversed(pieces))
    else:
        whole = reduce(merged, pieces)
    assert outcome(whole) == WHOLE[key]


def test_empty_orbits_at_the_begin_of_a_run_are_of_that_run():
    """They say no run, but their numbers are lower than those before; at once, and in pieces."""
    batches = run_of("quiet")
    whole, cut_up, first, second = (LiveTime(13) for _ in range(4))
    for batch in batches:
        whole.add(batch)
    parts = cut(batches, [341])
    assert (parts[2].first_orbit, len(parts[2])) == (30, 0)
    for k, part in enumerate(parts):
        cut_up.add(part)
        (first if k < 3 else second).add(part)
    first.merge(second)
    for state in (cut_up, first):
        np.testing.assert_equal(state.table(), whole.table())


BEAM_FREE = load_scheme("none")


def dense(random, orbits):
    """Barrel muons at the ends of orbits, so that many pairs lie across the borders of pieces."""
    bx = np.array([1, 2, 3, 4, 5, 3562, 3563, 3564])
    batches, start = [], 0
    for run in range(1, 1 + random.integers(1, 4)):
        start = int(random.integers(0, 5)) if random.random() < 0.5 else start
        rows = np.array([(start + k, b) for k in range(orbits) for b in bx if random.random() < 0.9])
        n = len(rows)
        half = random.random(n) < 0.5
        columns = {
            "hwPt": np.full(n, 20),
            "hwEta": random.integers(-3, 4, n),
            "hwPhi": np.where(half, 140, 140 + 288) + random.integers(-12, 13, n),
            "tfMuonIndex": np.full(n, 40),
            "origin": np.where(half, 1, 2),
        }
        seen = {"n_orbits": orbits, "first_orbit": start, "run": np.full(n, run)}
        batches.append(OrbitBatch(*rows.T, np.arange(n + 1), columns, **seen))
        start += orbits
    return batches


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.sets(st.integers(1, 35), min_size=1, max_size=20))
def test_cosmic_pairs_across_the_border_of_pieces_are_found(seed, points):
    random = np.random.default_rng(seed)
    batches = dense(random, 12)
    whole = Cosmics(BEAM_FREE)
    for batch in batches:
        whole.add(batch)
    pieces = []
    for batch in cut(batches, sorted(points)):
        pieces.append(Cosmics(BEAM_FREE))
        pieces[-1].add(batch)
    while len(pieces) > 1:
        at = int(random.integers(len(pieces) - 1))
        pieces[at].merge(pieces.pop(at + 1))
    assert whole.pairs[0]
    for name, counted in vars(whole.counts).items():
        np.testing.assert_array_equal(getattr(pieces[0].counts, name), counted)
    np.testing.assert_array_equal(pieces[0].barrel_phi, whole.barrel_phi)
    assert json_text(pieces[0].live.table()) == json_text(whole.live.table())


def test_muons_of_two_runs_are_no_pair():
    """Though the second run goes on counting orbits where the first ends."""
    first, second = dense(np.random.default_rng(3), 24)[0].cut(12)
    second = replace(second, run=second.run + 1)
    both, alone = Cosmics(BEAM_FREE), [Cosmics(BEAM_FREE) for _ in range(2)]
    for state, batch in zip(alone, (first, second), strict=True):
        state.add(batch)
        both.add(batch)
    assert both.pairs == tuple(a + b for a, b in zip(alone[0].pairs, alone[1].pairs, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.sets(st.integers(1, 35), min_size=1, max_size=20))
def test_pairs_of_adjacent_crossings_in_two_pieces_are_found(seed, points):
    batches = dense(np.random.default_rng(seed), 12)
    whole, pieces = Correlation(3), []
    for batch in batches:
        whole.add(times(batch), times(batch), seen_orbits(batch)[0][0])
    for batch in cut(batches, sorted(points)):
        pieces.append(Correlation(3))
        pieces[-1].add(times(batch), times(batch), seen_orbits(batch)[0][0])
    for piece in pieces[1:]:
        pieces[0].merge(piece)
    assert whole.pairs[4]  # one crossing apart, also over the end of an orbit
    for name in ("pairs", "chance", "excess"):
        np.testing.assert_array_equal(getattr(pieces[0], name), getattr(whole, name))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([5, 1 << 18]), st.sets(st.integers(1, 9), min_size=1))
def test_batches_that_do_not_state_their_orbits_are_counted_alike(seed, section, ends):
    """Packets of some orbits, with losses and without a muon; a piece begins with any of them."""
    random, batches, orbit = np.random.default_rng(seed), [], ORBITS_PER_LUMISECTION - 20
    for _ in range(10):
        seen = np.sort(random.choice(8, random.integers(1, 9), replace=False))
        filled = seen[random.random(seen.size) < 0.4] + orbit
        n = filled.size
        rest = {"n_orbits": seen.size, "lost_orbits": 8 - seen.size, "run": np.full(n, 5)}
        batches.append(OrbitBatch(filled, np.full(n, 7), np.arange(n + 1), {}, **rest))
        orbit += 8

    def live(parts):
        state = LiveTime(section)
        for batch in parts:
            state.add(batch, 1.0 + len(batch) % 2)
        return state

    edges = [0, *sorted(ends), 10]
    whole, pieces = live(batches), [live(batches[a:b]) for a, b in pairwise(edges)]
    for piece in pieces[1:]:
        pieces[0].merge(piece)
    assert json_text(pieces[0].table()) == json_text(whole.table())
    assert pieces[0].orbits == whole.orbits == sum(b.n_orbits for b in batches)
    assert (pieces[0].weight, pieces[0].unplaced) == (whole.weight, whole.unplaced)


def test_offline_muons_and_models_are_merged():
    shares = Pairs({"J/psi": 0.3, "continuum": 0.7})
    chunks = [d for seed in (1, 2, 3) for d in simulate_dimuons(seed, 2000, shares)]

    def masses(data):
        state = ANALYSES["masses"]()
        for one in data:
            state.add(one)
        return state

    whole, one, rest = masses(chunks), masses(chunks[:1]), masses(chunks[1:])
    one.merge(rest)
    assert outcome(one) == outcome(whole)
    assert json.loads(outcome(one)[0])["rows"] == 6000


def test_other_options_schemes_and_analyses_are_refused():
    one = ANALYSES["luminosity"](setup=Setup(scheme=load_scheme("2018")))
    options = ANALYSES["luminosity"].Options(method="rate")
    for other in (
        ANALYSES["luminosity"](setup=Setup(scheme=load_scheme("2024"))),
        ANALYSES["luminosity"](setup=Setup(scheme=load_scheme("2018"), min_hw_pt=9)),
        ANALYSES["luminosity"](options, Setup(scheme=load_scheme("2018"))),
        ANALYSES["cosmics"](setup=Setup(scheme=load_scheme("2018"))),
    ):
        with pytest.raises(ValueError, match="same options and filling scheme"):
            one.merge(other)


def test_pieces_may_have_different_prescales():
    (piece,) = simulate_run(1, 30, running=Running(), chunk=30)
    first, second = piece.muons.cut(10)
    one, two = LiveTime(), LiveTime()
    one.add(first, 1.0)
    two.add(second, 4.0)
    one.merge(two)
    assert (one.orbits, one.weight) == (30, 15.0)


def test_empty_orbits_before_the_first_muon_are_of_its_run():
    """Also those of a piece that has none."""

    def empty(first, orbits):
        return OrbitBatch.from_objects([], [], {}, n_orbits=orbits, first_orbit=first)

    muon = OrbitBatch.from_objects([25], [7], {}, n_orbits=10, first_orbit=20, run=np.array([380963]))
    pieces = [LiveTime(10) for _ in range(4)]
    for live, batch in zip(pieces, (empty(0, 5), empty(5, 15), muon, empty(30, 3)), strict=True):
        live.add(batch)
    for live in pieces[1:]:
        pieces[0].merge(live)
    found = [(row["run"], row["section"], row["orbits"]) for row in pieces[0].table()]
    assert found == [(380963, k, n) for k, n in ((1, 10), (2, 10), (3, 10), (4, 3))]


@pytest.mark.parametrize("first_orbit", [5, None])
@pytest.mark.parametrize("runs", [(7, 8), (7, 8, 7)])
def test_empty_orbits_between_runs_are_counted_alike_in_pieces(first_orbit, runs):
    """Run 8 begins within lumisection 5, and run 7 may go on after it."""
    empty = OrbitBatch.from_objects([], [], {}, n_orbits=10, first_orbit=first_orbit)
    starts = {7: ORBITS_PER_LUMISECTION - 1, 8: 20}
    of_run = {
        run: OrbitBatch.from_objects(
            [orbit, orbit + 1],
            [1, 1],
            {},
            n_orbits=2,
            first_orbit=orbit,
            run=np.full(2, run),
            lumisection=np.array({7: [1, 2], 8: [5, 5]}[run]),
        )
        for run, orbit in starts.items()
    }
    batches = [batch for run in runs for batch in (of_run[run], empty)]
    whole = LiveTime()
    for batch in batches:
        whole.add(batch)
    for k in range(1, len(batches)):
        pieces = [LiveTime() for _ in range(3)]
        for batch in batches[:k]:
            pieces[1].add(batch)
        for batch in batches[k:]:
            pieces[2].add(batch)
        for piece in pieces[1:]:
            pieces[0].merge(piece)
        assert pieces[0].sections == whole.sections


def test_a_batch_is_cut_where_it_is_asked():
    batch = run_of("quiet")[0]
    first, second = batch.cut(START + 100)
    assert (first.n_orbits, second.n_orbits, second.first_orbit) == (100, 150, START + 100)
    assert first.orbit[-1] < START + 100 <= second.orbit[0]
    both = concatenate([first, second])
    np.testing.assert_array_equal(both["hwPt"], batch["hwPt"])
    assert (both.first_orbit, both.n_orbits) == (batch.first_orbit, batch.n_orbits)
    assert concatenate([second, first]).first_orbit is None
    with pytest.raises(ValueError, match="only a batch with first_orbit"):
        replace(batch, first_orbit=None).cut(START)
    with pytest.raises(ValueError, match="is outside"):
        replace(batch, first_orbit=START + 50)


def test_needs_are_checked():
    class Counting(Analysis):
        needs = Needs("none", streams=("muon", "jet"))

        def start(self):
            return None

        def result(self):
            return Result({})

    with pytest.raises(InputError, match="no stream jet"):
        Counting().add(OrbitData.of_muons(run_of("quiet")[0]))
    with pytest.raises(InputError, match="needs a filling scheme"):
        ANALYSES["luminosity"]()
