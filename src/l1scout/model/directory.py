"""A model directory in memory, checked: what every engine starts from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from l1scout.errors import InputError
from l1scout.model.card import CARD_FILE, ONNX_FILE, Card, read_card
from l1scout.model.checksums import check_sums
from l1scout.model.domain import Domain
from l1scout.model.integers import NETWORK_FILE, IntegerNetwork, read_network
from l1scout.model.layers import Layer
from l1scout.model.onnx_export import MAX_ONNX_BYTES
from l1scout.model.onnx_layers import read_layers


@dataclass(frozen=True)
class Model:
    """A trained network and its card.

    Parameters
    ----------
    card : Card
    onnx_bytes : bytes
        The ONNX model: the trigger's integers as float32 in, L1 minus offline in rad, 1 and GeV out.
    name : str
        What to call it in messages.
    directory : Path, optional
        Where it was read from.
    network : IntegerNetwork, optional
        Of a firmware model, which has no ONNX model; engines `firmware` and `table` run it.
    """

    card: Card
    onnx_bytes: bytes
    name: str = "model"
    directory: Path | None = None
    network: IntegerNetwork | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the ONNX model or the integer network: the model's identity."""
        if self.network:
            return self.network.sha256
        return hashlib.sha256(self.onnx_bytes).hexdigest()

    @cached_property
    def domain(self) -> Domain:
        """Every hardware input for which the model may be asked."""
        return Domain.of(self.card)

    @cached_property
    def no_layers(self) -> str:
        """Explain why the model has no layers; empty if it has."""
        try:
            _ = self.layers
        except InputError as error:
            return str(error)
        return ""

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """Layers of the ONNX model, its float32 weights as float64: hardware in, physics units out.

        Raises
        ------
        InputError
            If the ONNX model is not a chain of dense layers (`l1scout.model.onnx_layers`), does not have the
            card's inputs and outputs, or there is none: a firmware model.
        """
        if self.network:
            msg = f"{self.name}: a firmware model, made of integers; engines firmware and table run it"
            raise InputError(msg)
        layers = read_layers(self.onnx_bytes, self.name)
        for what, found, n in (
            ("inputs", len(layers[0].weights), len(self.card.inputs)),
            ("outputs", layers[-1].bias.size, len(self.card.outputs)),
        ):
            if found != n:
                msg = f"{self.name}: the card names {n} {what}, but the ONNX model has {found}"
                raise InputError(msg)
        return layers

    @cached_property
    def normalised_layers(self) -> Sequence[Layer]:
        """The same with the card's scaling taken out: the network as trained, about [0, 1] in and out."""
        offset, scale = (np.array([getattr(q, n) for q in self.card.inputs]) for n in ("offset", "scale"))
        first = self.layers[0]
        bias = first.bias + offset @ first.weights
        layers = [Layer(first.weights * scale[:, np.newaxis], bias, first.activation), *self.layers[1:]]
        offset, scale = (np.array([getattr(q, n) for q in self.card.outputs]) for n in ("offset", "scale"))
        last = layers[-1]
        return [*layers[:-1], Layer(last.weights / scale, (last.bias - offset) / scale, last.activation)]


def load_model(directory: str | Path) -> Model:
    """Read a model directory.

    Raises
    ------
    InputError
        If it lacks a file, one has changed since it was written, or card and network do not belong
        together.
    """
    card, path = read_card(directory), Path(directory) / ONNX_FILE
    if card.firmware is not None:
        return _firmware(card, Path(directory))
    check_sums(Path(directory), CARD_FILE, ONNX_FILE)
    try:
        if path.stat().st_size > MAX_ONNX_BYTES:
            msg = f"{path}: larger than {MAX_ONNX_BYTES >> 20} MiB, so not an l1scout model"
            raise InputError(msg)
        onnx_bytes = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise InputError(msg) from error
    model = Model(card, onnx_bytes, str(path), Path(directory))
    if model.sha256 != card.onnx.get("sha256"):
        msg = f"{path}: not the file that its card describes (sha256 differs); train or copy it again"
        raise InputError(msg)
    return model


def _firmware(card: Card, directory: Path) -> Model:
    path = directory / NETWORK_FILE
    check_sums(directory, CARD_FILE, NETWORK_FILE)
    network = read_network(path)
    wanted, inputs = (card.firmware or {}).get("sha256"), tuple(q.name for q in card.inputs)
    if network.sha256 != wanted or network.inputs != inputs:
        msg = f"{path}: not the network that its card describes; train or copy it again"
        raise InputError(msg)
    return Model(card, b"", str(path), directory, network)
