"""Networks: the paper's shape, the pinned recipes, and training that repeats to the last bit."""

import dataclasses

import keras
import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.evaluate.targets import targets
from l1scout.training.epoch_loops import network_arrays
from l1scout.training.fit import fit, fit_parts
from l1scout.training.recipes import PAPER, RECIPES, build, optimizer, recipe
from toy_muons import toy_dataset


def test_the_network_is_the_papers():
    model = build(RECIPES["B"])
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Dense", "BatchNormalization", "Activation"] * 3 + ["Dense"]
    dense = [layer for layer in model.layers if type(layer).__name__ == "Dense"]
    assert sum(int(np.prod(layer.kernel.shape)) for layer in dense) == 2272
    assert dense[-1].get_config()["activation"] == "linear"


def test_recipes_are_table_1_with_pinned_learning_rates():
    assert list(PAPER) == list("ABCDEF")
    for r in PAPER.values():
        model = build(r)
        made = optimizer(r)
        assert type(made).__name__.lower() == r.optimizer
        assert float(made.learning_rate.value) == pytest.approx(1.0 if r.optimizer == "adadelta" else 0.001)
        if r.optimizer == "adadelta":
            assert made.rho == pytest.approx(0.95)
        assert model.layers[2].get_config()["activation"] == r.hidden
        penalty = model.layers[0].kernel_regularizer
        assert (
            (penalty is None)
            if not r.l2
            else (float(penalty.l1), float(penalty.l2)) == (0, pytest.approx(r.l2))
        )
    assert (RECIPES["C"].l2, RECIPES["D"].l2, RECIPES["E"].l2) == (1e-7, 1e-9, 1e-7)
    assert RECIPES["F"].hidden == "softmax"


def test_an_unknown_recipe_is_one_line():
    with pytest.raises(InputError, match="no model 'G': choose one of A, B"):
        recipe("G")


def test_targets_are_l1_minus_offline_and_wrapped():
    data = toy_dataset(3000)
    y = targets(data)
    assert y.shape == (3000, 3)
    assert np.abs(y[:, 0]).max() < 1
    k = int(np.argmax(np.abs(data["recoPhi"])))
    assert y[k, 2] == pytest.approx((data["hwPt"][k] - 1) * 0.5 - data["recoPt"][k])


def test_training_helps_and_the_card_says_how(trained, toy_data):
    ratio = trained.validation.ratio
    assert ratio.rms["phi"].value < 0.8  # 0.38 to 0.49 for four seeds
    assert ratio.tail["phi"].value < 0.8
    card = trained.card
    assert card.data["simulated"] is True
    assert card.data["sha256"] == toy_data.sha256
    assert card.training["muons"] == len(toy_data.part("train"))
    assert card.training["epochs_run"] == 3
    assert card.domain["hwPhiAtVtx"] == (0, 575)
    assert card.finders == ("bmtf",)
    train = toy_data.part("train")
    assert card.domain["hwPt"] == (train["hwPt"].min(), train["hwPt"].max())  # no guard: no claim, no limit
    x = card.normalise(train.columns)
    assert x.min() >= 0
    assert x.max() <= 1
    assert card.recipe == dataclasses.replace(RECIPES["A"], epochs=3, batch=64).as_dict()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    data = toy_dataset(3000)

    def weights(seed):
        model = fit(data, RECIPES["A"], epochs=2, seed=seed).model
        return b"".join(np.asarray(w.value).tobytes() for w in model.weights)

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


def test_the_test_part_cannot_influence_the_training():
    data = toy_dataset(2000)
    keep = np.ones(2000, bool)
    from l1scout.dataset.split import part

    keep[part(data.columns, "test")] = False

    def weights(sample):
        model = fit(sample, RECIPES["A"], epochs=1).model
        return b"".join(np.asarray(w.value).tobytes() for w in model.weights)

    assert weights(data) == weights(data.select(keep))


def test_patience_stops_early_keeps_the_best_epoch_and_tells_every_one():
    """What stops two epochs after the best one must give the best one's loss, which the last would not."""
    order = np.random.default_rng(0).permutation(1500)
    hopeless = _changed(1500, **{n: toy_dataset(1500)[n][order] for n in ("recoPt", "recoEta", "recoPhi")})
    told = []
    done = fit(
        hopeless,
        RECIPES["A"],
        epochs=300,  # it stops after some 10
        batch=8,
        patience=2,
        on_epoch=lambda e, loss: told.append((e, loss)),
    )
    said = done.card.training
    assert 2 < said["epochs_run"] < 300
    assert said["epoch_kept"] == said["epochs_run"] - 2
    assert [e for e, _ in told] == list(range(1, said["epochs_run"] + 1))
    assert all(np.isfinite(loss) for _, loss in told)
    x, y = network_arrays(done.card, done.gains, RECIPES["A"], hopeless.part("validation"))
    loss = float(keras.losses.LogCosh()(y, done.model.predict(x, verbose=0)))
    assert loss == pytest.approx(said["validation_loss"], rel=1e-4)


def _changed(n=1000, **changes):
    data = toy_dataset(n)
    return dataclasses.replace(data, columns={**data.columns, **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (toy_dataset(60), "muons to train on; at least 100"),
        (_changed(tfMuonIndex=np.full(1000, 108, np.int8)), "tfMuonIndex from 108 to 108, which are of no"),
        (
            _changed(tfMuonIndex=np.r_[np.zeros(20), np.full(980, 36)].astype(np.int8)),
            "muons of the EMTF, of",
        ),
    ],
)
def test_muons_that_are_not_meant_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        fit(data, RECIPES["B"], epochs=1)


def test_corrections_from_the_second_station_need_its_values():
    """With other tables of the GMT, the network is the same; without hwPhi it corrects at the vertex."""
    data, quick = toy_dataset(3000), dataclasses.replace(RECIPES["balanced"], epochs=1)
    parts = data.part("train"), data.part("validation")
    moved = [dataclasses.replace(p, columns={**p.columns, "hwEtaAtVtx": p["hwEtaAtVtx"] + 1}) for p in parts]
    one, two = fit_parts(*parts, quick), fit_parts(*moved, quick)
    assert one.card.reference == "station 2"
    same = [w.value for w in one.model.weights], [w.value for w in two.model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(*same, strict=True))
    flat = dataclasses.replace(data, columns={**data.columns, "hwPhi": np.zeros_like(data["hwPhi"])})
    instead = fit(flat, quick)
    assert instead.card.reference == "vertex"
    assert [q.name for q in instead.card.inputs] == ["hwEtaAtVtx", "hwPt", "hwCharge"]


def test_a_third_of_the_charges_missing_lets_the_default_correct_at_the_vertex():
    """The trigger knew the charge; a network of station 2 would bend a sixth of the muons the wrong way."""
    data, quick = toy_dataset(3000), dataclasses.replace(RECIPES["balanced"], epochs=1)
    missing = np.random.default_rng(4).random(len(data)) < 1 / 3
    charge = np.where(missing, 0, data["hwCharge"]).astype(np.int8)
    found = fit(dataclasses.replace(data, columns={**data.columns, "hwCharge": charge}), quick)
    assert found.card.reference == "vertex"
    assert "hwEtaAtVtx" in found.card.domain


def test_few_muons_are_trained_on_in_smaller_batches_unless_one_is_asked_for():
    data, quick = toy_dataset(3000), dataclasses.replace(RECIPES["balanced"], epochs=1)
    assert fit(data, quick).card.training["batch"] == 128
    assert fit(data, quick, batch=1024).card.training["batch"] == 1024
