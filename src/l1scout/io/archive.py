"""The compact archive: stored files as Parquet, a row a muon, and back to the same bytes."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.core.provenance import KEY, current, file_inputs
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.formats.block import BlockLayout
from l1scout.formats.block_format import BlockFormat, board_format
from l1scout.formats.raw import FILE_HEADER, Frame, RawFile, read_header, split_raw
from l1scout.formats.streams.muon import is_intermediate
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import parquet, root, runs
from l1scout.io.archive_chunk import (
    MAX_ROWS,
    SIDE,
    Part,
    Stretch,
    from_columns,
    gather,
    to_columns,
    views,
)
from l1scout.io.kinds import Kind, detect
from l1scout.io.stored import detect_stored, opened, split_records
from l1scout.lhc import lumisection

CHUNK = 1 << 25
"""Bytes of a stored file in a row group, about: a million muons."""
SIDE_COLUMN = "side"
VERSION = 2
"""Of the archive. Version 1 had hwDXY at bits 61-62 of the muon: its files must be made again."""
_DICTIONARY = ("hwIso", "hwDXY", "dPhi")
_DICTIONARY_ALONE = ("hwEtaAtVtx", "hwPhiAtVtx", "hwEta", "hwPhi")
_SPLIT = ("hwPt", "hwPtUnconstrained", "hwQual", "tfMuonIndex", "twin")
_DELTA = ("orbit", "bx", "hwCharge")

_COUNTS = ("orbits", "final_muons", "intermediate_muons", "missing_orbits")

Progress = Callable[[int, int], object]


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
    """

    bytes_in: int
    bytes_out: int
    orbits: int
    final_muons: int
    intermediate_muons: int
    verbatim: int
    crc32c: int


def convert(
    source: Path, target: Path, *, plain: bool = False, progress: Progress = lambda _done, _of: None
) -> Converted:
    """Make an archive of a stored file, or a stored file of an archive.

    Raises
    ------
    InputError
        If the source is neither, or is damaged, or the target cannot be written or is the source.
    """
    kind = detect(source)
    if target.exists() and target.samefile(source):
        msg = f"{target}: is the input itself; name another file for the output"
        raise InputError(msg)
    if kind in (Kind.RAW, Kind.RECORDS):
        return to_parquet(source, target, plain=plain, progress=progress)
    if kind is not Kind.PARQUET:
        msg = f"{source}: {kind}: .raw files and records become archives, and archives become these again"
        raise InputError(msg)
    return to_raw(source, target, progress=progress)


def to_parquet(
    source: Path,
    target: Path,
    *,
    plain: bool = False,
    verify: bool = True,
    progress: Progress = lambda _done, _of: None,
) -> Converted:
    """Archive a .raw file or bare records, plain or compressed, in memory of a few chunks.

    Parameters
    ----------
    source, target : Path
        The target is overwritten if it is there.
    plain : bool
        Keep hwEta and hwPhi as they are, a third more bytes, rather than what the GMT's table leaves.
    verify : bool
        Read the archive again, and compare the bytes that it gives by CRC-32C, before it gets its name.
    progress : callable
        Told the bytes done and in all.

    Raises
    ------
    InputError
        If the source is no stored file, or the target cannot be written, or did not verify.
    """
    kind = detect_stored(source)
    if kind is None:
        msg = f"{source}: neither a .raw file nor zero-suppressed records"
        raise InputError(msg)
    form = kind if isinstance(kind, BlockFormat) else RUN3
    total = source.stat().st_size
    done = crc = orbits = final = intermediate = verbatim = 0
    header: RawFile | None = None
    with opened(source) as file, complete_or_nothing(target) as part:
        stream: Any = _Summed(file)
        head = b""
        if kind == "raw":
            head = stream.read(FILE_HEADER.itemsize)
            header = read_header(head)
            if header is None:
                msg = f"{source}: changed while it was read"
                raise InputError(msg)
            done, crc = len(head), crc32c(head)
        run = header.run if header else 0
        schema = _schema(form, framed=header is not None, plain=plain)
        with pq.ParquetWriter(part, schema, **_encodings(schema)) as writer:
            for pieces in _chunks(stream, form, header):
                for piece in chain.from_iterable(map(views, pieces)):
                    done, crc = done + len(piece), crc32c(piece, crc)
                stretch = gather(pieces, form, framed=header is not None)
                columns, side = to_columns(stretch, form, crc, plain=plain)
                writer.write_table(_table(columns, side, schema, run))
                orbits += len(stretch.records) if header else 0
                alone = int(np.count_nonzero(_intermediate(columns)))
                final += len(columns["hwPt"]) - alone
                intermediate += alone + int(np.count_nonzero(columns["twin"]))
                verbatim += len(stretch.verbatim)
                progress(done, max(total, done))
            simulated = runs.simulated(np.array([run]))
            said = {
                "content": f"archive of {'a .raw file' if header else 'records'}",
                "version": __version__,
                **({} if simulated is None else {"simulated": simulated}),
                "era": runs.era([run]),
                "archive": {
                    "version": VERSION,
                    "form": form.name,
                    "header": head.hex(),
                    "bytes": done,
                    "crc32c": crc,
                    "orbits": orbits,
                    "final_muons": final,
                    "intermediate_muons": intermediate,
                    "verbatim": verbatim,
                    "missing_orbits": header.missing_orbits if header else 0,
                },
            }
            made = current(simulated=simulated, inputs=file_inputs([source]))
            writer.add_key_value_metadata({"l1scout": json.dumps(said), KEY: made.as_json()})
        if verify:
            for _ in _bytes(part):
                pass
        if (stream.crc, stream.bytes) != (crc, done):
            msg = f"{source}: its archive would not give back the same bytes; nothing was written"
            raise InputError(msg)
        size = part.stat().st_size
    return Converted(done, size, orbits, final, intermediate, verbatim, crc)


def to_raw(source: Path, target: Path, *, progress: Progress = lambda _done, _of: None) -> Converted:
    """Write the stored file of an archive, decompressed: the same bytes, compared by CRC-32C.

    Raises
    ------
    InputError
        If the source is no archive or damaged, or the target cannot be written.
    """
    said = about(source)
    with complete_or_nothing(target) as part, part.open("wb") as file:
        for piece in _bytes(source):
            file.write(piece)
            progress(file.tell(), said["bytes"])
        done = file.tell()
    size = source.stat().st_size
    counts = (said[n] for n in ("orbits", "final_muons", "intermediate_muons", "verbatim", "crc32c"))
    return Converted(size, done, *counts)


def about(path: Path) -> dict[str, Any]:
    """Return what an archive says of itself (InputError if it is none).

    ``form``, ``header`` (bytes; empty for bare records), ``bytes`` and ``crc32c`` of the stored file,
    ``orbits``, ``final_muons``, ``intermediate_muons``, ``missing_orbits``, ``verbatim``.
    """
    with root.guarded(path, "not a readable Parquet file"), pq.ParquetFile(path) as file:
        said: Any = parquet.about(file).get("archive")
    version = said.get("version") if isinstance(said, dict) else None
    if isinstance(version, int) and version != VERSION:
        msg = f"{path}: archive of version {version}, not {VERSION}; make it again from its source"
        raise InputError(msg)
    numbers = ("version", "bytes", "crc32c", "verbatim", *_COUNTS)
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        header = bytes.fromhex(said["header"])
        good = all(isinstance(said[n], int) for n in numbers)
        if good and said["form"] in WIRE_FORMATS and (not header or read_header(header) is not None):
            return {**said, "header": header}
    msg = f"{path}: no archive of a stored file: a Parquet file of other making"
    raise InputError(msg)


def _intermediate(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which rows are intermediate muons without a final one."""
    if "intermediate" in columns:
        return np.asarray(columns["intermediate"] != 0)
    return is_intermediate(columns)


class _Summed:
    """A stream with the CRC-32C and the number of all bytes that were read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.crc, self.bytes = stream, 0, 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.crc, self.bytes = crc32c(data, self.crc), self.bytes + len(data)
        return data


def _chunks(stream: BinaryIO, form: BlockLayout, header: RawFile | None) -> Iterator[list[Part]]:
    """Parts of a file, about `CHUNK` bytes together."""
    parts: Iterator[Part] = split_raw(stream, header) if header else split_records(stream, form)
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


def _schema(form: BlockLayout, *, framed: bool, plain: bool) -> pa.Schema:
    station = ("hwEta", "hwPhi") if plain else ("dEta", "dPhi")
    fields = {"run": pa.int32()} if framed else {}
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
        "use_dictionary": [n for n in (*_DICTIONARY, *_DICTIONARY_ALONE) if n in names],
        "column_encoding": {n: e for n, e in other.items() if n in names},
        "compression": {n: alone.get(n, "zstd") for n in schema.names},
        "compression_level": {n: 1 for n in schema.names if n not in alone},
        "write_statistics": [n for n in ("run", "lumisection", "orbit") if n in names],
        "store_schema": False,  # it would hide the footer's entry from readers
    }


def _table(columns: Mapping[str, NDArray[Any]], side: bytes, schema: pa.Schema, run: int) -> pa.Table:
    """Rows of a chunk; if it has no muon, a row that is none (hwPt = 0) to hang the side on."""
    n = len(columns["hwPt"])
    made = {
        "run": np.full(n, run, np.int32),
        "lumisection": lumisection(columns["orbit"]).astype(np.int32),
        **columns,
    }
    if n == 0:
        made = {name: np.zeros(1, np.int8) for name in schema.names} | {"bx": np.ones(1, np.int8)}
    made[SIDE_COLUMN] = pa.array([side], pa.binary())
    if n > 1:
        made[SIDE_COLUMN] = pa.concat_arrays([made[SIDE_COLUMN], pa.nulls(n - 1, pa.binary())])
    return pa.table({f.name: pa.array(made[f.name], f.type) for f in schema}, schema=schema)


def _bytes(path: Path) -> Iterator[bytes]:
    """Bytes of the stored file, a chunk at a time, compared with what the archive says of them."""
    said = about(path)
    done = len(said["header"])
    yield said["header"]
    for stretch in stretches(path, said):
        done += len(stretch.data)
        yield stretch.data
    if done != said["bytes"]:
        msg = f"{path}: holds {done} bytes, not the {said['bytes']} that were archived: rows are missing"
        raise InputError(msg)


def stretches(path: Path, said: Mapping[str, Any]) -> Iterator[Stretch]:
    """Give the chunks of an archive as they lie in its stored file, each compared by checksum."""
    form, framed = board_format(said["form"]), bool(said["header"])
    with root.guarded(path, "damaged archive"), pq.ParquetFile(path) as file:
        schema = _schema(form, framed=framed, plain="hwEta" in file.schema_arrow.names)
        names = [n for n in schema.names if n not in ("run", "lumisection")]
        missing = set(names) - set(file.schema_arrow.names)
        if missing:
            msg = f"{path}: columns {', '.join(sorted(missing))} are missing"
            raise InputError(msg)
        held: list[pa.RecordBatch] = []
        crc = crc32c(said["header"])
        for batch in chain(file.iter_batches(MAX_ROWS // 8, columns=names, use_threads=False), [None]):
            held += [] if batch is None else [batch]
            while held:
                need = _rows(held)
                have = sum(b.num_rows for b in held)
                if have < need and batch is not None:
                    break
                table = pa.Table.from_batches(held)
                columns, side = _arrays(path, table.slice(0, need), schema)
                stretch, expected = from_columns(columns, side, form, framed=framed)
                crc = crc32c(stretch.data, crc)
                if crc != expected:
                    msg = f"{path}: checksum {crc:08x}, not {expected:08x}: damaged, or rows were changed"
                    raise InputError(msg)
                yield stretch
                held = [b for b in table.slice(need).to_batches() if b.num_rows]


def _rows(held: list[pa.RecordBatch]) -> int:
    """Rows of the chunk that begins here."""
    side = held[0].column(SIDE_COLUMN)[0].as_py()
    if side is None or len(side) < SIDE.itemsize:
        msg = "rows are missing or in another order"
        raise InputError(msg)
    rows = int(np.frombuffer(side, SIDE, 1)[0]["rows"])
    if rows > MAX_ROWS:
        msg = f"a chunk of {rows} rows: more than {MAX_ROWS}"
        raise InputError(msg)
    return max(rows, 1)


def _arrays(path: Path, table: pa.Table, schema: pa.Schema) -> tuple[dict[str, NDArray[Any]], bytes]:
    side = table.column(SIDE_COLUMN)
    first = side[0].as_py()
    n = int(np.frombuffer(first, SIDE, 1)[0]["rows"])
    out = {}
    for name in table.column_names:
        if name == SIDE_COLUMN:
            continue
        column = table.column(name)
        if column.type != schema.field(name).type or column.null_count:
            msg = f"{path}: column {name} holds {column.type} with {column.null_count} missing"
            raise InputError(msg)
        out[name] = column.to_numpy()[:n]
    return out, first
