"""Peaks at known lines: reported where they were planted, with the right yield, and nowhere else."""

import numpy as np
import pytest

from l1scout.analysis.common.lines import NO_PEAK, NOT_FITTED, PEAK, envelope, find_lines, upper_limit
from l1scout.analysis.common.mass_lines import GROUPS, LINES, RANGES, WINDOWS, known_lines
from l1scout.analysis.common.pair_masses import Masses, PairCuts
from l1scout.analysis.common.templates import Template
from l1scout.io import read_events
from l1scout.simulate.dimuons import DEFAULT_SHARES, KINDS, Pairs, simulate_dimuons
from l1scout.simulate.run import Running, simulate_run

LOW, HIGH = RANGES["low"], RANGES["high"]


def axis(line):
    return HIGH if line == "Z" else LOW


WIDTHS = {
    "offline": dict(zip(LINES, (0.012, 0.025, 0.03, 0.07, 0.072, 0.074, 1.8), strict=True)),
    "L1": dict(zip(LINES, (0.4, 0.4, 0.44, 0.8, 0.85, 0.9, 15.0), strict=True)),
}
"""GeV, of the Gaussians below."""


def window(line, kind="offline"):
    return next(w for g, w in zip(GROUPS, WINDOWS[kind], strict=True) if line in g)


def look(line, masses, kind="offline", group=None, **options):
    edges = axis(line)
    templates = {n: Template.gaussian(LINES[n], WIDTHS[kind][n]) for n in group or (line,)}
    counts = np.histogram(masses, edges)[0]
    return find_lines(edges, counts, window(line, kind), templates, **options)[line]


def continuum(random, line, n, kind="offline"):
    """Power law over more than the window of a line: n entries inside it."""
    low, high = window(line, kind)
    u = random.random(n)
    return (low**-0.4 + u * (high**-0.4 - low**-0.4)) ** (-1 / 0.4)


@pytest.mark.parametrize("line", list(LINES))
def test_planted_lines_are_found_with_their_yield(line):
    """Beside neighbours that are there as well."""
    random, pulls = np.random.default_rng(1), []
    group = next(g for g in GROUPS if line in g)
    for _ in range(3):
        planted = [random.normal(LINES[n], WIDTHS["offline"][n], random.poisson(800)) for n in group]
        found = look(line, np.r_[continuum(random, line, 6000), *planted], group=group)
        assert found.status == PEAK, found.reason
        assert found.significance > 8
        error = np.hypot(found.entries.error, found.systematic)
        pulls.append((found.entries.value - 800) / error)
        position = found.fit.position(found.index)
        assert position.value == pytest.approx(LINES[line], abs=5 * position.error)
    assert np.abs(pulls).max() < 4
    assert abs(np.mean(pulls)) < 2.3


@pytest.mark.parametrize("line", list(LINES))
def test_nothing_is_found_in_a_continuum(line):
    """And the yield is 0 or more, with a limit."""
    random = np.random.default_rng(2)
    for kind in ("offline", "L1"):
        if (kind, line) == ("L1", "φ"):
            continue
        for n in (300, 6000):
            found = look(line, continuum(random, line, n, kind), kind)
            assert found.status == NO_PEAK
            assert "significance" in found.reason
            assert found.entries.value >= 0
            assert 0 < found.limit < n


def test_limits_hold():
    """A yield that is no peak is below the limit in 95 % of the cases, or more."""
    random, above = np.random.default_rng(3), 0
    for _ in range(20):
        masses = np.r_[continuum(random, "J/ψ", 4000), random.normal(LINES["J/ψ"], 0.025, 40)]
        found = look("J/ψ", masses)
        above += not found.detected and found.limit < 40
    assert above <= 4


def test_upper_limits():
    """CLs: the Gaussian's 95 % point far above 0; -ln 0.05 in the units of its slope far below."""
    assert upper_limit(100.0, 10.0) == pytest.approx(116.4, abs=0.1)
    assert upper_limit(0.0, 10.0) == pytest.approx(19.6, abs=0.1)
    assert 0 < upper_limit(-30.0, 10.0) < 10.0


def test_backgrounds_that_describe_alike_widen_the_error():
    measured, systematic = envelope([100.0, 130.0, 500.0], [10.0, 10.0, 10.0], [50.0, 50.0, 60.0])
    assert measured.value == 100
    assert np.hypot(measured.error, systematic) == pytest.approx(25)  # from 90 to 140
    assert envelope([100.0, 130.0], [10.0, 10.0], [50.0, 60.0])[1] == 0


def test_lines_that_are_not_separated_are_one():
    """With the resolution of L1 values there is one yield of all Upsilons, which includes the others."""
    random = np.random.default_rng(9)
    planted = [random.normal(LINES[n], 0.8, k) for n, k in (("Υ", 1500), ("Υ(2S)", 500), ("Υ(3S)", 300))]
    masses = np.r_[continuum(random, "Υ", 8000, "L1"), *planted]
    shares = {"Υ": 1.5, "Υ(2S)": 0.5, "Υ(3S)": 0.3}
    group = tuple(shares)
    found = {line: look(line, masses, "L1", group, shares=shares) for line in group}
    assert found["Υ"].detected
    error = np.hypot(found["Υ"].entries.error, found["Υ"].systematic)
    assert found["Υ"].entries.value == pytest.approx(2300, abs=4 * error)
    assert "Υ(2S), Υ(3S)" in found["Υ"].reason
    assert {found[n].status for n in group[1:]} == {NOT_FITTED}


def test_a_neighbour_does_not_take_the_place_of_a_line():
    """A line of 44 sigma once had 9: without it, its neighbour moved by nine times what it may."""
    random = np.random.default_rng(12)
    planted = [random.normal(LINES[n], WIDTHS["L1"][n], k) for n, k in (("J/ψ", 9000), ("ψ(2S)", 300))]
    masses = np.r_[continuum(random, "J/ψ", 12_000, "L1"), *planted]
    found = look("J/ψ", masses, "L1", ("J/ψ", "ψ(2S)"))
    assert found.status == PEAK
    assert found.significance > 30


def test_a_line_as_wide_as_the_continuum_is_not_fitted():
    """By its simulated shape, whatever the data are: a quarter of its mass is the limit."""
    random = np.random.default_rng(10)
    masses = np.r_[continuum(random, "Z", 6000, "L1"), random.normal(91.2, 20.0, 2000)]
    counts = np.histogram(masses, HIGH)[0]
    for width, fitted in ((20.0, True), (25.0, False)):
        found = find_lines(HIGH, counts, window("Z", "L1"), {"Z": Template.gaussian(91.2, width)})["Z"]
        assert (found.status == PEAK) == fitted
        if not fitted:
            assert found.status == NOT_FITTED
            assert "25 GeV wide" in found.reason


def test_a_background_does_not_take_the_place_of_a_wide_line():
    """A polynomial of four terms bends to a bump of two widths: so a line of 18 sigma once had 3."""
    random = np.random.default_rng(11)
    masses = np.r_[continuum(random, "J/ψ", 2500, "L1"), random.normal(3.1, 0.65, 800)]
    counts = np.histogram(masses, LOW)[0]
    found = find_lines(LOW, counts, (1.9, 7.0), {"J/ψ": Template.gaussian(3.1, 0.65)})["J/ψ"]
    assert found.status == PEAK, found.reason
    assert found.entries.value == pytest.approx(800, abs=4 * np.hypot(found.entries.error, found.systematic))


def test_windows_begin_above_the_tails_of_lighter_lines():
    """The phi as the trigger measures it reaches into the window of the J/psi; its tail is no J/psi."""
    random = np.random.default_rng(12)
    phi = 0.6 + random.exponential(0.8, 4000)
    spectrum = {"raw": {"low": np.histogram(np.r_[continuum(random, "J/ψ", 4000, "L1"), phi], LOW)[0]}}
    shapes = {n: Template.gaussian(LINES[n], WIDTHS["L1"][n]) for n in LINES}
    narrow, wide = (
        known_lines(spectrum, {}, lambda s=s: {"raw": shapes | {"φ": s}})["raw", "J/ψ"]
        for s in (shapes["φ"], Template.of_counts(LOW, np.histogram(phi, LOW)[0]))
    )
    assert narrow.fit.window[0] == pytest.approx(1.4, abs=0.11)
    assert wide.fit.window[0] == pytest.approx(np.quantile(phi, 0.84), abs=0.11)
    assert wide.status == NO_PEAK


def test_pairs_selected_by_their_offline_mass_make_no_peak():
    """Open data cut to 9.0 to 9.7 GeV: in L1 values a peak, also where it is flat offline."""
    random = np.random.default_rng(13)
    flat = random.uniform(8.983, 9.746, 5000)
    shapes = {n: Template.gaussian(LINES[n], WIDTHS["L1"][n]) for n in LINES}

    def found(masses):
        smeared = random.normal(masses, 0.8)
        spectra = {
            name: {span: np.histogram(m, edges)[0] for span, edges in RANGES.items()}
            for name, m in (("raw", smeared), ("offline", masses))
        }
        return known_lines(spectra, {}, lambda: {"raw": shapes, "offline": {}})["raw", "Υ"]

    assert found(flat).status == NOT_FITTED
    assert "of the offline pairs are within" in found(flat).reason
    beside = continuum(random, "Υ", 6000, "L1")
    assert found(np.r_[beside, random.normal(9.46, 0.07, 2000)]).status == PEAK


def test_a_step_is_no_peak():
    """As the threshold of a trigger makes one."""
    random = np.random.default_rng(4)
    masses = np.r_[random.uniform(1.4, 3.0, 4000), random.uniform(3.0, 7.0, 20_000)]
    assert not look("J/ψ", masses, "L1").detected


def test_a_spectrum_that_ends_in_the_window():
    """Files of open data are cut at some masses: the fit ends there."""
    random = np.random.default_rng(5)
    flat = random.uniform(8.983, 9.746, 8000)
    assert not look("Υ", flat).detected
    found = look("Υ", np.r_[flat, random.normal(9.46, 0.06, 3000)])
    assert found.detected
    assert found.entries.value == pytest.approx(3000, abs=4 * np.hypot(150, found.systematic))


def test_no_more_entries_than_pairs():
    """Wide bumps of a few pairs once gave -12,290 +- 587 entries."""
    random = np.random.default_rng(6)
    for n in (60, 200, 1525):
        for sigma in (0.5, 1.5, 3.0):
            found = look("Υ", random.normal(9.5, sigma, n), "L1")
            assert not found.limit > n + 2 * np.sqrt(n)
            if found.detected:
                assert 0 < found.entries.value < 1.1 * n


def test_a_peak_elsewhere_is_not_the_line():
    """Upsilons through the trigger once made a peak of some of them at 7.5 GeV."""
    random = np.random.default_rng(8)
    masses = np.r_[continuum(random, "Υ", 6000, "L1"), random.normal(8.4, 0.8, 1500)]
    assert not look("Υ", masses, "L1").detected
    masses = np.r_[continuum(random, "Υ", 6000, "L1"), random.normal(9.3, 0.8, 1500)]
    assert look("Υ", masses, "L1").detected


def test_what_same_sign_pairs_have_too_is_no_resonance():
    random = np.random.default_rng(7)
    bump = [np.r_[continuum(random, "J/ψ", 6000), random.normal(3.1, 0.025, 900)] for _ in range(2)]
    assert look("J/ψ", bump[0]).detected
    found = look("J/ψ", bump[0], same_sign=np.histogram(bump[1], LOW)[0])
    assert "same sign" in found.reason
    smooth = np.histogram(continuum(random, "J/ψ", 6000), LOW)[0]
    assert look("J/ψ", bump[0], same_sign=smooth).detected


def spectra(chunks, **cuts):
    state = Masses(cuts=PairCuts(**cuts))
    for events in chunks:
        state.add(events)
    return state


@pytest.mark.parametrize("seed", [1, 2])
def test_simulated_pairs(seed):
    """Without phi no phi; what is there is found offline, and nothing anywhere in a continuum."""
    shares = dict(DEFAULT_SHARES) | {"phi": 0.0, "psi(2S)": 0.01}
    chunks = list(simulate_dimuons(seed, 25_000, Pairs(shares)))
    state = spectra(chunks, min_pair_pt=8.0)
    rows = {(r["muons"], r["line"]): r for r in state.peaks()}
    assert {("offline", "φ"), ("raw", "φ")} <= {(r["muons"], r["line"]) for r in state.not_detected()}
    kinds = np.concatenate([e.offline["kind"][::2][state.masses(e)["offline"][1]] for e in chunks])
    for line, kind in (("J/ψ", "J/psi"), ("ψ(2S)", "psi(2S)"), ("Υ", "Upsilon(1S)")):
        row = rows["offline", line]
        planted = np.count_nonzero(kinds == KINDS.index(kind))
        error = np.hypot(row["entries_stat"], row["entries_syst"])
        assert row["entries"] == pytest.approx(planted, abs=4 * error)
        assert error < 0.25 * planted
    nothing = spectra(simulate_dimuons(seed, 20_000, Pairs({"continuum": 1.0})), min_pair_pt=8.0)
    assert nothing.peaks() == []


def test_pairs_of_unrelated_muons():
    """Crossings with several muons each: no line in any spectrum."""
    running = Running(occupancy=0.6, intermediate=0.0)
    state = spectra((p.muons for p in simulate_run(1, 40, running=running)), max_eta=2.4, barrel=False)
    assert state.counts["raw"]["same"]["high"].sum() > 3000
    assert state.peaks() == []
    rows = state.not_detected()
    assert [r["line"] for r in rows] == list(LINES)
    assert all(r["note"] for r in rows)
    assert rows[0]["status"] == NOT_FITTED  # no phi from L1 values


def test_real_pairs(shared_data):
    """Real phi and Upsilon are there, and lines outside the files' ranges of mass are not."""
    for name, line in (("peakdata3.csv", "Υ"), ("peakdata4.csv", "φ"), ("peakdata5.csv", "")):
        for cuts in ({"min_pair_pt": 8.0}, {"max_eta": 2.4}):
            state = spectra(read_events(shared_data / "opendata-dimuon" / name), **cuts)
            found = {r["line"]: r for r in state.peaks()}
            assert set(found) == ({line} if line else set()), name
            for row in found.values():
                assert row["position_gev"] == pytest.approx(LINES[line], rel=0.005)
                assert 0 < row["entries"] < state.counts["offline"]["opposite"]["low"].sum()
                assert row["p_value"] > 0.001
