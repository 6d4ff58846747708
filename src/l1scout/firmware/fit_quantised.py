"""Quantisation-aware training of a firmware model from a float one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset import plausibility, split
from l1scout.dataset.matched import Dataset
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.evaluate.metrics import ratios, scores
from l1scout.evaluate.targets import corrected, raw_residuals
from l1scout.firmware.prune_neurons import pruned
from l1scout.firmware.quantise_gains import quantise_gains
from l1scout.firmware.quantised import (
    Inputs,
    before_gains,
    build,
    ebops,
    integers,
    need_hgq,
    parts,
    scaled,
    set_widths,
)
from l1scout.formats.streams.muon import PT, PT_LSB
from l1scout.model import resolution
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import IntegerGains, IntegerNetwork, widths
from l1scout.model.keras_backend import load_keras
from l1scout.model.quantities import VARIABLES, Reference
from l1scout.model.resolution import Resolution
from l1scout.training.fit import Validation
from l1scout.training.recipes import quiet_copies

if TYPE_CHECKING:
    import keras

NEURONS = 20
"""Of the default's 32. A neuron of the first layer costs tables: of 16, 20, 24 and 32, 20 took the fewest
LUTs for answers as close."""
EPOCHS = 240
BATCH = 256
LEARNING_RATE = 4e-3
"""Falls to a thousandth as a cosine. Twice the epochs were no better."""
_WIDTHS_FASTER = 4.0
_RAMP = 0.6
"""Share of the epochs in which the area penalty rises, from `_FIRST_BETA` of what it ends at."""
_FIRST_BETA = 1e-2
_FEW = 20_000
"""Muons that choose neurons."""
_SWEEPS = 2
"""Through the look-ups; a third changes nothing more."""
_SPREAD = 8
"""One muon in this number is taken a second time, with a hwPt from anywhere in the domain."""
Columns = Mapping[str, NDArray[Any]]
OnEpoch = Callable[[int], object]


@dataclass(frozen=True)
class Quantised:
    """A trained HGQ2 network, the integer network that it is, and its area in bit operations."""

    model: "keras.Model"
    network: IntegerNetwork
    beta: float
    ebops: float
    loss: float
    validation: Validation
    resolution: Resolution | None


def fit(
    float_model: Model,
    data: Dataset,
    beta: float,
    *,
    neurons: int = NEURONS,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    seed: int = 1,
    on_epoch: OnEpoch = lambda _epoch: None,
) -> Quantised:
    """Train a float model's network on with few bits.

    It learns the float model's answers, not the muons': the loss is the squared distance from them, each in
    units of the float model's resolution for such a muon, and `beta` times the area in bit operations. So
    there is no noise in what it learns, and what the float model is good at, it is good at, too. Answers are
    learned as they are before the gains, which become integers by themselves.

    Parameters
    ----------
    float_model : Model
        ReLU.
    data : Dataset
        All parts: trained on ``train``, scored on ``validation``; muons outside the float model's domain
        are left out.
    beta : float
        Area penalty: so much of the loss is a bit operation worth. A loss of 0.02 is, for each of phi, eta
        and pT, a distance of a twelfth of the resolution.
    neurons : int
        Largest number of neurons that are left in each hidden layer.
    epochs, batch, learning_rate, seed
    on_epoch : callable
        Told each epoch that is done, from 1.

    Raises
    ------
    InputError
        If HGQ2 is missing, the model has other activations, or there are too few muons or none in its domain.
    """
    card = float_model.card
    for part in split.PARTS:
        muons = data.select(split.part(data.identity, part)).columns
        where = f"{data.name}, {part} part"
        plausibility.refuse_outside(muons, card.domain, card.finders, where, card.name)
    keras, inputs, names = need_hgq(), Inputs.of(float_model.domain), float_model.layers.inputs
    train, validation = (
        part.select(float_model.domain.holds(part.columns))
        for part in (data.part("train"), data.part("validation"))
    )
    known = known_resolution(float_model, train)
    columns = spread({n: train[n] for n in (*names, *known.edges)}, float_model.domain, seed)
    units, gains = units_and_gains(float_model, columns)
    x, y = inputs(columns), distillation_targets(float_model, known, units, columns)
    few = {n: column[:_FEW] for n, column in columns.items()}
    network = scaled(float_model.layers, inputs, units)
    network = pruned(network, inputs, few, neurons, np.sqrt((y[:, 3:] ** 2).mean(axis=0)))
    keras.utils.set_random_seed(seed)
    model = build(network, inputs)
    steps = epochs * -(-len(x) // batch)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=1e-3)
    model.compile(optimizer=_adam(rate), loss=distance, steps_per_execution=32)
    callbacks = _callbacks(beta, epochs, on_epoch)
    with quiet_copies():
        history = model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=callbacks)
        remove_residual_bias(model, np.stack([columns[n] for n in names]), x, y)
    loss = float(history.history["loss"][-1])
    return _measured(model, finish(model, inputs, gains), beta, loss, validation, card.reference)


def spread(columns: Columns, domain: Domain, seed: int) -> dict[str, NDArray[Any]]:
    """Add muons with a hwPt from anywhere in the domain to muons, and shuffle them.

    Muons of large pT are rare, so that nothing would hold the answers for their values of hwPt in place; the
    float model can be asked about any muon. The logarithm of hwPt is spread evenly.
    """
    rng, pt = np.random.default_rng(seed), domain.names.index("hwPt")
    ends = np.log([max(domain.low[pt], 1), domain.high[pt] + 1])
    again = np.flatnonzero(rng.random(len(columns["hwPt"])) < 1 / _SPREAD)
    more = {n: column[again] for n, column in columns.items()}
    drawn = np.exp(rng.uniform(ends[0], ends[1], again.size)).astype(columns["hwPt"].dtype)
    more["hwPt"] = np.clip(drawn, domain.low[pt], domain.high[pt])
    order = rng.permutation(len(columns["hwPt"]) + again.size)
    return {n: np.concatenate([column, more[n]])[order] for n, column in columns.items()}


def _measured(
    model: "keras.Model",
    network: IntegerNetwork,
    beta: float,
    loss: float,
    validation: Dataset,
    reference: Reference,
) -> Quantised:
    """Score a trained network, whose corrections are of phi and eta at the reference, beside the trigger."""
    raw, before = raw_residuals(validation), raw_residuals(validation, reference)
    after = corrected(before, corrections(network, validation), validation["recoPt"])
    validated = Validation(len(validation), scores(raw), scores(after), ratios(after, raw))
    known = resolution.learn(validation.columns, after, network.inputs)
    return Quantised(model, network, beta, ebops(model), loss, validated, known)


def corrections(network: IntegerNetwork, data: Dataset) -> NDArray[np.float64]:
    """Corrections of muons, shape (muons, 3): rad, 1, GeV."""
    hardware = np.stack([data[n] for n in network.inputs]).astype(np.int16)
    return FirmwareEngine(network).correct(hardware).T.astype(np.float64)


def units_and_gains(float_model: Model, columns: Columns) -> tuple[NDArray[np.float64], IntegerGains | None]:
    """Return what `quantise_gains` makes of a float model, with muons that say what the usual sizes are."""
    hardware, network = _hardware(float_model, columns), float_model.layers
    return quantise_gains(network, float_model.domain, hardware, before_gains(network)(hardware))


def known_resolution(float_model: Model, data: Dataset) -> Resolution:
    """Return a float model's resolution on muons.

    Raises
    ------
    InputError
        If the muons are too few to know it.
    """
    network = float_model.layers
    answers = network(_hardware(float_model, data.columns)).T
    before = raw_residuals(data, float_model.card.reference)
    after = corrected(before, answers, data["recoPt"])
    known = resolution.learn(data.columns, after, network.inputs)
    if known is None:
        msg = f"{len(data)} muons are too few to learn from; {resolution.MIN_MUONS} are needed at least"
        raise InputError(msg)
    return known


def distillation_targets(
    float_model: Model, known: Resolution, units: NDArray[np.float64], columns: Columns
) -> NDArray[np.float32]:
    """Return what the HGQ2 network learns: answers before gains, and 1 / resolution of them, (muons, 6).

    Parameters
    ----------
    float_model : Model
    known : Resolution
    units : ndarray, shape (3,)
        In which the HGQ2 network answers, of the answers before gains.
    columns : mapping of str to ndarray
        Hardware values of muons.
    """
    hardware, network = _hardware(float_model, columns), float_model.layers
    answers = before_gains(network)(hardware)
    gains = np.abs(replace(network, offset=np.zeros(0)).finish(hardware, np.ones_like(answers)))
    errors = np.stack([known(columns)[v] for v in VARIABLES]).astype(np.float64)
    errors[2] *= np.maximum(PT.to_physical(columns["hwPt"]) - network(hardware)[2], PT_LSB)
    rows = [answers / units[:, np.newaxis], gains * units[:, np.newaxis] / errors]
    return np.concatenate(rows).T.astype(np.float32)


def _hardware(float_model: Model, columns: Columns) -> NDArray[np.int16]:
    return np.stack([columns[n] for n in float_model.layers.inputs]).astype(np.int16)


def distance(targets: Any, answers: Any) -> Any:
    """Return the mean squared distance from the targets in resolutions, summed over the answers."""
    ops = load_keras().ops

    return ops.mean(ops.sum(ops.square((targets[:, :3] - answers) * targets[:, 3:]), axis=1))


def remove_residual_bias(
    model: "keras.Model", hardware: NDArray[Any], x: NDArray[np.float32], targets: NDArray[np.float32]
) -> None:
    """Remove the residual bias of each entry of the answers' look-ups, by backfitting.

    To each vector the mean distance of its muons from their targets is added, weighted as in the loss, for
    one look-up after the other. Training sees a rare value too seldom for that, and muons of
    large hwPt are rare, and make a good part of the RMS.
    """
    weights = targets[:, 3:].astype(np.float64) ** 2
    for look_up in parts(model)[-1][1] * _SWEEPS:
        answers = np.asarray(model.predict(x, batch_size=1 << 14, verbose=0), np.float64)
        row, rows = look_up.row(hardware), look_up.vectors.shape[0]
        distances, totals = (
            np.stack([np.bincount(row, part, rows) for part in table.T], axis=1)
            for table in (weights * (targets[:, :3] - answers), weights)
        )
        means = np.divide(distances, totals, out=np.zeros_like(totals), where=totals > 0)
        look_up.vectors.assign(np.asarray(look_up.qvectors) + means)


def _adam(rate: Any) -> Any:
    """Adam for which widths, whose scale is a bit, learn faster than weights, whose scale is a tenth."""
    keras = load_keras()

    class Widths(keras.optimizers.Adam):  # type: ignore[misc, name-defined]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            faster = _WIDTHS_FASTER if variable.name in ("b", "f", "i") else 1.0
            super().update_step(gradient, variable, learning_rate * faster)

    return Widths(rate)


def _callbacks(beta: float, epochs: int, on_epoch: OnEpoch) -> list[Any]:
    """Raise the area penalty to `beta` epoch by epoch, and tell."""
    keras = load_keras()
    from hgq.utils.sugar import BetaScheduler

    def penalty(epoch: int) -> float:
        return beta * float(_FIRST_BETA ** (1 - min(epoch / (_RAMP * epochs), 1.0)))

    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _logs: on_epoch(epoch + 1))
    return [BetaScheduler(penalty), tell]


def finish(model: "keras.Model", inputs: Inputs, gains: IntegerGains | None = None) -> IntegerNetwork:
    """Choose widths on the whole domain, in the integer network and in the HGQ2 network."""
    network = integers(model, inputs, gains)
    network = network.with_bits(widths(network, *FirmwareEngine(network).ranges(inputs.domain)))
    set_widths(model, network)
    return network
