"""docs/models.md: what it says of `model.onnx` is true of the file, and its example runs."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from hand_made import gain_network, model_directory
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.model.card import read_card
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES
from l1scout.training.save_model import save
from toy_muons import toy_dataset

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a directory `model`, as the page has it."""
    folder = tmp_path_factory.mktemp("page")
    save(fit(toy_dataset(2000), RECIPES["A"], epochs=2), folder / "model")
    return folder


@pytest.fixture(scope="module")
def without_phi(tmp_path_factory):
    """A folder with a model without phi among its inputs, and with gains."""
    folder = tmp_path_factory.mktemp("without_phi")
    domain = {"hwEtaAtVtx": (-80, 80), "hwPt": (6, 90), "hwCharge": (0, 1)}
    m = gain_network(domain=domain)
    model_directory(folder / "model", m.card, m.network)
    (folder / "model" / "model.onnx").write_bytes(m.onnx_bytes)
    return folder


def example():
    """The page's example, from its first import to its end."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = [b for b in blocks if "onnxruntime" in b]
    return block


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    """A folder with a model that corrects from the second station."""
    folder = tmp_path_factory.mktemp("station")
    save(fit(toy_dataset(2000), RECIPES["balanced"], epochs=2), folder / "model")
    return folder


@pytest.mark.parametrize("which", ["folder", "without_phi", "station"])
def test_the_example_gives_what_recalibrate_gives(which, request, monkeypatch):
    monkeypatch.chdir(request.getfixturevalue(which))
    names: dict = {}
    exec(example(), names)  # our own page
    columns = {n: np.array(values) for n, values in names["muons"].items()}
    wanted = Recalibrator.load("model")({**columns, "tfMuonIndex": np.full(2, 40)})
    assert wanted.recalibrated.all()
    np.testing.assert_allclose(names["pt"], wanted.pt, rtol=1e-5)
    np.testing.assert_allclose(names["eta"], wanted.eta, atol=1e-6)
    turns = (names["phi"] - wanted.phi) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-6)


def test_the_file_states_what_it_takes_and_gives(folder):
    path = folder / "model" / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("hardware", "tensor(float)", ["muons", 4])
    assert (answer.name, answer.type, answer.shape) == ("l1_minus_offline", "tensor(float)", ["muons", 3])
    said = session.get_modelmeta().custom_metadata_map
    assert said["l1scout.input_columns"] == "hwPhiAtVtx,hwEtaAtVtx,hwPt,hwCharge"
    assert said["l1scout.output_columns"] == "dphi,deta,dpt"
    assert said["l1scout.output_units"] == "rad,1,GeV"
    assert said["l1scout.sign"].startswith("L1 minus offline: subtract it from the L1 value at the vertex")
    assert said["l1scout.reference_columns"] == "hwPhiAtVtx,hwEtaAtVtx,hwPt"
    assert "the trigger's integers, not scaled" in said["l1scout.input"]
    proto = onnx.load(path)
    for text in (proto.doc_string, proto.graph.output[0].doc_string):
        assert "dphi (rad), deta (1), dpt (GeV). L1 minus offline: subtract" in text
    assert "hwPhiAtVtx, hwEtaAtVtx, hwPt, hwCharge" in proto.graph.input[0].doc_string
    assert "trained on simulated muons" in proto.doc_string
    card = read_card(folder / "model").onnx
    assert card["input"]["name"] == given.name
    assert (card["output"]["name"], card["output"]["sign"]) == (answer.name, said["l1scout.sign"])
    page = PAGE.read_text("utf-8")
    for word in (
        given.name,
        answer.name,
        "l1scout.sign",
        "l1scout.reference_columns",
        "l1scout.domain",
        *said["l1scout.input_columns"].split(","),
    ):
        assert f"`{word}`" in page


def test_the_page_names_every_option_of_import():
    from l1scout.model.quantities import VARIABLES
    from l1scout.training.foreign import ANSWERS

    page = PAGE.read_text("utf-8")
    for word in (*ANSWERS, *VARIABLES, "--onnx", "--data", "--out", "--inputs", "--outputs", "--answers"):
        assert word in page
