"""The network file: what is written is what is read, and anything else is refused in a line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hand_made import evaluate, gain_network, look_up_network, model_directory, network
from l1scout.errors import InputError
from l1scout.model.__main__ import schemas
from l1scout.model.directory import load_model
from l1scout.model.network import NETWORK_FILE, Layer, LookUp, Network, read_network

DOCS = Path(__file__).parents[2] / "docs"


def inputs_of(m):
    return m.domain.hardware(0, m.domain.entries)[:, :: 1 + m.domain.entries // 400]


@pytest.mark.parametrize("made", [look_up_network, network, gain_network])
def test_a_directory_gives_the_same_network_bit_for_bit(tmp_path, made):
    m = made()
    again = load_model(model_directory(tmp_path / "m", m.card, m.network))
    assert again.sha256 == m.sha256 == again.card.sha256
    hardware = inputs_of(m)
    assert np.array_equal(again.layers(hardware), m.layers(hardware))
    assert np.abs(again.layers(hardware) - evaluate(m.network, hardware)).max() < 1e-12


def test_values_beyond_a_look_up_have_its_ends():
    at = LookUp(2, -3, np.arange(8.0).reshape(4, 2))
    assert at(np.array([-9, -3, 0, 5]))[:, 0].tolist() == [0, 0, 6, 6]
    assert at.between(-1, 2).vectors[:, 0].tolist() == [4, 6, 6, 6]
    assert at.between(-1, 2).low == -1


def test_scaling_goes_in_and_out():
    m = gain_network()
    hardware = inputs_of(m)
    back = m.layers.normalised(m.card).in_physics_units(m.card)
    np.testing.assert_allclose(back(hardware), m.layers(hardware), atol=1e-12)
    m = look_up_network()
    hardware = inputs_of(m)
    back = m.layers.normalised(m.card).in_physics_units(m.card)
    np.testing.assert_allclose(back(hardware), m.layers(hardware), atol=1e-12)
    one = Network(m.network.inputs, (Layer(np.ones((4, 3)), np.zeros(3), "linear"),))
    one = Network(one.inputs, one.layers, (LookUp(1, -9, np.arange(51.0).reshape(17, 3)),))
    twice = one.rescaled((np.zeros(4), np.ones(4)), (np.zeros(3), np.full(3, 0.5)))
    np.testing.assert_allclose(twice(hardware), 2 * one(hardware))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda c: c.update(format="l1scout integer network"),
            "has format 'l1scout integer network', version 1",
        ),
        (lambda c: c.update(version=2), "version 2, but this program reads 'l1scout network', version 1"),
        (lambda c: c.pop("version"), "version None"),
        (lambda c: c.update(more=1), "more: Unexpected"),
        (lambda c: c.pop("layers"), "layers: Field required"),
        (lambda c: c.update(layers=[]), "do not follow each other"),
        (lambda c: c["layers"].pop(0), "do not follow each other from 4 inputs"),
        (lambda c: c["inputs"].append("hwQual"), "do not follow each other from 5 inputs"),
        (lambda c: c["layers"][0]["bias"].pop(), r"layers\.0: a layer has weights of shape \(4, 20\)"),
        (
            lambda c: c["layers"][0]["weights"][2].pop(),
            r"layers\.0\.weights: its lists have different lengths",
        ),
        (lambda c: c["layers"][0].update(weights=[]), r"layers\.0\.weights: has 1 dimensions"),
        (lambda c: c["layers"][0].update(weights=[[[1]]]), r"layers\.0\.weights\.0\.0: .*number"),
        (lambda c: c["layers"][0]["bias"].__setitem__(0, "1"), r"layers\.0\.bias\.0: .*number"),
        (lambda c: c["layers"][0]["bias"].__setitem__(0, None), r"layers\.0\.bias\.0: .*number"),
        (lambda c: c["layers"][0]["bias"].__setitem__(0, 10**400), r"layers\.0\.bias\.0: .*number"),
        (lambda c: c["layers"][0].update(activation="tanh"), r"layers\.0\.activation: .*linear"),
        (lambda c: c["look_ups"][0].update(column=4), "look-ups of inputs"),
        (lambda c: c["look_ups"][0].update(column=2), "look-ups of inputs"),
        (lambda c: c["look_ups"][0].update(low=1 << 40), "not 16-bit integers"),
        (lambda c: c["look_ups"][0].update(low=0.5), r"look_ups\.0\.low: .*integer"),
        (lambda c: c["look_ups"][0].update(vectors=[]), r"look_ups\.0\.vectors: has 1 dimensions"),
        (
            lambda c: c["look_ups"][0].update(vectors=[[1, 2]]),
            "do not have the 20 numbers of the first layer",
        ),
    ],
)
def test_damaged_files_are_refused_in_a_line(tmp_path, change, says):
    refused(look_up_network(), tmp_path, change, says)


def refused(model, tmp_path, change, says):
    """Change the file of a network; reading it says what is wrong, where, and what to do, in a line."""
    content = json.loads(model.network.content)
    change(content)
    path = tmp_path / NETWORK_FILE
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=says) as error:
        read_network(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith("train the model again")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["gains"][0].update(column=1), "gains of inputs"),
        (lambda c: c["gains"][0].update(column=-1), "gains of inputs"),
        (lambda c: c["gains"][0].update(factors=[[1, 2]]), "not those of the 3 answers"),
        (lambda c: c["gains"][0].update(factors=[]), r"gains\.0\.factors: has 1 dimensions"),
        (lambda c: c["gains"][0]["factors"][0].pop(), r"gains\.0\.factors: its lists have different lengths"),
        (lambda c: c["gains"][0]["factors"][0].__setitem__(0, float("nan")), "not JSON"),
        (lambda c: c["gains"][0]["factors"][0].__setitem__(0, 10**400), r"gains\.0\.factors\.0\.0: .*number"),
        (lambda c: c["gains"][0].update(low=-(1 << 16)), "not 16-bit integers"),
        (lambda c: c["gains"][0].update(factors=[[1, 1, 1]] * ((1 << 16) + 1)), "not 16-bit integers"),
        (lambda c: c.update(offset=[0, 0]), "an offset of 2 numbers, not 3 or none"),
        (lambda c: c.update(offset=[0, 0, "1"]), r"offset\.2: .*number"),
    ],
)
def test_damaged_gains_are_refused_in_a_line(tmp_path, change, says):
    refused(gain_network(), tmp_path, change, says)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null", b'{"format": NaN}', b" " * ((1 << 23) + 1)],
)
def test_what_is_not_a_network_is_refused(tmp_path, content):
    path = tmp_path / NETWORK_FILE
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_network(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_network(tmp_path / "absent")


def test_published_schemas_are_up_to_date():
    for name, text in schemas().items():
        assert (DOCS / "schemas" / name).read_text("utf-8") == text, (
            "run: python -m l1scout.model docs/schemas"
        )


@pytest.mark.parametrize("made", [look_up_network, gain_network])
def test_the_page_evaluates_the_file(tmp_path, monkeypatch, made):
    """The numpy code of docs/models.md is the network."""
    m = made()
    model_directory(tmp_path / "model", m.card, m.network)
    page = (DOCS / "models.md").read_text("utf-8")
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "network.json" in c]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)  # our own page
    hardware = inputs_of(m)
    np.testing.assert_allclose(names["corrections"](hardware.T).T, m.layers(hardware), atol=1e-12)
