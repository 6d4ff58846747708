"""The card of a model: everything that its weights do not say, checked when it is read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.provenance import current
from l1scout.errors import InputError, printable
from l1scout.io.conditions import Conditions, of_metadata
from l1scout.model import resolution
from l1scout.model.resolution import Resolution

CARD_FILE = "card.json"
KERAS_FILE = "model.keras"
ONNX_FILE = "model.onnx"
CARD_VERSION = 1
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Scaled:
    """A quantity and its normalised form: ``value = offset + scale * normalised``."""

    name: str
    unit: str
    offset: float
    scale: float


@dataclass(frozen=True)
class Card:
    """What a model is, what it was trained on, and where it may be used.

    Parameters
    ----------
    name : str
        Recipe, "A" to "F".
    inputs, outputs : sequence of Scaled
        In the order of the network. The ONNX model takes and gives the values themselves as float32: the
        trigger's integers in; L1 minus offline, to be subtracted from the L1 values, in rad, 1 and GeV out.
    domain : mapping of str to (int, int)
        Smallest and largest hardware value of each column for which the model may be asked.
    recipe, training, data, scores, onnx, versions : mapping
        How and on what it was trained, its validation metrics, the ONNX file's hash and its largest
        deviation from Keras, versions of the libraries.
    resolution : Resolution, optional
        Predicted uncertainty of recalibrated muons; models trained by earlier versions have none.
    firmware : mapping, optional
        Of a firmware model, which has an integer network instead of an ONNX file: the network's hash, the
        float model that it came from, the area penalty and what it gave.
    imported : mapping, optional
        Of a network that `l1scout import` took: its file and hash, inputs, outputs and what its answers are.
        `data` then says what it was scored with; what it was trained on is not known.
    """

    name: str
    inputs: Sequence[Scaled]
    outputs: Sequence[Scaled]
    domain: Mapping[str, tuple[int, int]]
    recipe: Mapping[str, Any]
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    scores: Mapping[str, Any]
    onnx: Mapping[str, Any]
    versions: Mapping[str, str]
    resolution: Resolution | None = None
    firmware: Mapping[str, Any] | None = None
    imported: Mapping[str, Any] | None = None

    @property
    def origin(self) -> str:
        """Say in a word or two what the model was trained on."""
        kinds = {True: "simulated muons", False: "real muons"}
        said = self.data.get("simulated")
        kind = kinds[said] if isinstance(said, bool) else "muons of unstated origin"
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
        content = {"card": CARD_VERSION, **asdict(self)}
        content["resolution"] = self.resolution.as_dict() if self.resolution else None
        content = {n: c for n, c in content.items() if c is not None}
        simulated = self.data.get("simulated")
        made = current(simulated=simulated if isinstance(simulated, bool) else None)
        text = json.dumps(content | {"provenance": made.as_dict()}, indent=1)
        (directory / CARD_FILE).write_text(text + "\n", "utf-8")


def read_card(directory: str | Path) -> Card:
    """Read and check the card of a model directory.

    Raises
    ------
    InputError
        If there is none, it is no card of this version, or an entry is missing or of the wrong kind.
    """
    path = Path(directory) / CARD_FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            msg = f"{path}: larger than {_MAX_BYTES} bytes, so no model card"
            raise InputError(msg)
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror
        msg = f"{path}: cannot be read ({reason}); a model is a directory that `l1scout train` wrote"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not JSON ({error})"
        raise InputError(msg) from error
    if not isinstance(content, dict) or content.get("card") != CARD_VERSION:
        found = content.get("card") if isinstance(content, dict) else None
        msg = f"{path}: card version {found!r}, but this program reads version {CARD_VERSION}"
        raise InputError(msg)
    try:
        card = _from_json(content)
        return replace(card, name=printable(card.name))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        msg = f"{path}: not a complete model card: {what}"
        raise InputError(msg) from error


def _from_json(content: Mapping[str, Any]) -> Card:
    """Make a card; KeyError, TypeError or ValueError says what is wrong with it."""
    inputs = tuple(_scaled(q) for q in _list(content, "inputs"))
    outputs = tuple(_scaled(q) for q in _list(content, "outputs"))
    domain = {}
    for name, (low, high) in _object(content, "domain").items():
        if type(low) is not int or type(high) is not int or low > high:
            msg = f"domain of {name} is not a range of integers"
            raise ValueError(msg)
        domain[name] = (low, high)
    missing = [n for n in (*(q.name for q in inputs), "tfMuonIndex") if n not in domain]
    if missing:
        msg = f"no domain for {', '.join(missing)}"
        raise ValueError(msg)
    if not isinstance(content["name"], str):
        msg = "name is not text"
        raise TypeError(msg)
    rest = ("recipe", "training", "data", "scores", "onnx", "versions")
    table = content.get("resolution")
    found = None if table is None else resolution.from_dict(table)
    unknown = set(found.edges) - {q.name for q in inputs} if found else set()
    if unknown:
        msg = f"resolution asks for {', '.join(sorted(unknown))}, which is no input"
        raise ValueError(msg)
    recipe, training, data, scores, onnx, versions = (_object(content, n) for n in rest)
    firmware, imported = (_object(content, n) if n in content else None for n in ("firmware", "imported"))
    more = (recipe, training, data, scores, onnx, versions, found, firmware, imported)
    return Card(content["name"], inputs, outputs, domain, *more)


def _scaled(entry: Any) -> Scaled:
    if not isinstance(entry, dict):
        msg = "an input or output is not an object"
        raise TypeError(msg)
    name, unit = entry["name"], entry["unit"]
    offset, scale = float(entry["offset"]), float(entry["scale"])
    if not (isinstance(name, str) and isinstance(unit, str) and np.isfinite(offset) and np.isfinite(scale)):
        msg = f"input or output {name!r} has no proper name, unit, offset or scale"
        raise ValueError(msg)
    if scale == 0:
        msg = f"input or output {name!r} has scale 0"
        raise ValueError(msg)
    return Scaled(name, unit, offset, scale)


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(content[name], list) or not content[name]:
        msg = f"{name} is not a list"
        raise TypeError(msg)
    return list(content[name])


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(content[name], dict):
        msg = f"{name} is not an object"
        raise TypeError(msg)
    return dict(content[name])


def model_record(card: "Card") -> dict[str, Any]:
    """Describe a network by its card: name, hash, and the data on which it was trained."""
    return {"name": card.name, "sha256": card.onnx.get("sha256"), "trained_on": dict(card.data)}
