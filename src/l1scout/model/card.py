"""The card of a model: everything that its weights do not say, checked when it is read."""

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED, read_document, write_document
from l1scout.core.provenance import Provenance, current
from l1scout.errors import printable
from l1scout.formats.streams.muon import Finder
from l1scout.io.conditions import Conditions, of_metadata
from l1scout.model.anomaly_inputs import AnomalyInputs
from l1scout.model.object_places import HIGH, LOW
from l1scout.model.quantities import Reference
from l1scout.model.resolution import ALWAYS, Resolution

CARD_FILE = "card.json"
KERAS_FILE = "model.keras"
ONNX_FILE: Final = "model.onnx"
_MAX_BYTES = 1 << 20
_MAX_SCALE = 1e12


@dataclass(frozen=True, config=CLOSED)
class Scaled:
    """A quantity and its normalised form: ``value = offset + scale * normalised``."""

    name: str
    unit: str
    offset: FiniteFloat
    scale: FiniteFloat

    def __post_init__(self) -> None:
        if not 1 / _MAX_SCALE <= abs(self.scale) <= _MAX_SCALE or abs(self.offset) > _MAX_SCALE:
            msg = f"{self.name} has scale {self.scale} and offset {self.offset}: no values of the trigger"
            raise ValueError(msg)


@dataclass(frozen=True, config=CLOSED)
class NetworkFile:
    """The file of a model's network, and its SHA-256, which is the identity of the model."""

    file: Literal["network.json", "model.onnx"]
    format: Literal["l1scout network", "l1scout integer network", "ONNX"]
    sha256: str


@dataclass(frozen=True, config=CLOSED)
class Card:
    """What a model is, what it was trained on, and where it may be used.

    Parameters
    ----------
    name : str
        Name of the recipe, such as "A" or "default".
    inputs, outputs : tuple of Scaled
        In the order of the network, which takes the trigger's integers and gives L1 minus offline, to be
        subtracted from the L1 values, in rad, 1 and GeV.
    domain : mapping of str to (int, int)
        Smallest and largest hardware value of each input for which the model may be asked.
    finders : tuple of str
        Track finders whose muons the model may be asked about: `l1scout.formats.streams.muon.FINDERS` has
        their tfMuonIndex.
    recipe, training, data, scores, onnx, versions : mapping
        How and on what it was trained, its validation metrics, the interface of the ONNX export and its
        largest deviation from Keras, versions of the libraries.
    reference : {"vertex", "station 2"}
        Which L1 phi and eta the outputs are subtracted from: `l1scout.model.quantities.REFERENCES` has the
        columns.
    resolution : Resolution, optional
        Predicted uncertainty of recalibrated muons; None if there were too few muons to know it.
    firmware : mapping, optional
        Of a firmware model: the float model that it came from, the area penalty and its area.
    imported : mapping, optional
        Of a network that `l1scout import` took: its file and hash, inputs, outputs and what its answers are.
        `data` then says what it was scored with; what it was trained on is not known.
    anomaly : AnomalyInputs, optional
        Of an anomaly model, whose network encodes crossings: its inputs are those that this says, and its
        outputs are means of latent variables. The score is the sum of their squares. None of a model that
        corrects muons.
    network : NetworkFile, optional
        None only before the model is saved.
    provenance : mapping, optional
        Record of the command that wrote the card.
    """

    name: str
    inputs: tuple[Scaled, ...]
    outputs: tuple[Scaled, ...]
    domain: Mapping[str, tuple[int, int]]
    finders: tuple[Finder, ...]
    recipe: Mapping[str, Any]
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    scores: Mapping[str, Any]
    onnx: Mapping[str, Any]
    versions: Mapping[str, str]
    reference: Reference = "vertex"
    resolution: Resolution | None = None
    firmware: Mapping[str, Any] | None = None
    imported: Mapping[str, Any] | None = None
    anomaly: AnomalyInputs | None = None
    network: NetworkFile | None = None
    provenance: Mapping[str, Any] | None = field(default=None, compare=False)
    format: Literal["l1scout model card"] = "l1scout model card"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            msg = "there are no inputs or no outputs"
            raise ValueError(msg)
        wrong = [n for n, (low, high) in self.domain.items() if low > high]
        missing = [n for n in (q.name for q in self.inputs) if n not in self.domain]
        if wrong or missing:
            what = (
                f"from high to low for {', '.join(wrong)}" if wrong else f"missing for {', '.join(missing)}"
            )
            msg = f"the domain is {what}"
            raise ValueError(msg)
        if self.anomaly:
            wanted = dict.fromkeys(self.anomaly.names, (LOW, HIGH))
            if wanted != dict(self.domain) or tuple(wanted) != tuple(q.name for q in self.inputs):
                msg = "the inputs of an anomaly model are not those of its objects, from -128 to 127"
                raise ValueError(msg)
        if not self.finders or len(set(self.finders)) < len(self.finders):
            msg = "finders: name each track finder that the model is for once, and at least one"
            raise ValueError(msg)
        binned = set(self.resolution.edges if self.resolution else ()) - set(ALWAYS)
        unknown = binned - {q.name for q in self.inputs}
        if unknown:
            msg = f"resolution: has bins in {', '.join(sorted(unknown))}, which is not an input"
            raise ValueError(msg)

    @property
    def sha256(self) -> str | None:
        """Identity of the model: the hash of its network."""
        return self.network.sha256 if self.network else None

    @property
    def simulated(self) -> bool | None:
        """Whether the muons that it was trained on (imported: scored on) are simulated; None if not known."""
        said = self.data.get("simulated")
        return said if isinstance(said, bool) else None

    @property
    def origin(self) -> str:
        """Say in a word or two what the model was trained on."""
        what = "crossings" if self.anomaly else "muons"
        kinds = {True: f"simulated {what}", False: f"real {what}", None: f"{what} of unstated origin"}
        kind = kinds[self.simulated]
        return f"unknown muons (imported network, scored on {kind})" if self.imported else kind

    @property
    def conditions(self) -> Conditions:
        """Era, trigger and look-up tables of the muons that the model was trained on."""
        return of_metadata(self.data)

    def normalise(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Network inputs, shape (muons, inputs), from hardware columns."""
        scaled = [(columns[q.name] - q.offset) / q.scale for q in self.inputs]
        return np.stack(scaled, axis=1).astype(np.float32)

    def physical(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Corrections in physics units, shape (muons, outputs), from network outputs."""
        offset = np.array([q.offset for q in self.outputs])
        scale = np.array([q.scale for q in self.outputs])
        return np.asarray(offset + scale * outputs.astype(np.float64), np.float64)

    def write(self, directory: Path) -> None:
        """Write ``card.json`` into a directory."""
        made = current(simulated=self.simulated)
        card = replace(self, provenance=made.as_dict())
        (directory / CARD_FILE).write_bytes(write_document(card, indent=1))


def read_card(directory: str | Path) -> Card:
    """Read and check the card of a model directory.

    Raises
    ------
    InputError
        If there is none, it is not a card of this version, or an entry is missing or of the wrong kind.
    """
    path = Path(directory) / CARD_FILE
    hint = "a model is a directory that `l1scout train` wrote (or `anomaly train`, of crossings)"
    card = read_document(path, Card, max_bytes=_MAX_BYTES, hint=hint)
    return replace(card, name=printable(card.name))


def made_from(card: Card) -> Provenance:
    """Return the record of what the command that runs makes of a network: simulated as its muons were."""
    return current(simulated=card.simulated, model=model_record(card))


def model_record(card: Card) -> dict[str, Any]:
    """Describe a network by its card: name, hash, and the data on which it was trained."""
    return {"name": card.name, "sha256": card.sha256, "trained_on": dict(card.data)}
