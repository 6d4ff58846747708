"""Masses: kinematics, spectra by sign, peaks planted in a continuum, and real open-data pairs."""

from types import SimpleNamespace

import numpy as np
import pytest

from l1scout.analysis.common.categories import Shape, fit_categories
from l1scout.analysis.common.mass_backgrounds import MassBackground
from l1scout.analysis.common.mass_lines import RANGES
from l1scout.analysis.common.pair_masses import (
    MASS_ERRORS,
    Masses,
    PairCuts,
    invariant_mass,
    mass_error,
)
from l1scout.analysis.common.peaks import fit_lines, spread
from l1scout.analysis.common.templates import Template
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.io import read_events
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.dimuons import KINDS, RESONANCES, Pairs, simulate_dimuons

LOW = RANGES["low"]


def test_mass_of_a_known_pair():
    def of(pt, eta, phi):
        return np.array([pt]), np.array([eta]), np.array([phi])

    back_to_back = invariant_mass(of(45.594, 0, 1.0), of(45.594, 0, 1.0 - np.pi))
    assert back_to_back[0] == pytest.approx(91.188, abs=1e-3)
    at_rest = invariant_mass(of(10, 0.5, -3.1), of(10, 0.5, -3.1))
    assert at_rest[0] == pytest.approx(2 * 0.1056584, abs=1e-4)


def pairs_of(shares, n=20_000, seed=1):
    return list(simulate_dimuons(seed, n, Pairs(shares)))


def test_simulated_resonances_decay_as_they_should():
    """Offline masses have the resonances' place; muons are isotropic in the pair's rest frame."""
    for name in ("J/psi", "Upsilon(1S)", "Z"):
        (events,) = pairs_of({name: 1.0})
        mass, rows = Masses().masses(events)["offline"]
        found = spread(mass)
        assert found.middle.value == pytest.approx(RESONANCES[name].mass, rel=0.004)
        assert len(set(rows.tolist())) == rows.size
        assert set(events.offline["kind"]) == {KINDS.index(name)}
        both = events.offline["recoPt"].reshape(-1, 2)
        assert np.all(events.offline["recoCharge"].reshape(-1, 2).sum(axis=1) == 0)
        assert both.min() > 2.5
    (z,) = pairs_of({"Z": 1.0})
    pt, charge = z.offline["recoPt"], z.offline["recoCharge"]
    assert np.median(pt[charge > 0]) == pytest.approx(np.median(pt[charge < 0]), rel=0.02)


def test_the_trigger_widens_a_peak_and_shifts_it():
    """The simulation's own numbers, J/psi 3.03 +- 0.66 GeV and Upsilon 9.4 +- 1.1, at other seeds."""
    state = Masses(cuts=PairCuts(min_pair_pt=8))
    for name, middle, half in (("J/psi", 3.03, 0.66), ("Upsilon(1S)", 9.4, 1.11)):
        (events,) = pairs_of({name: 1.0})
        found = spread(state.masses(events)["raw"][0])
        assert found.middle.value == pytest.approx(middle, rel=0.05)
        assert found.half_width.value == pytest.approx(half, rel=0.2)


class Perfect:
    """A recalibration that knows the truth."""

    def __init__(self, events):
        kept = events.muons
        row, order = kept.row, np.arange(kept.n_objects)
        both = np.bincount(row, minlength=len(kept)) == 2
        keep = both[row]
        self.keep, self.order = keep, order
        pair = np.repeat(np.flatnonzero(both), 2) * 2 + np.tile([0, 1], both.sum())
        self.values = [np.asarray(events.offline[f"reco{k}"], float)[pair] for k in ("Pt", "Eta", "Phi")]

    def __call__(self, columns):
        pt, eta, phi = self.values

        class Answer:
            pass

        answer = Answer()
        answer.pt, answer.eta, answer.phi = pt, eta, phi
        return answer


def test_recalibrated_values_make_their_own_spectrum():
    (events,) = pairs_of({"J/psi": 1.0}, 4000)
    two = events.muons.counts == 2
    l1 = events.muons.select(two[events.muons.row], drop_empty=False)
    state = Masses({"perfect": Perfect(events)}, PairCuts(max_eta=9.0))
    state.add(OrbitData.of_muons(l1, events.offline))
    raw, perfect = (state.counts[n]["opposite"]["low"] for n in ("raw", "perfect"))
    at = np.searchsorted(LOW, 3.097) - 1
    assert perfect[at - 4 : at + 5].sum() > 0.95 * perfect.sum()
    assert raw[at - 4 : at + 5].sum() < 0.3 * raw.sum()


def test_signs_and_cuts():
    columns = {
        "hwPt": np.array([21, 41, 21, 21]),
        "hwEtaAtVtx": np.array([0, 10, 0, 60]),
        "hwPhiAtVtx": np.array([0, 40, 0, 100]),
        "hwCharge": np.array([0, 1, 0, 0]),
        "hwQual": np.array([12, 12, 12, 8]),
        "tfMuonIndex": np.array([40, 40, 40, 40]),
    }
    batch = OrbitBatch(np.zeros(2, int), np.array([5, 9]), np.array([0, 2, 4]), columns)
    state = Masses()
    state.add(batch)
    assert {s: c["high"].sum() for s, c in state.counts["raw"].items()} == {"opposite": 1, "same": 1}
    for cuts in (PairCuts(min_quality=12), PairCuts(max_eta=0.5), PairCuts(min_pt=12)):
        state = Masses(cuts=cuts)
        state.add(batch)
        expected = {"opposite": int(cuts.min_pt == 0), "same": 0}
        assert {s: c["high"].sum() for s, c in state.counts["raw"].items()} == expected
    state = Masses(cuts=PairCuts(min_pair_pt=28))
    state.add(batch)
    assert state.counts["raw"]["opposite"]["high"].sum() == 1  # 10 and 20 GeV, 25 degrees apart
    with pytest.raises(InputError, match="hwEtaAtVtx"):
        state.add(OrbitBatch.from_objects([0], [5], {"hwPt": np.array([9])}))


def background(random, n):
    return 0.5 + random.exponential(4.0, n)


def fit_peak(counts, window, template, degree=2, edges=LOW, **options):
    inside = np.flatnonzero((edges[:-1] > window[0] - 1e-6) & (edges[1:] < window[1] + 1e-6))
    cut = edges[inside[0] : inside[-1] + 2]
    return fit_lines(cut, counts[inside], [template], MassBackground("exponential", degree), **options)


def test_peak_fits_have_pulls_of_unit_width():
    """Yield, position and width, the latter two free; the fit adds up to what was counted."""
    random, pulls, goodness = np.random.default_rng(1), [], []
    for _ in range(25):
        peak = random.normal(9.4, 0.6, random.poisson(3000))
        counts, _ = np.histogram(np.r_[peak, background(random, 60_000)], LOW)
        found = fit_peak(counts, (5, 14), Template.gaussian(9.0, 0.8), free=True)
        assert found.valid
        assert found.expected(LOW[500:1401]).sum() == pytest.approx(found.counted, rel=1e-3)
        goodness.append(found.goodness)
        at, width, entries = found.position(0), found.width(0), found.entries[0]
        for measured, true in ((at, 9.4), (width, 0.6), (entries, 3000)):
            pulls.append((measured.value - true) / measured.error)
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(75))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(150))
    assert np.mean(goodness) == pytest.approx(1, abs=4 * np.sqrt(2 / 894 / 25) + 0.02)


def test_too_few_pairs_are_not_fitted():
    with pytest.raises(InputError, match="too few"):
        fit_peak(np.zeros(LOW.size - 1, np.int64), (2, 5), Template.gaussian(3.1, 0.4))


def test_templates():
    """A template of a spectrum has its shape; scaled and stretched it moves and widens."""
    random = np.random.default_rng(3)
    masses = random.normal(9.4, 0.6, 50_000)
    template = Template.of_counts(LOW, np.histogram(masses, LOW)[0])
    assert template.entries == 50_000
    assert template.position == pytest.approx(9.4, abs=0.02)
    assert template.width == pytest.approx(0.6, rel=0.03)
    gaussian = Template.gaussian(9.4, 0.6)
    edges = np.linspace(7, 12, 26)
    for scale, stretch in ((1.0, 1.0), (1.1, 1.0), (1.0, 1.5)):
        share = template.share(edges, scale, stretch)
        assert share == pytest.approx(gaussian.share(edges, scale, stretch), abs=0.006)
        moved = Template.gaussian(9.4 * scale, 0.6 * stretch).share(edges)
        assert gaussian.share(edges, scale, stretch) == pytest.approx(moved, abs=1e-3)
    both = Template.mixture([gaussian, Template.gaussian(5.0, 0.5)], [3.0, 1.0])
    assert both.share(np.array([0.0, 7.0, 20.0])) == pytest.approx([0.25, 0.75], abs=1e-3)


def test_mass_error_is_that_of_small_changes():
    """Against masses of muons that are moved by what they are uncertain."""
    random, n = np.random.default_rng(4), 500
    at = np.stack([random.uniform(3, 40, 2 * n), *random.uniform(-1, 1, (2, 2 * n))]).reshape(3, 2, n)
    sigma = np.stack([0.1 * at[0], *random.uniform(0.001, 0.1, (2, 2, n))])
    square = 0.0
    for what in range(3):
        for muon in range(2):
            step = np.zeros_like(at)
            step[what, muon] = 1e-4 * sigma[what, muon]
            up, down = (invariant_mass(m[:, 0], m[:, 1]) for m in (at + step, at - step))
            square = square + ((up - down) / 2e-4) ** 2
    found = mass_error(at[:, 0], at[:, 1], sigma[:, 0], sigma[:, 1])
    assert found == pytest.approx(np.sqrt(square) / invariant_mass(at[:, 0], at[:, 1]), rel=1e-3)
    massless = (
        (np.array([20.0]), np.array([0.4]), np.array([1.0])),
        (np.array([30.0]), np.array([-0.3]), [-2.0]),
    )
    one = mass_error(*massless, ([2.0], [0], [0]), ([3.0], [0], [0]))
    assert one[0] == pytest.approx(np.hypot(0.1, 0.1) / 2, rel=1e-3)  # m^2 goes as the product of both pT


class Uncertain:
    """A recalibration that changes nothing and is off by a tenth; muons below 8 GeV have no uncertainty."""

    def __call__(self, columns):
        pt, eta, phi = (f.to_physical(columns[f.name]) for f in (PT, ETA_VTX, PHI_VTX))
        pt_error = np.where(pt < 8, np.nan, 0.1 * pt)
        zero = 0 * pt
        return SimpleNamespace(pt=pt, eta=eta, phi=phi, pt_error=pt_error, eta_error=zero, phi_error=zero)


def test_pairs_are_counted_by_their_predicted_uncertainty():
    columns = {
        "hwPt": np.array([21, 41, 21, 13]),
        "hwEtaAtVtx": np.array([0, 10, 0, 60]),
        "hwPhiAtVtx": np.array([0, 288, 0, 288]),
        "hwCharge": np.array([0, 1, 0, 1]),
        "hwQual": np.full(4, 12),
        "tfMuonIndex": np.full(4, 40),
    }
    batch = OrbitBatch(np.zeros(2, int), np.array([5, 9]), np.array([0, 2, 4]), columns)
    state = Masses({"m": Uncertain()})
    for _ in range(3):
        state.add(batch)
    assert state.counts["m"]["opposite"]["high"].sum() == 6  # the second pair has no uncertainty
    assert "raw" not in state.by_error
    assert state.by_error["m"].shape == (len(MASS_ERRORS) + 1, LOW.size - 1)
    assert state.by_error["m"].sum() == 0  # 28 GeV: beyond the low range
    soft = batch.with_columns(hwPt=np.full(4, 13))
    nothing = Masses({"m": Uncertain()})
    nothing.add(soft)  # as with a model that predicts none
    assert nothing.counts["m"]["opposite"]["high"].sum() == 2
    assert nothing.by_error == {}
    columns["hwPhiAtVtx"] = np.array([0, 100, 0, 100])
    state.add(batch)
    assert state.by_error["m"].sum(axis=1).tolist() == [1, 0, 0, 0]  # 7 %, where 9 % are typical


def test_categories_fitted_together_say_more_than_their_sum():
    """Planted yields are found with pulls of unit width, and narrower than in the sum of the spectra."""
    shapes = [Shape(0.5, 3.1, 0.2), Shape(0.5, 3.0, 0.7)]
    random, pulls, gain = np.random.default_rng(5), [], []
    for _ in range(15):
        both = []
        for s in shapes:
            peak = random.normal(s.position, s.width, random.poisson(s.share * 3000))
            both.append(np.histogram(np.r_[peak, background(random, 20_000)], LOW)[0])
        found = fit_categories(LOW, np.array(both), (1.2, 6), shapes)
        pulls.append((found.entries.value - 3000) / found.entries.error)
        summed = fit_peak(np.sum(both, axis=0), (1.2, 6), Template.gaussian(3.07, 0.4)).entries[0]
        gain.append(found.significance / (summed.value / summed.error))
        one = fit_categories(LOW, np.array(both[:1]), (1.2, 6), [Shape(1.0, 3.1, 0.2)])
        alone = fit_peak(both[0], (1.2, 6), Template.gaussian(3.1, 0.2)).entries[0]
        assert one.entries.value == pytest.approx(alone.value, rel=0.01)
        assert one.entries.error == pytest.approx(alone.error, rel=0.05)
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(15))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(30))
    assert np.mean(gain) > 1.1
    with pytest.raises(InputError, match="too few"):
        fit_categories(LOW, np.zeros((2, LOW.size - 1), np.int64), (2, 5), shapes)


def test_open_data_pairs_through_the_trigger(shared_data):
    """Real J/psi and Upsilon muons: the mass offline is right, and the trigger's own is wider."""
    path = shared_data / "opendata-dimuon" / "peakdata3.csv"
    state = Masses(cuts=PairCuts(max_eta=2.4))
    real = Masses(cuts=PairCuts(max_eta=2.4))
    for events in read_events(path):
        real.add(events)
    counts = real.counts["offline"]["opposite"]["low"]
    found = fit_peak(counts, (9.0, 9.7), Template.gaussian(9.46, 0.1), free=True)
    assert found.position(0).value == pytest.approx(9.46, abs=0.05)
    assert real.simulated is None
    for events in simulate_events(1, muons=path):
        state.add(events)
    assert state.simulated is True
    assert 0 < state.counts["raw"]["opposite"]["low"].sum() < real.counts["offline"]["opposite"]["low"].sum()
