"""A firmware model as a model directory: HGQ2 network, integer network, card."""

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.firmware.fit_quantised import Quantised
from l1scout.firmware.quantised import Inputs, answers_in_steps
from l1scout.model.card import KERAS_FILE, Card, Scaled
from l1scout.model.checksums import write_sums
from l1scout.model.directory import Model, load_model, network_file
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS
from l1scout.model.network import NETWORK_FILE
from l1scout.model.quantities import OUTPUT_UNITS, OUTPUTS
from l1scout.training.recipes import quiet_copies
from l1scout.training.save_model import check_target, probes


def save(
    trained: Quantised,
    float_model: Model,
    directory: str | Path,
    about: Mapping[str, Any],
    *,
    force: bool = False,
) -> Model:
    """Write a firmware model: ``model.keras``, ``network.json``, ``card.json`` and their sums.

    It appears under its name when it is complete, and only if the HGQ2 network and the integer network
    answer the same, bit for bit, at the corners of the domain and at 16,384 inputs in it.

    Parameters
    ----------
    trained : Quantised
    float_model : Model
        The one that it was trained from.
    directory : str or Path
    about : mapping
        How it was trained, for the card.
    force : bool
        Replace a directory even if it does not look like a model.

    Raises
    ------
    InputError
        If the directory holds something else or cannot be written, or the two networks differ.
    """
    path = Path(directory)
    check_target(path, force=force)
    card = _card(trained, float_model, about)
    differ = differences(trained, card)
    if differ:
        msg = f"{path}: HGQ2 and integers differ at {differ} inputs; nothing is written"
        raise InputError(msg)
    with complete_folder(path) as part:
        (part / NETWORK_FILE).write_bytes(trained.network.content)
        with quiet_copies():
            trained.model.save(part / KERAS_FILE)
        card.write(part)
        write_sums(part)
    return load_model(path)


def differences(trained: Quantised, card: Card) -> int:
    """Count probes of a card's domain at which HGQ2 and integers answer differently."""
    hardware = probes(card).T
    columns = {q.name: hardware[k] for k, q in enumerate(card.inputs)}
    x = Inputs.of(Domain.of(card))(columns)
    answers = trained.model.predict(x, batch_size=1 << 14, verbose=0)
    given = answers_in_steps(trained.network, hardware, answers)
    return int(np.count_nonzero((given != FirmwareEngine(trained.network).integers(hardware)).any(axis=0)))


def _card(trained: Quantised, float_model: Model, about: Mapping[str, Any]) -> Card:
    """Return the float model's card with what is different."""
    card = float_model.card
    firmware = {
        "float_model": {"name": card.name, "sha256": float_model.sha256},
        "beta": trained.beta,
        "ebops": trained.ebops,
        "neurons": [layer.bias.size for layer in trained.network.layers],
    }
    return dataclasses.replace(
        card,
        name=f"{card.name} firmware",
        inputs=tuple(Scaled(q.name, q.unit, 0.0, 1.0) for q in card.inputs),
        outputs=tuple(
            Scaled(*row) for row in zip(OUTPUTS, OUTPUT_UNITS, [0.0] * 3, STEPS.tolist(), strict=True)
        ),
        training=dict(about),
        onnx={},
        scores=trained.validation.as_dict(),
        resolution=trained.resolution,
        versions={**card.versions, **{n: version(n) for n in ("keras", "jax", "hgq2")}},
        firmware=firmware,
        network=network_file(trained.network),
    )
