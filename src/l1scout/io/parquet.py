"""Parquet files of L1 muons, alone or each with its offline muon."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import columns, root

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
IDENTITY = ("run", "lumisection", "orbit", "bx")


METADATA_KEY = b"l1scout"
"""Key of the JSON object that our own writers leave in a file's metadata."""
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def about(file: pq.ParquetFile) -> dict[str, Any]:
    """Return what a file states of itself, see `statements`; {} if nothing."""
    return statements(file.metadata.metadata or {})


def statements(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what the metadata of a Parquet file state, whoever wrote them.

    Parameters
    ----------
    metadata : mapping of bytes to bytes
        Of the file. Our own writers leave a JSON object under `METADATA_KEY`; others may have ``simulated``,
        ``source`` and ``era`` as keys of their own.

    Returns
    -------
    dict
        All of the JSON object, with ``simulated`` (bool), ``source`` (list of str) and ``era`` (str) where
        they are known. ``simulated`` may be written as true, 1 or yes, and false, 0 or no, in any case.
        Anything else is unknown, and so is what two places state differently.
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


def _names(value: Any) -> list[str] | None:
    if isinstance(value, bytes) and value.lstrip()[:1] == b"[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    values = value if isinstance(value, list) else [value]
    names = [name for name in map(_text, values) if name]
    return names or None


_READ = {"simulated": _bool, "source": _names, "era": _text}


def column(path: Path, batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Read a column of numbers (InputError if it holds anything else or missing values)."""
    values = batch.column(name)
    numbers = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not (numbers or pa.types.is_boolean(values.type)) or values.null_count:
        msg = f"{path}: column {name} holds {values.type} with {values.null_count} missing, not plain numbers"
        raise InputError(msg)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def hardware(path: Path, batch: pa.RecordBatch) -> dict[str, NDArray[np.int16]]:
    """Canonical hardware columns of a record batch, exactly."""
    out = {}
    for name in (*HARDWARE, *OPTIONAL, *STUBS):
        if name in batch.schema.names:
            values = column(path, batch, name)
            if not np.all(np.floor(values) == values):
                msg = f"{path}: column {name} holds values that are not whole numbers"
                raise InputError(msg)
            out[name] = columns.integers(name, values)
    if "hwCharge" in out and np.any(out["hwCharge"] < 0):
        msg = f"{path}: hwCharge must be the word's bit, 0 or 1 = negative, not a sign"
        raise InputError(msg)
    for name in NEEDED:
        if name not in out:
            msg = f"{path}: no column {name}; a Parquet file of L1 muons has {', '.join(HARDWARE)}"
            raise InputError(msg)
    return out


def read_parquet(path: Path, rows: int) -> Iterator[OrbitData]:
    """Read flat columns: one row a muon.

    With columns ``recoPt``, ``recoEta``, ``recoPhi`` and ``recoCharge`` each row is a matched pair and
    becomes a row of its own, with its offline muon if ``recoPt`` is above 0. Without them, muons that
    follow each other with equal ``run``, ``lumisection``, ``orbit`` and ``bx`` share a row. Where
    ``orbit`` or ``bx`` is missing both are unknown, and each muon is a row.

    Raises
    ------
    InputError
        If ``hwPt`` or ``hwCharge`` is missing, or a column is damaged or holds no plain numbers.
    """
    with root.guarded(path, "not a readable Parquet file"), pq.ParquetFile(path) as file:
        root.chunks(0, rows)
        simulated = about(file).get("simulated")
        names = set(file.schema_arrow.names)
        wanted = [n for n in (*HARDWARE, *OPTIONAL, *STUBS, *OFFLINE, *IDENTITY) if n in names]
        paired = {"recoPt", "recoEta", "recoPhi", "recoCharge"} <= names
        together = not paired and {"orbit", "bx"} <= names
        for batch in _whole_crossings(path, file, rows, wanted, together=together):
            l1 = hardware(path, batch)
            n = batch.num_rows
            ids = {i: column(path, batch, i).astype(np.int64) for i in IDENTITY if i in names}
            if not {"orbit", "bx"} <= set(ids):
                ids["orbit"], ids["bx"] = columns.unknown_crossings(n)
                first = np.arange(n)
            elif paired:
                first = np.arange(n)
            else:
                changes = np.any([np.diff(i) != 0 for i in ids.values()], axis=0)
                first = np.flatnonzero(np.r_[True, changes]) if n else np.zeros(0, np.int64)
            rest: dict[str, Any] = {i: v[first] for i, v in ids.items() if i in ("run", "lumisection")}
            muons = OrbitBatch(
                ids["orbit"][first], ids["bx"][first], np.r_[first, n], l1, simulated=simulated, **rest
            )
            offline = None
            if paired:
                reco = {i: column(path, batch, i) for i in OFFLINE if i in names}
                reco.setdefault("recoId", np.ones(n, np.bool_))  # a data set holds identified muons
                pairs = columns.offline(reco, muons, np.arange(n + 1))
                offline = pairs.select(pairs["recoPt"] > 0, drop_empty=False)
            yield OrbitData.of_muons(muons, offline, str(path))


def _whole_crossings(
    path: Path, file: pq.ParquetFile, rows: int, wanted: list[str], *, together: bool
) -> Iterator[pa.RecordBatch]:
    """Record batches; with `together`, the muons of the last crossing wait for those that follow."""
    waiting: pa.RecordBatch | None = None
    for batch in file.iter_batches(rows, columns=wanted):
        if waiting is not None:
            batch = pa.concat_batches([waiting, batch])
        waiting = None
        if together and batch.num_rows:
            ids = [column(path, batch, i) for i in IDENTITY if i in batch.schema.names]
            same = np.all([i == i[-1] for i in ids], axis=0)
            cut = int(np.flatnonzero(~same)[-1]) + 1 if not same.all() else 0
            if batch.num_rows - cut < rows:
                waiting, batch = batch.slice(cut), batch.slice(0, cut)
        if batch.num_rows or not file.metadata.num_rows:
            yield batch
    if waiting is not None and waiting.num_rows:
        yield waiting
