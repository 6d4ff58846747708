"""Plausibility: mistakes that people make are found and named, and plausible samples are left alone."""

import dataclasses

import numpy as np
import pytest

from l1scout.dataset import plausibility, split
from l1scout.dataset.matched import COLUMNS, read_dataset, read_datasets
from l1scout.dataset.paper import paper_part
from l1scout.errors import InputError
from l1scout.formats.streams.muon import PHI_BINS, PT
from l1scout.training.epochs import read_stream
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES
from toy_muons import toy_columns, toy_dataset, write_parquet

NAMES = [c.name for c in COLUMNS]


def muons(n=3000, seed=1):
    """Toy muons, as they are in a data set."""
    return {name: column for name, column in toy_columns(n, seed).items() if name in NAMES}


def turned(phi, by):
    return ((phi + by + np.pi) % (2 * np.pi) - np.pi).astype(np.float32)


def shuffled(d):
    order = np.random.default_rng(2).permutation(d["hwPt"].size)
    return {n: d[n][order] for n in NAMES if n.startswith("reco")}


def other_pt(d):
    return {"recoPt": np.random.default_rng(2).permutation(d["recoPt"])}


MISTAKES = {
    "MeV": (lambda d: {"recoPt": 1000 * d["recoPt"]}, r"recoPt / L1 pT = 1.*, where .*: is recoPt in MeV\?"),
    "TeV": (lambda d: {"recoPt": d["recoPt"] / 1000}, r"is recoPt in TeV, or hwPt in MeV\?"),
    "hwPt in GeV": (
        lambda d: {"hwPt": np.rint(PT.to_physical(d["hwPt"]))},
        r"is hwPt in GeV\? .* steps of 0\.5",
    ),
    "hwPt too fine": (
        lambda d: {"hwPt": np.minimum(4 * d["hwPt"], 511)},
        r"is hwPt in steps of less than 0\.5 GeV",
    ),
    "other pT": (other_pt, r"hwPt and recoPt are not correlated \(rank correlation -?0\.0\d\): is each row"),
    "hwCharge swapped": (
        lambda d: {"hwCharge": 1 - d["hwCharge"]},
        r"agree for 0 % .*is one of them swapped\?",
    ),
    "recoCharge swapped": (lambda d: {"recoCharge": -d["recoCharge"]}, r"hwCharge is 1 for negative muons"),
    "one charge": (lambda d: {"hwCharge": 0 * d["hwCharge"]}, r"agree for [45]\d % .*is each row an L1 muon"),
    "half a turn": (
        lambda d: {"recoPhi": turned(d["recoPhi"], np.pi)},
        r"off from recoPhi by -?3\.1\d rad \(half a turn\) on average: is one of them rotated",
    ),
    "a sector": (
        lambda d: {"recoPhi": turned(d["recoPhi"], np.pi / 6)},
        r"off from recoPhi by -0\.5\d rad on",
    ),
    "phi flipped": (lambda d: {"recoPhi": -d["recoPhi"]}, r"is the sign of recoPhi flipped\?"),
    "hwPhi in degrees": (
        lambda d: {"hwPhiAtVtx": d["hwPhiAtVtx"].astype(int) * 360 // PHI_BINS},
        r"is hwPhiAtVtx in degrees\?",
    ),
    "phi over pi": (lambda d: {"recoPhi": d["recoPhi"] / np.pi}, r"is recoPhi in units of pi\?"),
    "phi in turns": (lambda d: {"recoPhi": d["recoPhi"] / (2 * np.pi)}, r"is recoPhi in turns\?"),
    "coarse hwPhi": (
        lambda d: {"hwPhiAtVtx": d["hwPhiAtVtx"] // 4},
        r"L1 and offline phi do not belong together",
    ),
    "shuffled": (shuffled, r"do not belong together .*is each row an L1 muon and its own offline muon\?"),
    "station": (
        lambda d: {"hwPhiAtVtx": d["hwPhi"], "hwPhi": d["hwPhiAtVtx"]},
        r"recoPhi is closer to hwPhi .*second muon station",
    ),
    "eta flipped": (lambda d: {"recoEta": -d["recoEta"]}, r"is the sign of recoEta flipped\?"),
    "hwEta doubled": (
        lambda d: {"hwEtaAtVtx": 2 * d["hwEtaAtVtx"]},
        r"recoEta is 0\.49 times L1 eta: is hwEtaAtVtx",
    ),
    "other eta": (
        lambda d: {"recoEta": np.random.default_rng(3).permutation(d["recoEta"])},
        r"L1 and offline eta do not belong together \(median distance 0\.\d\d",
    ),
    "twice": (
        lambda d: {n: np.r_[c[:1500], c[:1500]] for n, c in d.items()},
        r"50 % of its rows repeat another",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_before_anything_is_trained(tmp_path, mistake):
    change, message = MISTAKES[mistake]
    d = muons()
    path = write_parquet(tmp_path / "d.parquet", {**d, **change(d)})
    for read in (read_dataset, lambda p: read_stream([p])):
        with pytest.raises(InputError, match=message) as error:
            read(path)
        assert str(error.value).startswith(f"{path}")
        assert "\n" not in str(error.value)


def test_plausible_muons_of_every_kind_pass():
    """Small samples, sorted ones, one charge, one sector of phi, one pT: nothing of these is a mistake."""
    d = muons(20_000)
    rng = np.random.default_rng(5)
    subsets = [rng.permutation(20_000)[:n] for n in (1, 5, 12, *[50] * 30, 300)]
    subsets += [
        np.argsort(d[n], kind="stable") for n in ("hwPt", "recoPt", "recoEta", "recoPhi", "recoCharge")
    ]
    subsets += [
        np.flatnonzero(x) for x in (d["recoCharge"] > 0, np.abs(d["recoEta"]) < 0.05, d["recoPt"] < 4)
    ]
    subsets += [np.flatnonzero((d["recoPhi"] > 0.1) & (d["recoPhi"] < 0.2)), np.flatnonzero(d["recoPt"] > 20)]
    for rows in subsets:
        plausibility.check({n: c[rows] for n, c in d.items()}, "toy")


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_part_is_looked_at(part):
    """Muons that are only wrong in one part of the sample, spread all over the file."""
    good, bad = muons(6000, 1), muons(6000, 2)
    bad["recoPhi"] = turned(bad["recoPhi"], np.pi)
    here = split.part(bad, part)
    rest = ~split.part(good, part)
    d = {n: np.r_[good[n][rest], bad[n][here]] for n in NAMES}
    order = np.random.default_rng(0).permutation(d["hwPt"].size)
    with pytest.raises(InputError, match=rf"d, {part} part: .*rotated" if part != "train" else "rotated"):
        plausibility.check({n: c[order] for n, c in d.items()}, "d")


def test_one_bad_file_among_many_is_found():
    """A twentieth of the rows, in a row."""
    d = muons(20_000)
    d["recoPt"] = d["recoPt"].copy()
    d["recoPt"][7000:8000] *= 1000
    with pytest.raises(
        InputError, match=r"rows 7000 to 7999: .*MeV|5 % .*MeV|muons have recoPt / L1 pT above 100"
    ):
        plausibility.check(d, "d")
    d = muons(20_000)
    d["hwCharge"][7000:8000] = 1 - d["hwCharge"][7000:8000]
    with pytest.raises(InputError, match=r"d, rows 7000 to 7999: .*is one of them swapped"):
        plausibility.check(d, "d")


def test_muons_that_are_there_twice_are_found_across_files(tmp_path):
    d = muons(4000)
    first = write_parquet(tmp_path / "a", {n: c[:2000] for n, c in d.items()})
    second = write_parquet(tmp_path / "b", {n: c[2000:] for n, c in d.items()})
    # another precision: the last digits of reco differ, so that the split would put copies into other parts
    other = {n: c[1000:3000] * (1 + 1e-6 * n.startswith("reco")) for n, c in d.items() if n != "recoCharge"}
    third = write_parquet(tmp_path / "c", {**other, "recoCharge": d["recoCharge"][1000:3000]})
    assert len(read_datasets([first, second])) == read_stream([first, second]).muons == 4000
    for files in ([first, first], [first, second, third]):
        for read in (read_datasets, read_stream):
            with pytest.raises(InputError, match=r"\d\d % of its rows repeat another one"):
                read(files)


def test_training_refuses_muons_outside_in_every_part():
    data = toy_dataset(2000)
    columns = {n: c.copy() for n, c in data.columns.items()}
    last = np.flatnonzero(split.part(columns, "test"))[0]
    columns["tfMuonIndex"][last] = 120  # moves it to any part
    with pytest.raises(
        InputError, match="muons with tfMuonIndex from 120 to 120, which are of no track finder"
    ):
        fit(dataclasses.replace(data, columns=columns), RECIPES["A"], epochs=1)


def test_no_muon_in_the_domain_of_a_model_is_refused():
    d = muons(500)
    plausibility.refuse_outside(d, {"hwPt": (6, 90)}, ("bmtf",), "d", "m")
    with pytest.raises(
        InputError, match=r"d: none of its 500 muons is in the domain of model m: hwPt is 6\.\."
    ):
        plausibility.refuse_outside(d, {"hwPt": (400, 500), "hwCharge": (0, 1)}, ("bmtf",), "d", "m")
    with pytest.raises(InputError, match=r"d: none of its muons has tfMuonIndex 0-17 and 90-107 \(EMTF\)"):
        plausibility.refuse_outside(d, {"hwPt": (6, 90)}, ("emtf",), "d", "m")
    plausibility.refuse_outside(
        {n: c[:0] for n, c in d.items()}, {"hwPt": (400, 500)}, ("bmtf",), "d", "m"
    )  # an empty part


def test_evaluate_refuses_a_sample_outside_every_models_domain(tmp_path):
    from hand_made import model, model_directory
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.evaluate.evaluation import evaluate

    domain = {"hwPhiAtVtx": (0, 575), "hwEtaAtVtx": (-80, 80), "hwPt": (400, 500), "hwCharge": (0, 1)}
    card, content = model(domain=domain)
    models = {"far": Recalibrator.load(model_directory(tmp_path / "m", card, content))}
    with pytest.raises(InputError, match="is in the domain of model far: hwPt is"):
        evaluate(toy_dataset(500), models)


def test_real_muons_pass(shared_data, tmp_path):
    from l1scout.dataset.collect import collect
    from l1scout.io import read_events

    path = shared_data / "real-cms" / "l1nano_run380963_2024_100ev.root"
    collect(read_events(path), tmp_path / "d")
    data = read_dataset(tmp_path / "d")
    assert len(data) == 58
    assert paper_part(data.columns).sum() == 45
    d = dict(data.columns)
    for change, message in (MISTAKES[m] for m in ("MeV", "hwPt in GeV", "half a turn", "hwCharge swapped")):
        with pytest.raises(
            InputError, match=message.replace("= 1", r"= \d").replace(r"agree for 0", r"agree for \d")
        ):
            plausibility.check({**d, **change(d)}, "real")


def test_simulated_muons_pass_and_those_of_the_official_tables(shared_data):
    from l1scout.dataset.cuts import CutFlow, MuonSelection, select_pairs
    from l1scout.simulate.chain import simulate_events

    tables = {"bmtf_luts": shared_data / "bmtf-luts", "gmt_luts": shared_data / "ugmt-luts"}
    for more in ({}, tables):
        events = next(simulate_events(5, chunk=20_000, **more))
        plausibility.check(select_pairs(events, MuonSelection(), CutFlow()), "simulated")
