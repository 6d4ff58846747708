"""Networks trained together: each is what it is by itself, and what Keras' own loop makes of it."""

import dataclasses

import keras
import numpy as np
import pytest

from l1scout.training import fused_step
from l1scout.training.compiled_step import _fall, make_mover
from l1scout.training.fit import Parts, _prepared
from l1scout.training.loss_functions import LOSSES
from l1scout.training.recipes import DEFAULT, build, optimizer, quiet_copies
from l1scout.training.study import from_handles
from l1scout.training.together import Training, train_together
from toy_muons import toy_dataset

BATCH, EPOCHS = 32, 3
SIZES = 330, 320, 70
"""Muons of networks trained together: epochs end at other steps, with batches that are full or are not."""


class Muons:
    """Arrays that are gone through as they are, in every epoch."""

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.x = rng.random((n, 4), np.float32)
        hidden = np.sin(3 * self.x @ rng.normal(size=(4, 3)))
        self.y = (0.5 + 0.3 * hidden + 0.05 * rng.normal(size=hidden.shape)).astype(np.float32)
        self.steps = -(-n // BATCH)

    def epoch(self, _number, size):
        for k in range(0, len(self.x), size):
            yield self.x[k : k + size], self.y[k : k + size]


def quick(**handles):
    plain = {
        "loss": "mse",
        "optimizer": "adam",
        "regularization": "none",
        "hidden": "relu",
        "output": "linear",
    }
    return dataclasses.replace(from_handles(plain | handles), epochs=EPOCHS, batch=BATCH)


def training(recipe, seed):
    keras.utils.set_random_seed(seed)
    other = Muons(50 + seed, 100 + seed)
    return Training(build(recipe), recipe, Muons(SIZES[seed], seed), (other.x, other.y))


def assert_alike(one, other):
    """Weights agree to rounding, but for biases before a normalisation: those do not matter, nor repeat."""
    with quiet_copies():
        pairs = list(zip(one.weights, other.weights, strict=True))
        last = next(a.path for a, _ in reversed(pairs) if a.path.endswith("bias"))
        for a, b in pairs:
            if not a.path.endswith("bias") or a.path == last:
                np.testing.assert_allclose(a.value, b.value, rtol=0, atol=1e-3)


RECIPES = {
    "adadelta": quick(loss="logcosh", optimizer="adadelta", regularization="L2 1e-5"),
    "softmax": quick(loss="msle", hidden="softmax", output="relu", regularization="L1 1e-5"),
}


@pytest.fixture(params=["fused", "jax"])
def fused(request, monkeypatch):
    """Train by the fused step, or as networks that it is not for are trained."""
    if request.param == "jax":
        monkeypatch.setattr(fused_step, "does", lambda _kind: False)
    return request.param == "fused"


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_network_of_a_group_is_the_same_by_itself(recipe, fused):
    """Whatever the others are: other muons, seeds, sizes of the regularisation. If fused, to the last bit."""
    recipes = [recipe, dataclasses.replace(recipe, l2=1e-3), recipe]
    group = [training(r, seed) for seed, r in enumerate(recipes)]
    before = np.array(group[0].model.weights[0].value)
    together = train_together(group)
    assert not np.allclose(before, group[0].model.weights[0].value, atol=1e-4)
    for seed, r in enumerate(recipes):
        alone = training(r, seed)
        (entries,) = train_together([alone])
        assert_alike(group[seed].model, alone.model)
        if fused:
            with quiet_copies():
                pairs = zip(group[seed].model.weights, alone.model.weights, strict=True)
                assert all(np.array_equal(a.value, b.value) for a, b in pairs)
            assert together[seed] == entries
        for name, value in entries.items():
            assert together[seed][name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("name", ["adam", "sgd", "adadelta", "adagrad"])
def test_every_optimizer_moves_weights_as_keras_does(name):
    recipe, rng = quick(optimizer=name), np.random.default_rng(1)
    start, *slopes = rng.normal(size=(4, 9)).astype(np.float32)
    theirs, variable = optimizer(recipe), keras.Variable(start)
    ours, state = make_mover(recipe, start.size)
    at = start
    for slope in slopes:
        theirs.apply([slope], [variable])
        (at,), state = ours.stateless_apply(state, [slope], [at])
    assert np.array_equal(at, variable.value)
    assert not np.allclose(at, start, atol=1e-4)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_it_is_what_keras_makes_of_it(recipe):
    """The same muons in the same order by ``Model.fit``: losses, their means over an epoch, and weights."""
    group = [training(recipe, seed) for seed in range(3)]
    said = train_together(group)[0]
    theirs = training(recipe, 0)
    losses = {"mse": "MeanSquaredError", "msle": "MeanSquaredLogarithmicError", "logcosh": "LogCosh"}
    theirs.model.compile(optimizer=optimizer(recipe), loss=getattr(keras.losses, losses[recipe.loss])())
    best = keras.callbacks.EarlyStopping(patience=EPOCHS, restore_best_weights=True)
    given = {"batch_size": BATCH, "shuffle": False, "validation_data": theirs.validation, "verbose": 0}
    with quiet_copies():
        muons = theirs.muons
        seen = theirs.model.fit(muons.x, muons.y, epochs=EPOCHS, callbacks=[best], **given).history
    kept = int(np.argmin(seen["val_loss"]))
    assert (said["epoch_kept"], said["epochs_run"]) == (kept + 1, EPOCHS)
    assert said["loss"] == pytest.approx(seen["loss"][kept], rel=1e-4)
    assert said["validation_loss"] == pytest.approx(seen["val_loss"][kept], rel=1e-4)
    assert_alike(group[0].model, theirs.model)


@pytest.mark.usefixtures("fused")
def test_a_falling_rate_falls_as_that_of_keras_does():
    """From the first to a thousandth of it, and stays there."""
    theirs = keras.optimizers.schedules.CosineDecay(0.01, 40, alpha=1e-3)
    ours = _fall(dataclasses.replace(RECIPES["adadelta"], schedule="cosine"))
    for step in (0, 1, 13, 40, 50):
        assert 0.01 * float(ours(step, 40)) == pytest.approx(float(theirs(step)), rel=1e-5)
    recipe = dataclasses.replace(RECIPES["adadelta"], schedule="cosine", learning_rate=0.5)
    muons = [training(recipe, seed) for seed in range(2)]
    alone = training(recipe, 1)
    train_together(muons)
    train_together([alone])
    assert_alike(muons[1].model, alone.model)


def test_a_network_that_ran_out_of_patience_does_not_change_while_others_go_on():
    """The first cannot get better than at its start: it has learnt the muons before, the others have not."""
    recipe = dataclasses.replace(RECIPES["adadelta"], epochs=12)

    def group():
        made = [training(recipe, seed) for seed in range(3)]
        hopeless = made[0].muons
        hopeless.y = np.random.default_rng(7).permutation(hopeless.y) * 9
        return made

    together, alone = group(), group()
    said = train_together(together, patience=1)
    assert said[0]["epochs_run"] < max(s["epochs_run"] for s in said)
    for one, other, entries in zip(together, alone, said, strict=True):
        assert train_together([other], patience=1)[0]["epochs_run"] == entries["epochs_run"]
        assert_alike(one.model, other.model)


def test_vectors_of_values_are_trained_as_keras_has_them():
    """The loss of the validation muons, as the loop sees it, is that of the Keras network it leaves."""
    data = toy_dataset(3000)
    recipe = dataclasses.replace(DEFAULT, schedule="constant", epochs=1, batch=256, learning_rate=0.003)
    made = _prepared(Parts(data.part("train"), data.part("validation")), recipe, None)
    trained = made.training.model.trainable_variables[1:]  # the first layer's kernel sees no number at all
    start = [np.array(v.value) for v in trained]
    (said,) = train_together([made.training])
    x, y = made.training.validation
    assert set(made.ties) == {"hwPt", "hwEta"}
    found = float(np.mean(LOSSES[recipe.loss](y, made.training.model(x, training=False))))
    assert said["validation_loss"] == pytest.approx(found, rel=1e-4)
    for a, v in zip(start, trained, strict=True):
        assert not np.array_equal(a, v.value), v.path
