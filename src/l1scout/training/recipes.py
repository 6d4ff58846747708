"""The reference paper's network, and its recipes A to F as data."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from l1scout.errors import InputError
from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import DEFAULT_INPUTS, INPUTS, OUTPUTS, Reference

if TYPE_CHECKING:
    import keras

HIDDEN = (32, 32, 32)
"""Nodes of the paper's hidden layers."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    name : str
    loss : str
        A loss of Keras if targets are of the paper's kind, else one of `l1scout.training.loss_functions`.
    optimizer : str
        Name of Keras.
    learning_rate : float
        The paper does not give any. Pinned here, because defaults differ between versions of Keras:
        Adadelta had 1.0 in the Keras of the paper's time and has 0.001 today, which does not train.
    l2, l1 : float
        Weight of the squared and of the absolute kernel weights in the loss; 0 for none.
    hidden, output : str
        Activation of the hidden layers and of the last.
    targets : {"unit", "residual"}
        The paper's: each target scaled to [0, 1], so that one far outlier sets the weight of all. Or
        scaled robustly, and the loss that of the residuals themselves: pT relative to the offline pT.
    schedule : {"constant", "cosine"}
        Of the learning rate; at a constant one the best epoch is kept instead of the last.
    guard : bool
        After the training, limit corrections where they make muons worse: `l1scout.training.code_guard`.
    guard_price : float, optional
        Before that, help bins of offline quantities until one of the nine metrics is worse by this share:
        `l1scout.training.offline_guard`.
    epochs, batch : int
        The paper gives neither. With Adadelta, 20 epochs or batches of 1024 are too few steps: on
        300,000 training muons the RMS ratios of model B are then 0.75 / 0.83 / 0.61 or 0.85 / 0.82 /
        0.73 (phi / eta / pT) instead of 0.69 / 0.82 / 0.52.
    embedded_inputs : tuple of str
        Inputs each of whose values has a vector of its own (`l1scout.training.embeddings`).
    widths : tuple of int
        Nodes of the hidden layers.
    inputs : tuple of str
        Columns that enter the network, unless others are asked for.
    reference : {"vertex", "station 2"}
        Which L1 phi and eta are corrected: as the GMT extrapolates them, or as they are measured.
    gains : bool
        Signs of charge and eta and sizes in pT are factors of the answers, so that one network is enough for
        all hwPt: `l1scout.training.gains`.
    symmetries : tuple of {"charge", "eta", "phi"}
        Corrections are the same but for their sign, as far as the training muons are:
        `l1scout.training.symmetries`.
    """

    name: str
    loss: str
    optimizer: str
    learning_rate: float
    l2: float = 0.0
    hidden: str = "relu"
    l1: float = 0.0
    output: str = "linear"
    targets: str = "unit"
    schedule: str = "constant"
    guard: bool = False
    guard_price: float | None = None
    epochs: int = 60
    batch: int = 256
    embedded_inputs: tuple[str, ...] = ()
    widths: tuple[int, ...] = HIDDEN
    inputs: tuple[str, ...] = INPUTS
    reference: Reference = "vertex"
    gains: bool = False
    symmetries: tuple[str, ...] = ()

    @property
    def papers_part(self) -> bool:
        """Whether it takes the reference paper's part of a data set alone (`l1scout.dataset.paper`)."""
        return self.targets == "unit"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}


PAPER = {
    r.name: r
    for r in (
        Recipe("A", "logcosh", "adam", 0.001),
        Recipe("B", "logcosh", "adadelta", 1.0),
        Recipe("C", "logcosh", "adadelta", 1.0, l2=1e-7),
        Recipe("D", "logcosh", "adadelta", 1.0, l2=1e-9),
        Recipe("E", "logcosh", "adam", 0.001, l2=1e-7),
        Recipe("F", "logcosh", "adam", 0.001, hidden="softmax"),
    )
}
"""Reference paper, Table 1: preset ``paper``."""

DEFAULT = Recipe(
    "default",
    "balanced",
    "adam",
    0.01,
    targets="residual",
    schedule="cosine",
    guard=True,
    epochs=20,
    batch=1024,
    embedded_inputs=("hwPt", "hwEtaAtVtx", "hwEta", "hwPhiAtVtx", "hwPhi", "stubStations"),
    widths=HIDDEN[1:],
    inputs=DEFAULT_INPUTS,
    reference="station 2",
    gains=True,
    symmetries=("charge", "eta", "phi"),
)
"""Close to the limit in RMS, core and tail, for every hwPt, and guarded."""

RECIPES = {
    **PAPER,
    "default": DEFAULT,
    **{n: replace(DEFAULT, name=n, loss=n, guard=False) for n in ("balanced", "rms")},
    "small": replace(
        DEFAULT, name="small", epochs=40, embedded_inputs=(), widths=HIDDEN, gains=False, symmetries=()
    ),
}
"""All recipes: the paper's; the default; without the guard, once the same and once for the RMS; the default
with a network of the paper's shape."""


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


def build(recipe: Recipe, inputs: int = len(INPUTS)) -> "keras.Model":
    """Make an untrained network: the inputs, hidden layers (3 of 32 in the paper), 3 outputs.

    Batch normalisation stands before each hidden activation. Inputs and outputs are normalised. Initial
    weights come from the seed last set with ``keras.utils.set_random_seed``.
    """
    keras = load_keras()

    return keras.Sequential([keras.Input((inputs,)), *hidden_layers(recipe), *last_layers(recipe)])


def hidden_layers(recipe: Recipe) -> list[Any]:
    """Make Dense, BatchNormalization and Activation for each hidden layer."""
    keras = load_keras()

    layers: list[Any] = []
    for width in recipe.widths:
        regularizer = keras.regularizers.L1L2(recipe.l1, recipe.l2) if recipe.l1 or recipe.l2 else None
        layers += [
            keras.layers.Dense(width, kernel_regularizer=regularizer),
            keras.layers.BatchNormalization(),
            keras.layers.Activation(recipe.hidden),
        ]
    return layers


def last_layers(recipe: Recipe) -> list[Any]:
    """Make the output layer, and its activation if there is one."""
    keras = load_keras()

    more = [keras.layers.Activation(recipe.output)] if recipe.output != "linear" else []
    return [keras.layers.Dense(len(OUTPUTS)), *more]


def optimizer(recipe: Recipe) -> Any:
    """Make a recipe's optimizer of Keras, with the learning rate of its start."""
    keras = load_keras()

    learning_rate = recipe.learning_rate
    optimizers = {
        "adam": lambda: keras.optimizers.Adam(learning_rate),
        "sgd": lambda: keras.optimizers.SGD(learning_rate),
        "adadelta": lambda: keras.optimizers.Adadelta(learning_rate, rho=0.95),
        "adagrad": lambda: keras.optimizers.Adagrad(learning_rate),
    }
    return optimizers[recipe.optimizer]()


def loss_of_muons(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """Return a recipe's loss: of what it needs and answers, shape (muons, columns), to shape (muons,)."""
    keras = load_keras()

    from l1scout.training.loss_functions import LOSSES

    if recipe.targets == "residual":
        return LOSSES[recipe.loss]
    losses = {
        "mse": keras.losses.mean_squared_error,
        "msle": keras.losses.mean_squared_logarithmic_error,
        "logcosh": keras.losses.log_cosh,
    }
    found: Callable[[Any, Any], Any] = losses[recipe.loss]
    return found
