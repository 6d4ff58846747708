"""`FormatWriter`: how a file format is written, and `WRITERS`, the registry of formats that can be.

A format is one module of `l1scout.io.writers`, or an entry point of the group ``l1scout.writers`` in another
package. Everything follows from its writer: that ``l1scout convert`` writes files of the format, and what it
says would be lost.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from l1scout.core.joint_rows import joint_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.core.provenance import Provenance, current, joint_origin
from l1scout.core.registry import Registry
from l1scout.errors import InputError
from l1scout.files import complete_folder, complete_or_nothing


@dataclass(frozen=True)
class WriteJob:
    """How a file is to be written.

    Parameters
    ----------
    made : Provenance
        Is written into the file.
    options : mapping of str to object
        Those of the format, see `FormatWriter.options`.
    empty_crossings : bool
        Write all crossings of the orbits that the data cover, those without an object too.
    run_number : int, optional
        Of data that do not state their run.
    """

    made: Provenance
    options: Mapping[str, Any] = field(default_factory=dict)
    empty_crossings: bool = False
    run_number: int | None = None


@dataclass
class WrittenFile:
    """What was written.

    Parameters
    ----------
    format : str
        Title of the format.
    crossings : int, optional
        With an object of any stream; None where bytes were copied.
    objects : dict of str to int
        By stream.
    orbits : int, optional
        That the data stand for, by their muons or first stream; None if the input does not tell.
    simulated : bool, optional
    lost : list of str
        What the format could not hold, and was left out as the user accepted.
    copied : object, optional
        What `l1scout.io.archive` says of a stored file whose bytes are the same in the archive.
    """

    format: str
    crossings: int | None = 0
    objects: dict[str, int] = field(default_factory=dict)
    orbits: int | None = 0
    simulated: bool | None = None
    lost: list[str] = field(default_factory=list)
    copied: Any = None


class FormatWriter(ABC):
    """How files of a format are written.

    Attributes
    ----------
    name : str
        In the registry, such as ``scouting-nano``; a reader of this name, if there is one, reads the files.
    title : str
        For people, such as "L1 scouting nano (TTree)".
    suffixes : tuple of str
        A target with such a suffix has this format by default; "" is a folder.
    is_folder : bool
        Whether a folder is written, rather than a file.
    keeps_empty_crossings : bool
        Whether crossings without an object can be written.
    options : mapping of str to str
        Options of the format and what they do.
    advice : str
        Ends the message that something would be lost: which option of the format keeps more of it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    is_folder: ClassVar[bool] = False
    keeps_empty_crossings: ClassVar[bool] = False
    options: ClassVar[Mapping[str, str]] = {}
    advice: ClassVar[str] = ""

    @abstractmethod
    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterable[str]:
        """Name what files of this format cannot hold of some data: columns as ``muon.hwIso``, and others."""

    @abstractmethod
    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:
        """Write data, a chunk at a time; what the format cannot hold is left out.

        Parameters
        ----------
        chunks : iterator of OrbitData
            In order of time, all of the same streams.
        target : Path
            File, or empty folder, to write to: it gets its name when this returns.
        job : WriteJob

        Raises
        ------
        InputError
            If the data cannot be written, for a reason that no option mends.
        """


WRITERS: Registry[FormatWriter] = Registry("writers", "l1scout.io.writers", lambda: FormatWriter)
"""All formats that can be written, by name."""


def writer_of(target: Path, name: str | None = None) -> FormatWriter:
    """Return a writer by its name, or by the suffix of the target.

    Raises
    ------
    InputError
        If there is none of this name, or the suffix does not tell.
    """
    if name is not None:
        return WRITERS.find(name)
    suffix = "" if target.is_dir() else target.suffix
    found = next((w for w in WRITERS.values() if suffix in w.suffixes), None)
    if found is None:
        known = ", ".join(f"{s or '(none: a folder)'} {w.name}" for w in WRITERS.values() for s in w.suffixes)
        msg = f"{target}: its suffix does not tell the format ({known}): name one of {', '.join(WRITERS)}"
        raise InputError(msg)
    return found


def write_data(
    chunks: Iterable[OrbitData],
    target: str | Path,
    name: str | None = None,
    *,
    drop: bool = False,
    empty_crossings: bool = False,
    run_number: int | None = None,
    made: Provenance | None = None,
    **options: Any,
) -> WrittenFile:
    """Write data to a file (or folder), which appears when it is complete; one chunk is in memory.

    Parameters
    ----------
    chunks : iterable of OrbitData
        In order of time. A stream that the first chunk does not have is refused; one that is missing later
        has no objects there.
    target : str or Path
        Is overwritten if it is there.
    name : str, optional
        Of the format, a key of `WRITERS`; by default that of the target's suffix.
    drop : bool
        Leave out what the format cannot hold.
    empty_crossings : bool
        See `WriteJob`.
    run_number : int, optional
        Run of the crossings that do not state theirs.
    made : Provenance, optional
        By default that of the command that runs.
    options
        Of the format, see `FormatWriter.options`; those that are None or False are not given.

    Raises
    ------
    InputError
        If there is no such format or option, the target cannot be written, or the format cannot hold all of
        the data: the message lists what would be lost.
    """
    target, writer = Path(target), writer_of(Path(target), name)
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    for option in given:
        if option not in writer.options:
            have = ", ".join(writer.options) or "none"
            msg = f"{target}: {writer.title} has no option {option}; it has {have}"
            raise InputError(msg)
    if empty_crossings and not writer.keeps_empty_crossings:
        titles = ", ".join(w.name for w in WRITERS.values() if w.keeps_empty_crossings)
        msg = f"{target}: {writer.title} has no rows for empty crossings; these have: {titles}"
        raise InputError(msg)
    job = WriteJob(made or current(), given, empty_crossings, run_number)
    done = WrittenFile(writer.title)
    checked = _checked(chunks, target, writer, job, done, drop=drop)
    with (complete_folder if writer.is_folder else complete_or_nothing)(target) as part:
        writer.write(checked, part, job)
    return done


def _checked(
    chunks: Iterable[OrbitData],
    target: Path,
    writer: FormatWriter,
    job: WriteJob,
    done: WrittenFile,
    *,
    drop: bool,
) -> Iterator[OrbitData]:
    """Pass data on, all with the same streams; count them, and what the format cannot hold."""
    first: OrbitData | None = None
    origins: set[bool | None] = set()
    for data in chunks:
        first = first or data
        data = data if job.run_number is None else _numbered(data, job.run_number)
        data = _same_streams(data, first, target)
        every = list(writer.losses(data, job.options))
        if data.streams and all(f"stream {name}" in every for name in data.streams):
            msg = (
                f"{target}: {writer.title} cannot hold {', '.join(data.streams)}: the input has nothing else"
            )
            raise InputError(msg)
        lost = [loss for loss in every if loss not in done.lost]
        if lost and not drop:
            advice = f", or {writer.advice}" if writer.advice else ""
            msg = (
                f"{target}: {writer.title} cannot hold {', '.join(lost)}: "
                f"accept the loss with --drop (drop=True){advice}"
            )
            raise InputError(msg)
        done.lost += lost
        _count(data, done)
        origins |= data.origins
        done.simulated = joint_origin(origins)
        yield data
    if first is None:
        msg = f"{target}: there is nothing to write: the input has no data"
        raise InputError(msg)


def _numbered(data: OrbitData, run: int) -> OrbitData:
    """Return data whose crossings without a run are of a given one."""

    def of_run(batch: OrbitBatch) -> OrbitBatch:
        return replace(batch, run=np.where(batch.run == 0, run, batch.run))

    streams = {name: of_run(batch) for name, batch in data.streams.items()}
    flags = None if data.selections is None else of_run(data.selections)
    return replace(data, streams=streams, selections=flags)


def _same_streams(data: OrbitData, first: OrbitData, target: Path) -> OrbitData:
    """Return data with the streams of the first ones (InputError if they have more)."""
    more = [name for name in data.streams if name not in first.streams]
    if more:
        msg = (
            f"{target}: the data before {data.source or 'the rest'} have no stream {', '.join(more)}: "
            "write the parts as files of their own, or name the file with most streams first"
        )
        raise InputError(msg)
    if len(data.streams) == len(first.streams):
        return data
    missing = {n: nothing_of(b) for n, b in first.streams.items() if n not in data.streams}
    return replace(data, streams={**data.streams, **missing})


def nothing_of(like: OrbitBatch) -> OrbitBatch:
    """Return a batch of no orbits with the columns of another."""
    none = np.zeros(0, np.int64)
    columns = {name: values[:0] for name, values in like.columns.items()}
    orbits = None if like.n_orbits is None else 0
    return OrbitBatch(none, none, np.zeros(1, np.int64), columns, n_orbits=orbits)


def _count(data: OrbitData, done: WrittenFile) -> None:
    full = [batch.take(np.flatnonzero(batch.counts)) for batch in data.streams.values()]
    done.crossings = (done.crossings or 0) + len(joint_rows(full))
    for name, batch in data.streams.items():
        done.objects[name] = done.objects.get(name, 0) + batch.n_objects
    orbits = data.main.n_orbits
    done.orbits = None if orbits is None or done.orbits is None else done.orbits + orbits


def other_parts(data: OrbitData, *, selections: bool = False) -> list[str]:
    """Name what data have beside their streams; `selections` says that the format has flags of selections."""
    lost = [] if data.offline is None else ["offline muons"]
    if data.selections is not None and not selections:
        lost += [f"selection {name}" for name in data.selections.columns]
    return lost


def unknown_orbits(data: OrbitData) -> list[str]:
    """Name the streams of which it is not known which orbits without objects were seen."""
    lost = []
    for name, batch in data.streams.items():
        if batch.orbits_seen() is None and batch.n_orbits != np.unique(batch.orbit).size:
            what = "are not stated" if batch.n_orbits is None else "have no known numbers"
            lost.append(f"orbits without {name}s ({what} by the input)")
    return lost


def intermediate_muons(data: OrbitData) -> list[str]:
    """Name intermediate muons, if data have any."""
    muons = data.streams.get(MUON)
    if muons is None or "intermediate" not in muons.columns or not np.any(muons["intermediate"]):
        return []
    return ["intermediate muons"]
