"""Find the files of a run in a store, and read them: several sources as one."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.streams.muon import MUONS
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS
from l1scout.io.batches import read_batches
from l1scout.io.built_data import BuildAccount, build_data
from l1scout.io.frame_parts import FramePart, read_frame_parts
from l1scout.io.orbit_building import Prescale
from l1scout.io.quality import ReadQuality
from l1scout.store.catalogue import Catalogue, Stored
from l1scout.store.losses import with_losses


class RunInStore(NamedTuple):
    """A run in a store.

    Parameters
    ----------
    files : list of Path
        In order of source and time.
    notes : list of str
        What is missing of it.
    sources : mapping of int to list of Path
        The files of each source.
    prescales : mapping of int to Prescale
        Sources of which only some orbits were sent, as their settings say.
    framed : frozenset of int
        Sources of which all files are ``.raw`` files with records of their streams.
    name : str
        What its data are named after.
    folder : Path
        The store's.
    """

    files: list[Path]
    notes: list[str]
    sources: Mapping[int, list[Path]]
    prescales: Mapping[int, Prescale]
    framed: frozenset[int]
    name: str
    folder: Path

    def read(
        self, quality: ReadQuality, account: BuildAccount | None = None, **options: Any
    ) -> Iterator[OrbitData]:
        """Read the run, in constant memory; several sources are joined by the orbit.

        Parameters
        ----------
        quality : ReadQuality
            Gets the account; of several sources that of the first, and what is damaged or missing of all.
        account : BuildAccount, optional
            Is kept up to date if sources are joined.
        options
            As `io.batches.read_batches` takes them.
        """
        if len(self.sources) == 1:
            yield from with_losses(read_batches(self.files, quality=quality, **options))
            return
        first = next(iter(self.sources))
        own = {source: quality if source == first else ReadQuality() for source in self.sources}
        account = account or BuildAccount()
        parts: dict[int, Iterator[OrbitData | FramePart]] = {}
        for source, files in self.sources.items():
            if source in self.framed:
                parts[source] = read_frame_parts(files, source, own[source])
            else:
                parts[source] = with_losses(read_batches(files, quality=own[source], **options))
        yield from build_data(parts, prescales=self.prescales, name=self.name, account=account)
        quality.damage(account.corrupt, account.corrupt_bytes)
        for source, other in own.items():
            if source != first:
                quality.damage(other.damaged_parts, other.damaged_bytes)
                quality.bytes += other.bytes
                quality.files += other.files
                quality.missing_orbits += other.missing_orbits


def stored_run(folder: Path, run: int, source: int | None = None) -> RunInStore:
    """Return the files of a run in a store's folder, in order, and what is missing of it.

    Parameters
    ----------
    folder : Path
    run : int
    source : int, optional
        Source id; without it, all sources if their orbits can be joined: if each is that of its streams.

    Raises
    ------
    InputError
        If there is no catalogue, the run is unknown, has sources that cannot be joined and of which none is
        chosen, or all of it was deleted.
    """
    catalogue = Catalogue(folder)
    try:
        segments = catalogue.segments(run)
        known = sorted({row["run"] for row in catalogue.runs()})
        settings = catalogue.settings(run)
    finally:
        catalogue.close()
    if not segments:
        listed = ", ".join(map(str, known[-5:])) or "none"
        msg = f"{folder}: run {run} is not in this store; the latest runs are {listed} (see `l1scout runs`)"
        raise InputError(msg)
    sources = sorted({s.segment.source for s in segments})
    listed = ", ".join(map(str, sources))
    if source is None and len(sources) > 1 and not all(is_of_its_streams(s) for s in segments):
        msg = (
            f"{folder}: run {run} has several sources ({listed}), whose orbits would count twice; "
            f"choose one, such as --source {sources[0]}"
        )
        raise InputError(msg)
    if source is not None and source not in sources:
        msg = f"{folder}: run {run} has no source {source}; it has {listed}"
        raise InputError(msg)
    segments = [s for s in segments if source in (None, s.segment.source)]
    here = [s for s in segments if s.deleted is None]
    if not here:
        msg = f"{folder}: all {len(segments)} segments of run {run} were deleted here; analyse their copies"
        raise InputError(msg)
    gone = len(segments) - len(here)
    by_source: dict[int, list[Path]] = {}
    for stored in here:
        by_source.setdefault(stored.segment.source, []).append(folder / stored.file)
    prescales = {s: p for s in by_source if (p := prescale(settings.get(s, ""))) is not None}
    notes = [f"{gone} of {len(segments)} segments of run {run} were deleted here"] if gone else []
    other = {s.segment.source for s in here if not _is_framed(s)}
    framed = frozenset(by_source) - other
    files = [folder / s.file for s in here]
    return RunInStore(files, notes, by_source, prescales, framed, f"{folder}: run {run}", folder)


def _is_framed(stored: Stored) -> bool:
    return stored.segment.wire_format == OBJECT_PACKETS.name and stored.method != "parquet"


def is_of_its_streams(stored: Stored) -> bool:
    """Return whether a segment has objects of the streams of its source id, and of no others."""
    return stored.segment.wire_format == OBJECT_PACKETS.name or stored.segment.source in MUONS.source_ids


def prescale(settings: str) -> Prescale | None:
    """Return which orbits a source was to have, by the settings that its readout gave the store."""
    try:
        board = tomllib.loads(settings).get("board", {})
    except tomllib.TOMLDecodeError:
        return None
    keep, of = board.get("keep_orbits", 1), board.get("of_orbits", 1)
    return (keep, of) if isinstance(keep, int) and isinstance(of, int) and 1 <= keep < of else None
