"""The seed paper's network, and its recipes A to F as data."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l1scout.errors import InputError

os.environ.setdefault("KERAS_BACKEND", "jax")  # read at the first import of keras, anywhere

if TYPE_CHECKING:
    import keras

INPUTS = ("hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge")
"""Columns that enter the network, in this order."""
OUTPUTS = ("dphi", "deta", "dpt")
"""L1 minus offline, in this order: rad, 1, GeV."""
OUTPUT_UNITS = ("rad", "1", "GeV")
HIDDEN = (32, 32, 32)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    name : str
    loss, optimizer : str
        Names of Keras.
    learning_rate : float
        The paper does not give any. Pinned here, because defaults differ between versions of Keras:
        Adadelta had 1.0 in the Keras of the paper's time and has 0.001 today, which does not train.
    l2 : float
        Weight of the squared kernel weights in the loss; 0 for none.
    hidden : str
        Activation of the hidden layers.
    """

    name: str
    loss: str
    optimizer: str
    learning_rate: float
    l2: float
    hidden: str


RECIPES = {
    r.name: r
    for r in (
        Recipe("A", "logcosh", "adam", 0.001, 0.0, "relu"),
        Recipe("B", "logcosh", "adadelta", 1.0, 0.0, "relu"),
        Recipe("C", "logcosh", "adadelta", 1.0, 1e-7, "relu"),
        Recipe("D", "logcosh", "adadelta", 1.0, 1e-9, "relu"),
        Recipe("E", "logcosh", "adam", 0.001, 1e-7, "relu"),
        Recipe("F", "logcosh", "adam", 0.001, 0.0, "softmax"),
    )
}
"""Seed paper, Table 1."""


@contextmanager
def quiet_copies() -> Iterator[None]:
    """Silence numpy's deprecation of how Keras copies weights, which users cannot do anything about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


def recipe(name: str) -> Recipe:
    """Recipe of that name; InputError if there is none."""
    if name not in RECIPES:
        msg = f"no model {name!r}: choose one of {', '.join(RECIPES)}"
        raise InputError(msg)
    return RECIPES[name]


def build(recipe: Recipe) -> "keras.Model":
    """Make an untrained network: 4 inputs, 3 hidden layers of 32, 3 outputs.

    Batch normalisation stands before each hidden activation; the output is linear. Inputs and outputs
    are scaled to [0, 1]. Initial weights come from the seed last set with ``keras.utils.set_random_seed``.
    """
    import keras

    layers: list[Any] = [keras.Input((len(INPUTS),))]
    for width in HIDDEN:
        regularizer = keras.regularizers.L2(recipe.l2) if recipe.l2 else None
        layers += [
            keras.layers.Dense(width, kernel_regularizer=regularizer),
            keras.layers.BatchNormalization(),
            keras.layers.Activation(recipe.hidden),
        ]
    return keras.Sequential([*layers, keras.layers.Dense(len(OUTPUTS))])


def compile_model(model: "keras.Model", recipe: Recipe) -> None:
    """Give a network the recipe's loss and optimizer."""
    import keras

    optimizers = {
        "adam": lambda: keras.optimizers.Adam(recipe.learning_rate),
        "adadelta": lambda: keras.optimizers.Adadelta(recipe.learning_rate, rho=0.95),
    }
    losses = {"logcosh": keras.losses.LogCosh}
    model.compile(
        optimizer=optimizers[recipe.optimizer](),
        loss=losses[recipe.loss](),
        steps_per_execution=32,  # 3 times as fast on JAX; the weights stay the same to the last bit
    )
