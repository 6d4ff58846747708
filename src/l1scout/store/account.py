"""The account of a run: for every stage, what came in is what went out, or is counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from l1scout.core.provenance import DataLabel
from l1scout.readout.object_counts import ObjectCounts, sum_counts
from l1scout.readout.segments import Segment, joint_data
from l1scout.store.compress import content
from l1scout.store.evidence import Evidence, HeldSegment, collect_evidence
from l1scout.store.joined_account import JoinedOrbits, join_orbits
from l1scout.store.losses import dropped_by_board
from l1scout.store.on_disk import FILE_CHANGED, FILE_MISSING, WORKED_OUT
from l1scout.store.transfer import silent

LOSSES = ("corrupt", "missed", "dropped", "unsent", "unread", "refused")
"""Kinds of counted orbits that are lost; the others are elsewhere, or came twice."""
_MAX_DUPLICATES = 0.01


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
    alarms : list of str
        What fits and needs attention all the same: orbits that were lost, and counted.
    source : int
        Source id.
    """

    name: str
    into: int
    out: int
    counted: dict[str, int]
    data: DataLabel = "unknown"
    objects: ObjectCounts = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    source: int = 0

    def __post_init__(self) -> None:
        """Compare."""
        missing = self.into - self.out - sum(self.counted.values())
        if missing:
            self.wrong.append(f"{missing:+,} orbits unaccounted for")
        for kind in LOSSES:
            if n := self.counted.get(kind, 0):
                self.alarms.append(f"{n:,} orbits {kind} ({n / max(self.into, 1):.2%})")
        if self.counted.get("duplicate", 0) > _MAX_DUPLICATES * self.into:
            share = self.counted["duplicate"] / self.into
            self.alarms.append(f"{share:.1%} of the orbits are duplicates: two boards with one source id?")

    @property
    def lost(self) -> int:
        """Orbits that this stage lost, and counted."""
        return sum(self.counted.get(kind, 0) for kind in LOSSES)


def account(
    run: int,
    store: Path | Sequence[Path],
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
    store : Path or sequence of Path
        Folder with the catalogue; several if the readout used more than one store.
    spool : Path, optional
        Folder where segments may still wait, or were refused.
    boards : Path, optional
        Folder with the last status of each board process (``board-*.json``).
    verify : bool
        Read every file, and compare its checksums.
    progress : callable
        ``progress(done, of)``, in segments.

    Returns
    -------
    list of StageAccount
        Board, readout, wire and store of each source; none if nothing is known of the run.

    Raises
    ------
    InputError
        If there is no catalogue, or it is damaged.
    """
    stores = [store] if isinstance(store, Path) else list(store)
    evidence = collect_evidence(run, stores, spool, boards)
    stages: list[StageAccount] = []
    done = 0
    for source in evidence.sources:
        own = evidence.of_source(source)

        def advance(k: int, before: int = done) -> None:
            progress(before + k, len(evidence.held))

        stages += _stages(source, own, verify=verify, advance=advance)
        done += len(own.held)
    if joined := join_orbits(run, evidence, verify=verify):
        stages.append(_joined(joined))
    return stages


def _joined(joined: JoinedOrbits) -> StageAccount:
    """Tell how many orbits all sources have, of those that any has."""
    lacking = {"incomplete": joined.orbits - joined.complete}
    stage = StageAccount("orbits of all sources", joined.orbits, joined.complete, lacking)
    stage.alarms += [f"source {s}: {n:,} orbits of others are absent" for s, n in joined.absent.items() if n]
    if joined.not_compared:
        some = "; ".join(f"{source} ({why})" for source, why in joined.not_compared.items())
        stage.name += f", without {some}"
    return stage


def _stages(
    source: int, own: Evidence, *, verify: bool, advance: Callable[[int], None]
) -> list[StageAccount]:
    arrived = [*(h.stored.segment for h in own.held), *own.not_catalogued]
    every = sorted([*arrived, *own.waiting, *own.refused], key=lambda s: s.index)
    stages = [_board(source, own, every), _readout(source, every), _wire(own, every, arrived)]
    stages.append(_store(own, arrived, verify=verify, advance=advance))
    stages[-1].wrong += own.wrong[source]
    for stage in stages:
        stage.source = source
    return stages


def _board(source: int, own: Evidence, every: list[Segment]) -> StageAccount:
    """Compare the boards' own reports with what readout accounts for; a killed board has none."""
    name, sent = f"board of source {source}", sum(s.sent for s in every)
    lost = dropped_by_board(own.reports)
    if lost is None:
        dropped = sum(s.dropped for s in every)
        return StageAccount(f"{name}, as readout saw it", sent + dropped, sent, {"dropped": dropped})
    counted = {"dropped": lost, "unsent": sum(r.unsent for r in own.reports)}
    into = sum(r.delivered for r in own.reports) + lost
    if not all(r.confirmed for r in own.reports):
        # they had left the board, and no later packet counted them for readout
        counted["unread"] = max(into - sent - sum(counted.values()), 0)
    return StageAccount(name, into, sent, counted)


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
    if epochs := len({s.epoch for s in every} | {0}) - 1:
        readout.alarms.append(
            f"the orbit number began again {epochs} times: it wrapped, or a board restarted"
        )
    return readout


def _wire(own: Evidence, every: list[Segment], arrived: list[Segment]) -> StageAccount:
    into, out, waiting, refused = (
        sum(s.orbits for s in segments) for segments in (every, arrived, own.waiting, own.refused)
    )
    wire = _stage("wire", into, out, {"waiting_in_spool": waiting, "refused": refused}, arrived)
    wire.wrong += _gaps([s.index for s in every])
    for one, two in pairwise(sorted([*arrived, *own.waiting], key=lambda s: s.index)):
        if one.orbits and two.orbits and _absolute(two, two.first_orbit) <= _absolute(one, one.last_orbit):
            wire.wrong.append(f"segments {one.index} and {two.index} overlap")
    return wire


def _absolute(segment: Segment, orbit: int) -> int:
    """Return the number of an orbit over all epochs of the run."""
    return segment.epoch << 31 | orbit


def _gaps(indices: list[int]) -> list[str]:
    """Describe the indices that are missing between 0 and the last one; the indices rise."""
    spans = [(a + 1, b - 1) for a, b in pairwise([-1, *indices]) if b > a + 1]
    if not spans:
        return []
    some = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in spans[:5])
    n = sum(b - a + 1 for a, b in spans)
    return [f"{n} segments neither stored nor waiting: index {some}" + (", ..." if len(spans) > 5 else "")]


def _store(
    own: Evidence, arrived: list[Segment], *, verify: bool, advance: Callable[[int], None]
) -> StageAccount:
    here, moved, wrong = [], 0, []
    alarms: list[str] = []
    for k, held in enumerate(own.held):
        advance(k)
        segment, fault = held.stored.segment, held.stored.fault
        if held.stored.deleted is not None:
            moved += segment.orbits
            if not held.copies:
                wrong.append(f"{segment.name}: deleted, and no verified copy is known")
        elif fault in (FILE_CHANGED, FILE_MISSING) or (changed := _fault(held, verify=verify)):
            wrong.append(f"{segment.name}: {fault}" if fault in (FILE_CHANGED, FILE_MISSING) else changed)
            continue
        else:
            here.append(segment)
        if fault:
            (alarms if fault == WORKED_OUT else wrong).append(f"{segment.name}: {fault}")
    advance(len(own.held))
    into, out = sum(s.orbits for s in arrived), sum(s.orbits for s in here)
    store = _stage("store", into, out, {"copied_and_deleted": moved}, here)
    store.wrong += wrong
    store.alarms += alarms
    return store


def _fault(held: HeldSegment, *, verify: bool) -> str:
    path, size = held.path, held.stored.stored_size
    if not path.is_file():
        return f"{held.stored.file}: is missing"
    if path.stat().st_size != size:
        return f"{held.stored.file}: has {path.stat().st_size} bytes instead of {size}"
    if verify:
        try:
            content(held.store, held.stored)
        except (OSError, ValueError) as error:
            return str(error)
    return ""
