"""The filling scheme found in data; data that contradict a given scheme, or mix two, are refused."""

from dataclasses import replace

import numpy as np
import pytest

from l1scout.analysis.common.scheme_watch import BxCounts, SchemeWatch, check_scheme, choose_scheme
from l1scout.analysis.common.schemes import Scheme, load_scheme
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import read_events
from l1scout.simulate.run import Running, simulate_run


def events(scheme, orbits, source="a.dat", seed=1, run=0, chunk=50, **conditions):
    running = Running(scheme=scheme, intermediate=0, **conditions)
    for piece in simulate_run(seed, orbits, running=running, chunk=chunk):
        muons = replace(piece.muons, run=np.full(len(piece.muons), run))
        yield OrbitData.of_muons(muons, source=source)


def counts(*args, **more):
    found = BxCounts()
    for e in events(*args, **more):
        found.add(e.muons)
    return found


def watch(scheme, data, **more):
    watcher = SchemeWatch(load_scheme(scheme) if scheme else None, **more)
    given = [e for part in data for e in watcher.step(part)]
    return watcher, given + watcher.finish()


@pytest.mark.parametrize("scheme", ["2018", "2024"])
@pytest.mark.parametrize("orbits", [20, 100, 500])
def test_it_is_found(scheme, orbits):
    for seed in range(4):
        chosen = choose_scheme(counts(scheme, orbits, seed=seed))
        assert np.array_equal(chosen.bx, load_scheme(scheme).bx)


def test_one_that_no_file_knows_is_found_when_every_bx_is_certain():
    missing = tuple((bx, 0.0) for bx in range(81, 136))
    few, many = (choose_scheme(counts("2018", n, bunches=missing)) for n in (100, 500))
    assert few is None
    assert set(load_scheme("2018").bx) - set(many.bx) == set(range(81, 129))
    assert "48 BX missing" in many.name


def test_numbers_of_bx_that_are_shifted():
    found = counts("2024", 100)
    found.muons[1:] = np.roll(found.muons[1:], -19)
    chosen = choose_scheme(found)
    assert chosen.name.endswith("-19 BX")
    assert np.array_equal(chosen.bx, np.sort((load_scheme("2024").bx - 20) % 3564 + 1))


def test_too_few_data_are_not_decided():
    with pytest.raises(InputError, match="cannot be found in 185 muons of 1 orbits: give --scheme"):
        watch(None, [OrbitData.of_muons(next(events("2018", 1)).muons)])
    watcher, given = watch(None, events("2018", 1), needed=False)
    assert watcher.scheme is None
    assert len(given) == 1


def test_no_beam_is_found_in_enough_muons():
    cosmics = counts("2018", 200, occupancy=0, cosmics=30)
    assert choose_scheme(cosmics).bx.size == 0
    assert choose_scheme(counts("2018", 20, occupancy=0, cosmics=30)) is None
    with pytest.raises(InputError, match=r"shows no collisions.*not the given.*give --scheme none"):
        watch("2018", events("2018", 200, occupancy=0, cosmics=30))


@pytest.mark.parametrize(("true", "given"), [("2018", "2024"), ("2024", "2018"), ("2018", "none")])
def test_a_scheme_that_data_contradict_is_refused_with_the_better_one(true, given):
    with pytest.raises(InputError, match=f"not the given filling scheme.*give --scheme {true}$"):
        watch(given, events(true, 100))


@pytest.mark.parametrize("orbits", [10, 20, 30, 40])
def test_a_wrong_scheme_is_refused_before_single_bx_are_certain(orbits):
    for seed, (true, given) in enumerate([("2018", "2024"), ("2024", "2018")]):
        with pytest.raises(InputError, match=f"not the given filling scheme.*give --scheme {true}$"):
            watch(given, events(true, orbits, seed=seed))


def test_a_few_full_bx_contradict_a_scheme_that_has_many(shared_cases):
    """240 muons, ten in each of 24 BX, and none in the 2520 others of the scheme."""
    found = BxCounts(orbits=10)
    for e in read_events(shared_cases / "12_cut_at_a_frame.raw"):
        found.add(e.muons)
    expected = (
        r"^it: shows 24 colliding BX, not a known scheme, not the given.*2520 BX differ\); give --scheme auto"
    )
    with pytest.raises(InputError, match=expected):
        check_scheme(found, load_scheme("2018"), "it")


@pytest.mark.parametrize("orbits", [1, 5, 10, 20, 30, 300])
@pytest.mark.parametrize("seed", range(3))
def test_the_true_scheme_is_never_refused(orbits, seed):
    """With everything that is planted in the closure of the analyses."""
    planted = {
        "afterglow": (0.01, 30.0),
        "bunches": ((81, 0.5), (82, 0.0), (3500, 0.02)),
        "firing": (("BMTF", 0.005, 0.002, 0.001),),
        "processors": ((15, 0.0),),
        "steps": ((10, 0.5), (20, 0.1)),
    }
    watcher, given = watch("2018", events("2018", orbits, seed=seed, **planted))
    assert sum(e.muons.n_orbits for e in given) == orbits
    assert watcher.differing_bx <= 1


@pytest.mark.parametrize("scheme", [None, "2018"])
def test_files_of_two_schemes_are_refused(scheme):
    mixed = [*events("2018", 300, "a.dat"), *events("2024", 100, "b.dat")]
    with pytest.raises(InputError, match=r"^b.dat.*shows 2340.*2544.*separately"):
        watch(scheme, mixed)


def test_runs_of_two_schemes_in_one_file_are_refused():
    mixed = [*events("2018", 300, run=7), *events("2024", 100, run=8)]
    with pytest.raises(InputError, match=r"a.dat, run 8: shows 2340"):
        watch(None, mixed)


def test_many_small_files_of_two_schemes_are_refused_together():
    mixed = [e for k in range(40) for e in events(("2018", "2024")[k > 30], 10, f"{k}.dat", seed=k)]
    with pytest.raises(InputError, match="shows"):
        watch(None, mixed)


def test_beams_apart_in_a_part_of_a_scan_are_no_contradiction():
    data = [*events("2018", 100, "peak.dat"), *events("2018", 100, "tail.dat", occupancy=0, cosmics=20)]
    watcher, _ = watch(None, data)
    assert watcher.scheme.bx.size == 2544


def test_nothing_is_lost_or_reordered_while_the_scheme_is_sought():
    data = list(events("2018", 500, chunk=10))
    _, given = watch(None, data)
    assert [id(e) for e in given] == [id(e) for e in data]


@pytest.mark.parametrize("orbits", [10, 20, 40, 100])
def test_a_true_scheme_that_is_like_a_known_one_is_not_refused(orbits):
    known = load_scheme("2018")
    missing = known.bx[100:110]
    own = Scheme("own", np.setdiff1d(known.bx, missing))
    for seed in range(3):
        dead = tuple((int(bx), 0.0) for bx in missing)
        assert check_scheme(counts("2018", orbits, seed=seed, bunches=dead), own, "it") == 0
