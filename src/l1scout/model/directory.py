"""A model directory in memory, checked: what every engine starts from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from l1scout.errors import InputError
from l1scout.model.card import CARD_FILE, ONNX_FILE, Card, NetworkFile, read_card
from l1scout.model.checksums import check_sums
from l1scout.model.domain import Domain
from l1scout.model.integers import IntegerNetwork, read_integer_network
from l1scout.model.network import NETWORK_FILE, Network, read_network
from l1scout.model.onnx_export import export_onnx
from l1scout.model.onnx_function import OnnxFunction, read_onnx

AnyNetwork = Network | OnnxFunction | IntegerNetwork
_READERS = {
    "l1scout network": read_network,
    "l1scout integer network": read_integer_network,
    "ONNX": read_onnx,
}


@dataclass(frozen=True)
class Model:
    """A trained network and its card.

    Parameters
    ----------
    card : Card
    network : Network, OnnxFunction or IntegerNetwork
        Of a trained, an imported and a firmware model.
    name : str
        What to call it in messages.
    directory : Path, optional
        Where it was read from.
    """

    card: Card
    network: AnyNetwork
    name: str = "model"
    directory: Path | None = None

    @property
    def sha256(self) -> str:
        """Hash of the network: the identity of the model."""
        return self.network.sha256

    @cached_property
    def domain(self) -> Domain:
        """Every hardware input for which the model may be asked."""
        return Domain.of(self.card)

    @property
    def integers(self) -> IntegerNetwork | None:
        """The integer network of a firmware model."""
        return self.network if isinstance(self.network, IntegerNetwork) else None

    @cached_property
    def layers(self) -> Network:
        """The network as layers and look-ups in float64: hardware in, physics units out.

        Raises
        ------
        InputError
            If it is an ONNX function other than a chain of dense layers, does not have the card's inputs and
            outputs, or is made of integers.
        """
        network, inputs = self.network, tuple(q.name for q in self.card.inputs)
        if isinstance(network, IntegerNetwork):
            msg = f"{self.name}: is a firmware model, made of integers; engines firmware and table run it"
            raise InputError(msg)
        if isinstance(network, OnnxFunction):
            network = network.as_network(inputs, self.name)
        outputs = network.layers[-1].bias.size
        if network.inputs != inputs or outputs != len(self.card.outputs):
            given, wanted = ", ".join(network.inputs), ", ".join(inputs)
            msg = (
                f"{self.name}: the card names inputs {wanted} and {len(self.card.outputs)} outputs, "
                f"the network {given} and {outputs}"
            )
            raise InputError(msg)
        return network

    @cached_property
    def no_layers(self) -> str:
        """Explain why the model has no layers; empty if it has."""
        try:
            _ = self.layers
        except InputError as error:
            return str(error).removeprefix(f"{self.name}: ")
        return ""

    @cached_property
    def onnx_bytes(self) -> bytes:
        """The model as an ONNX file; InputError if it is made of integers.

        That is the file in the directory, if it is there as it was exported; making it takes longer.
        """
        if isinstance(self.network, OnnxFunction):
            return self.network.content
        path = self.directory / ONNX_FILE if self.directory else None
        if path and path.exists():
            found = read_onnx(path)
            if found.sha256 == self.card.onnx.get("sha256"):
                return found.content
        return export_onnx(self.layers, self.card)


def network_file(network: AnyNetwork) -> NetworkFile:
    """Return the card's entry about a network."""
    if isinstance(network, OnnxFunction):
        return NetworkFile(ONNX_FILE, "ONNX", network.sha256)
    return NetworkFile(NETWORK_FILE, network.format, network.sha256)


def load_model(directory: str | Path, *, anomaly: bool | None = False) -> Model:
    """Read a model directory.

    Parameters
    ----------
    directory : str or Path
    anomaly : bool, optional
        Whether an anomaly model is wanted, rather than one that corrects muons; None takes both.

    Raises
    ------
    InputError
        If it lacks a file, one has changed since it was written, card and network do not belong
        together, or it is a model of the other kind.
    """
    folder, card = Path(directory), read_card(directory)
    if card.network is None:
        msg = f"{folder / CARD_FILE}: names no network; copy or train the model again"
        raise InputError(msg)
    if anomaly is not None and bool(card.anomaly) != anomaly:
        corrects = (
            "corrects muons: it gives no anomaly score; `l1scout anomaly train` makes a model that does"
        )
        scores = "is an anomaly model, which corrects no muons; `l1scout anomaly score` uses it"
        msg = f"{folder}: {corrects if anomaly else scores}"
        raise InputError(msg)
    path = folder / card.network.file
    check_sums(folder, CARD_FILE, card.network.file)
    network = _READERS[card.network.format](path)
    assert isinstance(network, AnyNetwork)
    inputs = tuple(q.name for q in card.inputs)
    if network.sha256 != card.network.sha256 or getattr(network, "inputs", inputs) != inputs:
        msg = f"{path}: not the network that its card describes; copy or train the model again"
        raise InputError(msg)
    return Model(card, network, str(path), folder)
