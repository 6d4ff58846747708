"""The fused step: its gradients are those of JAX, its moves those of Keras, whatever is trained beside."""

import dataclasses
from itertools import count, product

import jax
import keras
import numba
import numpy as np
import pytest

from l1scout.jit import aligned
from l1scout.training import compiled_step, fused_step, optimizer_kernels, row_kernels
from l1scout.training.compiled_step import Given, TrainingState
from l1scout.training.recipes import DEFAULT, RECIPES, build, loss_of_muons, optimizer
from l1scout.training.study import HANDLES, from_handles
from l1scout.training.together import _weights

LANES, MUONS = 64, 41
MARGIN = 2e-5
"""No activation is nearer to its kink, so that rounding cannot choose a side."""
NETWORKS = [
    (loss, hidden, output, regularization)
    for (loss, hidden, output), regularization in zip(
        product(*(HANDLES[h] for h in ("loss", "hidden", "output"))),
        ("none", "L1 1e-5", "L2 1e-5") * 4,
        strict=True,
    )
]


def recipe_of(**handles):
    return from_handles({h: v[0] for h, v in HANDLES.items()} | handles)


def network(recipe, seed=1):
    """Return what a step is compiled for, and a network with moving averages; no weight or bias is zero."""
    keras.utils.set_random_seed(seed)
    weights, moving = _weights(build(recipe))
    kind = compiled_step.step_kind(recipe, {}, weights)
    flat = fused_step.program(kind).flatten(weights)
    flat += 0.05 * np.random.default_rng(seed).normal(size=flat.size).astype(np.float32)
    return kind, flat, moving


def beside(trees):
    return jax.tree.map(lambda *a: np.stack([np.array(x) for x in a]), *trees)


def given_of(recipe, steps=1):
    penalties = np.array([recipe.l1, recipe.l2], np.float32)
    return Given(np.float32(steps), penalties, np.ones(4, np.float32), {}, {})


def state_of(compiled, flat, moving):
    return TrainingState(flat, moving, compiled.optimizer, np.float32(0))


def muons_of(seed, muons=MUONS):
    rng = np.random.default_rng(seed)
    x, y = rng.random((muons, 4)), 0.5 * rng.normal(size=(muons, 3))  # some are negative, for msle
    return x.astype(np.float32), y.astype(np.float32)


def nearest_kink(recipe, weights, x):
    nearest, z = np.inf, x.astype(np.float64)
    for (kernel, bias), (gamma, beta) in zip(weights.dense[:-1], weights.normalisation, strict=True):
        z = z @ kernel + bias
        z = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + compiled_step.EPSILON) * gamma + beta
        nearest = min(nearest, np.abs(z).min())
        z = np.maximum(z, 0) if recipe.hidden == "relu" else np.exp(z) / np.exp(z).sum(axis=1)[:, np.newaxis]
    kernel, bias = weights.dense[-1]
    return min(nearest, np.abs(z @ kernel + bias).min())


@pytest.mark.parametrize(("loss", "hidden", "output", "regularization"), NETWORKS)
def test_gradients_losses_and_moving_averages_are_those_of_jax(loss, hidden, output, regularization):
    """One step of SGD at a rate of 1 takes off the gradients; validation is compared by the same muons."""
    recipe = recipe_of(
        loss=loss, hidden=hidden, output=output, optimizer="sgd", regularization=regularization
    )
    recipe = dataclasses.replace(recipe, learning_rate=1.0)
    kind, flat, moving = network(recipe)
    fused, unflatten = fused_step.program(kind), compiled_step.program(kind).unflatten
    seed = next(s for s in count() if nearest_kink(recipe, unflatten(flat), muons_of(s)[0]) > MARGIN)
    x, y = muons_of(seed)
    given, of_muons = given_of(recipe), loss_of_muons(recipe)
    share = np.full(MUONS, 1 / MUONS, np.float32)

    def by_jax(flat, share):
        weights = unflatten(flat)
        answers, moved = compiled_step.forward(kind, weights, moving, given, x.T, share)
        found = jax.numpy.mean(of_muons(y, answers.T)) + compiled_step.penalty(weights, given)
        return found, moved

    (value, moved), gradients = jax.value_and_grad(by_jax, has_aux=True)(flat, share)
    batch = fused.batches([(x, y)], LANES)
    state, given_beside = beside([state_of(fused, flat, moving)]), beside([given])
    seen = fused.validate(state, given_beside, batch)
    assert seen[0] == pytest.approx(float(by_jax(flat, None)[0]), rel=1e-5)
    after = fused.advance(state, given_beside, batch)
    assert after.loss[0] == pytest.approx(MUONS * float(value), rel=1e-5)
    for one, other in zip(jax.tree.leaves(after.moving), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(one[0], other, rtol=0, atol=1e-6)
    ours, theirs = unflatten(flat - after.flat[0]), unflatten(np.asarray(gradients))
    for (kernel, bias), (other, other_bias) in zip(ours.dense, theirs.dense, strict=True):
        np.testing.assert_allclose(kernel, other, rtol=0, atol=1e-6)
        np.testing.assert_allclose(bias, other_bias, rtol=0, atol=1e-6)
    for pair, others in zip(ours.normalisation, theirs.normalisation, strict=True):
        np.testing.assert_allclose(pair, others, rtol=0, atol=1e-6)
    assert np.abs(gradients).max() > 1e-3
    assert not any(np.any(bias) for _, bias in ours.dense[:-1])  # a normalisation takes them off again


@pytest.mark.parametrize("name", HANDLES["optimizer"])
def test_every_optimizer_moves_weights_as_that_of_keras(name):
    """Keras takes Adam's corrections of the first steps in single precision, so that these differ by 1e-4."""
    recipe, rng = recipe_of(optimizer=name), np.random.default_rng(1)
    start, *gradients = rng.normal(size=(5, 2600)).astype(np.float32)
    number, settings, slots = optimizer_kernels.settings_of(recipe, start.size)
    theirs, variable, ours = optimizer(recipe), keras.Variable(start), start.copy()
    for step, gradient in enumerate(gradients):
        theirs.apply([gradient], [variable])
        optimizer_kernels.move(
            number, settings, recipe.learning_rate, step + 1, ours, gradient, slots, start.size
        )
    moved = np.asarray(variable.value) - start
    np.testing.assert_allclose(ours - start, moved, rtol=2e-4, atol=1e-6)
    assert np.abs(moved).max() > 1e-3


def trained(recipe, networks, muons):
    """Return the states of networks after two epochs of steps together, of which each had its own muons."""
    fused = fused_step.program(networks[0][0])
    state = beside([state_of(fused, flat, moving) for _, flat, moving in networks])
    given = beside([given_of(recipe, 30) for _ in networks])
    for part in (slice(0, 128), slice(128, None), slice(0, 64)):
        chunks = [(x[part], y[part]) if len(x[part]) else None for x, y in muons]
        state = fused.advance(state, given, fused.batches(chunks, LANES))
    return state, fused.validate(state, given, fused.batches(muons, LANES))


@pytest.mark.parametrize(
    ("name", "hidden"), list(zip(HANDLES["optimizer"], HANDLES["hidden"] * 2, strict=True))
)
def test_a_network_is_the_same_to_the_last_bit_alone_and_among_others(name, hidden):
    """Others have more muons, so that it has no batch while they go on; its last one before is not full."""
    recipe = dataclasses.replace(recipe_of(optimizer=name, hidden=hidden, loss="logcosh"), schedule="cosine")
    networks = [network(recipe, seed) for seed in range(3)]
    muons = [muons_of(seed, n) for seed, n in enumerate((200, 300, 64))]
    several = trained(recipe, networks, muons)
    for k in range(3):
        alone = trained(recipe, networks[k : k + 1], muons[k : k + 1])
        for one, other in zip(jax.tree.leaves(several), jax.tree.leaves(alone), strict=True):
            assert np.array_equal(one[k], other[0])
        assert not np.allclose(several[0].flat[k], networks[k][1], atol=1e-4)


def test_a_cosine_rate_falls_as_that_of_keras():
    recipe = dataclasses.replace(recipe_of(optimizer="sgd"), schedule="cosine", learning_rate=0.1)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 40, alpha=1e-3)
    kind, flat, moving = network(recipe)
    fused, muons = fused_step.program(kind), muons_of(1)
    moved = []
    for step in (0, 13, 40, 50):
        state = beside([state_of(fused, flat, moving)])
        state.optimizer[0][:] = step
        after = fused.advance(state, beside([given_of(recipe, 40)]), fused.batches([muons], LANES))
        moved.append(np.abs(after.flat[0] - flat).max() / float(schedule(step)))
    assert moved == pytest.approx([moved[0]] * 4, rel=1e-2)


@pytest.mark.parametrize("column", ["x", "y"])
@pytest.mark.parametrize("loss", HANDLES["loss"])
@pytest.mark.parametrize("hidden", HANDLES["hidden"])
def test_nan_in_the_data_gives_nan_as_loss(column, loss, hidden):
    """A training that diverges is seen by its loss."""
    recipe = recipe_of(hidden=hidden, loss=loss)
    kind, flat, moving = network(recipe)
    fused, (x, y) = fused_step.program(kind), muons_of(1)
    {"x": x, "y": y}[column][7, 1] = np.nan
    state, given = beside([state_of(fused, flat, moving)]), beside([given_of(recipe)])
    batch = fused.batches([(x, y)], LANES)
    assert np.isnan(fused.validate(state, given, batch)[0])
    after = fused.advance(state, given, batch)
    assert np.isnan(after.loss[0])
    assert np.isnan(after.flat[0]).any()


@numba.njit
def _each(x, out):
    for k in range(len(x)):
        out[0, k], out[1, k] = row_kernels.exponential(x[k]), row_kernels.logarithm(np.float32(1) + abs(x[k]))


def test_exponential_and_logarithm_are_those_of_numpy():
    x = np.linspace(-86, 86, 100_001).astype(np.float32)
    out = np.zeros((2, len(x)), np.float32)
    _each(x, out)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(out[0], np.exp(exact), rtol=3e-7)
    np.testing.assert_allclose(out[1], np.log(1 + np.abs(exact)), rtol=3e-7, atol=1e-7)
    special = np.array([np.nan, -np.inf, np.inf], np.float32)
    _each(special, out)
    assert np.isnan(out[:, 0]).all()
    assert out[0, 1] < 1e-37
    assert np.isposinf(out[1, 1:3]).all()


@pytest.mark.parametrize(("inputs", "outputs", "muons"), [(4, 32, 256), (7, 5, 61), (1, 1, 1)])
def test_matrix_products_are_those_of_numpy(inputs, outputs, muons):
    """Of small integers, which are summed exactly; also where nothing is a multiple of anything."""
    rng = np.random.default_rng(1)
    first, second = 0, -(-inputs // 4) * 4
    rows = aligned((second + -(-outputs // 4) * 4, -(-muons // 32) * 32), np.float32)
    rows[:] = rng.integers(-9, 9, rows.shape)
    weights = rng.integers(-9, 9, (inputs + 8) * (outputs + 8)).astype(np.float32)
    x, w = rows[:inputs, :muons].copy(), weights[3 : 3 + inputs * outputs].reshape(inputs, outputs)
    row_kernels.multiply(weights, 3, outputs, 1, rows, first, inputs, second, outputs, muons)
    y = rows[second : second + outputs, :muons].copy()
    assert np.array_equal(y, w.T @ x)
    gradients = np.zeros(inputs * outputs + 2, np.float32)
    row_kernels.weight_gradients(rows, first, inputs, second, outputs, muons, gradients, 1)
    assert np.array_equal(gradients[1:-1].reshape(inputs, outputs), x @ y.T)
    assert not gradients[[0, -1]].any()
    row_kernels.multiply(weights, 3, 1, outputs, rows, second, outputs, first, inputs, muons)
    assert np.array_equal(rows[:inputs, :muons], w @ y)


@pytest.mark.parametrize("change", [lambda a: a[:, :-1], lambda a: np.hstack([a, a]), lambda a: a[1:]])
@pytest.mark.parametrize("column", [0, 1])
def test_arrays_that_do_not_fit_are_refused(column, change):
    kind, flat, moving = network(RECIPES["A"])
    fused, chunk = fused_step.program(kind), list(muons_of(1))
    chunk[column] = change(chunk[column])
    state, given = beside([state_of(fused, flat, moving)]), beside([given_of(RECIPES["A"])])
    for step in (fused.advance, fused.validate):
        with pytest.raises(ValueError, match="do not have"):
            step(state, given, fused.batches([tuple(chunk)], LANES))


def test_other_networks_are_left_to_jax():
    assert all(fused_step.does(network(recipe)[0]) for recipe in (RECIPES["A"], RECIPES["F"]))
    kind = network(RECIPES["A"])[0]
    assert not fused_step.does(kind._replace(embedded=(("hwPt", 2),)))
    assert not fused_step.does(kind._replace(recipe=DEFAULT))
