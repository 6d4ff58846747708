"""The Parquet data set: what its files are called, and what they state.

A data set is a folder. ``stream=jet/run=390000/lumisection=7/part-000003.parquet`` holds the jets of a
lumisection, one row an object; `MANIFEST` states what the data set is. Files with the same number were
written from the same chunks of data; each chunk with objects is a row group.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.files import read_limited
from l1scout.io.orbit_bitmaps import decode_orbits, encode_orbits

SCHEMA_VERSION = 1
MANIFEST = "_l1scout.json"
"""Its name begins with an underscore: readers of hive partitions leave it out."""
MARK = "l1scout_data_set"
"""Key of the manifest's content, and of what a file states in its metadata (under ``l1scout``)."""
SELECTIONS = "selections"
"""Name of the partition with the flags of selections."""
_MANIFEST_BYTES = 1 << 20
_PART = re.compile(r"part-(\d{6,12})\.parquet")


class PartFile(NamedTuple):
    """A file of a data set: where it belongs, and its number."""

    run: int
    lumisection: int
    number: int
    stream: str
    path: Path


@dataclass(frozen=True)
class ChunkFacts:
    """What a chunk of a stream in a file is, apart from its rows; see `core.orbit_batch.OrbitBatch`."""

    rows: int
    n_orbits: int | None
    seen: NDArray[np.int64] | None
    lost_orbits: int
    simulated: bool | None

    def as_list(self) -> list[Any]:
        """Return what stands in the metadata."""
        return [self.rows, self.n_orbits, encode_orbits(self.seen), self.lost_orbits, self.simulated]

    @classmethod
    def of(cls, stated: Any) -> "ChunkFacts":
        """Check what stands in the metadata (ValueError if it is anything else)."""
        good = isinstance(stated, list) and len(stated) == 5
        if good:
            rows, n, orbits, lost, simulated = stated
            good = all(type(v) is int and 0 <= v < 1 << 62 for v in (rows, lost))
            good &= n is None or (type(n) is int and 0 <= n < 1 << 62)
            good &= simulated is None or isinstance(simulated, bool)
        if good:
            seen = decode_orbits(orbits)
            if seen is None or seen.size == n:
                return cls(rows, n, seen, lost, simulated)
        msg = "its list of chunks is damaged"
        raise ValueError(msg)


def part_path(folder: Path, stream: str, run: int, lumisection: int, number: int) -> Path:
    """Return the path of a file of a data set."""
    return (
        folder
        / f"stream={stream}"
        / f"run={run}"
        / f"lumisection={lumisection}"
        / f"part-{number:06}.parquet"
    )


def part_files(folder: Path, streams: list[str]) -> Iterator[PartFile]:
    """Find the files of some streams (InputError if one has a name that no file of a data set has)."""
    for stream in streams:
        for path in sorted((folder / f"stream={stream}").rglob("*.parquet")):
            run, block = path.parent.parent.name, path.parent.name
            number = _PART.fullmatch(path.name)
            found = re.fullmatch(r"run=(\d{1,10})", run), re.fullmatch(r"lumisection=(\d{1,10})", block)
            if number is None or None in found:
                msg = f"{path}: no name of a file in a data set (run=.../lumisection=.../part-000000.parquet)"
                raise InputError(msg)
            ids = [int(match[1]) for match in found if match]
            yield PartFile(ids[0], ids[1], int(number[1]), stream, path)


def is_data_set(folder: Path) -> bool:
    """Return whether a folder is a data set."""
    return (folder / MANIFEST).is_file()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a data set.

    Raises
    ------
    InputError
        If it is damaged, or of another version of the schema.
    """
    data = read_limited(path, _MANIFEST_BYTES, "copy the data set again")
    try:
        stated = json.loads(data)[MARK]
        version, streams = stated["schema_version"], stated["streams"]
        good = isinstance(version, int) and isinstance(streams, dict)
    except (ValueError, RecursionError, KeyError, TypeError):
        good = False
    if not good or not all(re.fullmatch(r"[a-z0-9_-]{1,40}", name) for name in streams):
        msg = f"{path}: the manifest of a Parquet data set is damaged"
        raise InputError(msg)
    check_version(path, version)
    return dict(stated)


def check_version(path: Path, version: Any) -> None:
    """Refuse files of another version of the schema (InputError)."""
    if version != SCHEMA_VERSION:
        msg = f"{path}: data set with schema version {version}, not {SCHEMA_VERSION}: make it again"
        raise InputError(msg)
