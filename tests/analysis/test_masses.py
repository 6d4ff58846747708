"""Masses: kinematics, spectra by sign, peaks planted in a continuum, and real open-data pairs."""

import numpy as np
import pytest

from l1scout.analysis.masses import RANGES, Masses, PairCuts, invariant_mass
from l1scout.analysis.peaks import fit_peak, spread
from l1scout.errors import InputError
from l1scout.io import read_events
from l1scout.orbits import Events, OrbitBatch
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
    """As the study before this project found: J/psi 3.30 +- 0.80 GeV, Upsilon 10.58 +- 1.45, raw."""
    state = Masses(cuts=PairCuts(min_pair_pt=8))
    for name, middle, half in (("J/psi", 3.35, 0.80), ("Upsilon(1S)", 10.5, 1.7)):
        (events,) = pairs_of({name: 1.0})
        found = spread(state.masses(events)["raw"][0])
        assert found.middle.value == pytest.approx(middle, rel=0.05)
        assert found.half_width.value == pytest.approx(half, rel=0.2)


class Perfect:
    """A recalibration that knows the truth."""

    def __init__(self, events):
        kept = events.l1
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
    two = events.l1.counts == 2
    l1 = events.l1.select(two[events.l1.row], drop_empty=False)
    state = Masses({"perfect": Perfect(events)}, PairCuts(max_eta=9.0))
    state.add(Events(l1, events.offline))
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


def test_peak_fits_have_pulls_of_unit_width():
    random, pulls, goodness = np.random.default_rng(1), [], []
    for _ in range(25):
        peak = random.normal(9.4, 0.6, random.poisson(3000))
        counts, _ = np.histogram(np.r_[peak, background(random, 60_000)], LOW)
        found = fit_peak(LOW, counts, (5, 14), 9.0, 0.8)
        assert found.valid
        goodness.append(found.goodness)
        for measured, true in ((found.position, 9.4), (found.width, 0.6), (found.entries, 3000)):
            pulls.append((measured.value - true) / measured.error)
    assert np.mean(pulls) == pytest.approx(0, abs=4 / np.sqrt(75))
    assert np.std(pulls) == pytest.approx(1, abs=4 / np.sqrt(150))
    assert np.mean(goodness) == pytest.approx(1, abs=4 * np.sqrt(2 / 354 / 25))


def test_significance():
    """Without a bump it is that of chance; with one, the yield over its uncertainty."""
    random, empty = np.random.default_rng(2), []
    for _ in range(40):
        counts, _ = np.histogram(background(random, 20_000), LOW)
        empty.append(fit_peak(LOW, counts, (1.6, 6), 3.1, 0.4, fixed=True).significance)
    assert np.mean(np.array(empty) > 1) == pytest.approx(0.16, abs=0.18)
    assert max(empty) < 4
    counts, _ = np.histogram(np.r_[background(random, 20_000), random.normal(3.1, 0.4, 1500)], LOW)
    found = fit_peak(LOW, counts, (1.6, 6), 3.1, 0.4, fixed=True)
    assert found.entries.value == pytest.approx(1500, abs=4 * found.entries.error)
    assert found.significance == pytest.approx(found.entries.value / found.entries.error, rel=0.15)
    assert found.significance > 8
    with pytest.raises(InputError, match="too few"):
        fit_peak(LOW, np.zeros(LOW.size - 1, np.int64), (2, 5), 3.1, 0.4)


def test_open_data_pairs_through_the_trigger(shared_data):
    """Real J/psi and Upsilon muons: the mass offline is right, and the trigger's own is wider."""
    path = shared_data / "opendata-dimuon" / "peakdata3.csv"
    state = Masses(cuts=PairCuts(max_eta=2.4))
    real = Masses(cuts=PairCuts(max_eta=2.4))
    for events in read_events(path):
        real.add(events)
    found = fit_peak(LOW, real.counts["offline"]["opposite"]["low"], (9.0, 11.0), 9.46, 0.1)
    assert found.position.value == pytest.approx(9.46, abs=0.05)
    assert real.simulated is False
    for events in simulate_events(1, muons=path):
        state.add(events)
    assert state.simulated is True
    assert 0 < state.counts["raw"]["opposite"]["low"].sum() < real.counts["offline"]["opposite"]["low"].sum()
