"""Orbits that board, readout and store lost: the one place that the account, `runs` and analyses ask."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from l1scout.core.orbit_data import OrbitData
from l1scout.readout.segments import Segment, parse_name
from l1scout.store.catalogue import FILE, Catalogue
from l1scout.store.compress import SUFFIX


def board_reports(folder: Path, run: int) -> list[dict[str, Any]]:
    """Return the last status of each board process of a run (``board-*.json`` in the folder of `run`)."""
    reports = []
    for path in sorted(folder.glob("board-*.json")):
        try:
            told = json.loads(path.read_text())
            if told["run"] == run:
                reports.append({n: told[n] for n in ("state", "delivered", "dropped")})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return reports


def dropped_by_board(reports: Sequence[dict[str, Any]]) -> int | None:
    """Return how many orbits the boards of a run dropped, by their own count.

    None if there is no report, or that of a board that was killed: it does not know its end.
    """
    if not reports or any(r["state"] != "idle" for r in reports):
        return None
    return sum(int(r["dropped"]) for r in reports)


def runs_with_losses(catalogue: Catalogue, boards: Path) -> list[dict[str, Any]]:
    """Return the sums of every run and source; ``dropped`` has what only the boards' own reports tell, too.

    That is what a board dropped after the last packet that readout received: it is counted for the run's
    last source.
    """
    rows = catalogue.runs()
    for run, row in {r["run"]: r for r in rows}.items():
        row["dropped"] += _unseen(rows, boards, run)
    return rows


def lumisections_with_losses(catalogue: Catalogue, boards: Path, run: int) -> list[dict[str, Any]]:
    """Return the sums of every lumisection of a run, as `runs_with_losses` does those of runs.

    What only the boards' reports tell is counted for the last lumisection.
    """
    rows = catalogue.lumisections(run)
    if rows:
        last = max(rows, key=lambda r: r["lumisection"])
        last["dropped"] += _unseen(rows, boards, run)
    return rows


def _unseen(rows: Sequence[dict[str, Any]], boards: Path, run: int) -> int:
    told = dropped_by_board(board_reports(boards, run)) or 0
    return max(told - sum(int(r["dropped"]) for r in rows if r["run"] == run), 0)


def lost_orbits(segment: Segment) -> int:
    """Return the orbits that are missing in a segment, whoever lost them."""
    return segment.corrupt + segment.missed + segment.dropped


def lost_in_file(path: Path) -> int:
    """Return the orbits that were lost of a segment's file in the folder of a store.

    0 for every other file: only the catalogue beside it tells what was lost.

    Raises
    ------
    InputError
        If the catalogue cannot be read.
    """
    name = path.name
    for suffix in SUFFIX.values():
        name = name.removesuffix(suffix)
    told, folder = parse_name(name), path.parent.parent
    if told is None or not (folder / FILE).is_file():
        return 0
    catalogue = Catalogue(folder)
    try:
        stored = catalogue.get((int(told["run"]), int(told["source"]), int(told["index"])))
    finally:
        catalogue.close()
    return lost_orbits(stored.segment) if stored else 0


def with_losses(chunks: Iterable[OrbitData]) -> Iterator[OrbitData]:
    """Give each file's first chunk the orbits that were lost of the file, for its live time."""
    before = ""
    for events in chunks:
        if events.source != before:
            before, lost = events.source, lost_in_file(Path(events.source))
            events = events.with_muons(replace(events.muons, lost_orbits=events.muons.lost_orbits + lost))
        yield events
