"""The step of training by JAX: forward, backward and optimizer, for any number of networks of one shape.

It is for all networks; `fused_step` is faster for plain ones, and is compared with this one. Keras makes
optimizers and losses; the rest is JAX. Values are arrays of shape (nodes, muons), which is the faster way
around for layers of 32 nodes. Batches may hold fewer muons than there is room for, or none, which leaves the
network as it is.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.model.keras_backend import load_keras
from l1scout.training.recipes import Recipe, loss_of_muons, optimizer

EPSILON, MOMENTUM = 1e-3, 0.99
"""Of Keras' batch normalisation."""
CHUNK = 64
"""Steps that are taken at a time."""
LEAST_RATE = 1e-3
"""To which a falling learning rate falls, in units of the first."""
Tree = Any
"""Arrays in tuples and mappings, as JAX takes them."""
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Inputs and what the loss needs, both of shape (muons, columns)."""
Chunks = Sequence[Arrays | None]
"""Muons of each network, or None for one that has no more."""


class Weights(NamedTuple):
    """What is trained.

    Parameters
    ----------
    dense : tuple of (kernel, bias)
    normalisation : tuple of (gamma, beta)
        Of the hidden layers.
    vectors : mapping of str to array
        Trained vectors of embedded inputs.
    """

    dense: Tree
    normalisation: Tree
    vectors: Mapping[str, Any]


class TrainingState(NamedTuple):
    """A network on its way; of several networks, each array has one more axis in front.

    Parameters
    ----------
    flat : array
        All of `Weights` in a row, so that the optimizer has one array to go through.
    moving : tuple of (mean, variance)
        Moving averages of batch normalisation.
    optimizer : list of arrays
    loss : array
        Sum over the muons of this epoch, each by the weights with which it was met.
    """

    flat: Any
    moving: Tree
    optimizer: Tree
    loss: Any


class Given(NamedTuple):
    """What a network has that is not trained.

    Parameters
    ----------
    penalties : array, shape (2,)
        Weights of absolute and of squared kernel weights in the loss.
    plain : array, shape (inputs,)
        1 for inputs that enter the first layer as numbers, 0 for others.
    codes : mapping of str to array, shape (3,)
        By embedded input: from the normalised input to the number of its value, scale and offset; last value.
    shares : mapping of str to array, shape (values, trained)
        By embedded input: the share of each trained vector in that of each value.
    steps : array of one number
        Over which a falling rate falls to `LEAST_RATE`.
    """

    steps: Any
    penalties: Any
    plain: Any
    codes: Mapping[str, Any]
    shares: Mapping[str, Any]


class StepKind(NamedTuple):
    """What a step is compiled for, besides shapes.

    Parameters
    ----------
    recipe : Recipe
        Only with what the step depends on: `step_kind`.
    embedded : tuple of (str, int)
        Names and columns of embedded inputs.
    shapes : tuple
        Of `Weights`, nested in the same way; `Weights.vectors` as pairs.
    """

    recipe: Recipe
    embedded: tuple[tuple[str, int], ...]
    shapes: tuple[Any, ...]


class Program(NamedTuple):
    """Compiled functions.

    Parameters
    ----------
    batches : callable
        ``batches(chunks, size)`` makes batches of the muons of each network, as the others take them.
    advance : callable
        ``advance(state, given, batches)`` takes a step of every network for each of its batches, and returns
        the new state; the old one can no longer be used.
    validate : callable
        ``validate(state, given, batches)`` gives the mean loss of each network on all its muons.
    flatten, unflatten : callable
        From `Weights` of one network to a row, and back.
    optimizer : list of arrays
        The optimizer's variables before the first step.
    """

    batches: Callable[[Chunks, int], Any]
    advance: Callable[[TrainingState, Given, Any], TrainingState]
    validate: Callable[[TrainingState, Given, Any], Any]
    flatten: Callable[[Weights], Any]
    unflatten: Callable[[Any], Weights]
    optimizer: Tree


def step_kind(recipe: Recipe, embedded: Mapping[str, int], weights: Weights) -> StepKind:
    """Return what a recipe's step is compiled for: of a recipe, neither data nor regularisation."""
    kept = ("loss", "optimizer", "learning_rate", "hidden", "output", "targets", "schedule")
    plain = Recipe("", **{n: getattr(recipe, n) for n in kept})
    shapes = tuple(tuple(tuple(a.shape) for a in pair) for pair in (*weights.dense, *weights.normalisation))
    vectors = tuple((name, tuple(v.shape)) for name, v in sorted(weights.vectors.items()))
    return StepKind(plain, tuple(embedded.items()), (shapes, vectors))


@functools.lru_cache(maxsize=32)
def program(kind: StepKind) -> Program:
    """Compile a step, once in a process for each kind."""
    import jax
    from jax.flatten_util import ravel_pytree

    jnp, recipe = jax.numpy, kind.recipe
    flat, unflatten = ravel_pytree(_zeros(kind))
    mover, variables = make_mover(recipe, flat.size)
    losses, fall = loss_of_muons(recipe), _fall(recipe)
    rate_at, step_at = (
        next(k for k, v in enumerate(mover.variables) if v is wanted)
        for wanted in (mover.learning_rate, mover.iterations)
    )

    def loss(flat: Any, moving: Tree, given: Given, x: Any, y: Any, share: Any) -> Any:
        weights = unflatten(flat)
        answers, moved = forward(kind, weights, moving, given, x.T, share)
        return jnp.sum(losses(y, answers.T) * share) + penalty(weights, given), moved

    def step(state: TrainingState, given: Given, x: Any, y: Any, count: Any) -> TrainingState:
        share = (jnp.arange(x.shape[0]) < count) / jnp.maximum(count, 1).astype(jnp.float32)
        slope = jax.value_and_grad(loss, has_aux=True)
        (value, moving), gradient = slope(state.flat, state.moving, given, x, y, share)
        variables = [*state.optimizer]
        variables[rate_at] *= fall(variables[step_at], given.steps)
        (flat,), moved = mover.stateless_apply(variables, [gradient], [state.flat])
        moved[rate_at] = state.optimizer[rate_at]
        new = TrainingState(flat, moving, moved, state.loss + value * count)
        return TrainingState(*jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), new, state))

    def advance(state: TrainingState, given: Given, batches: Any) -> Any:
        x, y, counts, steps = batches
        return jax.lax.fori_loop(
            0, steps, lambda k, now: jax.vmap(step)(now, given, x[k], y[k], counts[k]), state
        )

    def summed(state: TrainingState, given: Given, x: Any, y: Any, count: Any) -> Any:
        answers, _ = forward(kind, unflatten(state.flat), state.moving, given, x.T, None)
        return jnp.sum(losses(y, answers.T) * (jnp.arange(x.shape[0]) < count))

    def validate(state: TrainingState, given: Given, batches: Any) -> Any:
        x, y, counts, steps = batches
        total = jax.lax.fori_loop(
            0,
            steps,
            lambda k, now: now + jax.vmap(summed)(state, given, x[k], y[k], counts[k]),
            jnp.zeros(counts.shape[1]),
        )
        return total / counts.sum(axis=0) + jax.vmap(lambda f, g: penalty(unflatten(f), g))(state.flat, given)

    return Program(
        _side_by_side,
        jax.jit(advance, donate_argnums=0),
        jax.jit(validate),
        lambda weights: ravel_pytree(weights)[0],
        unflatten,
        variables,
    )


def _side_by_side(
    chunks: Chunks, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], int]:
    """Return batches of several networks: inputs, what the loss needs, numbers of muons, and number of steps.

    Of shapes (steps, networks, batch, columns) and (steps, networks); what is beyond the muons is zero. There
    is room for a multiple of `CHUNK` steps, so that few shapes are compiled for.
    """
    steps = -(-max(len(chunk[0]) for chunk in chunks if chunk) // batch)
    room = -(-steps // CHUNK) * CHUNK
    widths = [a.shape[1] for a in next(c for c in chunks if c is not None)]
    x, y = (np.zeros((room, len(chunks), batch, width), np.float32) for width in widths)
    counts = np.zeros((room, len(chunks)), np.int32)
    for k, chunk in enumerate(chunks):
        n = len(chunk[0]) if chunk else 0
        full = n // batch
        counts[:, k] = np.clip(n - batch * np.arange(room), 0, batch)
        for of_all, of_one in zip((x, y), chunk or (), strict=False):
            of_all[:full, k] = of_one[: full * batch].reshape(full, *of_all.shape[2:])
            of_all[full : full + 1, k, : n - full * batch] = of_one[full * batch :]
    return x, y, counts, steps


def forward(kind: StepKind, weights: Weights, moving: Tree, given: Given, x: Any, share: Any) -> Any:
    """Return answers, shape (outputs, muons), and the moving averages after this batch.

    Parameters
    ----------
    kind : StepKind
    weights : Weights
    moving : tuple of (mean, variance)
    given : Given
    x : array, shape (inputs, muons)
    share : array of shape (muons,), or None
        Share of each muon in the batch's means; None: the moving averages are taken, as after the training.
    """
    import jax

    jnp, act = jax.numpy, _activations()
    kernel, bias = weights.dense[0]
    z = (kernel * given.plain[:, None]).T @ x + bias[:, None]
    for name, column in kind.embedded:
        scale, offset, last = given.codes[name]
        value = jnp.clip(jnp.round(x[column] * scale + offset), 0, last).astype(jnp.int32)
        z += weights.vectors[name].T @ given.shares[name][value].T
    moved = []
    for (gamma, beta), (kernel, bias), (mean, variance) in zip(
        weights.normalisation, weights.dense[1:], moving, strict=True
    ):
        if share is not None:
            old = mean, variance
            mean = jnp.sum(z * share, axis=1)
            variance = jnp.sum(z * z * share, axis=1) - mean**2
            moved.append(
                tuple(a * MOMENTUM + b * (1 - MOMENTUM) for a, b in zip(old, (mean, variance), strict=True))
            )
        slope = jax.lax.rsqrt(variance + EPSILON) * gamma
        z = act[kind.recipe.hidden](z * slope[:, None] + (beta - mean * slope)[:, None])
        z = kernel.T @ z + bias[:, None]
    return act[kind.recipe.output](z), tuple(moved)


def penalty(weights: Weights, given: Given) -> Any:
    """Return what the regularisation adds to the loss."""
    import jax

    kernels = [kernel for kernel, _ in weights.dense[:-1]]
    absolute, squares = (sum(jax.numpy.sum(of(k)) for k in kernels) for of in (abs, jax.numpy.square))
    return given.penalties[0] * absolute + given.penalties[1] * squares


def _activations() -> Mapping[str, Callable[[Any], Any]]:
    import jax

    return {
        "linear": lambda z: z,
        "relu": jax.nn.relu,
        "softmax": functools.partial(jax.nn.softmax, axis=0),
    }


def _zeros(kind: StepKind) -> Weights:
    pairs, vectors = kind.shapes
    arrays = [tuple(np.zeros(s, np.float32) for s in pair) for pair in pairs]
    hidden = len(arrays) // 2
    tables = {name: np.zeros(s, np.float32) for name, s in vectors}
    return Weights(tuple(arrays[: hidden + 1]), tuple(arrays[hidden + 1 :]), tables)


def _fall(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """Return the learning rate in units of the first, of the number of a step and of all steps."""
    import jax

    def cosine(step: Any, steps: Any) -> Any:
        turn = jax.numpy.cos(np.pi * jax.numpy.minimum(step / steps, 1))
        return LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + turn)

    return cosine if recipe.schedule == "cosine" else lambda _step, _steps: 1.0


def make_mover(recipe: Recipe, size: int) -> tuple[Any, Tree]:
    """Return the recipe's optimizer for a row of weights, and its variables before the first step."""
    keras = load_keras()
    mover = optimizer(recipe)
    mover.build([keras.Variable(np.zeros(size, np.float32))])
    return mover, [np.asarray(v.value) for v in mover.variables]
