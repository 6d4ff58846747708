"""Networks that treat every value of an input as a case of its own.

The trigger's eta is a lattice, made by the bins of the theta chambers, and its pT a table: the best answer
jumps from one value to the next. A few ReLU that see eta as one number smooth over that. So the first layer
gets the sum of one vector for each value of `Recipe.embedded_inputs`, as language models get one for each
word (an embedding), and of the inputs themselves as everywhere. In Keras these are `Embedding` layers, each
with the name of its input; in the exported network they are look-ups.
"""

from typing import TYPE_CHECKING

from l1scout.model.card import Card
from l1scout.model.keras_backend import load_keras
from l1scout.training.recipes import Recipe, hidden_layers, last_layers

if TYPE_CHECKING:
    import keras


def build(recipe: Recipe, card: Card) -> "keras.Model":
    """Make an untrained network with a vector for each value; all vectors are zero at first.

    Parameters
    ----------
    recipe : Recipe
        `embedded_inputs` names the inputs that count.
    card : Card
        Inputs, their normalisation and their domain.
    """
    keras = load_keras()
    ops = keras.ops
    x = keras.Input((len(card.inputs),))
    hidden = hidden_layers(recipe)
    total = [hidden[0](x)]
    for k, q in enumerate(card.inputs):
        if q.name in recipe.embedded_inputs:
            low, high = card.domain[q.name]
            value = ops.clip(ops.round(x[:, k] * q.scale + (q.offset - low)), 0, high - low)
            vectors = keras.layers.Embedding(
                high - low + 1, hidden[0].units, embeddings_initializer="zeros", name=q.name
            )
            total.append(vectors(ops.cast(value, "int32")))
    y = keras.layers.Add()(total)
    for layer in [*hidden[1:], *last_layers(recipe)]:
        y = layer(y)
    return keras.Model(x, y)
