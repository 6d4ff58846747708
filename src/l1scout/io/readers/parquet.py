"""Parquet files of L1 muons as flat columns, alone or each with its offline muon."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.io import columns
from l1scout.io.conditions import Conditions
from l1scout.io.data_set import MARK
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.parquet import (
    HARDWARE,
    IDENTITY,
    OFFLINE,
    OPTIONAL,
    STUBS,
    column,
    conditions,
    describe_metadata,
    hardware,
    metadata,
    whole_numbers,
)
from l1scout.io.parquet_columns import add_parquet_columns
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, NewColumns, Rewritten, origin
from l1scout.lhc import BX_PER_ORBIT

_MOST_MUONS = 16 * BX_PER_ORBIT
"""Of an orbit: 8 links of 2 muons in each crossing."""


class ParquetReader(FormatReader):
    """Reads flat columns: one row a muon.

    With columns ``recoPt``, ``recoEta``, ``recoPhi`` and ``recoCharge`` each row is a matched pair and
    becomes a row of its own, with its offline muon if ``recoPt`` is above 0. Without them, muons that
    follow each other with equal ``run``, ``lumisection``, ``orbit`` and ``bx`` share a row. Where
    ``orbit`` or ``bx`` is missing both are unknown, and each muon is a row. A file whose metadata state
    ``first_orbit`` and ``orbits`` holds the muons of all these orbits, so that rates can be made.
    """

    name, title = "parquet", "Parquet muons"
    offline = True
    adds_columns = True

    def detect(self, file: InputFile) -> bool:
        """Return whether it is a Parquet file, no archive and not of a data set."""
        return file.is_parquet and not {"archive", MARK} & set(metadata(file))

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:  # noqa: ARG002
        """Read muons.

        Raises
        ------
        InputError
            If ``hwPt`` or ``hwCharge`` is missing, or a column is damaged or holds no plain numbers.
        """
        with guarded(file.path, "not a readable Parquet file"):
            names = set(file.parquet.schema_arrow.names)
            wanted = [n for n in (*HARDWARE, *OPTIONAL, *STUBS, *OFFLINE, *IDENTITY) if n in names]
            paired = {"recoPt", "recoEta", "recoPhi", "recoCharge"} <= names
            together: Sequence[str] = () if paired or not {"orbit", "bx"} <= names else IDENTITY
            counted = bool(together) and {"first_orbit", "orbits"} <= set(metadata(file))
            if counted:
                together = ("run", "lumisection", "orbit")
            batches = _whole_crossings(file, rows, wanted, [n for n in together if n in names])
            data = (_events(file, batch, paired=paired) for batch in batches)
            yield from _count_orbits(file, data) if counted else data

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the muons are, what the file states, and the columns that it lacks."""
        names = set(file.parquet.schema_arrow.names)
        missing = [n for n in (*HARDWARE, *OFFLINE[:4]) if n not in names]
        return super().describe(file) | describe_metadata(file) | {"missing_columns": missing}

    def conditions(self, file: InputFile) -> Conditions:
        """Return what the file states, and the era by run number if it states none."""
        return conditions(file)

    def add_columns(self, file: InputFile, target: Path, new: NewColumns) -> Rewritten:
        """Add columns; the others keep their values and encodings."""
        return add_parquet_columns(file, self.title, target, new, lambda b: hardware(file.path, b))


def _events(file: InputFile, batch: pa.RecordBatch, *, paired: bool) -> OrbitData:
    """Make rows of a batch of muons."""
    path, n = file.path, batch.num_rows
    l1 = hardware(path, batch)
    ids = {i: whole_numbers(path, batch, i).astype(np.int64) for i in IDENTITY if i in batch.schema.names}
    first = np.arange(n)
    if not {"orbit", "bx"} <= set(ids):
        ids["orbit"], ids["bx"] = columns.unknown_crossings(n)
    elif not paired:
        changes = np.any([np.diff(i) != 0 for i in ids.values()], axis=0)
        first = np.flatnonzero(np.r_[True, changes]) if n else np.zeros(0, np.int64)
    rest: dict[str, Any] = {i: v[first] for i, v in ids.items() if i in ("run", "lumisection")}
    muons = OrbitBatch(
        ids["orbit"][first],
        ids["bx"][first],
        np.r_[first, n],
        l1,
        simulated=metadata(file).get("simulated"),
        **rest,
    )
    offline = None
    if paired:
        reco = {i: column(path, batch, i) for i in OFFLINE if i in batch.schema.names}
        reco.setdefault("recoId", np.ones(n, np.bool_))  # a data set holds identified muons
        pairs = columns.offline(reco, muons, np.arange(n + 1))
        offline = pairs.select(pairs["recoPt"] > 0, drop_empty=False)
    return OrbitData({MUON: muons}, offline, origin(file, metadata(file)))


def _count_orbits(file: InputFile, chunks: Iterator[OrbitData]) -> Iterator[OrbitData]:
    """Tell how many orbits chunks stand for; an empty orbit belongs to the chunk before it."""
    said = metadata(file)
    at, end = said["first_orbit"], said["first_orbit"] + said["orbits"]
    data = next(chunks, None)
    while data is not None:
        after = next(chunks, None)
        orbit = data.muons.orbit
        if np.any(np.diff(orbit) < 0) or (orbit.size and not (at <= orbit[0] and orbit[-1] < end)):
            msg = (
                f"{file.path}: its metadata state the orbits {said['first_orbit']} to {end - 1}, but its "
                "muons are of others, or not in order of time"
            )
            raise InputError(msg)
        stop = end if after is None or not len(after.muons) else max(int(after.muons.orbit[0]), at)
        yield data.with_muons(replace(data.muons, n_orbits=stop - at, first_orbit=at))
        at, data = stop, after


def _whole_crossings(
    file: InputFile, rows: int, wanted: list[str], together: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Record batches; muons at the end that agree in the columns `together` wait for those that follow."""
    if not file.parquet.metadata.num_rows:  # it may state orbits all the same
        schema = pa.schema([file.parquet.schema_arrow.field(name) for name in wanted])
        yield pa.RecordBatch.from_pylist([], schema=schema)
        return
    waiting: pa.RecordBatch | None = None
    for batch in file.parquet.iter_batches(rows, columns=wanted):
        if waiting is not None:
            batch = pa.concat_batches([waiting, batch])
        waiting = None
        if together and batch.num_rows:
            ids = [column(file.path, batch, i) for i in together]
            same = np.all([i == i[-1] for i in ids], axis=0)
            cut = int(np.flatnonzero(~same)[-1]) + 1 if not same.all() else 0
            if batch.num_rows - cut < (rows if "bx" in together else max(rows, _MOST_MUONS)):
                waiting, batch = batch.slice(cut), batch.slice(0, cut)
        if batch.num_rows:
            yield batch
    if waiting is not None and waiting.num_rows:
        yield waiting


READERS.register("parquet")(ParquetReader())
