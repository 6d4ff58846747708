"""The catalogue: every segment that the store has acknowledged, in a SQLite file beside the data."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from l1scout.errors import InputError, first_fault
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.segments import Segment

FILE = "catalogue.sqlite"
VERSION = 1
"""Of the tables, in the file's ``user_version``."""
_FIELDS = tuple(f.name for f in fields(Segment) if f.name not in ("objects", "version"))
_TYPES = {"wire_format": "TEXT", "data": "TEXT", "began": "REAL", "ended": "REAL"}
_SUMS = ("orbits", "corrupt", "missed", "duplicate", "dropped", "flagged", "blocks", "bad_blocks",
         "corrupt_bytes", "size", "stored_size")  # fmt: skip
# segments without orbits do not make the data of a run unknown
_DATA = """CASE WHEN MAX(data = 'simulated') THEN 'simulated'
    WHEN MAX(data = 'real') AND MIN(data = 'real' OR orbits = 0) THEN 'real' ELSE 'unknown' END AS data"""
_POSITION = TypeAdapter(ReadoutPosition)
_OBJECTS = 'kind, SUM("count") AS "count"'
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS segments (
  {", ".join(f'"{n}" {_TYPES.get(n, "INTEGER")} NOT NULL' for n in _FIELDS)},
  position TEXT NOT NULL,
  received REAL NOT NULL,
  file TEXT NOT NULL,
  method TEXT NOT NULL DEFAULT '',
  stored_size INTEGER NOT NULL,
  stored_crc32c INTEGER NOT NULL,
  deleted REAL,
  PRIMARY KEY (run, source, "index")
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
  run INTEGER NOT NULL, source INTEGER NOT NULL, "index" INTEGER NOT NULL,
  kind TEXT NOT NULL, "count" INTEGER NOT NULL,
  PRIMARY KEY (run, source, "index", kind),
  FOREIGN KEY (run, source, "index") REFERENCES segments ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (
  run INTEGER NOT NULL, source INTEGER NOT NULL, "index" INTEGER NOT NULL,
  url TEXT NOT NULL, size INTEGER NOT NULL, crc32c INTEGER NOT NULL, verified REAL NOT NULL,
  PRIMARY KEY (run, source, "index", url)
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS lumisections AS
  SELECT run, source, lumisection, {_DATA}, COUNT(*) AS segments,
    {", ".join(f"SUM({n}) AS {n}" for n in _SUMS)}
  FROM segments GROUP BY run, source, lumisection;
CREATE VIEW IF NOT EXISTS lumisection_objects AS
  SELECT run, source, lumisection, {_OBJECTS}
  FROM objects JOIN segments USING (run, source, "index") GROUP BY run, source, lumisection, kind;
CREATE VIEW IF NOT EXISTS runs AS
  SELECT run, source, {_DATA}, COUNT(*) AS segments, MAX("last") AS ended, MIN(received) AS began,
    MAX(received) AS latest, {", ".join(f"SUM({n}) AS {n}" for n in _SUMS)}
  FROM segments GROUP BY run, source;
CREATE VIEW IF NOT EXISTS run_objects AS
  SELECT run, source, {_OBJECTS} FROM objects GROUP BY run, source, kind;
PRAGMA user_version = {VERSION};
"""
_SEGMENT_OBJECTS = """(
  SELECT json_group_object(kind, "count")
  FROM objects AS o WHERE o.run = s.run AND o.source = s.source AND o."index" = s."index")"""


@dataclass(frozen=True)
class Stored:
    """A segment in the catalogue.

    Parameters
    ----------
    segment : Segment
    file : str
        Relative to the store's folder.
    method : str
        ``zstd``, ``bzip2``, or empty while it is not compressed.
    stored_size, stored_crc32c : int
        Of that file.
    received : float
        When it came; seconds since 1970.
    deleted : float or None
        When it was deleted here.
    """

    segment: Segment
    file: str
    method: str
    stored_size: int
    stored_crc32c: int
    received: float
    deleted: float | None


class Catalogue:
    """Open the catalogue of a store's folder; safe to use from several threads and processes.

    Where the folder may only be read, what a running store has not yet written into the main file of the
    catalogue is not seen.

    Parameters
    ----------
    folder : Path
    create : bool
        Make it if there is none.

    Raises
    ------
    InputError
        If there is none, or the file is not a catalogue of this version.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        path = folder / FILE
        if not create and not path.exists():
            msg = f"{folder}: no catalogue ({FILE}) there; name the store's folder"
            raise InputError(msg)
        self._lock, self._path = threading.Lock(), path
        writable = create or (os.access(folder, os.W_OK) and os.access(path, os.W_OK))
        uri = path.absolute().as_uri() + ("" if writable else "?immutable=1")
        try:
            self._base = sqlite3.connect(
                uri, uri=True, timeout=30.0, check_same_thread=False, isolation_level=None
            )
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            filled = self._base.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
            if filled and version != VERSION:
                msg = (
                    f"{path}: not a catalogue of version {VERSION} (but {version}); name another store folder"
                )
                raise InputError(msg)
            if not writable:
                self._base.execute("SELECT 1 FROM segments LIMIT 1")
                return
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.execute("PRAGMA foreign_keys=ON")
            if not filled:
                self._base.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            msg = f"{path}: cannot be used as a catalogue ({error})"
            raise InputError(msg) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._read(query, values)[1]

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of the columns, and the rows (InputError if the file is damaged)."""
        try:
            with self._lock:
                cursor = self._base.execute(query, values)
                return [c[0] for c in cursor.description], cursor.fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            msg = f"{self._path}: the catalogue is damaged or in use ({error})"
            raise InputError(msg) from error

    def add(self, note: SegmentNote, file: str) -> None:
        """Enter a segment that is safely on disk, in a file relative to the store's folder."""
        segment, described = note.segment, note.segment.to_dict()
        names = ", ".join(f'"{n}"' for n in _FIELDS)
        marks = ", ".join("?" * len(_FIELDS))
        position = json.dumps(note.model_dump(mode="json")["position"])
        values = (*(described[n] for n in _FIELDS), position, time.time(), file, segment.size, segment.crc32c)
        with self._change() as base:
            base.execute(
                f"INSERT INTO segments ({names}, position, received, file, stored_size, stored_crc32c) "
                f"VALUES ({marks}, ?, ?, ?, ?, ?)",
                values,
            )
            base.executemany(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?)",
                [(*segment.key, kind, count) for kind, count in segment.objects.items()],
            )

    def get(self, key: tuple[int, int, int]) -> Stored | None:
        """Return a segment by run, source and index; None if it is not there."""
        return next(iter(self._stored('WHERE run = ? AND source = ? AND "index" = ?', key)), None)

    def position(self, run: int, source: int) -> ReadoutPosition:
        """Return the position after the newest segment of a run (the beginning if there is none)."""
        rows = self._rows(
            'SELECT position FROM segments WHERE run = ? AND source = ? ORDER BY "index" DESC LIMIT 1',
            (run, source),
        )
        try:
            return _POSITION.validate_json(rows[0][0]) if rows else ReadoutPosition()
        except ValidationError as error:
            msg = f"{self._path}: the catalogue is damaged ({first_fault(error)})"
            raise InputError(msg) from error

    def segments(self, run: int | None = None) -> list[Stored]:
        """Return the segments of a run, or all, in order."""
        return self._stored("WHERE run = ?", (run,)) if run is not None else self._stored()

    def uncompressed(self) -> list[Stored]:
        """Return the segments that still are as they came."""
        return self._stored("WHERE method = '' AND deleted IS NULL")

    def _stored(self, where: str = "", values: tuple[Any, ...] = ()) -> list[Stored]:
        names = ", ".join(
            f's."{n}"'
            for n in (*_FIELDS, "file", "method", "stored_size", "stored_crc32c", "received", "deleted")
        )
        rows = self._rows(
            f"SELECT {_SEGMENT_OBJECTS}, {names} FROM segments AS s {where} "
            'ORDER BY s.run, s.source, s."index"',
            values,
        )
        n = len(_FIELDS)
        found = []
        for objects, *row in rows:
            described = dict(zip(_FIELDS, row, strict=False))
            described["last"] = bool(described["last"])
            try:
                segment = Segment.from_dict(described | {"objects": json.loads(objects)})
            except (InputError, ValueError) as error:
                msg = f"{self._path}: the catalogue is damaged ({error})"
                raise InputError(msg) from error
            found.append(Stored(segment, *row[n:]))
        return found

    def compressed(self, segment: Segment, file: str, method: str, size: int, crc: int) -> None:
        """Enter the compressed file of a segment."""
        with self._change() as base:
            base.execute(
                "UPDATE segments SET file = ?, method = ?, stored_size = ?, stored_crc32c = ? "
                'WHERE run = ? AND source = ? AND "index" = ?',
                (file, method, size, crc, *segment.key),
            )

    def runs(self) -> list[dict[str, Any]]:
        """Return the sums of every run and source; ``objects`` holds those of each kind of object."""
        return self._sums("runs", "run_objects", ("run", "source"))

    def lumisections(self, run: int) -> list[dict[str, Any]]:
        """Return the sums of every lumisection of a run; ``objects`` holds those of each kind of object."""
        keys = ("run", "source", "lumisection")
        return self._sums("lumisections", "lumisection_objects", keys, run)

    def _sums(
        self, view: str, objects_view: str, keys: tuple[str, ...], run: int | None = None
    ) -> list[dict[str, Any]]:
        where, values = ("", ()) if run is None else ("WHERE run = ?", (run,))
        order = ", ".join(keys)
        objects: dict[tuple[int, ...], dict[str, int]] = {}
        names, rows = self._read(f"SELECT * FROM {view} {where} ORDER BY {order}", values)
        query = f'SELECT kind, "count", {order} FROM {objects_view} {where} ORDER BY kind'
        for kind, count, *key in self._rows(query, values):
            objects.setdefault(tuple(key), {})[kind] = count
        totals = [dict(zip(names, row, strict=True)) for row in rows]
        return [row | {"objects": objects.get(tuple(row[k] for k in keys), {})} for row in totals]

    def copied(self, stored: Stored, url: str) -> None:
        """Enter a copy that was read back and found to be right."""
        with self._change() as base:
            base.execute(
                "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*stored.segment.key, url, stored.stored_size, stored.stored_crc32c, time.time()),
            )

    def copies(self, stored: Stored) -> list[str]:
        """Return where verified copies of a segment's present file are."""
        rows = self._rows(
            'SELECT url FROM copies WHERE run = ? AND source = ? AND "index" = ? AND size = ? AND crc32c = ?',
            (*stored.segment.key, stored.stored_size, stored.stored_crc32c),
        )
        return [url for (url,) in rows]

    def deleted(self, stored: Stored) -> None:
        """Enter that the file here is gone."""
        with self._change() as base:
            base.execute(
                'UPDATE segments SET deleted = ? WHERE run = ? AND source = ? AND "index" = ?',
                (time.time(), *stored.segment.key),
            )
