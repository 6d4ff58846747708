"""Histograms of all streams: every count is right, pieces merge exactly, files give them back."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.deploy.recalibration_stage import RecalibrationStage
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection
from l1scout.quality.accumulators import HistogramAnalysis, RunHistograms
from l1scout.quality.histogram_definitions import MASS_EDGES, definitions
from l1scout.quality.histogram_file import read_histograms, write_histograms
from l1scout.quality.stream_histograms import empty_counts, fill
from l1scout.simulate.run import Running, simulate_run
from random_streams import RANGES, batch_of

START = ORBITS_PER_LUMISECTION - 30


def shifted(columns):
    """Stand in for a network: pT 10 % higher."""
    pt, eta, phi = (f.to_physical(columns[f.name]).astype(np.float32) for f in (PT, ETA_VTX, PHI_VTX))
    return SimpleNamespace(pt=pt * np.float32(1.1), eta=eta, phi=phi, recalibrated=np.ones(pt.size, bool))


@pytest.fixture(scope="module")
def muons():
    """A run over the end of a lumisection, with intermediate muons, recalibrated."""
    (piece,) = simulate_run(3, 60, first=START, running=Running(occupancy=0.2), chunk=60, origin=True)
    rows = {"run": np.full(len(piece.muons), 7), "lumisection": lumisection(piece.muons.orbit)}
    (data,) = RecalibrationStage(shifted).step(OrbitData.of_muons(replace(piece.muons, **rows)))
    return data.muons


def same(a, b):
    assert a.streams.keys() == b.streams.keys()
    for name, mine in a.streams.items():
        theirs = b.streams[name]
        assert all(np.array_equal(c, theirs.run()[n]) for n, c in mine.run().items()), name
        assert mine.sections.keys() == theirs.sections.keys()
        for section, counts in mine.sections.items():
            assert all(np.array_equal(c, theirs.sections[section][n]) for n, c in counts.items())
        for key, column in mine.trend().items():
            assert np.array_equal(column, theirs.trend()[key])


def slow_counts(stream, batch):
    """Count object by object in plain Python."""
    found = empty_counts(stream)
    last = None
    for row in range(len(batch)):
        objects = range(batch.offsets[row], batch.offsets[row + 1])
        if stream == "muon":
            objects = [i for i in objects if batch["hwPt"][i] and not batch["intermediate"][i]]
        if not objects:
            continue
        bx, orbit = int(batch.bx[row]), int(batch.orbit[row])
        found["bx"][bx] += len(objects)
        found["occupied_bx"][bx] += 1
        found["multiplicity"][min(len(objects), 32)] += 1
        if last and last[0] == orbit and bx - last[1] <= 20:
            found["next_crossing"][bx - last[1] - 1] += 1
        last = orbit, bx
        for i in objects:
            for d in definitions(stream):
                if not d.is_filled_by_columns:
                    continue
                at = []
                for axis in d.axes:
                    k = int(batch[axis.column][i]) - axis.low
                    at.append(int(axis.table[k]) if 0 <= k < axis.table.size else -1)
                if min(at) >= 0:
                    found[d.name][tuple(at)] += 1
            if stream == "gt":
                for k in range(512):
                    found["algorithm"][k] += int(batch[f"algo{32 * (k // 32):03}"][i]) >> k % 32 & 1
        if stream == "muon":
            slow_pairs(batch, objects, found)
    return found


def slow_pairs(batch, objects, found):
    for i in objects:
        recalibrated = int(np.floor(2 * float(batch["ptRecal"][i]) + 1))
        found["pt_recalibrated"][min(max(recalibrated, 0), 511)] += 1
        for j in objects:
            if j <= i or not (batch["hwChargeValid"][i] and batch["hwChargeValid"][j]):
                continue
            sign = "same" if batch["hwCharge"][i] == batch["hwCharge"][j] else "opposite"
            raw = [[float(f.to_physical(batch[f.name][k])) for f in (PT, ETA_VTX, PHI_VTX)] for k in (i, j)]
            new = [[float(batch[n][k]) for n in ("ptRecal", "etaRecal", "phiRecal")] for k in (i, j)]
            for name, ((pt, eta, phi), (pt2, eta2, phi2)) in (("mass", raw), ("mass_recalibrated", new)):
                momenta = [
                    np.array([p * np.cos(f), p * np.sin(f), p * np.sinh(e)])
                    for p, e, f in ((pt, eta, phi), (pt2, eta2, phi2))
                ]
                energy = sum(np.sqrt(0.1056584**2 + p @ p) for p in momenta)
                mass = np.sqrt(max(energy**2 - np.sum((momenta[0] + momenta[1]) ** 2), 0))
                k = int(np.searchsorted(MASS_EDGES, mass, "right")) - 1
                if 0 <= k < MASS_EDGES.size - 1:
                    found[f"{name}_{sign}_sign"][k] += 1


def test_muons_are_counted_as_in_plain_python(muons):
    batch = muons.take(np.arange(4000))
    found = empty_counts("muon")
    fill("muon", batch, found)
    expected = slow_counts("muon", batch)
    for name, counts in expected.items():
        if "mass" in name:  # the last bit may put a pair into the next bin
            assert found[name].sum() == counts.sum() > 0
            assert np.abs(np.cumsum(found[name] - counts)).max() <= 1
        else:
            assert np.array_equal(found[name], counts), name
            assert counts.sum() > 0, name


@pytest.mark.parametrize("stream", RANGES)
def test_every_stream_is_counted_as_in_plain_python(stream):
    batch = replace(batch_of(stream, 200, np.random.default_rng(1), orbits=1), n_orbits=1)
    if stream == "anomaly":  # as the monitor adds it to its scores
        batch = batch.with_columns(exceeded=np.arange(batch.n_objects, dtype=np.int32) % 9)
    found = empty_counts(stream)
    fill(stream, batch, found)
    for name, counts in slow_counts(stream, batch).items():
        assert np.array_equal(found[name], counts), name
        assert counts.sum() > 0, name


def test_all_streams_have_occupancy_and_multiplicity():
    for stream in STREAMS:
        names = {d.name for d in definitions(stream)}
        assert {"bx", "occupied_bx", "multiplicity"} <= names
        if stream in ("jet", "egamma", "tau", "tower", "tkmuon", "puppi"):
            assert "eta_phi" in names
            assert {"pt", "et"} & names


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 60), min_size=1, max_size=5), keep=st.sampled_from([None, 1]))
def test_pieces_merge_exactly(muons, cuts, keep):

    whole = RunHistograms(keep)
    whole.add(OrbitData({"muon": muons}))
    merged, rest = RunHistograms(keep), muons
    for cut in sorted(cuts):
        part, rest = rest.cut(START + cut)
        piece = RunHistograms(keep)
        piece.add(OrbitData({"muon": part}))
        merged.merge(pickle.loads(pickle.dumps(piece)))
    last = RunHistograms(keep)
    last.add(OrbitData({"muon": rest}))
    merged.merge(last)
    same(merged, whole)
    assert whole.streams["muon"].trend()["orbits"].tolist() == [30, 30]


def test_memory_is_bounded_and_nothing_is_lost(muons):
    few, all_sections = RunHistograms(keep_sections=2), RunHistograms()
    for k in range(6):
        orbit = muons.orbit + k * ORBITS_PER_LUMISECTION
        later = replace(
            muons,
            orbit=orbit,
            lumisection=lumisection(orbit),
            first_orbit=START + k * ORBITS_PER_LUMISECTION,
        )
        for histograms in (few, all_sections):
            histograms.add(OrbitData.of_muons(later))
    assert len(few.streams["muon"].sections) == 2
    assert len(few.sections) == 2
    assert len(all_sections.sections) == 7
    assert few.completed() == few.sections[:1]
    for name, counts in few.streams["muon"].run().items():
        assert np.array_equal(counts, all_sections.streams["muon"].run()[name])
    for key, column in few.streams["muon"].trend().items():
        assert np.array_equal(column, all_sections.streams["muon"].trend()[key]), key


def test_files_are_read_by_uproot_and_by_us(muons, tmp_path):
    analysis = HistogramAnalysis()
    analysis.add(OrbitData.of_muons(muons))
    path = tmp_path / "run.root"
    write_histograms(path, analysis.state, Provenance("test", True))
    with uproot.open(path) as file:
        pt = file["muon/pt"].to_hist()
        assert pt.sum() == analysis.result().histograms["muon/pt"].sum() > 0
        assert file["sections/muon/pt"].values().shape == (2, 512)
        assert file["sections/muon/pt"].values().sum() == pt.sum()
    again = read_histograms(path)
    assert again.data == "simulated"
    assert again.runs == [7]
    assert again.orbits == {"muon": 60}
    for name, counts in analysis.state.streams["muon"].run().items():
        assert np.array_equal(again.counts["muon"][name], counts)
    assert again.trend["muon"]["objects"].sum() == again.counts["muon"]["bx"].sum()


def test_other_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "a.root").write_bytes(b"root" + bytes(300))
    with uproot.recreate(tmp_path / "b.root") as file:
        file["x"] = "y"
    for name in ("a.root", "b.root", "none.root"):
        with pytest.raises(InputError, match=r"not a file of histograms"):
            read_histograms(tmp_path / name)


def test_recalibration_keeps_intermediate_muons_out(muons):
    final = muons["intermediate"] == 0
    assert np.isnan(muons["ptRecal"][~final]).all()
    assert not muons["isRecal"][~final].any()
    known = muons["hwPt"][final] > 0
    expected = PT.to_physical(muons["hwPt"][final][known]) * 1.1
    assert muons["ptRecal"][final][known] == pytest.approx(expected)
