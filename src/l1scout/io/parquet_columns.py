"""Copies of Parquet files with new columns for each L1 muon; all else is kept, and how it was encoded."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from l1scout.core.provenance import KEY
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.reader import NewColumns, Rewritten

_MAX_ROWS = 1 << 21
"""Rows of a row group; a longer one is written as several."""
_COPIED = ("BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
_DICTIONARY = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
_ARROW_SCHEMA = b"ARROW:schema"
Hardware = Callable[[pa.RecordBatch], Mapping[str, NDArray[Any]]]


def add_parquet_columns(
    file: InputFile, title: str, target: Path, new: NewColumns, hardware: Hardware
) -> Rewritten:
    """Write a copy of a Parquet file with new columns, row group by row group.

    Parameters
    ----------
    file : InputFile
    title : str
        Of the format.
    target : Path
    new : NewColumns
    hardware : callable
        From the rows of a row group to the hardware columns of their L1 muons.
    """
    done, names, writer = 0, tuple[str, ...](), None
    source = file.parquet
    total = source.metadata.num_rows
    try:
        for group in _row_groups(file):
            with guarded(file.path):
                rows = hardware(group)
            columns = _compute(file.path, rows, new, set(group.schema.names))
            names = tuple(columns)
            for name, values in columns.items():
                group = group.append_column(pa.field(name, pa.array(values).type, nullable=False), values)
            if writer is None:
                writer = _writer(file, target, group.schema, names, new)
            writer.write_table(pa.Table.from_batches([group]).replace_schema_metadata(None))
            done += group.num_rows
            new.progress(done, total)
    finally:
        if writer is not None:
            writer.close()
    return Rewritten(title, "", done, done, names)


def _compute(
    path: Path, hardware: Mapping[str, NDArray[Any]], new: NewColumns, present: set[str]
) -> dict[str, NDArray[Any]]:
    """Compute the new columns of a row group, some rows at a time."""
    n = len(hardware["hwPt"])
    parts = [
        new(path, {name: c[start : start + new.rows] for name, c in hardware.items()}, present)
        for start in range(0, max(n, 1), new.rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _row_groups(file: InputFile) -> Any:
    """Yield the rows of each row group; one without rows if the file has none, so that columns are added."""
    source = file.parquet
    if not source.metadata.num_rows:
        yield pa.RecordBatch.from_pylist([], schema=source.schema_arrow)
        return
    for number in range(source.num_row_groups):
        batches = source.iter_batches(_MAX_ROWS, row_groups=[number])
        while True:
            with guarded(file.path, "damaged Parquet file"):
                batch = next(batches, None)
            if batch is None:
                break
            if batch.num_rows:
                yield batch


def _writer(
    file: InputFile, target: Path, schema: pa.Schema, names: tuple[str, ...], new: NewColumns
) -> pq.ParquetWriter:
    """Begin the copy: with the metadata, the encodings and the types of the source.

    Text is read, and so written, as a dictionary; the copy states the type that it had.
    """
    source = file.parquet
    stated = dict(source.metadata.metadata or {})
    keeps_schema = stated.pop(_ARROW_SCHEMA, None) is not None
    if KEY.encode() in stated:
        stated[f"{KEY}_of_input".encode()] = stated[KEY.encode()]
    stated[KEY.encode()] = new.made.as_json().encode()
    options = _encodings(source)
    for name in names:
        options["compression"][name] = "zstd"
        if schema.field(name).type == pa.float32():
            options["column_encoding"][name] = "BYTE_STREAM_SPLIT"
    if keeps_schema:
        own = pq.ParquetFile(file.stream(), metadata=source.metadata).schema_arrow
        types = [own.field(f.name) if f.name in own.names else f for f in schema]
        stated[_ARROW_SCHEMA] = base64.b64encode(pa.schema(types, stated).serialize())
    schema = schema.remove_metadata()
    writer = pq.ParquetWriter(target, schema, store_schema=False, write_page_checksum=True, **options)
    writer.add_key_value_metadata(stated)
    return writer


def _encodings(source: pq.ParquetFile) -> dict[str, Any]:
    """Return options for a writer that encodes the columns as they are encoded in a file."""
    names = source.schema_arrow.names
    if not source.num_row_groups:
        return {"column_encoding": {}, "compression": dict.fromkeys(names, "zstd")}
    found: dict[str, Any] = {"column_encoding": {}, "compression": {}}
    found |= {"use_dictionary": [], "write_statistics": []}
    group = source.metadata.row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        name, encodings = column.path_in_schema, set(column.encodings)
        if encodings & _DICTIONARY:
            found["use_dictionary"].append(name)
        elif copied := encodings & set(_COPIED):
            found["column_encoding"][name] = copied.pop()
        found["compression"][name] = column.compression.lower().replace("uncompressed", "none")
        if column.is_stats_set:
            found["write_statistics"].append(name)
    return found
