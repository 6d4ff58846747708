"""What is known of a run: segments in stores and spool, refused ones, notes without data, boards' reports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from l1scout.readout.refused import REFUSED, refused_notes
from l1scout.readout.segments import Segment
from l1scout.readout.spool import read_notes
from l1scout.readout.status import BoardStatus
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.losses import board_reports
from l1scout.store.on_disk import list_folder, note_on_disk

Key = tuple[int, int, int]


@dataclass(frozen=True)
class HeldSegment:
    """A segment that a store has, or had.

    Parameters
    ----------
    store : Path
        Folder of the store.
    stored : Stored
    copies : tuple of str
        Where verified copies are.
    """

    store: Path
    stored: Stored
    copies: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """File of the segment."""
        return self.store / self.stored.file


@dataclass
class Evidence:
    """All that is known of a run.

    Parameters
    ----------
    held : list of HeldSegment
        Of each segment one, in whichever store its file is.
    waiting, refused : list of Segment
        In the spool.
    not_catalogued : list of Segment
        With a note in a store's folder and without a row in its catalogue.
    reports : list of BoardStatus
    wrong : dict of int to list of str
        What does not fit, by source.
    """

    held: list[HeldSegment] = field(default_factory=list)
    waiting: list[Segment] = field(default_factory=list)
    refused: list[Segment] = field(default_factory=list)
    not_catalogued: list[Segment] = field(default_factory=list)
    reports: list[BoardStatus] = field(default_factory=list)
    wrong: dict[int, list[str]] = field(default_factory=dict)

    @property
    def sources(self) -> list[int]:
        """Source ids, in order."""
        segments = (
            *(h.stored.segment for h in self.held),
            *self.waiting,
            *self.refused,
            *self.not_catalogued,
        )
        return sorted({s.source for s in segments} | {n for r in self.reports for n in r.sources})

    def of_source(self, source: int) -> "Evidence":
        """Return what is known of one source."""

        def own(segments: Iterable[Segment]) -> list[Segment]:
            return [s for s in segments if s.source == source]

        return Evidence(
            [h for h in self.held if h.stored.segment.source == source],
            own(self.waiting),
            own(self.refused),
            own(self.not_catalogued),
            [r for r in self.reports if source in r.sources],
            {source: self.wrong.get(source, [])},
        )


def _spools(spool: Path) -> list[Path]:
    """Return a spool, and those of several sources below it."""
    below = sorted(spool.iterdir()) if spool.is_dir() else []
    return [spool, *(folder for folder in below if folder.is_dir() and folder.name != REFUSED)]


def collect_evidence(run: int, stores: Sequence[Path], spool: Path | None, boards: Path | None) -> Evidence:
    """Collect what is known of a run.

    Parameters
    ----------
    run : int
    stores : sequence of Path
        Folders of stores: a segment that several have is counted once.
    spool : Path, optional
        Folder where segments may still wait.
    boards : Path, optional
        Folder with the last status of each board process (``board-*.json``).

    Raises
    ------
    InputError
        If a catalogue is missing or damaged.
    """
    found = Evidence(reports=board_reports(boards, run) if boards else [])
    by_key: dict[Key, HeldSegment] = {}
    for store in stores:
        catalogue = Catalogue(store)
        try:
            catalogue.check()
            for stored in catalogue.segments(run):
                copies = tuple(catalogue.copies(stored)) if stored.deleted is not None else ()
                _add(HeldSegment(store, stored, copies), by_key, found)
        finally:
            catalogue.close()
    found.held = [by_key[key] for key in sorted(by_key)]
    if spool:
        # what is stored too was acknowledged, and the answer was cut
        for folder in _spools(spool):
            waiting = [s for s in read_notes(folder, waiting=True) if s.run == run]
            found.waiting += [s for s in waiting if s.key not in by_key]
            found.refused += [note.segment for _, note in refused_notes(folder) if note.segment.run == run]
    known = by_key.keys() | {s.key for s in found.waiting}
    for store in stores:
        _not_catalogued(store, run, set(known), found)
    return found


def _add(new: HeldSegment, by_key: dict[Key, HeldSegment], found: Evidence) -> None:
    """Add a segment, unless another store has it already."""
    segment = new.stored.segment
    known = by_key.setdefault(segment.key, new)
    if known is new:
        return
    if known.stored.segment != segment and not (known.stored.fault or new.stored.fault):
        line = f"{segment.name}: is another one in {new.store} than in {known.store}"
        found.wrong.setdefault(segment.source, []).append(line)
    elif _rank(new) > _rank(known):
        by_key[segment.key] = new


def _rank(held: HeldSegment) -> tuple[bool, bool]:
    """Return how good a store's segment is: with nothing wrong, and with its file."""
    return not held.stored.fault, held.stored.deleted is None and held.path.is_file()


def _not_catalogued(store: Path, run: int, known: set[Key], found: Evidence) -> None:
    """Look for segments in the folder of a store that neither its catalogue nor the spool has."""
    folder = list_folder(store / f"run{run:06d}")
    for files in folder.segments.values():
        if files.key in known:
            continue
        note = note_on_disk(folder, files)
        if note:
            found.not_catalogued.append(note.segment)
            what = (
                "lies in the store and is not in its catalogue" if files.sizes else "has a note and no data"
            )
        else:
            what = "lies in the store without a note and is not in its catalogue"
        line = f"{files.name}: {what} (see `l1scout store --rebuild`)"
        found.wrong.setdefault(files.key[1], []).append(line)
