"""Luminosity: pulls of unit width, planted backgrounds and steps, calibration, and what is refused."""

import numpy as np
import pytest

from l1scout.analysis.common.bunch_luminosity import Luminosity, rate_counting, zero_counting
from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.response import Reference, against, linearity, read_reference
from l1scout.analysis.common.schemes import load_scheme
from l1scout.analysis.common.vdm import MM2_TO_UB, fit_scan, visible_cross_section
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ, ORBITS_PER_LUMISECTION
from l1scout.simulate.run import Running, simulate_run
from l1scout.statistics import Measured

SCHEME = load_scheme("2018")
HIGH = {"intermediate": 0.0, "occupancy": 0.3}


def measured(seed, orbits, section=1 << 18, **conditions):
    state, running = Luminosity(SCHEME, LiveTime(section)), Running(**conditions)
    for piece in simulate_run(seed, orbits, running=running, chunk=100):
        state.add(piece.muons)
    return state, running


def test_counting_without_bias():
    """Both methods on exact Poisson numbers, from low to more than the eight muons that the GMT sends."""
    random, orbits = np.random.default_rng(1), 40_000
    for true in (0.01, 0.5, 5.0):
        n = random.poisson(true, (orbits, 100))
        for mu, error in (
            rate_counting(np.minimum(n, 8).sum(axis=0), orbits),
            zero_counting((n > 0).sum(axis=0), orbits),
        ):
            pulls = (mu - true) / error
            assert abs(pulls.mean()) < 5 / np.sqrt(100)
            assert pulls.std() == pytest.approx(1, abs=0.3)
    few = np.stack([zero_counting((random.poisson(1.0, (20, 5000)) > 0).sum(axis=0), 20)])
    assert few[0, 0].mean() == pytest.approx(1, abs=4 * few[0, 0].std() / np.sqrt(5000))
    full, error = zero_counting(np.array([10]), 10)
    assert np.isfinite(full).all()
    assert np.isinf(error).all()


@pytest.mark.parametrize("method", ["zero", "rate"])
def test_pulls_of_every_bunch_have_unit_width(method):
    """Bunches of different luminosity; cosmics, early and late muons, and afterglow are taken away."""
    factors = tuple((int(b), 0.5 + b / 3564) for b in SCHEME.bx)
    state, running = measured(2, 1200, bunches=factors, afterglow=(0.002, 15.0), cosmics=1.0, **HIGH)
    found = state.whole(method, state.background(method))
    true = running.luminosity() * (1 - running.out_of_time)
    at = SCHEME.bx - 1
    pulls = (found.mu - true)[at] / np.hypot(found.stat, found.syst)[at]
    assert pulls.std() == pytest.approx(1, abs=5 / np.sqrt(2 * at.size))
    total, syst = found.total(SCHEME.bx)
    assert abs(total.value - true.sum()) < 4 * np.hypot(total.error, syst)
    assert np.hypot(total.error, syst) < 0.003 * true.sum()
    raw = state.whole(method).total(SCHEME.bx)[0]
    assert raw.value > total.value + 10 * np.hypot(total.error, syst)  # the background is seen at all
    empty = SCHEME.empty() - 1
    assert abs(found.mu[empty].sum()) < 5 * np.sqrt((found.stat[empty] ** 2).sum())


def test_pulls_of_the_total_over_seeds():
    pulls = []
    for seed in range(12):
        state, running = measured(100 + seed, 100, **HIGH)
        total, syst = state.whole("zero", state.background("zero")).total(SCHEME.bx)
        true = running.luminosity().sum() * (1 - running.out_of_time)
        pulls.append((total.value - true) / np.hypot(total.error, syst))
    assert abs(np.mean(pulls)) < 3 / np.sqrt(12)
    assert 0.5 < np.std(pulls) < 1.7


def test_a_luminosity_step_of_two_percent():
    """Found with its size where it is, and not where it is not."""
    state, _ = measured(3, 1800, section=600, steps=((600, 1.02),), **HIGH)
    fitted = state.background()
    level = [state.section(Section(0, k), "zero", fitted).total(SCHEME.bx)[0] for k in (1, 2, 3)]
    for a, b, step in ((0, 1, 0.02), (1, 2, 0.0)):
        found = level[b].value / level[a].value - 1
        error = np.hypot(level[a].error / level[a].value, level[b].error / level[b].value)
        assert found == pytest.approx(step, abs=4 * error)
        assert error < 0.003


def test_result_in_units_of_luminosity():
    state, running = measured(4, 300, section=100, **HIGH)
    result = state.result(Measured(50.0, 1.0), "rate")
    total = result["total"]
    expected = running.luminosity().sum() * 0.98 * ORBIT_FREQUENCY_HZ / 50
    spread = np.hypot(total["hz_per_ub_stat"], total["hz_per_ub_syst"])
    assert total["hz_per_ub"] == pytest.approx(expected, abs=4 * spread)
    assert spread / total["hz_per_ub"] == pytest.approx(0.02, abs=0.005)  # of the calibration
    assert total["integrated_per_ub"] == pytest.approx(total["hz_per_ub"] * 300 / ORBIT_FREQUENCY_HZ)
    assert [row["orbits"] for row in result["sections"]] == [100, 100, 100]
    assert len(result["bunches"]) == 2544
    assert result["rate_over_zero"]["value"] == pytest.approx(1, abs=5 * result["rate_over_zero"]["error"])
    assert "hz_per_ub" not in state.result()["total"]


def test_lost_orbits_do_not_lower_the_luminosity():
    state = Luminosity(SCHEME)
    for k, piece in enumerate(simulate_run(5, 400, running=Running(**HIGH), chunk=20)):
        if k % 2:
            state.add(piece.muons)
    total, _ = state.whole().total(SCHEME.bx)
    assert total.value == pytest.approx(Running(**HIGH).luminosity().sum(), rel=0.01)
    (row,) = state.result()["sections"]
    assert row["live_fraction"] == pytest.approx(0.5, abs=0.03)


def test_muons_in_empty_bx_only():
    """A wrong scheme, or no beam: no crash, and no luminosity."""
    state = Luminosity(SCHEME)
    columns = {"hwPt": np.array([9, 9, 9]), "tfMuonIndex": np.array([40, 40, 40])}
    state.add(OrbitBatch.from_objects([0, 0, 0], [42, 42, 512], columns, n_orbits=1))
    total = state.result()["total"]
    assert abs(total["muons_per_orbit"]) < 5 * np.hypot(
        total["muons_per_orbit_stat"], total["muons_per_orbit_syst"]
    )


def test_no_luminosity_without_orbits():
    with pytest.raises(InputError, match="no rate can be made"):
        Luminosity(SCHEME).add(OrbitBatch.from_objects([1], [81], {"hwPt": np.array([9])}))
    with pytest.raises(InputError, match="no orbit was seen"):
        Luminosity(SCHEME).result()


def scan(seed, widths, peak, constant=0.0, steps=11, orbits=40):
    """Muons of 2544 bunches in a simulated scan; returns the visible cross section and its truth."""
    random, fits = np.random.default_rng(seed), []
    for width in widths:
        separation = np.linspace(-3, 3, steps) * width
        factor = np.exp(-0.5 * (separation / width) ** 2)
        running = Running(
            intermediate=0,
            cosmics=constant,
            out_of_time=0,
            occupancy=2544 / 3564 * -np.expm1(-peak),
            steps=tuple((k * orbits, float(f)) for k, f in enumerate(factor)),
        )
        state = Luminosity(SCHEME, LiveTime(orbits))
        for piece in simulate_run(
            int(random.integers(1 << 30)), steps * orbits, running=running, chunk=orbits
        ):
            state.add(piece.muons)
        occupied = [state.counts.occupied[Section(0, k + 1)][SCHEME.bx].sum() for k in range(steps)]
        fits.append(fit_scan(separation, np.array(occupied), np.full(steps, 2544.0 * orbits)))
    return fits


def test_calibration_from_a_scan():
    protons = (Measured(1e11, 2e9), Measured(9e10, 0.0))
    pulls, deviance = [], []
    for seed in range(3):
        x, y = scan(seed, (0.12, 0.15), 0.1, constant=2.0)
        sigma, syst = visible_cross_section(x, y, protons)
        true = 2 * np.pi * 0.12 * 0.15 * 0.1 / 9e21 * MM2_TO_UB
        pulls.append((sigma.value - true) / sigma.error)
        deviance.append(x.deviance)
        assert sigma.error < 0.02 * true
        assert syst == pytest.approx(0.02 * sigma.value)
        assert x.width.value == pytest.approx(0.12, abs=5 * x.width.error)
    assert np.abs(pulls).max() < 4
    assert np.mean(deviance) == pytest.approx(7, abs=5 * np.sqrt(14 / 3))
    with pytest.raises(InputError, match="five steps"):
        fit_scan(np.arange(3.0), np.full(3, 100), np.full(3, 1000.0))


def test_pulls_of_the_calibration():
    """Scans of exact binomial numbers: the uncertainty has the correlation of peak and width in it."""
    random, steps, pulls = np.random.default_rng(1), np.linspace(-3, 3, 11), []
    mu, crossings = 0.001 + 0.1 * np.exp(-0.5 * steps**2), np.full(11, 50_000.0)
    for _ in range(120):
        x, y = (fit_scan(steps * 0.1, random.binomial(50_000, -np.expm1(-mu)), crossings) for _ in range(2))
        sigma, _ = visible_cross_section(x, y, (Measured(1e11, 0.0), Measured(1e11, 0.0)))
        pulls.append((sigma.value - 2 * np.pi * 0.01 * 0.1 / 1e22 * MM2_TO_UB) / sigma.error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(120)
    assert np.std(pulls) == pytest.approx(1, abs=3 / np.sqrt(240))


def test_a_simulated_run_is_linear():
    """From 0.03 to 0.9 muons a crossing, both methods."""
    for method in ("zero", "rate"):
        points = []
        for k, occupied in enumerate((0.02, 0.1, 0.25, 0.42)):
            state, running = measured(20 + k, 150, intermediate=0.0, occupancy=occupied, cosmics=0.0)
            total, syst = state.whole(method, state.background(method)).total(SCHEME.bx)
            points.append((total.value / 2544, np.hypot(total.error, syst) / 2544, running.nominal * 0.98))
        found = linearity(*np.array(points).T)
        assert abs(found.slope.value) < 4 * found.slope.error
        assert found.slope.error < 0.02
        assert found.level.value == pytest.approx(1, abs=4 * found.level.error)


def test_linearity_against_pile_up():
    """A planted non-linearity of 2 % a unit is found; a linear response has none."""
    random, pulls = np.random.default_rng(1), []
    reference = np.linspace(0.2, 1.5, 12)
    for slope in (0.02, 0.0):
        for _ in range(20):
            error = np.full(12, 0.004)
            mu = reference * 0.7 * (1 + slope * (reference - 0.8)) + random.normal(0, error)
            found = linearity(mu, error, reference)
            level = 0.7 * (1 + slope * (found.centre - 0.8))
            pulls.append((found.slope.value - slope * 0.7 / level) / found.slope.error)
            assert found.level.value == pytest.approx(level, abs=5 * found.level.error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(40)
    assert np.std(pulls) == pytest.approx(1, abs=0.45)
    with pytest.raises(InputError, match="three or more"):
        linearity(np.ones(2), np.ones(2), np.arange(1.0, 3.0))


def test_linearity_of_bunches_and_of_sections():
    """Bunches of known unequal luminosity, and sections with a step: the response is a straight line of 1."""
    factors = tuple((int(b), 0.3 + b / 2000) for b in SCHEME.bx)
    state, running = measured(7, 400, section=100, bunches=factors, steps=((200, 0.5),), **HIGH)
    true = running.luminosity() * (1 - running.out_of_time)
    by_bunch = Reference("bx", {int(b): 0.75 * true[b - 1] for b in SCHEME.bx})
    mean = true[SCHEME.bx - 1].mean()
    by_section = Reference("section", {1: mean, 2: mean, 3: mean / 2, 4: mean / 2})
    for reference, n, method in (
        (by_bunch, SCHEME.bx.size, "zero"),
        (by_bunch, SCHEME.bx.size, "rate"),
        (by_section, 4, "zero"),
    ):
        found = against(state, reference, method)
        assert len(found["points"]) == n
        assert abs(found["slope"]["value"]) < 4 * found["slope"]["error"]
        assert found["level"]["value"] == pytest.approx(1, abs=4 * found["level"]["error"])
        assert found["level"]["error"] < 0.01


def test_references_that_are_none(tmp_path):
    path = tmp_path / "reference.csv"
    for text, wrong in (
        ("", "column section or bx"),
        ("section,mu\n1,2\n", "column section or bx"),
        ("section,reference\n1,2\n1,3\n", "line 3"),
        ("bx,reference\n1,0\n", "line 2"),
        ("bx,reference\n1,nan\n", "line 2"),
        ("bx,reference\n1\n", "line 2"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=wrong):
            read_reference(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_reference(tmp_path / "nowhere")


def test_no_section_has_a_negative_number_of_orbits():
    """A share of a file by rows may be a little too small; one orbit of it is in an earlier lumisection."""
    orbit = ORBITS_PER_LUMISECTION - 1 + np.arange(102)
    offsets = np.arange(103)
    batch = OrbitBatch(orbit, np.ones(102, np.int64), offsets, {"hwPt": np.ones(102)}, n_orbits=100)
    live = LiveTime()
    live.add(batch)
    assert [row["orbits"] for row in live.table()] == [1, 99]
