"""The Parquet data set: a table for each stream, partitioned by run and lumisection; see `io.data_set`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import KEY, joint_origin
from l1scout.files import checksum
from l1scout.formats.stream import STREAMS
from l1scout.io.data_set import MANIFEST, MARK, SCHEMA_VERSION, SELECTIONS, ChunkFacts, part_path
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob, other_parts
from l1scout.io.lumisection_parts import lumisection_parts


class ParquetDatasetWriter(FormatWriter):
    """Writes Parquet data sets: every column of every object, and the orbits that were seen."""

    name, title, suffixes = "parquet-dataset", "Parquet data set (folder)", ("",)
    is_folder = True
    options: ClassVar[Mapping[str, str]] = {
        "physics": "add columns with physics values: pt, eta, phi... (GeV, rad)"
    }

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Name offline muons: all else is kept."""
        yield from other_parts(data, selections=True)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:
        """Write a data set."""
        _Filler(target, job).fill(chunks)


class _Filler:
    """Fills the folder of a data set."""

    def __init__(self, folder: Path, job: WriteJob) -> None:
        self._folder, self._job = folder, job
        self._number, self._key = -1, (-1, -1)
        self._open: dict[str, _Part] = {}
        self._objects: dict[str, int] = {}
        self._columns: dict[str, dict[str, str]] = {}
        self._origins: set[bool | None] = set()
        self._stated: dict[str, Any] = {}
        self._sum = 0

    def fill(self, chunks: Iterator[OrbitData]) -> None:
        """Write all data, and the manifest."""
        try:
            for run, block, data in lumisection_parts(chunks):
                if (run, block) != self._key:
                    self._close()
                    self._number, self._key = self._number + 1, (run, block)
                self._add(data)
            self._close()
        finally:
            for part in self._open.values():
                part.writer.close()
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "streams": {
                name: {"objects": n, "columns": self._columns[name]} for name, n in self._objects.items()
            },
            "simulated": joint_origin(self._origins),
            "checksum": self._sum,
            **self._stated,
        }
        made = replace(self._job.made, simulated=joint_origin(self._origins))
        text = json.dumps({MARK: manifest, KEY: made.as_dict()}, indent=1)
        (self._folder / MANIFEST).write_text(text + "\n", "utf-8")

    def _add(self, data: OrbitData) -> None:
        self._origins |= data.origins
        stated = {"seed": data.origin.seed, "version": data.origin.version}
        self._stated = {name: value for name, value in stated.items() if value is not None}
        batches = dict(data.streams)
        if data.selections is not None:
            batches[SELECTIONS] = data.selections
        for name, batch in batches.items():
            table = object_table(name, batch, physics=bool(self._job.options.get("physics")))
            if name not in self._open:
                path = part_path(self._folder, name, *self._key, self._number)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._open[name] = _Part(path, table.schema, list(batch.columns))
                self._columns[name] = {field.name: str(field.type) for field in table.schema}
            self._open[name].add(table, batch)
            if name != SELECTIONS:
                self._objects[name] = self._objects.get(name, 0) + batch.n_objects
            else:
                self._objects[name] = self._objects.get(name, 0) + len(batch)

    def _close(self) -> None:
        for name, part in self._open.items():
            stated = {"schema_version": SCHEMA_VERSION, "stream": name, "columns": part.columns}
            stated |= {"run": self._key[0], "lumisection": self._key[1], "number": self._number}
            stated |= {"chunks": [facts.as_list() for facts in part.facts], **self._stated}
            simulated = joint_origin({facts.simulated for facts in part.facts})
            own: dict[str, Any] = {"content": f"{name} objects of a data set", MARK: stated}
            if simulated is not None:
                own["simulated"] = simulated
            made = replace(self._job.made, simulated=simulated).as_json()
            part.writer.add_key_value_metadata({"l1scout": json.dumps(own), KEY: made})
            part.writer.close()
            self._sum ^= checksum(part.path)[1]
        self._open = {}


class _Part:
    """A file that is being written."""

    def __init__(self, path: Path, schema: pa.Schema, columns: list[str]) -> None:
        self.path, self.columns, self.facts = path, columns, list[ChunkFacts]()
        # pyarrow's own copy of the schema would hide the entries of the metadata from its readers
        options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
        self.writer = pq.ParquetWriter(path, schema, **options)

    def add(self, table: pa.Table, batch: OrbitBatch) -> None:
        """Write a chunk."""
        if table.num_rows:
            self.writer.write_table(table, table.num_rows)
        self.facts.append(
            ChunkFacts(
                table.num_rows, batch.n_orbits, batch.orbits_seen(), batch.lost_orbits, batch.simulated
            )
        )


def object_table(name: str, batch: OrbitBatch, *, physics: bool = False) -> pa.Table:
    """Return the table of a batch: a row for each object, with ``orbit`` and ``bx`` first.

    Parameters
    ----------
    name : str
        Of the stream, or ``selections``.
    batch : OrbitBatch
    physics : bool
        Add physics values, which have other names than the columns; see `Stream.physics`.
    """
    columns: dict[str, Any] = {
        "orbit": batch.orbit[batch.row],
        "bx": batch.bx[batch.row].astype(np.int16),
        **batch.columns,
    }
    if physics and name in STREAMS:
        made = STREAMS[name].physics(batch.columns)
        columns |= {column: values for column, values in made.items() if column not in columns}
    arrays = {column: pa.array(np.ascontiguousarray(values)) for column, values in columns.items()}
    schema = pa.schema([pa.field(column, array.type, nullable=False) for column, array in arrays.items()])
    return pa.table(list(arrays.values()), schema=schema)


WRITERS.register("parquet-dataset")(ParquetDatasetWriter())
