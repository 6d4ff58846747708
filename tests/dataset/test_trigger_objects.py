"""L1 pT beside offline muons in NanoAOD, and the comparison of real with simulated samples."""

import importlib.util
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from l1scout.dataset.trigger_objects import trigger_object_pairs
from l1scout.errors import InputError
from l1scout.formats.streams.muon import BMTF_INDEX
from l1scout.statistics import same_distribution

VALIDATION = Path(__file__).parents[2] / "validation"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(VALIDATION)
    spec = importlib.util.spec_from_file_location("real_data", VALIDATION / "real_data.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "real_data", module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("kalman", None)


def write(path, trigger, muon):
    def jagged(rows):
        return {n: ak.Array([[m[n] for m in row] for row in rows]) for n in next(r[0] for r in rows if r)}

    with uproot.recreate(path) as file:
        data = {"TrigObj": ak.zip(jagged(trigger)), "Muon": ak.zip(jagged(muon))}
        file.mktree("Events", {n: v.type.content for n, v in data.items()}).extend(data)


def test_pairs_are_hlt_muons_with_an_l1_muon_and_identified_offline_muons(tmp_path):
    def trigger(l1pt, eta, phi, id=13):  # noqa: A002 - as in the file
        return {"l1pt": l1pt, "eta": eta, "phi": phi, "id": id}

    def muon(pt, eta, phi, medium=True):
        return {"pt": pt, "eta": eta, "phi": phi, "charge": 1, "mediumId": medium}

    path = tmp_path / "nano.root"
    write(
        path,
        [
            [trigger(12.0, 0.5, 3.14), trigger(0.0, -0.5, 0.0), trigger(30.0, 0.5, 3.1, 11)],
            [trigger(7.0, 0.1, 1.0)],
            [trigger(9.0, 0.1, 1.0)],
        ],
        [
            [muon(10.0, 0.52, -3.14), muon(5.0, -0.5, 0.0)],
            [muon(7.0, 0.1, 1.0, medium=False)],
            [muon(7.0, 0.1, 1.2)],
        ],
    )
    found = trigger_object_pairs(path)
    np.testing.assert_allclose(found["recoPt"], [10.0])
    np.testing.assert_allclose(found["ratio"], [1.2])


def test_files_without_trigger_objects_are_refused(samples):
    with pytest.raises(InputError, match="TrigObj_l1pt"):
        trigger_object_pairs(samples["DPG_NANO"])


def test_a_sample_of_few_fits_its_own_distribution_and_no_other():
    random = np.random.default_rng(1)
    many = random.poisson(5, 20_000)
    p = np.array([same_distribution(random.poisson(5, 12), many, 300) for _ in range(200)])
    assert 0.01 < np.mean(p < 0.1) < 0.2  # no more than 0.1 but for chance, less as values are discrete
    assert same_distribution(random.poisson(9, 40), many) < 0.001
    assert same_distribution(np.full(12, 99), many) < 0.001  # a value that the large sample has not


def test_real_barrel_muons_are_extrapolated_as_the_official_tables_say(script, shared_data):
    words = script.l1_words(shared_data / script.REAL)
    assert words["hwPt"].size == 227
    found = script.selected(words, "bmtf")
    assert np.isin(found["tfMuonIndex"], BMTF_INDEX).all()
    assert (found["bxInEvent"] == 0).all()
    lines = list(script.extrapolation_lines({"2024": words}, shared_data / "ugmt-luts"))
    _, _, n, phi, _, eta, _ = (cell.strip() for cell in lines[-1].strip("|").split("|"))
    assert n == phi == eta
    assert int(n) > 50


def test_the_response_counts_its_muons(script, shared_data):
    found = script.barrel(trigger_object_pairs(shared_data / script.DATA_2018))
    sample = script.Response("CMS data", "all", {"CMS data": found})
    lines = list(script.response_lines([sample]))
    numbers = [int(line.split("|")[3]) for line in lines[3:]]
    assert numbers[-1] == sum(numbers[:-1]) == found["ratio"].size
    assert (np.abs(found["recoEta"]) < script.BARREL).all()
