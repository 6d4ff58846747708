"""Write the compact archive: a stored file as Parquet, a row a muon."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.core.flow import Progress
from l1scout.core.provenance import KEY, Provenance, file_inputs, joint_origin
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.marks import stated_origin
from l1scout.formats.raw import FILE_HEADER, Frame, RawFile, frame_marks, split_raw
from l1scout.formats.streams.muon import is_intermediate
from l1scout.io import runs
from l1scout.io.archive_chunk import MAX_ROWS, Part, Stretch, gather, to_columns, views, with_station
from l1scout.io.archive_frames import regular_stretches
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.parquet import HARDWARE, OPTIONAL
from l1scout.io.reader import NewColumns
from l1scout.io.stored import is_raw, raw_header, split_records
from l1scout.lhc import lumisection

CHUNK = 1 << 23
"""Bytes of a stored file in a row group, about: 240,000 muons; of smaller ones each costs more."""
SIDE_COLUMN = "side"
VERSION = 2
"""Of the archive. Version 1 had hwDXY at bits 61-62 of the muon: its files must be made again."""
_DICTIONARY_ALONE = ("hwEtaAtVtx", "hwPhiAtVtx", "hwEta", "hwPhi")
_SPLIT = (
    "orbit", "bx", "hwPt", "hwPtUnconstrained", "hwQual", "hwIso", "hwDXY", "tfMuonIndex", "dEta", "dPhi",
    "second", "twin",
)  # fmt: skip
_DELTA = ("hwCharge",)


@dataclass(frozen=True)
class Converted:
    """What was written.

    Parameters
    ----------
    bytes_in, bytes_out : int
        Bytes of the stored file (decompressed), and of the archive; or the other way round.
    orbits : int
        Frames with GMT records; 0 for bare records.
    final_muons, intermediate_muons : int
    verbatim : int
        Bytes that are no muons' records and were kept as they are.
    crc32c : int
        Of the stored file.
    simulated : bool, optional
        As the file or its archive states; None where nothing does.
    """

    bytes_in: int
    bytes_out: int
    orbits: int
    final_muons: int
    intermediate_muons: int
    verbatim: int
    crc32c: int
    simulated: bool | None = None


class ArchiveWriter:
    """Writes an archive of a stored file.

    Parameters
    ----------
    file : InputFile
        For messages, and what is said of the source.
    stream : SummedStream
        Its content, from the first byte on.
    form : BlockFormat
    plain : bool
        See `to_parquet`.
    regular : bool
        Expect an undamaged .raw file of muons, which is faster (IrregularError if it is not).
    """

    def __init__(
        self, file: InputFile, stream: Any, form: BlockFormat, *, plain: bool, regular: bool = False
    ) -> None:
        self._file, self._stream, self._form, self._plain = file, stream, form, plain
        self._head, self._header, self._regular = b"", None, regular
        if is_raw(file):
            self._head = stream.read(FILE_HEADER.itemsize)
            self._header = raw_header(file)
            if self._header is None:
                msg = f"{file.path}: changed while it was read"
                raise InputError(msg)
        self._counts = dict.fromkeys(("orbits", "final_muons", "intermediate_muons", "verbatim"), 0)
        self._origins: set[bool | None] = set()
        self._done, self._crc = len(self._head), crc32c(self._head)
        self._sums, self._said = list[list[int]](), b""

    def write(self, part: Path, new: NewColumns | None, made: Provenance, progress: Progress) -> Converted:
        """Write the archive (InputError if it would not give back the same bytes)."""
        schema = archive_schema(self._form, framed=self._header is not None, plain=self._plain)
        writer: pq.ParquetWriter | None = None
        try:
            for size, crc, stretch in self._stretches():
                self._done, self._crc = self._done + size, crc
                columns, rows = self._columns(stretch, new)
                writer = writer or _writer(part, _with_others(schema, columns))
                self._sums.append(_column_sums(writer.schema, columns, rows))
                writer.write_table(_table(columns, rows, writer.schema), MAX_ROWS)
                progress(self._done, max(self._file.size, self._done))
            writer = writer or _writer(part, schema)
            simulated = joint_origin(self._origins)
            if simulated is None:  # records have no marks: then what the caller states
                simulated = made.simulated
            said = self._statement(simulated)
            made = replace(made, simulated=simulated, inputs=made.inputs or file_inputs([self._file.path]))
            self._said = json.dumps(said).encode()
            writer.add_key_value_metadata({"l1scout": self._said, KEY: made.as_json()})
        finally:
            if writer is not None:
                writer.close()
        return Converted(self._done, 0, **self._counts, crc32c=self._crc, simulated=simulated)

    def compare(self, part: Path) -> None:
        """Read the archive again, and compare every column with what it was made of (InputError)."""
        with guarded(part, "reads back different"), pq.ParquetFile(part) as file:
            groups = range(file.num_row_groups)
            sums = [_read_sums(file.read_row_group(k, use_threads=False)) for k in groups]
            said = (file.metadata.metadata or {}).get(b"l1scout")
        if (sums, said) != (self._sums, self._said):
            msg = f"{part}: reads back different: the disk or memory is faulty"
            raise InputError(msg)

    def _stretches(self) -> Iterator[tuple[int, int, Stretch]]:
        """Give the file's content, about `CHUNK` bytes at a time, with the bytes and the CRC-32C up to there.

        InputError if some was left out.
        """
        if self._regular and self._header is not None:
            yield from regular_stretches(self._stream, self._header, self._form, CHUNK, self._crc)
            complete = self._done == self._header.size
        else:
            summed = SummedStream(self._stream, self._crc)
            for parts in _chunks(summed, self._form, self._header):
                size, crc = 0, self._crc
                for piece in chain.from_iterable(map(views, parts)):
                    size, crc = size + len(piece), crc32c(piece, crc)
                yield size, crc, gather(parts, self._form, framed=self._header is not None)
            complete = (summed.crc, summed.bytes + len(self._head)) == (self._crc, self._done)
        if not complete:
            msg = f"{self._file.path}: its archive would not give back the same bytes; nothing was written"
            raise InputError(msg)

    def _columns(
        self, stretch: Stretch, new: NewColumns | None
    ) -> tuple[dict[str, NDArray[Any] | bytes], int]:
        """Return the columns of a part of the file, and their rows; count what they hold."""
        framed = self._header is not None
        if framed and len(stretch.heads):
            self._origins.add(stated_origin(frame_marks(stretch.heads[:, 0])))
        columns, side = to_columns(stretch, self._form, self._crc, plain=self._plain)
        alone = int(np.count_nonzero(_intermediate(columns)))
        rows, counts = len(columns["hwPt"]), self._counts
        counts["orbits"] += len(stretch.records) if framed else 0
        counts["final_muons"] += rows - alone
        counts["intermediate_muons"] += alone + int(np.count_nonzero(columns["twin"]))
        counts["verbatim"] += len(stretch.verbatim)
        added = _new_columns(self._file.path, columns, new) if new is not None else {}
        made = {
            "run": np.full(rows, self._header.run if self._header else 0, np.uint32),
            "lumisection": lumisection(columns["orbit"]).astype(np.int32),
            **columns,
        }
        if rows == 0:  # a row that is none (hwPt = 0), to hang the side on
            made = {name: np.zeros(1, values.dtype) for name, values in made.items()}
            made["bx"][:] = 1
        return {**made, **added, SIDE_COLUMN: side}, max(rows, 1)

    def _statement(self, simulated: bool | None) -> dict[str, Any]:
        """Return what the archive states of itself."""
        header = self._header
        era = runs.era([header.run]) if header and simulated is not True else None
        return {
            "content": f"archive of {'a .raw file' if header else 'records'}",
            "version": __version__,
            **({} if simulated is None else {"simulated": simulated}),
            "era": era,
            "archive": {
                "version": VERSION,
                "form": self._form.name,
                "header": self._head.hex(),
                "run": header.run if header else 0,
                "bytes": self._done,
                "crc32c": self._crc,
                **self._counts,
                "missing_orbits": header.missing_orbits if header else 0,
            },
        }


def _new_columns(path: Path, columns: Mapping[str, NDArray[Any]], new: NewColumns) -> dict[str, NDArray[Any]]:
    """Return new columns for the rows of a chunk; one without muons has a row."""
    hardware = {
        n: c.astype(np.int16) for n, c in with_station(columns).items() if n in (*HARDWARE, *OPTIONAL)
    }
    made = new(path, hardware, {*columns, "run", "lumisection", SIDE_COLUMN})
    return {n: values if len(columns["hwPt"]) else np.zeros(1, values.dtype) for n, values in made.items()}


def _with_others(schema: pa.Schema, columns: Mapping[str, NDArray[Any] | bytes]) -> pa.Schema:
    """Return a schema with the columns that it has not."""
    for name, values in columns.items():
        if name not in schema.names and isinstance(values, np.ndarray):
            schema = schema.append(pa.field(name, pa.from_numpy_dtype(values.dtype), nullable=False))
    return schema


def _intermediate(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which rows are intermediate muons without a final one."""
    if "intermediate" in columns:
        return np.asarray(columns["intermediate"] != 0)
    return is_intermediate(columns)


class SummedStream:
    """A stream with the CRC-32C (that of what came before is given) and the number of bytes read from it."""

    def __init__(self, stream: Any, crc: int) -> None:
        self._stream, self.crc, self.bytes = stream, crc, 0

    def read(self, size: int) -> bytes:
        """Read bytes."""
        data: bytes = self._stream.read(size)
        self.crc, self.bytes = crc32c(data, self.crc), self.bytes + len(data)
        return data


def _chunks(stream: SummedStream, form: BlockFormat, header: RawFile | None) -> Iterator[list[Part]]:
    """Parts of a file, about `CHUNK` bytes together."""
    content = cast(BinaryIO, stream)
    parts: Iterator[Part] = split_raw(content, header) if header else split_records(content, form)
    held: list[Part] = []
    used = 0
    for part in parts:
        held.append(part)
        used += part.stop - part.start if isinstance(part, Frame) else sum(map(len, views(part)))
        if used >= CHUNK:
            yield held
            held, used = [], 0
    if held:
        yield held


def archive_schema(form: BlockFormat, *, framed: bool, plain: bool) -> pa.Schema:
    """Return the columns of an archive: `framed`, of a .raw file; `plain`, see `l1scout.io.archive`."""
    station = ("hwEta", "hwPhi") if plain else ("dEta", "dPhi")
    fields = {"run": pa.uint32()} if framed else {}
    fields |= {"lumisection": pa.int32(), "orbit": pa.int64(), "bx": pa.int16()}
    vertex = [f.name for f in form.muon.fields if f.name not in ("hwEta", "hwPhi", "reserved")]
    fields |= {n: pa.int16() for n in (*vertex, *station)}
    more = ("second", "intermediate", "twin") if form.extra is not None else ("second", "twin")
    fields |= {n: pa.int8() for n in more} | {"linkMatch": pa.uint16()}
    required = [pa.field(n, t, nullable=False) for n, t in fields.items()]
    return pa.schema([*required, pa.field(SIDE_COLUMN, pa.binary())])


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet keeps each column: measured, see ``benchmarks/archive.py``."""
    names = set(schema.names)
    other = dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT") | dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED")
    alone = dict.fromkeys(_DICTIONARY_ALONE, "none")
    return {
        "use_dictionary": [n for n in _DICTIONARY_ALONE if n in names],
        "column_encoding": {n: e for n, e in other.items() if n in names},
        "compression": {n: alone.get(n, "zstd") for n in schema.names},
        "compression_level": {n: 1 for n in schema.names if n not in alone},
        "write_statistics": [n for n in ("run", "lumisection", "orbit") if n in names],
        "write_batch_size": 1 << 14,
        "store_schema": False,  # it would hide the footer's entry from readers
    }


def _table(columns: Mapping[str, NDArray[Any] | bytes], rows: int, schema: pa.Schema) -> pa.Table:
    """Return the rows of a chunk; of columns of bytes only the first has any."""
    arrays = [_array(columns[f.name], f.type, rows) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: NDArray[Any] | bytes, kind: pa.DataType, rows: int) -> pa.Array:
    """Return an Arrow array over the memory of a column (`pyarrow.array` would import pandas)."""
    if isinstance(values, bytes):
        valid, ends = np.zeros((rows + 7) // 8, np.uint8), np.full(rows + 1, len(values), np.int32)
        valid[0], ends[0] = 1, 0
        return pa.Array.from_buffers(kind, rows, [pa.py_buffer(b) for b in (valid, ends, values)], rows - 1)
    if kind == pa.bool_():
        column = np.packbits(values, bitorder="little")
    else:
        column = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(column)])


def values(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return the numbers of a column, of which none is missing (its `to_numpy` would import pandas)."""
    kind = np.dtype(column.type.to_pandas_dtype())
    parts = [np.frombuffer(c.buffers()[1], kind, len(c), c.offset * kind.itemsize) for c in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, kind), *parts])


def _column_sums(schema: pa.Schema, columns: Mapping[str, NDArray[Any] | bytes], rows: int) -> list[int]:
    """Return the rows and the CRC-32C of each column (of the side: of its first row)."""
    return [rows, *(crc32c(pa.py_buffer(columns[name])) for name in schema.names)]


def _read_sums(table: pa.Table) -> list[int]:
    """Return the same for a row group that was read; -1 for columns with missing values."""
    sums = [table.num_rows]
    for column in table.columns:
        if column.type == pa.binary():
            content, missing = memoryview(column[0].as_py()), table.num_rows - 1
        else:
            content = values(column.cast(pa.uint8()) if column.type == pa.bool_() else column).data
            missing = 0
        sums.append(crc32c(content) if column.null_count == missing else -1)
    return sums


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Begin an archive; each page gets a checksum."""
    return pq.ParquetWriter(path, schema, write_page_checksum=True, **_encodings(schema))
