"""The compact archive: stored files as Parquet, a row a muon, and back to the same bytes."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from crc32c import crc32c
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.core.provenance import Provenance, current
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.formats.block_format import board_format
from l1scout.formats.raw import FILE_HEADER
from l1scout.formats.streams.muon import MUONS
from l1scout.formats.wire_format import WIRE_FORMATS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import parquet
from l1scout.io.archive_chunk import (
    MAX_ROWS,
    Stretch,
    from_columns,
)
from l1scout.io.archive_frames import IrregularError
from l1scout.io.archive_side import SIDE
from l1scout.io.archive_writer import (
    SIDE_COLUMN,
    VERSION,
    ArchiveWriter,
    Converted,
    archive_schema,
    values,
)
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile, opened
from l1scout.io.reader import ROWS, Compute, NewColumns
from l1scout.io.stored import is_raw, records_of

_COUNTS = ("orbits", "final_muons", "intermediate_muons", "missing_orbits")


def to_parquet(
    source: Path | InputFile,
    target: Path,
    *,
    plain: bool = False,
    verify: bool = True,
    compute: Compute | None = None,
    made: Provenance | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Converted:
    """Archive a .raw file or bare records, plain or compressed, in memory of a few chunks.

    Parameters
    ----------
    source : Path or InputFile
    target : Path
        Is overwritten if it is there.
    plain : bool
        Keep hwEta and hwPhi as they are, a third more bytes, rather than what the GMT's table leaves.
    verify : bool
        Read the archive again, and compare its columns by CRC-32C with those that were written, before it
        gets its name. That these give back the file's bytes is seen when they are made.
    compute : callable, optional
        Gives the muons new columns; see `l1scout.io.rewrite.add_columns`.
    made : Provenance, optional
        Is written into the archive; by default that of the command that runs.
    progress : callable
        Called with the bytes done and in all.

    Raises
    ------
    InputError
        If the source is no stored file, or the target cannot be written, or did not verify.
    """
    with opened(source) as file, complete_or_nothing(target) as part:
        form = RUN3 if is_raw(file) else records_of(file)
        if form is None:
            msg = f"{file.path}: neither a .raw file nor zero-suppressed records"
            raise InputError(msg)
        new = NewColumns(compute, ROWS, _nothing, current()) if compute else None
        for regular in (True, False):
            with file.content() as stream, contextlib.suppress(IrregularError):
                writer = ArchiveWriter(file, stream, form, plain=plain, regular=regular)
                done = writer.write(part, new, made or current(), progress)
                break
        if verify:
            writer.compare(part)
        return replace(done, bytes_out=part.stat().st_size)


def _nothing(_done: int, _of: int) -> None:
    """Do nothing with the progress of new columns: that of bytes is told."""


def to_raw(
    source: Path | InputFile, target: Path, *, progress: Progress = lambda _done, _of: None
) -> Converted:
    """Write the stored file of an archive, decompressed: the same bytes, compared by CRC-32C.

    Raises
    ------
    InputError
        If the source is no archive or damaged, or the target cannot be written.
    """
    with opened(source) as file:
        said = metadata(file)
        with complete_or_nothing(target) as part, part.open("wb") as out:
            for piece in _bytes(file):
                out.write(piece)
                progress(out.tell(), said["bytes"])
            done = out.tell()
        names = ("orbits", "final_muons", "intermediate_muons", "verbatim", "crc32c")
        stated = parquet.metadata(file).get("simulated")
        return Converted(file.size, done, **{n: said[n] for n in names}, simulated=stated)


def metadata(file: InputFile) -> dict[str, Any]:
    """Return what an archive says of itself (InputError if it is none).

    ``form``, ``header`` (bytes; empty for bare records), ``run`` (0 for bare records), ``bytes`` and
    ``crc32c`` of the stored file, ``orbits``, ``final_muons``, ``intermediate_muons``, ``missing_orbits``,
    ``verbatim``.
    """
    path = file.path
    said: Any = parquet.metadata(file).get("archive")
    version = said.get("version") if isinstance(said, dict) else None
    if isinstance(version, int) and version != VERSION:
        msg = f"{path}: archive of version {version}, not {VERSION}; make it again from its source"
        raise InputError(msg)
    numbers = ("version", "run", "bytes", "crc32c", "verbatim", *_COUNTS)
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        header = bytes.fromhex(said["header"])
        good = all(isinstance(said[n], int) for n in numbers)
        if good and said["form"] in WIRE_FORMATS and len(header) in (0, FILE_HEADER.itemsize):
            return {**said, "header": header}
    msg = f"{path}: no archive of a stored file: a Parquet file of other making"
    raise InputError(msg)


def _bytes(source: Path | InputFile) -> Iterator[bytes]:
    """Bytes of the stored file, a chunk at a time, compared with what the archive says of them."""
    with opened(source) as file:
        said = metadata(file)
        done = len(said["header"])
        yield said["header"]
        for stretch in _stretches(file, said):
            done += len(stretch.data)
            yield stretch.data
        if done != said["bytes"]:
            msg = f"{file.path}: rows are missing: holds {done} bytes, not the {said['bytes']} archived"
            raise InputError(msg)


def _stretches(file: InputFile, said: Mapping[str, Any]) -> Iterator[Stretch]:
    """Give the chunks of an archive as they lie in its stored file, each compared by checksum."""
    form, framed = board_format(said["form"]), bool(said["header"])
    crc = crc32c(said["header"])
    with guarded(file.path, "damaged archive"):
        for columns, side in chunks(file, said):
            stretch, expected = from_columns(columns, side, form, framed=framed)
            crc = crc32c(stretch.data, crc)
            if crc != expected:
                msg = f"{file.path}: checksum {crc:08x}, not {expected:08x}: damaged, or rows were changed"
                raise InputError(msg)
            yield stretch


def chunks(file: InputFile, said: Mapping[str, Any]) -> Iterator[tuple[dict[str, NDArray[Any]], bytes]]:
    """Give the columns and the side of each chunk of an archive."""
    form, framed = board_format(said["form"]), bool(said["header"])
    with guarded(file.path, "damaged archive"):
        there = set(file.parquet.schema_arrow.names)
        schema = archive_schema(form, framed=framed, plain="hwEta" in there)
        names = [n for n in schema.names if n not in ("run", "lumisection")]
        missing = set(names) - there
        if missing:
            msg = f"{file.path}: columns {', '.join(sorted(missing))} are missing"
            raise InputError(msg)
        groups = range(file.parquet.num_row_groups)
        batches = (  # by group: across groups pyarrow keeps every value of a column that has a dictionary
            batch
            for k in groups
            for batch in file.parquet.iter_batches(
                MAX_ROWS // 8, row_groups=[k], columns=names, use_threads=False
            )
        )
        held: list[pa.RecordBatch] = []
        for batch in chain(batches, [None]):
            held += [] if batch is None else [batch]
            while held:
                need = chunk_rows(held[0])
                have = sum(b.num_rows for b in held)
                if have < need and batch is not None:
                    break
                table = pa.Table.from_batches(held)
                yield _arrays(file.path, table.slice(0, need), schema)
                held = [b for b in table.slice(need).to_batches() if b.num_rows]


def chunk_rows(first: pa.RecordBatch) -> int:
    """Return the rows of the chunk that begins with a batch (InputError if none does)."""
    side = first.column(SIDE_COLUMN)[0].as_py()
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
        out[name] = values(column)[:n]
    return out, first


def warm_up() -> None:
    """Archive a small segment: imports what that needs, and compiles the kernels."""
    packet = RUN3.example_packet()
    frames = RUN3.frame(RUN3.find_orbits(memoryview(packet)), 1, MUONS.source_ids[0]).words.tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segment.raw"
        path.write_bytes(RUN3.segment_header(1, 1, 1, FILE_HEADER.itemsize + len(frames)) + frames)
        to_parquet(path, path.with_suffix(".parquet"))
