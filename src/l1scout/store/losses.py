"""Orbits that board, readout and store lost: the one place that the account, `runs` and analyses ask."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import warn

from pydantic import ValidationError

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import ScoutingWarning
from l1scout.readout.segments import Segment, parse_name
from l1scout.readout.status import BoardStatus
from l1scout.store.catalogue import FILE, Catalogue
from l1scout.store.compress import SUFFIX


def board_reports(folder: Path, run: int) -> list[BoardStatus]:
    """Return the last status of each board process of a run (``board-*.json`` in the folder of `run`).

    Files that are not a board's status are left out.
    """
    reports = []
    for path in sorted(folder.glob("board-*.json")):
        try:
            report = BoardStatus.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        if report.run == run:
            reports.append(report)
    return reports


def dropped_by_board(reports: Sequence[BoardStatus]) -> int | None:
    """Return how many orbits the boards of a run dropped, by their own count.

    None if there is no report, or that of a board that was killed: it does not know its end.
    """
    if not reports or any(r.state != "idle" for r in reports):
        return None
    return sum(r.dropped for r in reports)


def runs_with_losses(catalogue: Catalogue, boards: Path) -> list[dict[str, Any]]:
    """Return the sums of every run and source, with what only the boards' own reports tell.

    ``dropped`` has what a board dropped after the last packet that readout received, too; ``unsent`` is what
    was given up when the board was stopped.
    """
    rows = catalogue.runs()
    for run in {r["run"] for r in rows}:
        _add_reports([r for r in rows if r["run"] == run], board_reports(boards, run))
    return rows


def lumisections_with_losses(catalogue: Catalogue, boards: Path, run: int) -> list[dict[str, Any]]:
    """Return the sums of every lumisection of a run, as `runs_with_losses` does those of runs.

    What only the boards' reports tell is counted for the last lumisection.
    """
    rows = catalogue.lumisections(run)
    _add_reports(rows, board_reports(boards, run))
    return rows


def _add_reports(rows: Sequence[dict[str, Any]], reports: Sequence[BoardStatus]) -> None:
    """Add what the boards of a run report to the last row of each source."""
    for row in rows:
        row["unsent"] = 0
    for source in {row["source"] for row in rows}:
        own = [row for row in rows if row["source"] == source]
        reported = [r for r in reports if source in r.sources]
        last = max(own, key=lambda r: int(r.get("lumisection", 0)))
        last["dropped"] += max((dropped_by_board(reported) or 0) - sum(int(r["dropped"]) for r in own), 0)
        last["unsent"] += sum(r.unsent for r in reported)


def lost_orbits(segment: Segment) -> int:
    """Return the orbits that are missing in a segment, whoever lost them."""
    return segment.corrupt + segment.missed + segment.dropped


def lost_in_file(path: Path) -> int:
    """Return the orbits that were lost of a segment's file in the folder of a store.

    0 for every other file: only the catalogue beside it tells what was lost. Where the catalogue does not
    know either, a `ScoutingWarning` says so.

    Raises
    ------
    InputError
        If the catalogue cannot be read.
    """
    name = path.name
    for suffix in SUFFIX.values():
        name = name.removesuffix(suffix)
    parsed, folder = parse_name(name), path.parent.parent
    if parsed is None or not (folder / FILE).is_file():
        return 0
    catalogue = Catalogue(folder)
    try:
        stored = catalogue.get((int(parsed["run"]), int(parsed["source"]), int(parsed["index"])))
    finally:
        catalogue.close()
    if stored and stored.fault:
        warn(f"{path}: {stored.fault}", ScoutingWarning, stacklevel=2)
    return lost_orbits(stored.segment) if stored else 0


def with_losses(chunks: Iterable[OrbitData]) -> Iterator[OrbitData]:
    """Give each file's first chunk the orbits that were lost of the file, for its live time."""
    before = ""
    for events in chunks:
        if events.source != before:
            before, lost = events.source, lost_in_file(Path(events.source))
            streams = {
                name: replace(batch, lost_orbits=batch.lost_orbits + lost)
                for name, batch in events.streams.items()
            }
            events = replace(events, streams=streams)
        yield events
