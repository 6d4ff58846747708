"""A flat table for machine learning: a row per crossing, the first objects of each stream as columns."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from l1scout.core.joint_rows import on_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import KEY, joint_origin
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io.crossings import crossings_to_write, flags_of, within
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob, other_parts
from l1scout.io.lumisection_parts import lumisection_parts

DEFAULT_OBJECTS = {"muon": 4, "jet": 6, "egamma": 4, "tau": 4, "etsum": 1, "stub": 8, "tower": 16, "gt": 1}
"""Objects in a row, where the user does not name them."""
_OTHERS = 8
_MOST = 256
_SCHEMA_VERSION = 1


class FlatTableWriter(FormatWriter):
    """Writes one Parquet file with columns ``run``, ``lumisection``, ``orbit``, ``bx`` and those of objects.

    ``muon_n`` counts the muons of the crossing; ``muon0_pt`` is the pT of the first. Physics values are
    float32, NaN where there is no object; hardware values have their own type, 0 where there is none.
    """

    name, title = "flat-table", "flat table (Parquet), a row per crossing"
    keeps_empty_crossings = True
    options: ClassVar[Mapping[str, str]] = {"objects": "streams and objects of each in a row: muon=2,jet=4"}

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:
        """Name streams that are not wanted, and objects for which a row has no room."""
        room = _room(data, options)
        for name, batch in data.streams.items():
            if name not in room:
                yield f"stream {name}"
            elif len(batch) and int(batch.counts.max()) > room[name]:
                yield f"objects after the first {room[name]} {name}s of a crossing"
        if data.main.n_orbits is not None:
            yield "number of orbits by lumisection"
        yield from other_parts(data, selections=True)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:
        """Write the table, a row group for each chunk."""
        writer: pq.ParquetWriter | None = None
        origins: set[bool | None] = set()
        orbits: dict[str, int | None] = {}
        try:
            for _, _, data in lumisection_parts(chunks):
                origins |= data.origins
                for name, batch in data.streams.items():
                    before = orbits.get(name, 0)
                    known = before is not None and batch.n_orbits is not None
                    orbits[name] = (before or 0) + (batch.n_orbits or 0) if known else None
                for crossings in crossings_to_write(data, empty=job.empty_crossings):
                    table = flat_table(data, crossings, _room(data, job.options))
                    writer = writer or pq.ParquetWriter(
                        target, table.schema, compression="zstd", store_schema=False
                    )
                    if table.schema != writer.schema:
                        msg = (
                            "the columns of the data change on the way: write the parts as files of their own"
                        )
                        raise InputError(msg)
                    if table.num_rows:
                        writer.write_table(table, table.num_rows)
            if writer is not None:
                simulated = joint_origin(origins)
                stated: dict[str, Any] = {"content": self.title, "flat_table": _SCHEMA_VERSION}
                stated |= {"orbits_of_streams": orbits}
                stated |= {} if simulated is None else {"simulated": simulated}
                made = replace(job.made, simulated=simulated).as_json()
                writer.add_key_value_metadata({"l1scout": json.dumps(stated), KEY: made})
        finally:
            if writer is not None:
                writer.close()


def _room(data: OrbitData, options: Mapping[str, Any]) -> dict[str, int]:
    """Return the objects of each stream in a row (InputError if an option does not make sense)."""
    given = options.get("objects")
    if given is None:
        return {name: DEFAULT_OBJECTS.get(name, _OTHERS) for name in data.streams}
    room = {}
    for entry in str(given).split(","):
        name, _, number = entry.strip().partition("=")
        if (
            name not in STREAMS
            or not number.isascii()
            or not number.isdecimal()
            or not 0 < int(number) <= _MOST
        ):
            msg = f"objects: {entry!r} is not a stream and 1 to {_MOST} objects, such as muon=2"
            raise InputError(msg)
        room[name] = int(number)
    return {name: n for name, n in room.items() if name in data.streams}


def flat_table(data: OrbitData, crossings: OrbitBatch, room: Mapping[str, int]) -> pa.Table:
    """Return the rows of some crossings.

    Parameters
    ----------
    data : OrbitData
        Of one lumisection.
    crossings : OrbitBatch
        That become rows, in order of time.
    room : mapping of str to int
        Objects of each stream in a row.
    """
    columns: dict[str, NDArray[Any]] = {
        "run": crossings.run.astype(np.uint32),
        "lumisection": crossings.lumisection.astype(np.int32),
        "orbit": crossings.orbit,
        "bx": crossings.bx.astype(np.int16),
        **flags_of(data.selections, crossings),
    }
    for name, most in room.items():
        full = data.streams[name]
        batch = on_rows(within(full.take(np.flatnonzero(full.counts)), crossings), crossings)
        values = dict(batch.columns)
        physics = STREAMS[name].physics(batch.columns)
        values |= {column: made for column, made in physics.items() if column not in values}
        columns[f"{name}_n"] = batch.counts.astype(np.int16)
        rank = np.arange(batch.n_objects) - batch.offsets[batch.row]
        for k in range(most):
            at = np.flatnonzero(rank == k)
            for column, made in values.items():
                slot = np.full(len(batch), np.nan if made.dtype.kind == "f" else 0, made.dtype)
                slot[batch.row[at]] = made[at]
                columns[f"{name}{k}_{column}"] = slot
    return pa.table({column: pa.array(values) for column, values in columns.items()})


WRITERS.register("flat-table")(FlatTableWriter())
