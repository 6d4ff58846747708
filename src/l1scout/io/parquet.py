"""What Parquet files state of themselves, and their columns of L1 muons and offline muons."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.io import columns, runs
from l1scout.io.conditions import Conditions, of_metadata, states_era
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile

HARDWARE = (
    "hwPt",
    "hwEta",
    "hwPhi",
    "hwEtaAtVtx",
    "hwPhiAtVtx",
    "hwCharge",
    "hwQual",
    "tfMuonIndex",
)
NEEDED = ("hwPt", "hwCharge")
OPTIONAL = ("hwIso", "hwChargeValid", "hwDXY", "hwPtUnconstrained", "bxInEvent", "intermediate")
STUBS = ("stubStations", "stubPhiB1", "stubPhiB2", "stubBend12", "stubEtaFine")
"""What the track finder's stubs were, where a file tells: see `l1scout.simulate.bmtf.Candidates`."""
OFFLINE = ("recoPt", "recoEta", "recoPhi", "recoCharge", "recoEtaSt2", "recoPhiSt2", "recoId")
_ROWS = 1 << 20
IDENTITY = ("run", "lumisection", "orbit", "bx")


METADATA_KEY = b"l1scout"
"""Key of the JSON object that our own writers leave in a file's metadata."""
_MOST_DIGITS = 15
_TOO_LARGE = 10**_MOST_DIGITS
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def metadata(file: InputFile) -> dict[str, Any]:
    """Return what a file states of itself, see `statements`; {} if nothing."""
    return file.once("metadata", lambda: statements(file.parquet.metadata.metadata or {}))


def statements(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what the metadata of a Parquet file state, whoever wrote them.

    Parameters
    ----------
    metadata : mapping of bytes to bytes
        Of the file. Our own writers leave a JSON object under `METADATA_KEY`; others may have ``simulated``,
        ``source``, ``era``, ``first_orbit`` and ``orbits`` as keys of their own.

    Returns
    -------
    dict
        All of the JSON object, with ``simulated`` (bool), ``source`` (list of str), ``era`` (str),
        ``first_orbit`` and ``orbits`` (int) where they are known. ``simulated`` may be written as true, 1 or
        yes, and false, 0 or no, in any case. Anything else is unknown, and so is what two places state
        differently.
    """
    try:
        own = json.loads(metadata.get(METADATA_KEY, b"{}"))
    except (ValueError, RecursionError):
        own = {}
    own = own if isinstance(own, dict) else {}
    found = {k: v for k, v in own.items() if k not in _READ}
    for key, read in _READ.items():
        answers = [read(own.get(key)), read(metadata.get(key.encode()))]
        known = [a for a in answers if a is not None]
        if known and all(a == known[0] for a in known):
            found[key] = known[0]
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip() or None if isinstance(value, str) else None


def _bool(value: Any) -> bool | None:
    word = str(int(value)) if isinstance(value, bool | int) else (_text(value) or "").strip("\"'").lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _whole(value: Any) -> int | None:
    text = str(value) if type(value) is int else _text(value) or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _names(value: Any) -> list[str] | None:
    if isinstance(value, bytes) and value.lstrip()[:1] == b"[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    values = value if isinstance(value, list) else [value]
    names = [name for name in map(_text, values) if name]
    return names or None


_READ = {"simulated": _bool, "source": _names, "era": _text, "first_orbit": _whole, "orbits": _whole}


def column(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Read a column of numbers (InputError if it holds anything else or missing values)."""
    values = batch.column(name)
    numbers = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not (numbers or pa.types.is_boolean(values.type)) or values.null_count:
        msg = f"{path}: column {name} holds {values.type} with {values.null_count} missing, not plain numbers"
        raise InputError(msg)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def whole_numbers(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Read a column of whole numbers of at most 15 digits (InputError if one is not)."""
    values = column(path, batch, name)
    if values.dtype.kind == "f" and not np.all(np.floor(values) == values):
        msg = f"{path}: column {name} holds values that are not whole numbers"
        raise InputError(msg)
    if values.size and (values.max() >= _TOO_LARGE or values.min() <= -_TOO_LARGE):
        msg = f"{path}: column {name} holds {values.min()} to {values.max()}: more than {_MOST_DIGITS} digits"
        raise InputError(msg)
    return values


def hardware(path: Path, batch: pa.RecordBatch) -> dict[str, NDArray[np.int16]]:
    """Canonical hardware columns of a record batch, exactly."""
    out = {}
    for name in (*HARDWARE, *OPTIONAL, *STUBS):
        if name in batch.schema.names:
            out[name] = columns.integers(name, whole_numbers(path, batch, name))
    if "hwCharge" in out and np.any(out["hwCharge"] < 0):
        msg = f"{path}: hwCharge must be the word's bit, 0 or 1 = negative, not a sign"
        raise InputError(msg)
    for name in NEEDED:
        if name not in out:
            msg = f"{path}: no column {name}; a Parquet file of L1 muons has {', '.join(HARDWARE)}"
            raise InputError(msg)
    return out


def describe_metadata(file: InputFile) -> dict[str, Any]:
    """Return what a file states of itself, for ``l1scout inspect``."""
    stated = metadata(file)
    out: dict[str, Any] = {}
    if "simulated" in stated:
        out["data"] = "simulated" if stated["simulated"] else "real"
    if stated.get("era"):
        out["era"] = stated["era"]
    names = ("content", "source", "trigger", "tables", "selection", "seed", "hard", "version")
    return out | {"said": {n: stated[n] for n in names if n in stated}}


def conditions(file: InputFile) -> Conditions:
    """Return the conditions that a file states; the era by run number if it states none.

    The run numbers of data that are stated to be simulated say nothing of the trigger.
    """
    stated = dict(metadata(file))
    if not states_era(stated) and stated.get("simulated") is not True:
        with guarded(file.path, "not a readable Parquet file"):
            if "run" in file.parquet.schema_arrow.names:
                batches = file.parquet.iter_batches(_ROWS, columns=["run"])
                parts = [np.unique(column(file.path, batch, "run")) for batch in batches]
                stated["era"] = runs.era(np.unique(np.concatenate(parts)).tolist()) if parts else None
    return of_metadata(stated)
