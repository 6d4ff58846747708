"""Optimizers of Keras as compiled kernels: the same rules, with the settings of Keras' own objects."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l1scout.jit import float_kernel
from l1scout.training.recipes import Recipe, optimizer

_SGD, _ADAM, _ADADELTA, _ADAGRAD = range(4)
OPTIMIZERS: dict[str, tuple[int, Sequence[str], int]] = {
    "sgd": (_SGD, (), 0),
    "adam": (_ADAM, ("beta_1", "beta_2", "epsilon"), 2),
    "adadelta": (_ADADELTA, ("rho", "epsilon"), 2),
    "adagrad": (_ADAGRAD, ("epsilon",), 1),
}
"""Number, settings of Keras that are used, and arrays of the size of the weights."""


def settings_of(recipe: Recipe, size: int) -> tuple[int, NDArray[np.float64], NDArray[np.float32]]:
    """Return number and settings of an optimizer, and its arrays before the first step.

    The first setting is the learning rate, the others are those named in `OPTIMIZERS`.
    """
    number, names, slots = OPTIMIZERS[recipe.optimizer]
    theirs = optimizer(recipe)
    settings = np.array([recipe.learning_rate, *(getattr(theirs, n) for n in names)], np.float64)
    start = getattr(theirs, "initial_accumulator_value", 0)
    return number, settings, np.full((slots, size), start, np.float32)


@float_kernel
def move(
    optimizer: int,
    settings: NDArray[np.float64],
    rate: float,
    step: int,
    weights: NDArray[np.float32],
    gradients: NDArray[np.float32],
    slots: NDArray[np.float32],
    size: int,
) -> None:
    """Change the weights as Keras does in step number `step`, from 1 on."""
    if optimizer == _ADAM:
        rate *= np.sqrt(1 - settings[2] ** step) / (1 - settings[1] ** step)
        first, second = np.float32(1 - settings[1]), np.float32(1 - settings[2])
        _adam(weights, gradients, slots, np.float32(rate), first, second, np.float32(settings[3]), size)
    elif optimizer == _ADADELTA:
        rho, more = np.float32(settings[1]), np.float32(1 - settings[1])
        _adadelta(weights, gradients, slots, np.float32(rate), rho, more, np.float32(settings[2]), size)
    elif optimizer == _ADAGRAD:
        _adagrad(weights, gradients, slots, np.float32(rate), np.float32(settings[1]), size)
    else:
        for n in range(size):
            weights[n] -= gradients[n] * np.float32(rate)


@float_kernel
def _adam(
    weights: NDArray[np.float32],
    gradients: NDArray[np.float32],
    slots: NDArray[np.float32],
    rate: np.float32,
    first: np.float32,
    second: np.float32,
    epsilon: np.float32,
    size: int,
) -> None:
    for n in range(size):
        momentum, velocity = slots[0, n], slots[1, n]
        momentum += (gradients[n] - momentum) * first
        velocity += (gradients[n] * gradients[n] - velocity) * second
        slots[0, n], slots[1, n] = momentum, velocity
        weights[n] -= momentum * rate / (np.sqrt(velocity) + epsilon)


@float_kernel
def _adadelta(
    weights: NDArray[np.float32],
    gradients: NDArray[np.float32],
    slots: NDArray[np.float32],
    rate: np.float32,
    rho: np.float32,
    more: np.float32,
    epsilon: np.float32,
    size: int,
) -> None:
    for n in range(size):
        gradient = gradients[n]
        squares = rho * slots[0, n] + more * (gradient * gradient)
        change = np.sqrt(slots[1, n] + epsilon) * gradient / np.sqrt(squares + epsilon)
        slots[0, n], slots[1, n] = squares, rho * slots[1, n] + more * (change * change)
        weights[n] -= rate * change


@float_kernel
def _adagrad(
    weights: NDArray[np.float32],
    gradients: NDArray[np.float32],
    slots: NDArray[np.float32],
    rate: np.float32,
    epsilon: np.float32,
    size: int,
) -> None:
    for n in range(size):
        slots[0, n] += gradients[n] * gradients[n]
        weights[n] -= rate * gradients[n] / np.sqrt(slots[0, n] + epsilon)
