"""The step of plain networks as one compiled kernel: forward, backward and optimizer, batch after batch.

`compiled_step` does the same by JAX, as one small operation after the other, each of which takes longer to
start than to do. Here a network goes through all batches of a chunk in one call, and its arrays stay in the
cache. It is for networks without embedded inputs and for the losses of Keras: the recipes of the reference
paper. A network among others is the same as alone, to the last bit.

Biases before a batch normalisation do not change: their gradients are zero, as the mean is subtracted again.
(What JAX finds for them is rounding, which Adam scales up to whole steps.)
"""

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import aligned, float_kernel
from l1scout.training import row_kernels as rk
from l1scout.training.compiled_step import (
    EPSILON,
    LEAST_RATE,
    MOMENTUM,
    Arrays,
    Chunks,
    Given,
    Program,
    StepKind,
    TrainingState,
    Weights,
)
from l1scout.training.optimizer_kernels import OPTIMIZERS, move, settings_of

_LOSSES = {"mse": 0, "logcosh": rk.LOGCOSH, "msle": rk.MSLE}
_ACTIVATIONS = {"linear": 0, "relu": rk.RELU, "softmax": rk.SOFTMAX}
_LANES = 256
"""Muons that are answered at a time in a validation."""
_EPSILON, _MOMENTUM = np.float32(EPSILON), np.float32(MOMENTUM)
_ZERO, _ONE, _TWO = (np.float32(x) for x in range(3))


class _Choice(NamedTuple):
    """Loss, activations, optimizer and schedule of a recipe, as numbers."""

    loss: int
    hidden: int
    output: int
    optimizer: int
    falls: bool


def does(kind: StepKind) -> bool:
    """Return whether this step is for such networks; `compiled_step` is for all."""
    recipe = kind.recipe
    known = (
        recipe.loss in _LOSSES,
        recipe.optimizer in OPTIMIZERS,
        recipe.hidden in _ACTIVATIONS,
        recipe.output in ("linear", "relu"),
        recipe.targets == "unit",
        len(kind.shapes[0]) > 1,
    )
    return all(known) and not kind.embedded


@functools.lru_cache(maxsize=32)
def program(kind: StepKind) -> Program:
    """Return the functions of a step; see `compiled_step.Program`. States are changed where they are."""
    layout, recipe = _layout(kind), kind.recipe
    size = int(sum(np.prod(shape) for pair in kind.shapes[0] for shape in pair))
    number, settings, start = settings_of(recipe, size)
    hidden, output = _ACTIVATIONS[recipe.hidden], _ACTIVATIONS[recipe.output]
    columns = int(layout[0, 0]), int(layout[-1, 1])
    choice = _Choice(_LOSSES[recipe.loss], hidden, output, number, recipe.schedule == "cosine")

    def advance(state: TrainingState, given: Given, batches: tuple[Chunks, int]) -> TrainingState:
        chunks, batch = batches
        done, slots = state.optimizer
        moving, work = _packed(state.moving), _work_space(layout, size, batch)
        for k, (x, y) in _present(chunks, columns):
            fixed = given.penalties[k], given.steps[k], done[k]
            state.loss[k] += _advance(
                layout, choice, settings, state.flat[k], slots[k], moving[k], *fixed, x, y, batch, *work
            )
            done[k] += -(-len(x) // batch)
        return state._replace(moving=_unpacked(layout, moving))

    def validate(state: TrainingState, given: Given, batches: tuple[Chunks, int]) -> NDArray[np.float64]:
        moving, work = _packed(state.moving), _work_space(layout, size, _LANES)
        means = np.full(len(state.flat), np.nan)
        for k, (x, y) in _present(batches[0], columns):
            means[k] = _validate(layout, choice, state.flat[k], moving[k], given.penalties[k], x, y, *work)
        return means

    def flatten(weights: Weights) -> NDArray[np.float32]:
        pairs = (*weights.dense, *weights.normalisation)
        return np.concatenate([np.asarray(a, np.float32).ravel() for pair in pairs for a in pair])

    def unflatten(flat: NDArray[np.float32]) -> Weights:
        shapes = [shape for pair in kind.shapes[0] for shape in pair]
        ends = np.cumsum([np.prod(s) for s in shapes])[:-1]
        arrays = [a.reshape(s) for a, s in zip(np.split(flat, ends), shapes, strict=True)]
        pairs = tuple(zip(arrays[::2], arrays[1::2], strict=True))
        return Weights(pairs[: len(layout)], pairs[len(layout) :], {})

    return Program(_batches, advance, validate, flatten, unflatten, [np.int64(0), start])


def _batches(chunks: Chunks, batch: int) -> tuple[Chunks, int]:
    return chunks, batch


def _present(chunks: Chunks, columns: tuple[int, int]) -> Iterator[tuple[int, Arrays]]:
    """Give numbers and arrays of the networks that have muons, as kernels check no bounds (ValueError)."""
    for k, chunk in enumerate(chunks):
        if chunk is not None:
            x, y = (np.ascontiguousarray(a, np.float32) for a in chunk)
            if (x.shape, y.shape) != tuple((len(x), n) for n in columns):
                msg = (
                    f"inputs {x.shape} and targets {y.shape} do not have {columns} columns, or as many muons"
                )
                raise ValueError(msg)
            yield k, (x, y)


def _layout(kind: StepKind) -> NDArray[np.int64]:
    """Return a row per layer: inputs, outputs, and where kernel, bias and gamma (-1 for none) begin."""
    kernels = [pair[0] for pair in kind.shapes[0]]
    dense = kernels[: len(kernels) // 2 + 1]
    begins = np.cumsum([0, *((i + 1) * o for i, o in dense), *(2 * o for _, o in dense[:-1])])
    rows = [
        (i, o, begins[k], begins[k] + i * o, begins[len(dense) + k] if k < len(dense) - 1 else -1)
        for k, (i, o) in enumerate(dense)
    ]
    return np.array(rows, np.int64)


def _packed(moving: Any) -> NDArray[np.float32]:
    """Return moving averages as one array, shape (networks, 2, nodes of all hidden layers)."""
    return np.stack(
        [np.concatenate([np.asarray(pair[k]) for pair in moving], axis=1) for k in (0, 1)], axis=1
    )


def _unpacked(layout: NDArray[np.int64], moving: NDArray[np.float32]) -> Any:
    ends = pairwise(np.cumsum([0, *layout[:-1, 1]]))
    return tuple((moving[:, 0, a:b], moving[:, 1, a:b]) for a, b in ends)


def _work_space(layout: NDArray[np.int64], size: int, muons: int) -> tuple[NDArray[np.float32], ...]:
    """Return rows for a batch, room for weights and for gradients, and for the statistics of each layer."""
    width = -(-int(layout[:, :2].max()) // rk.ROWS) * rk.ROWS
    vectors = -(-muons // rk.WIDE) + 1  # one more: rows of a power of two would share cache sets
    blocks = 2 * len(layout) + 4
    rows = aligned((blocks * width, vectors * rk.WIDE), np.float32)
    weights = aligned((2, -(-(size + width * (width + rk.ROWS)) // 16) * 16), np.float32)
    return rows, weights[0], weights[1], np.zeros((len(layout), 5, width), np.float32)


@float_kernel
def _advance(
    layout: NDArray[np.int64],
    choice: _Choice,
    settings: NDArray[np.float64],
    flat: NDArray[np.float32],
    slots: NDArray[np.float32],
    moving: NDArray[np.float32],
    penalties: NDArray[np.float32],
    planned: float,
    done: int,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    batch: int,
    rows: NDArray[np.float32],
    weights: NDArray[np.float32],
    gradients: NDArray[np.float32],
    stats: NDArray[np.float32],
) -> float:
    """Take the steps of one network, and return the sum of its losses over the muons."""
    size, wanted, found = len(flat), 2 * len(layout) * stats.shape[2], 0.0
    for n in range(size):  # a loop, as a slice takes seconds to compile
        weights[n] = flat[n]
    for first in range(0, len(x), batch):
        muons = min(batch, len(x) - first)
        rk.transpose(x, first, rows, 0, muons)
        rk.transpose(y, first, rows, wanted, muons)
        _forward(layout, choice.hidden, weights, rows, stats, False, muons)
        found += _losses(layout, choice, weights, rows, stats, muons)
        found += muons * _penalty(layout, weights, penalties)
        _backward(layout, choice.hidden, weights, rows, stats, gradients, muons)
        _penalise(layout, weights, penalties, gradients)
        _follow(layout, weights, stats, moving)
        rate = settings[0]
        if choice.falls:
            turn = np.cos(np.pi * min(done / planned, 1.0))
            rate *= LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + turn)
        done += 1
        move(choice.optimizer, settings, rate, done, weights, gradients, slots, size)
    for n in range(size):
        flat[n] = weights[n]
    return found


@float_kernel
def _validate(
    layout: NDArray[np.int64],
    choice: _Choice,
    flat: NDArray[np.float32],
    moving: NDArray[np.float32],
    penalties: NDArray[np.float32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    rows: NDArray[np.float32],
    weights: NDArray[np.float32],
    _gradients: NDArray[np.float32],
    stats: NDArray[np.float32],
) -> float:
    """Return the mean loss of one network, with the moving averages as mean and variance."""
    wanted, found, begins = 2 * len(layout) * stats.shape[2], 0.0, 0
    for n in range(len(flat)):
        weights[n] = flat[n]
    for k in range(len(layout) - 1):
        bias, outputs = layout[k, 3], layout[k, 1]
        for j in range(outputs):  # sums are without biases
            stats[k, 0, j] = moving[0, begins + j] - weights[bias + j]
            stats[k, 1, j] = moving[1, begins + j]
        begins += outputs
    for first in range(0, len(x), _LANES):
        muons = min(_LANES, len(x) - first)
        rk.transpose(x, first, rows, 0, muons)
        rk.transpose(y, first, rows, wanted, muons)
        _forward(layout, choice.hidden, weights, rows, stats, True, muons)
        found += _losses(layout, choice, weights, rows, stats, muons)
    return found / len(x) + _penalty(layout, weights, penalties)


@float_kernel
def _forward(
    layout: NDArray[np.int64],
    hidden: int,
    weights: NDArray[np.float32],
    rows: NDArray[np.float32],
    stats: NDArray[np.float32],
    known: bool,
    muons: int,
) -> None:
    """Set sums and activations of every layer, without biases; mean and variance, too, unless `known`."""
    width, last = stats.shape[2], len(layout) - 1
    for k in range(last + 1):
        inputs, outputs, at, gamma = layout[k, 0], layout[k, 1], layout[k, 2], layout[k, 4]
        source, sums = 2 * k * width, (2 * k + 1) * width
        rk.multiply(weights, at, outputs, 1, rows, source, inputs, sums, outputs, muons)
        if k == last:
            return
        for j in range(outputs):
            if not known:
                total, squares = rk.total_and_product(rows, sums + j, sums + j, muons)
                mean = total / np.float32(muons)
                stats[k, 0, j], stats[k, 1, j] = mean, squares / np.float32(muons) - mean * mean
            inverse = _ONE / np.sqrt(stats[k, 1, j] + _EPSILON)
            factor = inverse * weights[gamma + j]
            stats[k, 2, j], stats[k, 3, j] = inverse, factor
            shift = weights[gamma + outputs + j] - stats[k, 0, j] * factor
            if hidden == rk.RELU:
                rk.scale_relu(rows, sums + j, sums + width + j, factor, shift, muons)
            else:
                rk.scale(rows, sums + j, sums + width + j, factor, shift, muons)
        if hidden == rk.SOFTMAX:
            rk.softmax(rows, sums + width, outputs, (2 * last + 5) * width, muons)


@float_kernel
def _losses(
    layout: NDArray[np.int64],
    choice: _Choice,
    weights: NDArray[np.float32],
    rows: NDArray[np.float32],
    stats: NDArray[np.float32],
    muons: int,
) -> float:
    """Finish the answers, set the gradients of the batch's mean loss, and return its sum over muons."""
    width, last = stats.shape[2], len(layout) - 1
    answers, spare = (2 * last + 1) * width, (2 * last + 5) * width
    wanted, gradients = answers + width, answers + 2 * width
    outputs, bias = layout[last, 1], layout[last, 3]
    share, found = _ONE / np.float32(muons * outputs), 0.0
    for o in range(outputs):
        row = answers + o
        if choice.output == rk.RELU:
            rk.scale_relu(rows, row, row, _ONE, weights[bias + o], muons)
        else:
            rk.scale(rows, row, row, _ONE, weights[bias + o], muons)
        rk.losses(choice.loss, rows, row, wanted + o, gradients + o, spare, share, muons)
        if choice.output == rk.RELU:
            rk.mask(rows, gradients + o, row, muons)
        found += float(rk.total(rows, spare, muons))
    return float(found / outputs)


@float_kernel
def _backward(
    layout: NDArray[np.int64],
    hidden: int,
    weights: NDArray[np.float32],
    rows: NDArray[np.float32],
    stats: NDArray[np.float32],
    gradients: NDArray[np.float32],
    muons: int,
) -> None:
    """Set the gradients of all weights but of biases before a normalisation, from those of the answers."""
    width, last = stats.shape[2], len(layout) - 1
    here, below, spare = (2 * last + 3) * width, (2 * last + 4) * width, (2 * last + 5) * width
    for k in range(last, -1, -1):
        inputs, outputs, at, bias, gamma = layout[k]
        sums = (2 * k + 1) * width
        if k == last:
            for o in range(outputs):
                gradients[bias + o] = rk.total(rows, here + o, muons)
        elif hidden == rk.SOFTMAX:
            rk.through_softmax(rows, here, sums + width, outputs, spare, muons)
        for j in range(outputs if k < last else 0):
            row, mean, inverse, factor = here + j, stats[k, 0, j], stats[k, 2, j], stats[k, 3, j]
            if hidden == rk.RELU:
                rk.mask(rows, row, sums + width + j, muons)
            total, product = rk.total_and_product(rows, row, sums + j, muons)
            steep = inverse * (product - mean * total)
            gradients[gamma + j], gradients[gamma + outputs + j] = steep, total
            b = -factor * inverse * steep / np.float32(muons)
            rk.combine(rows, row, factor, sums + j, b, -factor * total / np.float32(muons) - b * mean, muons)
        rk.weight_gradients(rows, 2 * k * width, inputs, here, outputs, muons, gradients, at)
        if k:
            rk.multiply(weights, at, 1, outputs, rows, here, outputs, below, inputs, muons)
            here, below = below, here


@float_kernel
def _penalty(
    layout: NDArray[np.int64], weights: NDArray[np.float32], penalties: NDArray[np.float32]
) -> float:
    found = 0.0
    for k in range(len(layout) - 1 if penalties.any() else 0):
        absolute, squares = rk.sizes(weights, layout[k, 2], layout[k, 3])
        found += float(penalties[0] * absolute + penalties[1] * squares)
    return found


@float_kernel
def _penalise(
    layout: NDArray[np.int64],
    weights: NDArray[np.float32],
    penalties: NDArray[np.float32],
    gradients: NDArray[np.float32],
) -> None:
    """Add the gradients of `_penalty`."""
    absolute, squares = penalties[0], _TWO * penalties[1]
    for k in range(len(layout) - 1 if penalties.any() else 0):
        for n in range(layout[k, 2], layout[k, 3]):
            w = weights[n]
            sign = absolute if w > _ZERO else -absolute if w < _ZERO else _ZERO
            gradients[n] += sign + squares * w


@float_kernel
def _follow(
    layout: NDArray[np.int64],
    weights: NDArray[np.float32],
    stats: NDArray[np.float32],
    moving: NDArray[np.float32],
) -> None:
    """Move the moving averages of mean and variance."""
    first = 0
    for k in range(len(layout) - 1):
        outputs, bias = layout[k, 1], layout[k, 3]
        for j in range(outputs):
            mean = stats[k, 0, j] + weights[bias + j]
            moving[0, first + j] = moving[0, first + j] * _MOMENTUM + mean * (_ONE - _MOMENTUM)
            moving[1, first + j] = moving[1, first + j] * _MOMENTUM + stats[k, 1, j] * (_ONE - _MOMENTUM)
        first += outputs
