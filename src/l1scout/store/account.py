"""The account of a run: for every stage, what came in is what went out, or is counted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from l1scout.readout.segments import Segment
from l1scout.readout.spool import read_notes
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.compress import content
from l1scout.store.losses import board_reports, dropped_by_board
from l1scout.store.transfer import silent


@dataclass
class Stage:
    """Orbits of a stage: ``into = out + sum(counted)`` if nothing is lost unseen.

    Parameters
    ----------
    name : str
    into, out : int
    counted : dict of str to int
        What became of the others.
    wrong : list of str
        What does not fit, in words.
    """

    name: str
    into: int
    out: int
    counted: dict[str, int]
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Compare."""
        missing = self.into - self.out - sum(self.counted.values())
        if missing:
            self.wrong.append(f"{missing:+,} orbits unaccounted for")


def account(
    run: int,
    store: Path,
    *,
    spool: Path | None = None,
    boards: Path | None = None,
    verify: bool = False,
    progress: Callable[[int, int], None] = silent,
) -> list[Stage]:
    """Account for a run, source by source.

    Parameters
    ----------
    run : int
    store : Path
        Folder with the catalogue.
    spool : Path, optional
        Folder where segments may still wait.
    boards : Path, optional
        Folder with the last status of each board process (``board-*.json``).
    verify : bool
        Read every file, and compare its checksums.
    progress : callable
        ``progress(done, of)``, in segments.

    Returns
    -------
    list of Stage
        Board, then readout, wire and store of each source; none if nothing is known of the run.

    Raises
    ------
    InputError
        If there is no catalogue.
    """
    catalogue = Catalogue(store)
    try:
        stored = catalogue.segments(run)
        copies = {s.segment.key: catalogue.copies(s) for s in stored if s.deleted is not None}
    finally:
        catalogue.close()
    waiting = [s for s in read_notes(spool, waiting=True) if s.run == run] if spool else []
    known = {s.segment.key for s in stored}
    waiting = [s for s in waiting if s.key not in known]  # acknowledged, the answer was cut
    sources = sorted({s.segment.source for s in stored} | {s.source for s in waiting})
    sent = sum(s.sent for s in (*(x.segment for x in stored), *waiting))
    dropped = sum(s.dropped for s in (*(x.segment for x in stored), *waiting))
    reports = board_reports(boards, run) if boards else []
    stages = [_board(reports, sent, dropped)] if sources else []
    for source in sources:
        here = [s for s in stored if s.segment.source == source]
        there = [s for s in waiting if s.source == source]
        stages += _source(source, here, there, copies, store, verify=verify, progress=progress)
    return stages


def _board(reports: list[dict[str, Any]], sent: int, dropped: int) -> Stage:
    """Compare the board's own report with what readout accounts for; a killed board has none."""
    lost = dropped_by_board(reports)
    if lost is None:
        return Stage("board, as readout saw it", sent + dropped, sent, {"dropped": dropped})
    return Stage("board", sum(r["delivered"] for r in reports) + lost, sent, {"dropped": lost})


def _source(
    source: int,
    stored: list[Stored],
    waiting: list[Segment],
    copies: dict[tuple[int, int, int], list[str]],
    folder: Path,
    *,
    verify: bool,
    progress: Callable[[int, int], None],
) -> list[Stage]:
    every = sorted([*(s.segment for s in stored), *waiting], key=lambda s: s.index)

    def total(name: str) -> int:
        return sum(getattr(s, name) for s in every)

    orbits = total("orbits")
    counted = {n: total(n) for n in ("corrupt", "missed", "duplicate")}
    readout = Stage(f"readout of source {source}", total("sent") + counted["duplicate"], orbits, counted)
    if not any(s.last for s in every):
        readout.wrong.append("the run has not ended: its last segment is not there")
    gaps = sorted(set(range(every[-1].index + 1)) - {s.index for s in every})
    wire = Stage(
        "wire",
        orbits,
        sum(s.segment.orbits for s in stored),
        {"waiting in the spool": sum(s.orbits for s in waiting)},
    )
    if gaps:
        some = ", ".join(map(str, gaps[:5])) + (", ..." if len(gaps) > 5 else "")
        wire.wrong.append(f"{len(gaps)} segments neither stored nor waiting: index {some}")
    for one, two in pairwise(every):
        if one.orbits and two.orbits and two.first_orbit <= one.last_orbit:
            wire.wrong.append(f"segments {one.index} and {two.index} overlap")
    there, moved, wrong = 0, 0, []
    for k, s in enumerate(stored):
        progress(k, len(stored))
        if s.deleted is not None:
            moved += s.segment.orbits
            if not copies[s.segment.key]:
                wrong.append(f"{s.segment.name}: deleted, and no verified copy is known")
            continue
        fault = _fault(folder, s, verify=verify)
        if fault:
            wrong.append(fault)
        else:
            there += s.segment.orbits
    progress(len(stored), len(stored))
    store = Stage("store", wire.out, there, {"deleted, copied elsewhere": moved})
    store.wrong += wrong
    return [readout, wire, store]


def _fault(folder: Path, stored: Stored, *, verify: bool) -> str:
    path = folder / stored.file
    if not path.is_file():
        return f"{stored.file}: is gone"
    if path.stat().st_size != stored.stored_size:
        return f"{stored.file}: has {path.stat().st_size} bytes instead of {stored.stored_size}"
    if verify:
        try:
            content(folder, stored)
        except (OSError, ValueError) as error:
            return str(error)
    return ""
