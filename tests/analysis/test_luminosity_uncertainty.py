"""Uncertainties of the luminosity in exact numbers: of the calibration, of full BX, of unequal sections."""

import numpy as np
import pytest
from scipy.special import digamma

from l1scout.analysis.common.background import NAMES, fit_background
from l1scout.analysis.common.bunch_luminosity import Luminosity
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.schemes import load_scheme
from l1scout.analysis.common.vdm import MM2_TO_UB, Scan, Steps, VdmScan, visible_cross_section
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.simulate.run import Running, simulate_run
from l1scout.statistics import Measured

SCHEME = load_scheme("2018")
BX = int(SCHEME.bx[0])


@pytest.fixture(scope="module")
def state():
    """A run with much background, so that its uncertainty is not small beside a good calibration."""
    made = Luminosity(SCHEME, LiveTime(40))
    running = Running(occupancy=0.02, intermediate=0.0, cosmics=20.0)
    for piece in simulate_run(8, 80, running=running, chunk=20):
        made.add(piece.muons)
    return made


@pytest.mark.parametrize("relative", [0.0, 0.001, 0.3])
def test_the_calibration_is_part_of_the_systematic_uncertainty(state, relative):
    """Of every bunch, section and the total: background and sigma_vis, added in quadrature."""
    sigma = 40.0
    result = state.result(Measured(sigma, relative * sigma))
    scale = ORBIT_FREQUENCY_HZ / sigma
    rows = [result["total"], *result["sections"]]
    muons = [[row[f"muons_per_orbit{end}"] for end in ("", "_stat", "_syst")] for row in rows]
    rows += result["bunches"]
    bunches = ("muons_per_crossing_zero", "muons_per_crossing_zero_stat", "background_per_crossing_syst")
    muons += [[row[name] for name in bunches] for row in result["bunches"]]
    mu, stat, syst = np.array(muons).T
    assert len(rows) == 1 + 2 + 2544
    assert syst[0] / mu[0] > 1e-4  # else it would not be seen beside 0.1 %
    for name, expected in (
        ("hz_per_ub", mu * scale),
        ("hz_per_ub_stat", stat * scale),
        ("hz_per_ub_syst", scale * np.sqrt(syst**2 + (relative * mu) ** 2)),
    ):
        np.testing.assert_allclose([row[name] for row in rows], expected, rtol=1e-12, err_msg=name)


def scan(peak, width, correlation=0.0):
    nothing = Measured(0.0, 0.0)
    return Scan(peak, width, nothing, nothing, correlation, 0.0, 0)


@pytest.mark.parametrize(
    ("one", "two", "relative"),
    [(2e9, 0.0, 0.02), (0.0, 2.7e9, 0.03), (3e9, 3.6e9, 0.05), (0.0, 0.0, 0.0)],
)
def test_the_protons_of_both_beams_make_the_systematic_uncertainty_of_sigma_vis(one, two, relative):
    x, y = scan(Measured(0.1, 0.001), Measured(0.12, 0.0)), scan(Measured(0.1, 0.001), Measured(0.15, 0.0))
    sigma, syst = visible_cross_section(x, y, (Measured(1e11, one), Measured(9e10, two)))
    assert sigma.value == pytest.approx(2 * np.pi * 0.12 * 0.15 * 0.1 / 9e21 * MM2_TO_UB, rel=1e-12)
    assert sigma.error == pytest.approx(sigma.value * 0.01 / np.sqrt(2), rel=1e-9)  # two equal peaks
    assert syst == pytest.approx(relative * sigma.value, rel=1e-12, abs=1e-12)


def test_widths_and_their_correlation_with_the_peak_make_the_statistical_one():
    protons = (Measured(1e11, 0.0), Measured(1e11, 0.0))
    plane = scan(Measured(0.1, 0.002), Measured(0.12, 0.0012), -0.5)
    sigma, syst = visible_cross_section(plane, plane, protons)
    # each plane has half of the peak (1 %) and its own width (1 %), with a correlation of -0.5
    assert sigma.error / sigma.value == pytest.approx(np.sqrt(2 * (1 + 1 - 1)) * 0.01, rel=1e-9)
    assert syst == 0


def test_a_scan_says_which_uncertainty_is_which():
    mm = np.linspace(-0.3, 0.3, 9)
    first = 100 * np.arange(9)
    planes = {p: Steps(first + 1000 * k, first + 1000 * k + 99, mm) for k, p in enumerate("xy")}
    state = VdmScan(SCHEME, planes)
    for plane in planes:
        state.orbits[plane][:] = 100
        mu = 0.001 + 0.1 * np.exp(-0.5 * (mm / 0.1) ** 2)
        state.occupied[plane][:] = np.round(100 * 2544 * -np.expm1(-mu))
    found = state.result((Measured(1e11, 4e9), Measured(1e11, 3e9)))["sigma_vis_ub"]
    assert found["value"] == pytest.approx(2 * np.pi * 0.1 * 0.1 * 0.1 / 1e22 * MM2_TO_UB, rel=1e-3)
    assert found["syst"] == pytest.approx(0.05 * found["value"], rel=1e-12)
    assert 0 < found["stat"] < 0.02 * found["value"]


def sections(*muons, orbits=(10, 10)):
    """Measure sections; in each, the given numbers of muons are in the first crossings of one BX."""
    state, start = Luminosity(SCHEME, LiveTime(100)), 0
    for k, (counts, n) in enumerate(zip(muons, orbits, strict=True)):
        start = 100 * k
        orbit = np.repeat(start + np.arange(len(counts)), counts)
        columns = {"hwPt": np.full(orbit.size, 9), "tfMuonIndex": np.full(orbit.size, 40)}
        bx = np.full(orbit.size, BX)
        state.add(OrbitBatch.from_objects(orbit, bx, columns, n_orbits=n))
    return state


@pytest.mark.parametrize(("method", "full"), [("zero", 1), ("rate", 8)])
def test_a_bx_that_is_full_in_one_section_has_no_finite_error_in_the_mean(method, full):
    """That section gives a lower limit only, and so does the mean, whatever the other sections give."""
    state = sections([full] * 10, [1, 1, 1])
    mean = state.whole(method)
    assert np.isinf(mean.stat[BX - 1])
    assert np.isfinite(np.delete(mean.stat, BX - 1)).all()
    assert np.isfinite(mean.mu).all()
    total, _ = mean.total(SCHEME.bx)
    assert np.isfinite(total.value)
    assert np.isinf(total.error)
    row = next(b for b in state.result(method=method)["bunches"] if b["bx"] == BX)
    assert np.isinf(row[f"muons_per_crossing_{method}_stat"])
    fine = sections([1] * 9, [1, 1, 1]).whole(method)
    assert np.isfinite(fine.stat).all()


def test_the_mean_counts_each_section_by_its_orbits():
    """30 of 40 crossings have a muon, then 10 of 80: neither all are one, nor do both count the same."""
    state = sections([1] * 30, [1] * 10, orbits=(40, 80))
    one, two = (digamma(n + 1) - digamma(n - k + 1) for n, k in ((40, 30), (80, 10)))
    mean = state.whole("zero")
    assert mean.weight == 120
    assert mean.mu[BX - 1] == pytest.approx((40 * one + 80 * two) / 120, rel=1e-12)
    assert mean.mu.sum() == pytest.approx(mean.mu[BX - 1])


def test_a_prescale_makes_each_crossing_stand_for_more():
    """One in four crossings was kept: four times the muons per crossing that was looked at."""
    orbit = np.arange(10)
    columns = {"hwPt": np.full(10, 9), "tfMuonIndex": np.full(10, 40)}
    batch = OrbitBatch.from_objects(orbit, np.full(10, BX), columns, n_orbits=400)
    state = Luminosity(SCHEME)
    state.add(batch, 4.0)
    for method, mu in (("rate", 0.1), ("zero", digamma(101) - digamma(91))):
        found = state.whole(method)
        assert found.weight == 100
        assert found.mu[BX - 1] == pytest.approx(mu, rel=1e-6)
    assert [row["prescale"] for row in state.live.table()] == [4.0]
    state.add(OrbitBatch.from_objects(orbit + 400, np.full(10, BX), columns, n_orbits=100))
    assert state.live.weight == 200


def test_early_and_late_muons_are_told_apart():
    """Exact numbers: 3 % of a bunch's muons are seen one BX early, 1 % one BX late, and some everywhere."""
    made = np.zeros(3564)
    made[SCHEME.bx - 1] = 0.1 + SCHEME.bx % 5 * 0.02
    seen = made + 0.001
    for bx in SCHEME.bx:
        seen[bx - 2] += 0.03 * made[bx - 1]
        seen[bx] += 0.01 * made[bx - 1]
    fitted = fit_background(seen * 1e4, 1e4, SCHEME)
    found = dict(zip(NAMES, fitted.values, strict=True))
    assert found["early"] == pytest.approx(0.03, rel=0.01)
    assert found["late"] == pytest.approx(0.01, rel=0.05)
    assert found["constant"] == pytest.approx(0.001, rel=0.05)
    in_time, _ = fitted.subtract(seen)
    np.testing.assert_allclose(in_time[SCHEME.bx - 1], made[SCHEME.bx - 1], rtol=1e-3)
