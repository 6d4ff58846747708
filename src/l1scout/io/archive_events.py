"""Muons of Parquet files: of an archive as its stored file would be read, else of flat columns."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from l1scout.core.orbit_data import OrbitData
from l1scout.formats.block_format import board_format
from l1scout.formats.raw import REPEATED, read_header
from l1scout.formats.streams.muon import decode_records
from l1scout.io import archive, parquet, root, runs
from l1scout.io.archive_chunk import ORBIT_AT
from l1scout.io.quality import ReadQuality
from l1scout.io.stored import Found, read_bare, split_orbits
from l1scout.lhc import lumisection


def read_parquet(path: Path, rows: int, quality: ReadQuality | None = None) -> Iterator[OrbitData]:
    """Read muons of any Parquet file: of an archive as its stored file would be read, else flat columns."""
    quality = quality or ReadQuality()
    with root.guarded(path, "not a readable Parquet file"), pq.ParquetFile(path) as file:
        is_archive = "archive" in parquet.about(file)
    if not is_archive:
        yield from quality.new_only(parquet.read_parquet(path, rows))
        return
    said = archive.about(path)
    quality.bytes += said["bytes"]
    form, header = board_format(said["form"]), read_header(said["header"])
    with root.guarded(path, "damaged archive"):
        if header is None:
            bare = ((s.words, s.starts) for s in archive.stretches(path, said))
            for muons in read_bare(bare, form, rows, Found(), quality):
                yield OrbitData.of_muons(muons, source=str(path))
            return
        for stretch in archive.stretches(path, said):
            orbits = stretch.heads[:, ORBIT_AT].astype(np.int64)
            new = quality.new_orbits(header.run, orbits)
            quality.marked_orbits += int(np.count_nonzero(stretch.heads[new, 0] & (REPEATED << 16)))
            part = decode_records(stretch.words, stretch.starts[np.repeat(new, stretch.records)], form)
            muons = replace(
                part.objects,
                run=np.full(len(part.objects), header.run, np.int64),
                lumisection=lumisection(part.objects.orbit),
                simulated=runs.simulated(np.array([header.run])),
            )
            orbits = orbits[new]
            muons = quality.flag(muons, part.flagged)
            if quality.skip_flagged:
                orbits = np.setdiff1d(orbits, part.flagged)
            for piece in split_orbits(muons, orbits, rows):
                yield OrbitData.of_muons(piece, source=str(path))
        quality.missing_orbits += said["missing_orbits"]
