"""Networks to which every code of an input is a case of its own.

The trigger's eta is a lattice, made by the bins of the theta chambers, and its pT a table: the best answer
jumps from one code to the next. A few ReLU that see eta as one number smooth over that. So the first layer
gets the sum of one vector for each value of `Recipe.codes`, as language models get one for each word (an
embedding), and of the inputs themselves as everywhere.

In training these are Keras' `Embedding`. `plain` makes an ordinary network of Dense layers of it: any
function of an integer is a sum of ramps that begin at each of its values, max(x - k, 0), so a layer of
fixed ramps in front gives the same answers on all integers. It is a chain of ``Gemm`` and ``Relu`` as any
other; on an FPGA, where a look-up is cheap, the first two layers are one table an input.
"""

from typing import TYPE_CHECKING

import numpy as np

from l1scout.model.card import Card
from l1scout.training.recipes import Recipe, hidden_layers, last_layers

if TYPE_CHECKING:
    import keras

_CHAIN = ("Dense", "BatchNormalization", "Activation")
_STEPS = 2**11
"""Of a vector, in one unit of the hidden layer, which is about its spread. As inputs are in units of 8 codes,
those of the ramps are multiples of 2^-8: exact in Q8.8, too."""


def build(recipe: Recipe, card: Card) -> "keras.Model":
    """Make an untrained network with a vector for each code; all vectors are zero at first.

    Parameters
    ----------
    recipe : Recipe
        `codes` names the inputs that count.
    card : Card
        Inputs, their normalisation and their domain.
    """
    import keras
    from keras import ops

    x = keras.Input((len(card.inputs),))
    hidden = hidden_layers(recipe)
    total = [hidden[0](x)]
    for k, q in enumerate(card.inputs):
        if q.name in recipe.codes:
            low, high = card.domain[q.name]
            code = ops.clip(ops.round(x[:, k] * q.scale + (q.offset - low)), 0, high - low)
            vectors = keras.layers.Embedding(
                high - low + 1, hidden[0].units, embeddings_initializer="zeros", name=q.name
            )
            total.append(vectors(ops.cast(code, "int32")))
    y = keras.layers.Add()(total)
    for layer in [*hidden[1:], *last_layers(recipe)]:
        y = layer(y)
    return keras.Model(x, y)


def plain(model: "keras.Model", recipe: Recipe, card: Card) -> "keras.Model":
    """Make a network of Dense, BatchNormalization and Activation alone of one that `build` made.

    Where answers jump, sums of ramps are small differences of large numbers. So the vectors are rounded to
    multiples of a power of two: float32 adds those without any error, in whatever order. Where the card's
    domain ends earlier than in training, the codes beyond are left out.
    """
    import keras

    chain = [v for v in model.layers if type(v).__name__ in _CHAIN]
    kernel, bias = (w.astype(np.float64) for w in chain[0].get_weights())
    gamma, beta, mean, variance = (w.astype(np.float64) for w in chain[1].get_weights())
    gain = gamma / np.sqrt(variance + chain[1].epsilon)
    bias = (bias - mean) * gain + beta
    starts, vectors = [], []
    # straight inputs come last, as their products are no such multiples
    for k, q in sorted(enumerate(card.inputs), key=lambda kq: kq[1].name not in recipe.codes):
        low, high = card.domain[q.name]
        codes = np.arange(low, high + 1) if q.name in recipe.codes else np.array([low, high])
        x = (codes - q.offset) / q.scale  # of the codes, as the network sees them
        answers = np.outer(x, kernel[k] * gain)
        centre = 0
        if q.name in recipe.codes:
            answers += model.get_layer(q.name).get_weights()[0][: codes.size] * gain
            centre = int(np.clip(-low, 0, high - low))
        answers = np.rint(answers * _STEPS) / _STEPS
        bias += answers[centre]
        for side, sign in ((slice(centre, None), 1), (slice(centre, None, -1), -1)):  # no ramp is longer
            slope = np.diff(answers[side], axis=0) / np.abs(np.diff(x[side]))[:, np.newaxis]
            vectors.append(np.diff(slope, axis=0, prepend=0))
            starts += [(k, sign, start) for start in x[side][:-1]]
    at, signs, first = (np.array(c) for c in zip(*starts, strict=True))
    slopes = np.zeros((len(card.inputs), at.size))
    slopes[at, np.arange(at.size)] = signs
    dense, _, *rest = [*hidden_layers(recipe), *last_layers(recipe)]
    ramps = keras.layers.Dense(at.size, activation="relu")
    made = keras.Sequential([keras.Input((len(card.inputs),)), ramps, dense, *rest])
    ramps.set_weights([slopes, -signs * first])
    dense.set_weights([np.concatenate(vectors), np.rint(bias * _STEPS) / _STEPS])
    for new, old in zip(rest, chain[2:], strict=True):
        new.set_weights(old.get_weights())
    return made
