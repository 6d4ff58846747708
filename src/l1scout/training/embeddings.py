"""Networks that treat every value of an input as a case of its own.

The trigger's eta is a lattice, made by the bins of the theta chambers, and its pT a table: the best answer
jumps from one value to the next. A few ReLU that see eta as one number smooth over that. So the first layer
gets the sum of one vector for each value of `Recipe.embedded_inputs`, as language models get one for each
word (an embedding). Vectors are tied where values must be alike, or training muons are few
(`l1scout.training.nodes`). In Keras these are `Embedding` layers, each with the name of its input; in the
exported network they are look-ups.

A network is trained with its ties, and then becomes one of plain vectors, which anything can read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset.matched import Dataset
from l1scout.model.card import Card
from l1scout.model.keras_backend import load_keras
from l1scout.training.nodes import WIDER, harmonics, nodes, table
from l1scout.training.recipes import Recipe, hidden_layers, last_layers

if TYPE_CHECKING:
    import keras

_SLOPE = 0.3
Tables = Mapping[str, NDArray[np.float32]]
"""By embedded input: the share of each trained vector in that of each value, shape (values, trained)."""


@dataclass(frozen=True)
class EmbeddedInputs:
    """Embedded inputs of a network that is trained, as arrays.

    Parameters
    ----------
    plain : ndarray of float32, shape (inputs,)
        See `plain_inputs`.
    columns : mapping of str to int
        Place among the network's inputs.
    codes : mapping of str to ndarray of float32, shape (3,)
        From the normalised input to the number of its value: scale and offset; and the last value's number.
    shares : Tables
    """

    plain: NDArray[np.float32]
    columns: Mapping[str, int]
    codes: Mapping[str, NDArray[np.float32]]
    shares: Tables


def embedded(recipe: Recipe, card: Card, ties: Tables) -> EmbeddedInputs:
    """Return the embedded inputs of the network that `build` makes with ties."""
    columns = {q.name: k for k, q in enumerate(card.inputs) if q.name in ties}
    codes = {}
    for name, k in columns.items():
        (low, high), q = card.domain[name], card.inputs[k]
        codes[name] = np.array([q.scale, q.offset - low, high - low], np.float32)
    return EmbeddedInputs(plain_inputs(recipe, card), columns, codes, ties)


def tables(train: Dataset, recipe: Recipe, domain: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return how vectors are tied: `Tables` for the values of the domain."""
    found = {}
    for name in recipe.embedded_inputs:
        low, high = domain[name]
        values = train[name].astype(np.int64)
        if name in ("hwPhiAtVtx", "hwPhi"):
            found[name] = harmonics(np.arange(low, high + 1))
        elif name in ("hwEtaAtVtx", "hwEta") and "eta" in recipe.symmetries:
            found[name] = table(low, high, nodes(np.abs(values)), np.abs)
        else:
            wider = WIDER if name == "hwPt" else 1.0
            found[name] = table(low, high, nodes(values - low, wider) + low, np.asarray)
    return found


def build(recipe: Recipe, card: Card, ties: Tables | None = None) -> "keras.Model":
    """Make an untrained network with a vector for each value; at first vectors are zero, or lie on a line.

    Parameters
    ----------
    recipe : Recipe
        `embedded_inputs` names the inputs that count.
    card : Card
        Inputs, their normalisation and their domain.
    ties : Tables, optional
        By which the vectors are tied; without them each is a weight of its own.
    """
    keras = load_keras()
    ops = keras.ops
    x = keras.Input((len(card.inputs),))
    hidden = hidden_layers(recipe)
    total = [hidden[0](x * plain_inputs(recipe, card) if ties else x)]
    for k, q in enumerate(card.inputs):
        if q.name in recipe.embedded_inputs:
            low, high = card.domain[q.name]
            value = ops.clip(ops.round(x[:, k] * q.scale + (q.offset - low)), 0, high - low)
            total.append(_vectors(q.name, high - low + 1, hidden[0].units, ties)(ops.cast(value, "int32")))
    y = keras.layers.Add()(total)
    for layer in [*hidden[1:], *last_layers(recipe)]:
        y = layer(y)
    return keras.Model(x, y)


def plain_inputs(recipe: Recipe, card: Card) -> NDArray[np.float32]:
    """Return 1 for inputs that enter the first layer as numbers, 0 for others, shape (inputs,)."""
    hidden = {*recipe.embedded_inputs, *(("hwCharge",) if "charge" in recipe.symmetries else ())}
    return np.array([q.name not in hidden for q in card.inputs], np.float32)


def untied(model: "keras.Model", recipe: Recipe, card: Card, ties: Tables) -> "keras.Model":
    """Return a network without ties that answers as the trained one does."""
    plain = build(recipe, card)
    for old, new in zip(layers_in_order(model), layers_in_order(plain), strict=True):
        new.set_weights(old.get_weights())
    first = next(layer for layer in plain.layers if type(layer).__name__ == "Dense")
    kernel, bias = first.get_weights()
    first.set_weights([kernel * plain_inputs(recipe, card)[:, np.newaxis], bias])
    for name, shares in ties.items():
        trained = np.asarray(model.get_layer(name).kernel.value, np.float64)
        plain.get_layer(name).set_weights([(shares.astype(np.float64) @ trained).astype(np.float32)])
    return plain


def _vectors(name: str, values: int, width: int, ties: Tables | None) -> Any:
    """Return the layers that make a vector of the number of a value."""
    keras = load_keras()
    if ties is None:
        return keras.layers.Embedding(values, width, embeddings_initializer="zeros", name=name)
    shares = ties[name]
    known = keras.layers.Embedding(*shares.shape, trainable=False, weights=[shares], name=f"{name}_shares")
    tied = keras.layers.Dense(width, use_bias=False, kernel_initializer=_slopes_alone, name=name)
    return lambda value: tied(known(value))


def _slopes_alone(shape: tuple[int, int], dtype: Any = None) -> Any:
    """Start with vectors that differ by their slope alone: with none at all no ReLU would ever learn."""
    keras = load_keras()
    slope = keras.random.normal((1, shape[1]), stddev=_SLOPE, dtype=dtype)
    return keras.ops.concatenate([keras.ops.zeros((shape[0] - 1, shape[1]), dtype), slope])


def layers_in_order(model: "keras.Model") -> list[Any]:
    """Return the layers that a network with ties and one without have in common."""
    kinds = ("Dense", "BatchNormalization", "Activation")
    return [layer for layer in model.layers if type(layer).__name__ in kinds and len(layer.weights) != 1]
