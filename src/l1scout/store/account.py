"""The account of a run: for every stage, what came in is what went out, or is counted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from l1scout.core.provenance import DataLabel
from l1scout.readout.object_counts import ObjectCounts, sum_counts
from l1scout.readout.segments import Segment, joint_data
from l1scout.readout.spool import read_notes
from l1scout.readout.status import BoardStatus
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.compress import content
from l1scout.store.losses import board_reports, dropped_by_board
from l1scout.store.transfer import silent


@dataclass
class StageAccount:
    """Orbits of a stage: ``into = out + sum(counted)`` if nothing is lost unseen.

    Parameters
    ----------
    name : str
    into, out : int
    counted : dict of str to int
        What became of the others.
    data : str
        ``simulated``, ``real`` or ``unknown``: of the orbits that left.
    objects : dict of str to int
        In the orbits that left, by kind; empty where the stage does not count them.
    wrong : list of str
        What does not fit, in words.
    """

    name: str
    into: int
    out: int
    counted: dict[str, int]
    data: DataLabel = "unknown"
    objects: ObjectCounts = field(default_factory=dict)
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
) -> list[StageAccount]:
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
    list of StageAccount
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


def _board(reports: list[BoardStatus], sent: int, dropped: int) -> StageAccount:
    """Compare the board's own report with what readout accounts for; a killed board has none."""
    lost = dropped_by_board(reports)
    if lost is None:
        return StageAccount("board, as readout saw it", sent + dropped, sent, {"dropped": dropped})
    return StageAccount("board", sum(r.delivered for r in reports) + lost, sent, {"dropped": lost})


def _source(
    source: int,
    stored: list[Stored],
    waiting: list[Segment],
    copies: dict[tuple[int, int, int], list[str]],
    folder: Path,
    *,
    verify: bool,
    progress: Callable[[int, int], None],
) -> list[StageAccount]:
    every = sorted([*(s.segment for s in stored), *waiting], key=lambda s: s.index)
    store = _store(stored, copies, folder, verify=verify, progress=progress)
    return [_readout(source, every), _wire(every, [s.segment for s in stored], waiting), store]


def _stage(name: str, into: int, out: int, counted: dict[str, int], segments: list[Segment]) -> StageAccount:
    objects = sum_counts(*(s.objects for s in segments))
    return StageAccount(name, into, out, counted, joint_data(segments), objects)


def _readout(source: int, every: list[Segment]) -> StageAccount:
    def total(name: str) -> int:
        return sum(getattr(s, name) for s in every)

    counted = {n: total(n) for n in ("corrupt", "missed", "duplicate")}
    into = total("sent") + counted["duplicate"]
    readout = _stage(f"readout of source {source}", into, total("orbits"), counted, every)
    if not any(s.last for s in every):
        readout.wrong.append("the run has not ended: its last segment is missing")
    return readout


def _wire(every: list[Segment], stored: list[Segment], waiting: list[Segment]) -> StageAccount:
    into, out = (sum(s.orbits for s in segments) for segments in (every, stored))
    wire = _stage("wire", into, out, {"waiting_in_spool": sum(s.orbits for s in waiting)}, stored)
    gaps = sorted(set(range(every[-1].index + 1)) - {s.index for s in every})
    if gaps:
        some = ", ".join(map(str, gaps[:5])) + (", ..." if len(gaps) > 5 else "")
        wire.wrong.append(f"{len(gaps)} segments neither stored nor waiting: index {some}")
    for one, two in pairwise(every):
        if one.orbits and two.orbits and two.first_orbit <= one.last_orbit:
            wire.wrong.append(f"segments {one.index} and {two.index} overlap")
    return wire


def _store(
    stored: list[Stored],
    copies: dict[tuple[int, int, int], list[str]],
    folder: Path,
    *,
    verify: bool,
    progress: Callable[[int, int], None],
) -> StageAccount:
    here, moved, wrong = [], 0, []
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
            here.append(s.segment)
    progress(len(stored), len(stored))
    into, out = sum(s.segment.orbits for s in stored), sum(s.orbits for s in here)
    store = _stage("store", into, out, {"copied_and_deleted": moved}, here)
    store.wrong += wrong
    return store


def _fault(folder: Path, stored: Stored, *, verify: bool) -> str:
    path = folder / stored.file
    if not path.is_file():
        return f"{stored.file}: is missing"
    if path.stat().st_size != stored.stored_size:
        return f"{stored.file}: has {path.stat().st_size} bytes instead of {stored.stored_size}"
    if verify:
        try:
            content(folder, stored)
        except (OSError, ValueError) as error:
            return str(error)
    return ""
