"""The catalogue: every segment that the store has acknowledged, in a SQLite file beside the data.

It is an index over the store's files: `l1scout.store.rebuild` makes it again from them. Each row has a
checksum, which is compared whenever the row is used.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crc32c import crc32c
from pydantic import TypeAdapter, ValidationError

from l1scout.errors import InputError, first_fault
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.segments import Segment
from l1scout.store import run_journal
from l1scout.store.catalogue_tables import COLUMNS, QUOTED, ROW_SUM, SCHEMA, SEGMENT_FIELDS, VERSION
from l1scout.store.run_journal import JournalEntry

FILE = "catalogue.sqlite"
REBUILD = "`l1scout store --rebuild` makes it again from the files"
_CHECKPOINT_PAGES = 32
"""Pages in the write-ahead log before they go into the main file: a few segments."""
_WRONG_SUM = "a row has a wrong checksum or is missing"
_NO_DAMAGE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR,
)  # fmt: skip
_POSITION = TypeAdapter(ReadoutPosition)
_DELETE_NOT_COPIED = """DELETE FROM segments WHERE NOT EXISTS (
  SELECT 1 FROM copies AS c WHERE c.run = segments.run AND c.source = segments.source
    AND c."index" = segments."index" AND c.url = ? || segments.file
    AND c.size = stored_size AND c.crc32c = stored_crc32c)"""
_KEY = 'run = ? AND source = ? AND "index" = ?'


class DamagedError(InputError):
    """A catalogue that is damaged, and can be made again from the files."""


@dataclass(frozen=True)
class Stored:
    """A segment in the catalogue.

    Parameters
    ----------
    segment : Segment
    file : str
        Relative to the store's folder.
    method : str
        ``zstd``, ``bzip2``, ``parquet``, or empty while it is not compressed.
    stored_size, stored_crc32c : int
        Of that file.
    received : float
        When it came; seconds since 1970.
    deleted : float or None
        When it was deleted here.
    fault : str
        What is wrong with it, such as that its note was lost; empty for nothing.
    """

    segment: Segment
    file: str
    method: str
    stored_size: int
    stored_crc32c: int
    received: float
    deleted: float | None = None
    fault: str = ""


class Catalogue:
    """Open the catalogue of a store's folder; safe to use from several threads and processes.

    Where the folder may only be read, what a running store has not yet written into the main file of the
    catalogue is not seen.

    Parameters
    ----------
    folder : Path
    create : bool
        Make it if there is none.
    name : str
        Of the file.

    Raises
    ------
    InputError
        If there is none, or the file is not a catalogue of this version.
    """

    def __init__(self, folder: Path, *, create: bool = False, name: str = FILE) -> None:
        path = folder / name
        if not create and not path.exists():
            msg = f"{folder}: no catalogue ({name}) there; name the store's folder"
            raise InputError(msg)
        self._lock, self._path, self._folder = threading.Lock(), path, folder
        writable = create or (os.access(folder, os.W_OK) and os.access(path, os.W_OK))
        uri = path.absolute().as_uri() + ("" if writable else "?immutable=1")
        try:
            self._base = sqlite3.connect(
                uri, uri=True, timeout=30.0, check_same_thread=False, isolation_level=None
            )
        except sqlite3.DatabaseError as error:
            msg = f"{path}: cannot be used as a catalogue ({error})"
            raise InputError(msg) from error
        try:
            self._open(writable=writable)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter from SQLite's own messages
            self._base.close()
            raise self._unusable(error) from error
        except InputError:
            self._base.close()
            raise

    def _open(self, *, writable: bool) -> None:
        self._base.create_function("row_checksum", -1, _row_checksum, deterministic=True)
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        filled = self._base.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
        if filled and version != VERSION:
            msg = f"{self._path}: not a catalogue of version {VERSION} (but {version}); {REBUILD}"
            raise DamagedError(msg)
        if not writable:
            self._base.execute("SELECT 1 FROM segments LIMIT 1")
            return
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        if not filled:
            self._base.executescript(f"BEGIN; {SCHEMA} COMMIT;")

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
                self._base.execute("COMMIT")
            except BaseException as error:
                if self._base.in_transaction:  # SQLite has rolled back itself if the disk is full
                    self._base.execute("ROLLBACK")
                if isinstance(error, UnicodeDecodeError):
                    raise self._damaged(error) from error
                raise

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._read(query, values)[1]

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of the columns, and the rows (InputError if the file is damaged)."""
        try:
            with self._lock:
                cursor = self._base.execute(query, values)
                return [c[0] for c in cursor.description], cursor.fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> InputError:
        """Return what to raise; a file that is in use or a full disk is no damage."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF in _NO_DAMAGE and code != sqlite3.SQLITE_IOERR_SHORT_READ:
            return InputError(f"{self._path}: the catalogue cannot be used now ({error}); try again")
        return self._damaged(error)

    def _damaged(self, why: object) -> DamagedError:
        return DamagedError(f"{self._path}: the catalogue is damaged ({why}); {REBUILD}")

    def check(self) -> None:
        """Check the file's structure and the checksum of each row (InputError if something is damaged)."""
        for (line,) in self._rows("PRAGMA quick_check(1)"):
            if line != "ok":
                raise self._damaged(str(line).splitlines()[-1])
        self._check_rows("", ())
        for table in ("copies", "settings", "runs", "lumisections", "run_objects", "lumisection_objects"):
            self._rows(f"SELECT * FROM {table}")

    def _check_rows(self, where: str, values: tuple[Any, ...]) -> None:
        """Compare the checksums of rows."""
        query = f"SELECT COUNT(*), SUM(row_crc32c IS {ROW_SUM}) FROM segments {where}"
        ((rows, good),) = self._rows(query, values)
        if rows and good != rows:
            raise self._damaged(_WRONG_SUM)

    def add(self, note: SegmentNote, file: str, made: tuple[str, int, int] | None = None) -> None:
        """Enter a segment whose file is on disk (`made`: method, size and CRC-32C of a compressed one)."""
        segment, (method, size, crc) = note.segment, made or ("", note.segment.size, note.segment.crc32c)
        if made:
            self._journal(segment, "compressed", file=Path(file).name, method=method, size=size, crc32c=crc)
        stored = Stored(segment, file, method, size, crc, time.time())
        with self._change() as base:
            base.execute(f"DELETE FROM segments WHERE {_KEY} AND fault != ''", segment.key)
            base.execute(*_insertion(note, stored))

    def put(self, entries: Iterable[tuple[SegmentNote, Stored]]) -> None:
        """Enter segments with all that is known of them, in one transaction; known ones are replaced."""
        with self._change() as base:
            for note, stored in entries:
                base.execute(f"DELETE FROM segments WHERE {_KEY}", stored.segment.key)
                base.execute(*_insertion(note, stored))

    def get(self, key: tuple[int, int, int]) -> Stored | None:
        """Return a segment by run, source and index; None if it is not there."""
        return next(iter(self._stored(f"WHERE {_KEY}", key)), None)

    def note(self, stored: Stored) -> SegmentNote:
        """Return the note of a segment."""
        rows = self._rows(f"SELECT position FROM segments WHERE {_KEY}", stored.segment.key)
        return SegmentNote(segment=stored.segment, position=self._position(rows))

    def position(self, run: int, source: int) -> ReadoutPosition:
        """Return the position after the newest segment of a run (the beginning if there is none)."""
        newest = 'WHERE run = ? AND source = ? ORDER BY "index" DESC LIMIT 1'
        query = f"SELECT position, row_crc32c IS {ROW_SUM} FROM segments {newest}"
        rows = self._rows(query, (run, source))
        if rows and not rows[0][1]:
            raise self._damaged(_WRONG_SUM)
        return self._position(rows)

    def _position(self, rows: list[tuple[Any, ...]]) -> ReadoutPosition:
        try:
            return _POSITION.validate_json(rows[0][0]) if rows else ReadoutPosition()
        except ValidationError as error:
            raise self._damaged(first_fault(error)) from error

    def segments(self, run: int | None = None) -> list[Stored]:
        """Return the segments of a run, or all, in order."""
        return self._stored("WHERE run = ?", (run,)) if run is not None else self._stored()

    def uncompressed(self) -> list[Stored]:
        """Return the segments that still are as they came."""
        return self._stored("WHERE method = '' AND deleted IS NULL")

    def _stored(self, where: str = "", values: tuple[Any, ...] = ()) -> list[Stored]:
        query = (
            f'SELECT {QUOTED}, row_crc32c IS {ROW_SUM} FROM segments {where} ORDER BY run, source, "index"'
        )
        found = []
        for *row, good in self._rows(query, values):
            if not good:
                raise self._damaged(_WRONG_SUM)
            try:
                found.append(entry_of_row(row)[1])
            except (InputError, ValueError) as error:
                raise self._damaged(error) from error
        return found

    def _update(self, segment: Segment, change: str, values: tuple[Any, ...]) -> None:
        """Change the row of a segment, unless its checksum is wrong."""
        with self._change() as base:
            query = f"UPDATE segments SET {change} WHERE {_KEY} AND row_crc32c IS {ROW_SUM}"
            if base.execute(query, (*values, *segment.key)).rowcount != 1:
                raise self._damaged(_WRONG_SUM)
            base.execute(f"UPDATE segments SET row_crc32c = {ROW_SUM} WHERE {_KEY}", segment.key)

    def _journal(self, segment: Segment, event: str, **values: Any) -> None:
        entry = JournalEntry.model_validate({"event": event, "segment": segment.name, **values})
        run_journal.append(self._folder / segment.folder, entry)

    def compressed(self, segment: Segment, file: str, method: str, size: int, crc: int) -> None:
        """Enter the compressed file of a segment."""
        self._journal(segment, "compressed", file=Path(file).name, method=method, size=size, crc32c=crc)
        change = "file = ?, method = ?, stored_size = ?, stored_crc32c = ?"
        self._update(segment, change, (file, method, size, crc))

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
        self._check_rows(where, values)
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
        size, crc = stored.stored_size, stored.stored_crc32c
        file = Path(stored.file).name
        self._journal(stored.segment, "copied", url=url, file=file, size=size, crc32c=crc)
        self.put_copies([(*stored.segment.key, url, size, crc, time.time())])

    def put_copies(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Enter rows of the table of copies."""
        with self._change() as base:
            base.executemany("INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def copies(self, stored: Stored) -> list[str]:
        """Return where verified copies of a segment's present file are."""
        rows = self._rows(
            f"SELECT url FROM copies WHERE {_KEY} AND size = ? AND crc32c = ?",
            (*stored.segment.key, stored.stored_size, stored.stored_crc32c),
        )
        return [url for (url,) in rows]

    def deleted(self, stored: Stored) -> None:
        """Enter that the file here is gone."""
        now = time.time()
        self._journal(stored.segment, "deleted", file=Path(stored.file).name, time=now)
        self._update(stored.segment, "deleted = ?", (now,))

    def put_settings(self, run: int, source: int, text: str, received: float | None = None) -> None:
        """Enter the settings that a readout had in force, unless they are the newest known ones."""
        if self.settings(run).get(source) != text:
            with self._change() as base:
                values = (run, source, time.time() if received is None else received, text)
                base.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?, ?)", values)

    def settings(self, run: int) -> dict[int, str]:
        """Return the newest settings of each source of a run, as TOML."""
        query = "SELECT source, text FROM settings WHERE run = ? ORDER BY received"
        return dict(self._rows(query, (run,)))

    def backup(self, path: Path, target: str) -> None:
        """Write the catalogue of the segments that have a verified copy below a URL, as a single file.

        Others may use the catalogue meanwhile.
        """
        with closing(sqlite3.connect(path, isolation_level=None)) as copy:
            copy.create_function("row_checksum", -1, _row_checksum, deterministic=True)
            with self._lock:
                self._base.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            (good,) = copy.execute(
                f"SELECT COALESCE(MIN(row_crc32c IS {ROW_SUM}), 1) FROM segments"
            ).fetchone()
            if not good:
                raise self._damaged(_WRONG_SUM)
            copy.execute("BEGIN")
            copy.execute(_DELETE_NOT_COPIED, (target,))
            copy.execute("UPDATE segments SET deleted = NULL")  # there they are
            copy.execute(f"UPDATE segments SET row_crc32c = {ROW_SUM}")
            copy.execute("COMMIT")


@contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a catalogue of which only a part may be readable (sqlite3.Error)."""
    base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        base.create_function("row_checksum", -1, _row_checksum, deterministic=True)
        yield base
    finally:
        base.close()


def entry_of_row(row: Iterable[Any]) -> tuple[SegmentNote, Stored]:
    """Read a row of the table of segments, whose columns are `COLUMNS` (InputError, ValueError)."""
    described = dict(zip(COLUMNS, row, strict=True))
    fields: dict[str, Any] = {n: described[n] for n in SEGMENT_FIELDS}
    fields |= {"last": bool(fields["last"]), "objects": json.loads(described["objects"])}
    segment = Segment.from_dict(fields)
    note = SegmentNote(segment=segment, position=_POSITION.validate_json(described["position"]))
    names = ("file", "method", "stored_size", "stored_crc32c", "received", "deleted", "fault")
    return note, Stored(segment, *(described[n] for n in names))


def _insertion(note: SegmentNote, stored: Stored) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL that enters a segment, and its values."""
    described = note.segment.to_dict()
    position = json.dumps(note.model_dump(mode="json")["position"])
    values = (
        *(described[n] for n in SEGMENT_FIELDS), json.dumps(described["objects"]), position,
        float(stored.received), stored.file, stored.method, stored.stored_size, stored.stored_crc32c,
        stored.deleted, stored.fault,
    )  # fmt: skip
    values = tuple(int(v) if isinstance(v, bool) else v for v in values)
    marks = ", ".join("?" * (len(values) + 1))
    query = f"INSERT INTO segments ({QUOTED}, row_crc32c) VALUES ({marks})"
    return query, (*values, _row_checksum(*values))


def _row_checksum(*values: Any) -> int:
    return crc32c(repr(values).encode("utf-8", "backslashreplace"))
