"""Tables and views of the catalogue, as SQL."""

from dataclasses import fields

from l1scout.readout.segments import Segment

VERSION = 2
"""Of the tables, in the file's ``user_version``."""
SEGMENT_FIELDS = tuple(f.name for f in fields(Segment) if f.name not in ("objects", "version"))
COLUMNS = (
    *SEGMENT_FIELDS, "objects", "position", "received", "file", "method", "stored_size", "stored_crc32c",
    "deleted", "fault",
)  # fmt: skip
"""Of a segment, without the checksum of the row."""
QUOTED = ", ".join(f'"{n}"' for n in COLUMNS)
ROW_SUM = f"row_checksum({QUOTED})"
"""What ``row_crc32c`` of a row must be: `Catalogue` defines the function."""
_TEXT = ("wire_format", "data", "objects", "position", "file", "method", "fault")
_REAL = ("began", "ended", "received", "deleted")
_SUMS = ("orbits", "corrupt", "missed", "duplicate", "dropped", "flagged", "blocks", "bad_blocks",
         "corrupt_bytes", "size", "stored_size")  # fmt: skip
# segments without orbits do not make the data of a run unknown
_DATA = """CASE WHEN MAX(data = 'simulated') THEN 'simulated'
    WHEN MAX(data = 'real') AND MIN(data = 'real' OR orbits = 0) THEN 'real' ELSE 'unknown' END AS data"""
_FIRST = "MIN(CASE WHEN orbits THEN (epoch << 31) | first_orbit END) AS first_orbit"
_LAST = "MAX(CASE WHEN orbits THEN (epoch << 31) | last_orbit END) AS last_orbit"
_TOTALS = f"""{_DATA}, COUNT(*) AS segments, MIN(NULLIF(segments.began, 0)) AS start_time,
    MAX(NULLIF(segments.ended, 0)) AS stop_time, {_FIRST}, {_LAST}, MAX(epoch) + 1 AS epochs,
    {", ".join(f"SUM({n}) AS {n}" for n in _SUMS)}, SUM(fault != '') AS faulty"""
_OBJECTS = 'o.key AS kind, SUM(o.value) AS "count" FROM segments, json_each(segments.objects) AS o'


def _column(name: str) -> str:
    kind = "TEXT" if name in _TEXT else "REAL" if name in _REAL else "INTEGER"
    return f'"{name}" {kind}' + ("" if name == "deleted" else " NOT NULL")


SCHEMA = f"""
CREATE TABLE segments (
  {", ".join(map(_column, COLUMNS))},
  row_crc32c INTEGER NOT NULL,
  PRIMARY KEY (run, source, "index")
) WITHOUT ROWID;
CREATE TABLE copies (
  run INTEGER NOT NULL, source INTEGER NOT NULL, "index" INTEGER NOT NULL,
  url TEXT NOT NULL, size INTEGER NOT NULL, crc32c INTEGER NOT NULL, verified REAL NOT NULL,
  PRIMARY KEY (run, source, "index", url)
) WITHOUT ROWID;
CREATE TABLE settings (
  run INTEGER NOT NULL, source INTEGER NOT NULL, received REAL NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, source, received)
) WITHOUT ROWID;
CREATE VIEW lumisections AS
  SELECT run, source, lumisection, {_TOTALS} FROM segments GROUP BY run, source, lumisection;
CREATE VIEW lumisection_objects AS
  SELECT run, source, lumisection, {_OBJECTS} GROUP BY run, source, lumisection, kind;
CREATE VIEW runs AS
  SELECT run, source, MAX("last") AS ended, {_TOTALS} FROM segments GROUP BY run, source;
CREATE VIEW run_objects AS
  SELECT run, source, {_OBJECTS} GROUP BY run, source, kind;
PRAGMA user_version = {VERSION};
"""
