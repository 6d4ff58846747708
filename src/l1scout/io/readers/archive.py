"""The compact archive of a stored file: read as columns, without going through its bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.block_format import board_format
from l1scout.formats.marks import REPEATED, stated_origin
from l1scout.formats.raw import frame_marks
from l1scout.formats.stream import STREAMS
from l1scout.io import archive
from l1scout.io.archive_chunk import ArchiveChunk, with_station
from l1scout.io.conditions import Conditions
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.parquet import column, conditions, describe_metadata, hardware, metadata
from l1scout.io.parquet_columns import add_parquet_columns
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, NewColumns, Rewritten, origin, reader_of
from l1scout.io.stored import StoredContent, read_pieces, split_orbits
from l1scout.lhc import lumisection


class ArchiveReader(FormatReader):
    """Reads an archive as its stored file would be read.

    If it has more than muons, such as frames of other sources, its stored file is made in a temporary folder
    and read.
    """

    name, title = "archive", "compact archive (Parquet)"
    streams = tuple(STREAMS)
    counts_orbits = True
    removes_duplicates = True
    adds_columns = True

    def detect(self, file: InputFile) -> bool:
        """Return whether a Parquet file states that it is an archive."""
        return file.is_parquet and "archive" in metadata(file)

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read all streams (InputError if the archive is damaged, or rows of it were changed)."""
        said, source = archive.metadata(file), origin(file, metadata(file))
        if said["verbatim"]:
            with _stored_file(file) as stored:
                for data in reader_of(stored).read(stored, rows, quality):
                    yield replace(data, origin=source)
            return
        quality.bytes += said["bytes"]
        form = board_format(said["form"])
        simulated = metadata(file).get("simulated")
        framed = bool(said["header"])
        with guarded(file.path, "damaged archive"):
            chunks = (ArchiveChunk(c, s, form, framed=framed) for c, s in archive.chunks(file, said))
            if not framed:
                found = StoredContent()
                pieces = (piece for chunk in chunks for piece in chunk.in_order(rows))
                batches = read_pieces(pieces, rows, found, quality)
            else:
                batches = (b for chunk in chunks for b in _orbits(chunk, said["run"], rows, quality))
            for muons in batches:
                stated = simulated if muons.simulated is None else muons.simulated
                yield OrbitData({MUON: replace(muons, simulated=stated)}, None, source)
            quality.missing_orbits += said["missing_orbits"]

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what its stored file holds, and what the archive states."""
        said = {n: v for n, v in archive.metadata(file).items() if n != "header"}
        if said["verbatim"]:
            with _stored_file(file) as stored:
                found = reader_of(stored).describe(stored)
        else:
            found = super().describe(file)
        return found | describe_metadata(file) | {"archive": said}

    def conditions(self, file: InputFile) -> Conditions:
        """Return what the archive states, and the era by run number if it states none."""
        return conditions(file)

    def add_columns(self, file: InputFile, target: Path, new: NewColumns) -> Rewritten:
        """Add columns; the others keep their values and encodings."""
        return add_parquet_columns(file, self.title, target, new, lambda b: _hardware(file, b))


@contextmanager
def _stored_file(file: InputFile) -> Iterator[InputFile]:
    """Make the stored file of an archive for as long as it is read."""
    with TemporaryDirectory() as folder:
        archive.to_raw(file, Path(folder) / "stored")
        with InputFile(Path(folder) / "stored") as stored:
            yield stored


def _orbits(chunk: ArchiveChunk, run: int, rows: int, quality: ReadQuality) -> Iterator[Any]:
    """Yield the orbits of the frames of a chunk that were not read before."""
    orbits = chunk.orbits
    new = quality.new_orbits(run, orbits)
    marks = frame_marks(chunk.side.head_word(0))[new]
    quality.marked_orbits += int(np.count_nonzero(marks & np.uint32(REPEATED)))
    part = chunk.decode(np.repeat(new, chunk.side.records))
    muons = replace(
        part.objects,
        run=np.full(len(part.objects), run, np.int64),
        lumisection=lumisection(part.objects.orbit),
        simulated=stated_origin(marks),
    )
    orbits = orbits[new]
    muons = quality.flag(muons, part.flagged)
    if quality.skip_flagged:
        orbits = np.setdiff1d(orbits, part.flagged)
    yield from split_orbits(muons, orbits, rows)


def _hardware(file: InputFile, batch: pa.RecordBatch) -> dict[str, NDArray[np.int16]]:
    """Return the hardware columns of the rows of a chunk, whichever way it holds hwEta and hwPhi."""
    found = hardware(file.path, batch)
    if "dEta" not in batch.schema.names:
        return found
    if archive.chunk_rows(batch) != batch.num_rows:
        msg = f"{file.path}: its rows were moved: make it again from its source"
        raise InputError(msg)
    left = {name: column(file.path, batch, name) for name in ("dEta", "dPhi")}
    station = with_station({**found, **left})
    return {**found, "hwEta": station["hwEta"], "hwPhi": station["hwPhi"]}


READERS.register("archive")(ArchiveReader())
