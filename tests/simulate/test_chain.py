"""The simulated sample as a whole: repeatable, labelled, and where the published row is."""

from itertools import islice

import numpy as np
import pytest

from l1scout.dataset.matching import match
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_LSB, MUON_2018, PHI_LSB
from l1scout.simulate.bmtf import HIGHEST_PT
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.detector import SOLENOID_FIELD
from l1scout.simulate.generator import Generated
from l1scout.simulate.kinds import HARD
from l1scout.simulate.offline import Tracker, reconstruct
from l1scout.simulate.transport import CURVATURE, Start, transport


@pytest.fixture(scope="module")
def pairs():
    """About 60k matched pairs of L1 and offline muons after the selection, as columns."""
    found = []
    for events in islice(simulate_events(5, chunk=200_000), 1):
        l1, off = events.muons, events.offline
        i, j = match(
            l1["hwEta"] * ETA_LSB,
            l1["hwPhi"] * PHI_LSB,
            l1.offsets,
            off["recoEtaSt2"],
            off["recoPhiSt2"],
            off.offsets,
        )
        keep = (l1["hwPt"][i] >= 6) & (l1["hwPt"][i] <= 90) & (np.abs(l1["hwEta"][i] * ETA_LSB) <= 0.85)
        i, j = i[keep], j[keep]
        found.append({n: l1[n][i] for n in l1.columns} | {n: off[n][j] for n in off.columns})
    return {n: np.concatenate([f[n] for f in found]) for n in found[0]}


def test_same_seed_same_events_and_labelled():
    one, two = (next(simulate_events(3, chunk=5000)) for _ in range(2))
    other = next(simulate_events(4, chunk=5000))
    for name in one.muons.columns:
        assert one.muons[name].tobytes() == two.muons[name].tobytes()
    assert one.muons["hwPt"].tobytes() != other.muons["hwPt"].tobytes()
    assert one.muons.simulated
    assert one.offline.simulated
    assert "simulation" in one.source
    assert "seed 3" in one.source


def test_the_hard_component_has_its_share_and_is_flat_in_log_pt():
    without = next(simulate_events(3, chunk=50_000)).offline
    events = next(simulate_events(3, chunk=50_000, hard=0.25))
    hard, pt = events.offline["simKind"] == HARD, events.offline["recoPt"]
    assert not (without["simKind"] == HARD).any()
    assert np.array_equal(np.sort(pt[~hard]), np.sort(without["recoPt"]))  # the others stay as they are
    assert hard.mean() == pytest.approx(0.25, abs=0.02)  # a few are below the turn-on of identification
    counts = np.histogram(pt[hard], np.geomspace(5, 240, 9))[0]
    assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())
    assert events.muons["hwPt"].max() == HIGHEST_PT
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="a share of simulated muons, from 0 up to but not 1"):
            next(simulate_events(3, hard=share))


def test_another_detector_than_the_trigger_believes_in():
    """Stations that stand elsewhere move the L1 phi; more material takes more from the muons on the way."""
    nominal = next(simulate_events(3, chunk=20_000))
    moved = next(simulate_events(3, chunk=20_000, alignment=(205 / 4096,) * 4))
    thicker = next(simulate_events(3, chunk=20_000, material=1.5))
    assert np.array_equal(moved.offline["recoPt"], nominal.offline["recoPt"])
    assert moved.muons.n_objects == nominal.muons.n_objects
    turn = (moved.muons["hwPhi"] - nominal.muons["hwPhi"] + 288) % 576 - 288
    assert np.abs(turn - 205 / 4096 / PHI_LSB).max() < 1
    assert thicker.muons.n_objects < 0.95 * nominal.muons.n_objects


def test_rows_of_l1_and_offline_agree():
    events = next(simulate_events(3, chunk=5000))
    assert len(events.muons) == len(events.offline) == events.offline.n_objects
    assert events.muons.counts.max() == 1
    assert 0 < events.muons.n_objects < len(events.muons)


def test_simulated_muons_fit_into_gmt_words(pairs):
    columns = {n: c for n, c in pairs.items() if n.startswith(("hw", "tf"))}
    decoded = MUON_2018.decode(MUON_2018.encode(columns))
    for name, column in columns.items():
        assert np.array_equal(decoded[name], column), name


def test_raw_gmt_row_is_the_documented_one(pairs):
    """The simulation's own, which is not tuned to the published one (docs/simulation.md)."""
    dphi = np.mod(pairs["hwPhiAtVtx"] * PHI_LSB - pairs["recoPhi"] + np.pi, 2 * np.pi) - np.pi
    deta = pairs["hwEtaAtVtx"] * ETA_LSB - pairs["recoEta"]
    dpt = (pairs["hwPt"] - 1) / 2 / pairs["recoPt"] - 1
    assert dphi.size > 40_000

    def rms(x):
        return np.sqrt(np.mean(x**2))

    assert [rms(dphi), rms(deta), rms(dpt)] == pytest.approx([0.174, 0.0297, 0.242], rel=0.04)
    tails = [np.mean(np.abs(x) > cut) for x, cut in ((dphi, 0.1), (deta, 0.05), (dpt, 0.15))]
    assert tails == pytest.approx([0.385, 0.094, 0.357], abs=0.01)
    cores = [np.mean(np.abs(x) < cut) for x, cut in ((dphi, 0.008), (deta, 0.0015), (dpt, 0.01))]
    assert cores == pytest.approx([0.084, 0.045, 0.045], abs=0.005)


def test_kinds_of_selected_muons(pairs):
    shares = np.bincount(pairs["simKind"], minlength=3) / pairs["simKind"].size
    assert shares == pytest.approx([0.61, 0.33, 0.06], abs=0.015)


def test_open_data_muons_take_the_generators_place(shared_data):
    path = shared_data / "opendata-dimuon" / "peakdata5.csv"
    events = list(simulate_events(1, muons=path))
    n = sum(e.offline.n_objects for e in events)
    assert n > 10_000
    for e in events:
        assert e.muons.simulated
        assert "peakdata5" in e.source
        assert np.array_equal(e.offline.counts, np.full(len(e.offline), 2))
        barrel = np.abs(e.offline["recoEta"]) < 0.75
        assert e.muons.n_objects > 0.8 * (barrel & (e.offline["recoPt"] > 6)).sum()


def test_official_tables_are_used_when_pointed_at(shared_data):
    own = next(simulate_events(2, chunk=5000)).muons
    kwargs = {"bmtf_luts": shared_data / "bmtf-luts", "gmt_luts": shared_data / "ugmt-luts"}
    official = next(simulate_events(2, chunk=5000, **kwargs)).muons
    assert not np.array_equal(official["hwPt"], own["hwPt"])
    assert np.mean(official["hwPt"]) == pytest.approx(np.mean(own["hwPt"]), rel=0.05)


def test_processor_follows_from_phi(pairs):
    """Processor k covers 30 degrees round 30 k; its first muon has index 36 + 3 k."""
    degrees = pairs["hwPhi"] * (360 / 576)
    assert np.array_equal(pairs["tfMuonIndex"], 36 + 3 * (np.floor(degrees / 30 + 0.5) % 12))


def test_an_early_kink_leaves_the_daughters_track():
    """Followed back to the beam, the daughter of a kink at radius r points where its own helix does."""
    one = Start(*(np.array([v]) for v in (10.0, 0.3, 0.2, 0.0, 1.0, 0.2, 0.5, 0.0, 0.0)))
    track = reconstruct(Generated(one, np.array([1])), np.random.default_rng(0), Tracker((0, 0), (0, 0), 0))
    at = CURVATURE * SOLENOID_FIELD * 0.2
    assert track.pt[0] == pytest.approx(5.0)
    assert track.phi[0] == pytest.approx(0.3 + at / 10 - at / 5)
    # the daughter, started there on the beam, is where the kinked particle is at the muon stations
    straight = one._replace(pt=track.pt, phi=track.phi, kink_radius=np.zeros(1), kink_fraction=np.ones(1))
    assert transport(one, None).phi[0, 1] == pytest.approx(transport(straight, None).phi[0, 1], abs=1e-2)
