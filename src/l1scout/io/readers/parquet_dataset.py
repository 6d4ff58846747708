"""Parquet data sets of l1scout: all streams of a folder by its manifest, or those of a single file."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io.conditions import Conditions, of_runs
from l1scout.io.data_set import (
    MANIFEST,
    MARK,
    SELECTIONS,
    ChunkFacts,
    PartFile,
    check_version,
    part_files,
    read_manifest,
)
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.parquet import column, metadata
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin

_MOST_ROWS = 1 << 26
"""Of a chunk: more were never written."""


class ParquetDatasetReader(FormatReader):
    """Reads data sets that `l1scout.io.writers.parquet_dataset` wrote, in chunks as they were written."""

    name, title = "parquet-dataset", "Parquet data set"
    streams = tuple(STREAMS)
    counts_orbits = True

    def detect(self, file: InputFile) -> bool:
        """Return whether it is the manifest of a data set, or one of its files."""
        return _is_manifest(file) or (file.is_parquet and MARK in metadata(file))

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:  # noqa: ARG002
        """Read all streams.

        Raises
        ------
        InputError
            If a file is damaged or missing, or contradicts its place in the data set.
        """
        if not _is_manifest(file):
            quality.bytes += file.size
            yield from _read_together([(_part_of(file), file)])
            return
        wanted = list(read_manifest(file.path)["streams"])
        every = sorted(part_files(file.path.parent, wanted))
        for place, parts in groupby(every, key=lambda part: part[:3]):
            together = list(parts)
            missing = set(wanted) - {part.stream for part in together}
            if missing:
                run, block, number = place
                msg = (
                    f"{file.path.parent}: no file of {', '.join(sorted(missing))} for run {run}, lumisection "
                    f"{block}, number {number}: copy the whole data set"
                )
                raise InputError(msg)
            with ExitStack() as stack:
                files = [(part, stack.enter_context(InputFile(part.path))) for part in together]
                quality.bytes += sum(opened.size for _, opened in files)
                yield from _read_together(files)

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the objects are, and the schema of each stream."""
        found = super().describe(file)
        if not _is_manifest(file):
            return found | {"schema_version": _stated(file)["schema_version"]}
        stated = read_manifest(file.path)
        return found | {"schema_version": stated["schema_version"], "data_set": str(file.path.parent)}

    def conditions(self, file: InputFile) -> Conditions:
        """Return what the data set states, and the era by run number."""
        if _is_manifest(file):
            stated = read_manifest(file.path)
            runs = {part.run for part in part_files(file.path.parent, list(stated["streams"]))}
            return of_runs(sorted(runs), stated.get("simulated"))
        return of_runs([_part_of(file).run], metadata(file).get("simulated"))


def _is_manifest(file: InputFile) -> bool:
    return file.path.name == MANIFEST or (
        file.is_text and file.head.lstrip().startswith(b"{") and f'"{MARK}"'.encode() in file.head[:256]
    )


def _stated(file: InputFile) -> dict[str, Any]:
    """Return what a file of a data set states (InputError if it is damaged)."""
    stated: Any = metadata(file).get(MARK)
    numbers = ("run", "lumisection", "number")
    good = isinstance(stated, dict) and all(type(stated.get(name)) is int for name in numbers)
    good = good and isinstance(stated.get("columns"), list) and isinstance(stated.get("chunks"), list)
    good = good and all(isinstance(name, str) for name in stated["columns"])
    if not good or stated.get("stream") not in (*STREAMS, SELECTIONS):
        msg = f"{file.path}: not a file of a data set: its metadata are damaged"
        raise InputError(msg)
    check_version(file.path, stated.get("schema_version"))
    return dict(stated)


def _part_of(file: InputFile) -> PartFile:
    stated = _stated(file)
    return PartFile(stated["run"], stated["lumisection"], stated["number"], stated["stream"], file.path)


def _read_together(files: list[tuple[PartFile, InputFile]]) -> Iterator[OrbitData]:
    """Read the chunks of files with the same number, of one stream each."""
    first = files[0][1]
    for part, file in files:
        if _part_of(file) != part:
            msg = f"{file.path}: its metadata state another run, lumisection, stream or number than its place"
            raise InputError(msg)
    streams = [_chunks(part, file) for part, file in files]
    counts = {len(_stated(file)["chunks"]) for _, file in files}
    if len(counts) > 1:
        msg = f"{first.path}: the streams of this lumisection have different numbers of chunks: damaged"
        raise InputError(msg)
    for batches in zip(*streams, strict=True):
        made = {part.stream: batch for (part, _), batch in zip(files, batches, strict=True)}
        flags = made.pop(SELECTIONS, None)
        if not made:
            msg = f"{first.path}: holds flags of selections only; name the manifest of the data set"
            raise InputError(msg)
        yield OrbitData(made, None, origin(first, _stated(first)), flags)


def _chunks(part: PartFile, file: InputFile) -> Iterator[OrbitBatch]:
    """Read the chunks of a file."""
    with guarded(file.path, "damaged file of a data set"):
        stated = _stated(file)
        facts = [ChunkFacts.of(entry) for entry in stated["chunks"]]
        groups = [file.parquet.metadata.row_group(k).num_rows for k in range(file.parquet.num_row_groups)]
        if groups != [chunk.rows for chunk in facts if chunk.rows] or max(groups, default=0) > _MOST_ROWS:
            msg = "its row groups are not the chunks that its metadata state: rows were moved"
            raise InputError(msg)
        names = ["orbit", "bx", *stated["columns"]]
        missing = set(names) - set(file.parquet.schema_arrow.names)
        if missing:
            msg = f"columns {', '.join(sorted(missing))} are missing"
            raise InputError(msg)
        number = 0
        empty = file.parquet.schema_arrow.empty_table().select(names)
        for chunk in facts:
            table = file.parquet.read_row_group(number, columns=names) if chunk.rows else empty
            number += chunk.rows > 0
            yield _batch(file.path, part, chunk, table, stated["columns"])


def _batch(path: Path, part: PartFile, facts: ChunkFacts, table: Any, names: list[str]) -> OrbitBatch:
    """Make a batch of the rows of a chunk."""
    rows = table.combine_chunks().to_batches()
    read = {
        name: column(path, rows[0], name) if rows else table.schema.field(name).type.to_pandas_dtype()
        for name in ("orbit", "bx", *names)
    }
    arrays = {n: v if isinstance(v, np.ndarray) else np.zeros(0, v) for n, v in read.items()}
    orbit, bx = (arrays[name].astype(np.int64) for name in ("orbit", "bx"))
    batch = OrbitBatch.from_objects(orbit, bx, {name: arrays[name] for name in names})
    ids = np.ones(len(batch), np.int64)
    made = OrbitBatch(
        batch.orbit,
        batch.bx,
        batch.offsets,
        batch.columns,
        part.run * ids,
        part.lumisection * ids,
        n_orbits=facts.n_orbits,
        simulated=facts.simulated,
        lost_orbits=facts.lost_orbits,
    )
    if facts.seen is None:
        return made
    if not np.isin(made.orbit, facts.seen).all():
        msg = "objects are of other orbits than those that its metadata state"
        raise InputError(msg)
    return made.with_orbits(facts.seen)


READERS.register("parquet-dataset")(ParquetDatasetReader())
