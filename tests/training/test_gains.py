"""One network for all hwPt: signs and sizes are built in, and answers end where the training muons do."""

import dataclasses

import numpy as np
import pytest

from l1scout.dataset.matched import Dataset
from l1scout.evaluate.targets import targets
from l1scout.formats.streams.muon import PT
from l1scout.model.directory import load_model
from l1scout.model.quantities import DEFAULT_INPUTS, REFERENCES, model_inputs
from l1scout.training import symmetries
from l1scout.training.fit import fit
from l1scout.training.gains import Gains, fading, unsigned
from l1scout.training.nodes import DENSE, nodes, table
from l1scout.training.recipes import RECIPES
from l1scout.training.save_model import save, to_network
from toy_muons import toy_dataset

QUICK = dataclasses.replace(RECIPES["balanced"], epochs=6, batch=128)


@pytest.fixture(scope="module")
def data():
    return toy_dataset(20_000)


@pytest.fixture(scope="module")
def trained(data):
    return fit(data, QUICK)


def answers(trained, **columns):
    """Corrections in a grid of the values given: shape (3, values, values, ...)."""
    names = [q.name for q in trained.card.inputs]
    grid = np.meshgrid(*(columns[n] for n in names), indexing="ij")
    network = to_network(trained.model, trained.card, trained.gains)
    return network(np.stack([g.ravel() for g in grid])).reshape(3, *grid[0].shape)


def test_corrections_of_mirror_images_differ_in_their_sign_alone(trained):
    eta = np.arange(-70, 71)
    out = answers(trained, hwEta=eta, hwPt=np.arange(1, 512), hwCharge=[0, 1])
    offset = trained.gains.offset
    assert np.abs(out[0] - offset[0]).max() > 0.05
    assert np.allclose(out[0, ..., 0] - offset[0], -(out[0, ..., 1] - offset[0]), rtol=1e-6, atol=1e-9)
    assert np.allclose(out[1] - offset[1], -(out[1, ::-1] - offset[1]), rtol=1e-6, atol=1e-9)
    assert np.allclose(out[2], out[2, ::-1], rtol=1e-6, atol=1e-6)
    assert np.allclose(out[2, ..., 0], out[2, ..., 1])


def test_eta_at_the_vertex_has_a_mirror_image_too(data):
    trained = fit(
        data, dataclasses.replace(QUICK, epochs=1), inputs=model_inputs(["hwEtaAtVtx"], DEFAULT_INPUTS)
    )
    assert "eta" in trained.card.recipe["symmetries"]
    eta = np.arange(-60, 61, 3)
    out = (
        answers(trained, hwEtaAtVtx=eta, hwPt=[8, 20], hwCharge=[0], hwEta=eta)
        - trained.gains.offset[:, None, None, None, None]
    )
    assert np.allclose(out[1], -out[1][::-1, ..., ::-1], rtol=1e-6, atol=1e-9)
    assert not np.allclose(out[2][..., :1], out[2], rtol=1e-3)


def test_every_hw_pt_has_an_answer_without_a_jump_and_none_far_from_the_training_muons(data, trained):
    """Toy muons have hwPt 6 to 90, few of them above 40."""
    assert trained.card.domain["hwPt"] == (1, 511)
    codes = np.arange(1, 512)
    out = answers(trained, hwEta=[20], hwPt=codes, hwCharge=[0])[:, 0, :, 0]
    pt = np.maximum(PT.to_physical(codes), 0.5)
    high = codes > 50
    steps = np.abs(np.diff(out[2] / pt)[high[1:]])
    assert steps.max() < 0.05
    last = nodes(data.part("train")["hwPt"].astype(int))[-1]
    far = codes > 2 * last
    assert not out[2, far].any()
    bend = (out[0, far] - trained.gains.offset[0]) * (pt[far] + 0.25)
    assert np.allclose(bend, bend[0], rtol=1e-5)  # phi at the second station goes on as 1 / pT
    assert np.abs(out[2, (codes > last) & (codes < 1.3 * last)]).min() > 0


def test_one_network_serves_hard_muons_too():
    """Muons of 3 to 200 GeV with a pT scale of 0.8: the correction stays a quarter of pT."""
    rng = np.random.default_rng(3)
    data = toy_dataset(20_000)
    pt = np.geomspace(4, 180, len(data))[rng.permutation(len(data))]
    hw_pt = np.clip(PT.to_hardware(pt * (0.8 + 0.04 * rng.standard_normal(pt.size))), 1, 511)
    found = fit(_with(data, recoPt=pt.astype(np.float32), hwPt=hw_pt.astype(np.int16)), QUICK)
    codes = np.arange(20, 250)
    out = answers(found, hwEta=[-10], hwPt=codes, hwCharge=[1])[2, 0, :, 0]
    assert np.allclose(PT.to_physical(codes) - out, PT.to_physical(codes) / 0.8, rtol=0.06)


def _with(data: Dataset, **columns) -> Dataset:
    return dataclasses.replace(data, columns={**data.columns, **columns})


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_offset_is_what_does_not_change_sign(data, reference):
    shifted = np.mod(data["recoPhi"] - 0.03 + np.pi, 2 * np.pi) - np.pi
    moved = _with(data, recoPhi=shifted.astype(np.float32), recoEta=data["recoEta"] + np.float32(0.01))
    change = unsigned(moved, reference) - unsigned(data, reference)
    assert change == pytest.approx([0.03, -0.01, 0], abs=2e-3)


@pytest.mark.parametrize("reference", REFERENCES)
def test_gains_undo_themselves_and_take_more_factors(data, reference):
    gains = Gains(QUICK.inputs, offset=np.array([0.1, 0.0, 0.0]), reference=reference)
    half = np.array([[0.5, 1.0, 0.0]])
    more = gains.times(
        {"hwPt": (1, np.repeat(half, 511, axis=0)), "hwCharge": (0, np.array([[1, 1, 2.0]] * 2))}
    )
    more = more.times({"hwPt": (10, np.array([[2.0, 1, 1], [4.0, 1, 1]]))})
    factors = more.factors({"hwEta": np.zeros(4), "hwPt": np.array([9, 10, 11, 12]), "hwCharge": np.ones(4)})
    assert factors.tolist() == [[1, 1, 0], [1, 1, 0], [2, 1, 0], [2, 1, 0]]
    again = more.corrections(data.columns, more.answers(data))
    wanted = targets(data, reference)
    assert np.allclose(again[:, :2], wanted[:, :2])
    assert not again[:, 2].any()


def test_nodes_are_all_common_values_and_share_the_rare_ones():
    rng = np.random.default_rng(1)
    values = np.concatenate([np.repeat(np.arange(6, 18), 200), rng.integers(18, 400, 20_000), [500] * 1200])
    at = nodes(values, 1.2)
    assert at[:12].tolist() == list(range(6, 18))
    assert 390 < at[-1] <= 500
    rare = at[(at >= 18) & (at < 500)]
    assert 5 < rare.size < 20  # of 382 values of 52 muons each: they stand for a fifth of their pT or more
    assert (rare[2:] / rare[1:-1]).min() > 1.1
    assert nodes(values).size > 200  # of other inputs: about one for each 50 muons
    shares = table(1, 511, at, np.asarray)[:, :-1]
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.array_equal(shares[[5, 499]], shares[[0, 510]])  # beyond the ends
    between = (rare[3] + rare[4]) // 2
    assert np.count_nonzero(shares[between - 1]) == 2
    assert len(nodes(np.full(3, 7))) == 1
    assert DENSE > 3
    known = fading(np.array([3, 6, 90, 134, 180, 400]), (6, 90))
    assert known[[1, 2]].tolist() == [1, 1]
    assert known[0] == known[4] == known[5] == 0
    assert 0.3 < known[3] < 0.5


def test_symmetries_that_the_muons_do_not_have_are_not_built_in(monkeypatch, data):
    monkeypatch.setattr(symmetries, "MIN_MUONS", 5000)
    same = symmetries.differences(data, unsigned(data, "vertex"))
    assert max(same.values()) < symmetries.BROKEN
    negative = data["hwCharge"] == 1
    scale = np.where(negative, 1.15, 1).astype(np.float32)
    found = symmetries.differences(_with(data, recoPt=data["recoPt"] * scale), np.zeros(3))
    assert found["charge"] > symmetries.BROKEN > found["eta"]
    sector = 0.1 * np.sin(2 * np.pi * data["hwPhiAtVtx"] / 48)
    bent = _with(data, recoPhi=(data["recoPhi"] + sector).astype(np.float32))
    found = symmetries.differences(bent, np.zeros(3))
    assert found["phi"] > symmetries.BROKEN
    assert symmetries.described((), {}) == "Symmetries: none"
    assert symmetries.described(["eta"], found).startswith("Symmetries: eta (differences explain charge 0.")
    adapted = symmetries.adapted(QUICK, found)
    assert (adapted.inputs, adapted.symmetries) == ((*QUICK.inputs, "hwPhi"), ("eta",))
    tilted = _with(
        data, recoPt=data["recoPt"] * np.where(data["hwEtaAtVtx"] > 0, np.float32(1.2), np.float32(1))
    )
    trained = fit(tilted, dataclasses.replace(QUICK, epochs=3))
    assert trained.card.recipe["symmetries"] == ["charge", "phi"]
    assert trained.card.training["differences"]["eta"] > symmetries.BROKEN
    out = answers(trained, hwEta=[-30, 30], hwPt=[10], hwCharge=[0])[2, :, 0, 0]
    assert out[1] < out[0] - 0.3  # larger offline pT at positive eta


def test_inputs_without_a_mirror_image_leave_that_symmetry_out(data):
    quality = dataclasses.replace(QUICK, inputs=(*QUICK.inputs, "hwQual"))
    assert symmetries.adapted(quality, {}).symmetries == ("charge", "eta", "phi")
    trained = fit(data, QUICK, inputs=(*QUICK.inputs, "hwPhiAtVtx"), epochs=1)
    assert trained.card.recipe["symmetries"] == ["eta"]
    assert trained.card.recipe["inputs"] == [*QUICK.inputs, "hwPhiAtVtx"]


def test_the_directory_holds_the_same_network(trained, tmp_path):
    card = save(trained, tmp_path / "m")
    network = load_model(tmp_path / "m").layers
    assert [card.inputs[g.column].name for g in network.gains] == ["hwEta", "hwPt", "hwCharge"]
    assert np.array_equal(network.offset, trained.gains.offset)
    assert card.recipe["symmetries"] == ["charge", "eta", "phi"]
