"""Data quality by lumisection: false alarms are as rare as was set, planted faults are found at once."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom, hypergeom, poisson

from l1scout.analysis.common.live_time import Section
from l1scout.core.provenance import Provenance
from l1scout.errors import InputError
from l1scout.io.selection import read_golden
from l1scout.lhc import LUMISECTION_S, colliding
from l1scout.monitor.live_histograms import LiveHistograms
from l1scout.monitor.quality_alarms import FILE, QualityAlarms
from l1scout.quality.drift import MEAN_TIMES, ShiftDetector, beside_trains, count_pull, mean_pull
from l1scout.quality.histogram_file import SavedHistograms, saved_file
from l1scout.quality.pulls import compare_histograms, log_tail
from l1scout.quality.quality_flag import QualityFlag, alarms, golden, summary
from l1scout.quality.section_quality import SECTIONS_PER_DAY, SectionQuality
from l1scout.quality.stream_histograms import empty_counts
from toy_sections import FAULTS, ToyConditions, ToyRun

SMALL = {"muon": ("quality", "charge"), "gt": ("algorithm",)}
"""Few bins, so that a day is drawn in seconds."""
SPARSE = np.geomspace(0.02, 20, 400)
FILLED = np.array([3000.0, 9000.0])
MAP = np.full((20, 30), 0.3)
"""Expected entries of histograms."""


@pytest.mark.parametrize(("n", "n_reference"), [(50, 500), (2_000, 30_000), (300_000, 3_000_000)])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.3])
@pytest.mark.parametrize("sigmas", [0, 3, 7])
def test_tails_are_those_of_fishers_exact_test(n, n_reference, share, sigmas):
    before = int(n_reference * share)
    seen = int(n * share + sigmas * np.sqrt(n * share))
    exact = hypergeom.logsf(seen - 1, n + n_reference, seen + before, n)
    assert log_tail(seen, n, before + 1, n_reference - before) == pytest.approx(exact, abs=0.01)


def test_tails_are_beta_binomial():
    k = np.arange(0, 40)
    assert np.allclose(np.exp(log_tail(k, 60, 3.5, 20.0)), betabinom.sf(k - 1, 60, 3.5, 20.0), rtol=1e-6)
    assert log_tail([0, 61, 5], 60, 3.0, [9.0, 9.0, 0.0]).tolist() == [0.0, -np.inf, 0.0]


@pytest.mark.parametrize("expected", [SPARSE, FILLED, MAP], ids=["sparse", "filled", "map"])
def test_p_values_of_histograms_are_as_they_should_be(expected):
    """Of 1000 clean histograms, as many as chance allows are below each level; with enough bins, no fewer."""
    rng, n = np.random.default_rng(3), 1000
    tests = (compare_histograms(rng.poisson(expected), rng.poisson(16 * expected), 0.0) for _ in range(n))
    p = np.exp([test.log_p for test in tests])
    for level in (0.05, 0.02):
        below = np.count_nonzero(p <= level)
        assert below <= poisson.ppf(0.9999, n * level)
        assert below >= poisson.ppf(0.0001, n * level * 0.6)


def test_a_bin_with_few_entries_is_seen_beside_many_that_scatter():
    rng = np.random.default_rng(8)
    expected = np.r_[np.full(3000, 100.0), 0.01]
    seen, reference = rng.poisson(expected), rng.poisson(16 * expected)
    seen[-1], reference[-1] = 7, 0
    found = compare_histograms(seen, reference)
    assert (found.bins, found.log_p < np.log(1e-4)) == ({0: 3000}, True)


def test_bins_that_are_the_same_are_tested_once():
    """A map in which each ring lies in one track finder is no other than the map of the rings."""
    rng = np.random.default_rng(1)
    rings = rng.poisson(3.0, (8, 12)), rng.poisson(48.0, (8, 12))
    maps = []
    for ring in rings:
        made = np.zeros((2, 8, 12), np.int64)
        made[0, :4], made[1, 4:] = ring[:4], ring[4:]
        maps.append(made)
    one, other = compare_histograms(*rings, 0.0), compare_histograms(*maps, 0.0)
    assert one.log_p > np.log(0.1)
    assert other.log_p == pytest.approx(one.log_p, abs=0.3)  # sums over rings by finder are tested besides


def test_the_floor_allows_for_one_per_cent():
    reference = np.full(10, 100_000_000)
    changed = reference // 10
    changed[3] = changed[3] * 1.01
    assert compare_histograms(changed, reference).log_p > np.log(0.01)
    changed[3] = changed[3] * 1.1
    assert compare_histograms(changed, reference).log_p < np.log(1e-9)


def test_a_row_of_a_map_is_seen_where_no_bin_is():
    reference = np.full((12, 400), 40)
    seen = np.full((12, 400), 4)
    seen[5] = 3  # 25 % fewer of 1600
    found = compare_histograms(seen, reference)
    assert found.bins == {0: 5}
    assert (found.observed, found.log_p < np.log(1e-9)) == (1200.0, True)


@pytest.mark.parametrize("window", [None, 16, 4])
def test_false_alarms_of_a_detector_are_as_rare_as_stated(window):
    """Mean time to a false alarm: 100 lumisections, over 10 000 of pure noise."""
    detector, found, before, n = ShiftDetector(1 / 100, window), 0, [], 10_000
    for x in np.random.default_rng(1).normal(size=n):
        known = before if window is None else before[-window:]
        if len(known) >= 4:
            new = detector.update((x - np.mean(known)) / np.sqrt(1 + 1 / len(known)))
            found += new
            if new:
                detector.restart()
                continue
        before = [*before, x][-100:]
    assert poisson.ppf(0.0001, n / 100) <= found <= poisson.ppf(0.9999, n / 100)


def test_thresholds_of_rare_alarms_are_on_the_safe_side():
    """Beyond the table they rise by as much as the bound does; nowhere are they above it."""
    for window, known in MEAN_TIMES.items():
        at = [ShiftDetector(np.exp(-time), window).threshold for time in (*known, known[-1] + 2)]
        assert at == pytest.approx([*range(1, len(known) + 1), len(known) + 2])
        assert all(threshold < time for threshold, time in zip(at, known, strict=False))


@pytest.mark.parametrize(("shift", "most"), [(1.0, 40), (2.0, 14), (5.0, 4)])
def test_a_detector_finds_a_shift_its_beginning_and_its_end(shift, most):
    rng = np.random.default_rng(5)
    detector = ShiftDetector(1e-5)
    assert not any(detector.update(z) for z in rng.normal(size=200))
    delays = next(k for k in range(100) if detector.update(shift + rng.normal()))
    assert delays < most
    assert detector.since <= delays + 4
    assert next(k for k in range(100) if not detector.update(rng.normal())) < 20


def test_pulls_of_means_and_counts_have_unit_width():
    rng = np.random.default_rng(2)
    shape, values = np.geomspace(400, 1, 50), np.log(np.arange(1, 51.0))
    means, counts = [], []
    for _ in range(1000):
        now, reference = rng.poisson(shape), rng.poisson(8 * shape)
        means.append(mean_pull(now, reference, values))
        counts.append(count_pull(now.sum(), 1.0, reference.sum(), 8.0))
    for pulls in (means, counts):
        assert abs(np.mean(pulls)) < 0.15
        assert 0.9 < np.std(pulls) < 1.1
    assert mean_pull(np.ones(50), shape, values) is None
    assert count_pull(5, 1.0, 700, 8.0) is None


def test_trains_are_found():
    occupied = np.zeros(3565)
    occupied[colliding("2018")] = 1000
    before, after = beside_trains(occupied)
    assert set(before) == {b - 1 for b in colliding("2018")} - set(colliding("2018"))
    assert set(after) == {b + 1 for b in colliding("2018")} - set(colliding("2018"))
    assert not beside_trains(np.zeros(10))[0].size


def test_a_clean_quarter_of_a_day_has_as_many_false_alarms_as_were_set():
    """With 80 a day and no floor: as many as chance explains."""
    quality = SectionQuality(80.0, tolerance=0.0)
    found = alarms(ToyRun(11, only=SMALL).draw(quality, round(SECTIONS_PER_DAY / 4)))
    assert quality.tests == 3
    assert quality.alpha == pytest.approx(80 / 3 / 3706.6, rel=1e-3)
    assert poisson.ppf(0.001, 20) <= len(found) <= poisson.ppf(0.999, 20)


def test_checks_that_have_too_few_entries_take_no_share_of_the_false_alarms():
    quality = SectionQuality(20.0)
    rare = {"muon": {"occupied_bx": np.r_[np.zeros(3564, np.int64), 5]}}
    for k in range(1, 9):
        assert quality.check(Section(1, k), rare, {"muon": 10}) == []
    assert quality.tests == 1  # neither rate nor timing can be tested
    assert quality.alpha == pytest.approx(20 / SECTIONS_PER_DAY)


@pytest.mark.parametrize(
    ("fault", "check", "sections"),
    [
        ("hot cell of the jet map", "jet/eta_phi", 1),
        ("dead sector", "muon/finder_eta_phi", 1),
        ("timing", "muon/occupied_bx", 1),
        ("pT scale", "muon/mean_pt", 4),
        ("luminosity step", "muon/rate", 2),
        ("stuck trigger bit", "gt/algorithm", 1),
    ],
)
def test_planted_faults_are_found(fault, check, sections):
    quality, run = SectionQuality(), ToyRun(21)
    assert run.draw(quality, 25) == []
    _, change = FAULTS[fault]
    run.set(change(run.conditions))
    found = [flag for flag in run.draw(quality, sections) if flag.check == check]
    assert found
    first = found[0]
    assert first.begins
    assert first.first_section >= 24
    assert first.section <= 25 + sections
    assert (first.section - 25) * LUMISECTION_S <= sections * 23.4
    text = first.text
    assert f"run 1, lumisection {first.section}" in text
    assert check in text
    if fault == "dead sector":
        assert "BMTF, phi 2.62 to 3.14: 0 muons" in text
    if fault == "stuck trigger bit":
        assert "algorithm 80:" in text


def test_flagged_lumisections_stay_out_of_the_reference_until_conditions_have_changed_for_good():
    quality, run = SectionQuality(), ToyRun(4, only={"gt": ("algorithm",)})
    run.draw(quality, 10)
    _, change = FAULTS["stuck trigger bit"]
    run.set(change(run.conditions))
    found = run.draw(quality, 60)
    assert [flag.section for flag in found] == list(range(11, 43))
    assert len(alarms(found)) == 1
    assert [(row["first"], row["last"]) for row in summary(found)] == [(11, 42)]


def saved_toy(sections=40, only=None):
    """Histograms of a clean run of toys, as the monitor saves them."""
    shapes = ToyRun(30, only=only)._shapes
    rng = np.random.default_rng(30)
    counts = {s: {n: rng.poisson(sections * c) for n, c in of.items()} for s, of in shapes.items()}
    counts = {s: empty_counts(s) | of for s, of in counts.items()}
    return SavedHistograms([6], "simulated", dict.fromkeys(counts, sections << 18), counts, {})


def test_a_fault_from_the_beginning_is_found_by_comparison_with_another_run():
    conditions = FAULTS["dead sector"][1](ToyRun(1).conditions)
    assert not ToyRun(2, conditions).draw(SectionQuality(), 3)
    flags = ToyRun(2, conditions).draw(SectionQuality(reference=saved_toy()), 3)
    assert {(f.check, f.section) for f in flags} == {("muon/finder_eta_phi", k) for k in (1, 2, 3)}
    assert [f.begins for f in flags] == [True, False, False]


def test_another_luminosity_than_that_of_the_reference_is_no_fault():
    quality = SectionQuality(reference=saved_toy())
    assert not ToyRun(3, ToyConditions(luminosity=0.5)).draw(quality, 12)
    assert quality.tests > 10


def test_a_reference_is_a_file_or_the_number_of_a_saved_run():
    assert saved_file(Path("7"), Path("folder")) == Path("folder/run000007.root")
    assert saved_file(Path("7.root"), Path("folder")) == Path("7.root")


def test_a_run_without_entries_or_another_run_is_no_fault():
    quality = SectionQuality()
    empty = {"muon": {"pt": np.zeros(512, np.int64), "occupied_bx": np.zeros(3565, np.int64)}}
    for k in range(1, 9):
        assert quality.check(Section(1, k), empty, {"muon": 0}) == []
    assert quality.tests == 0
    ToyRun(1, only=SMALL).draw(quality, 6)
    assert not ToyRun(2, FAULTS["stuck trigger bit"][1](ToyRun(1).conditions), only=SMALL, run=2).draw(
        quality, 6
    )
    with pytest.raises(InputError, match="above 0, not 0"):
        SectionQuality(0)


def flag(section, first, begins=True, run=7):
    return QualityFlag(run, section, first, "muon/pt", "what", "", None, -30.0, begins, "?view=physics")


def test_golden_lumisections_leave_out_flags_back_to_their_beginning(tmp_path):
    sections = [Section(7, k) for k in (1, 2, 3, 4, 5, 6, 8)] + [Section(8, 1)]
    found = golden(sections, [flag(4, 3)])
    assert found == {"7": [[1, 2], [5, 6], [8, 8]], "8": [[1, 1]]}
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(found))
    assert read_golden(path)


def test_the_monitor_raises_alarms_on_page_log_and_file(tmp_path, monkeypatch):
    live, lines = LiveHistograms(Provenance("test")), []
    watch = QualityAlarms(live, lambda event, **values: lines.append((event, values)), tmp_path)
    assert live.watchers == [watch]
    monkeypatch.setattr(watch.quality, "check_section", lambda *_: [flag(9, 8), flag(9, 9, begins=False)])
    for watcher in live.watchers:
        watcher(live.histograms, Section(7, 9))
    (alarm,) = live.status()["alarms"]
    assert alarm["text"].startswith("run 7, lumisection 9 (since 8): muon/pt: what; p = 1e-13")
    assert alarm["link"] == "?view=physics"
    assert len(watch.raised) == 2  # in the status and its metric while they last
    assert lines == [("data quality", {"level": "warning", "what": alarm["text"]})]
    (line,) = (tmp_path / FILE).read_text().splitlines()
    assert {"run": 7, "section": 9, "first_section": 8, "check": "muon/pt"}.items() <= json.loads(
        line
    ).items()
