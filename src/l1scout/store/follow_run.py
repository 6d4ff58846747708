"""Files of a run as they arrive in a store."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

from l1scout.errors import InputError
from l1scout.store.catalogue import FILE, Catalogue, Stored

POLL_S = 0.5


def follow_run(
    folder: Path, run: int, source: int | None = None, *, stop: Event | None = None, poll_s: float = POLL_S
) -> Iterator[Path]:
    """Yield the files of a run in a store's folder in order, those that are there and those that come.

    It ends behind the last segment of the run. A run that is not there yet is waited for.

    Parameters
    ----------
    folder : Path
    run : int
    source : int, optional
        Source id; needed if the run has several.
    stop : Event, optional
        Once it is set, ends as soon as all files that are there were given.
    poll_s : float
        Time between two looks into the catalogue, in s.

    Raises
    ------
    InputError
        If there is no catalogue, the run has several sources of which none is chosen, or a segment was
        deleted before it could be read.
    """
    stop = stop or Event()
    if not (folder / FILE).exists():
        msg = f"{folder}: no catalogue ({FILE}) there; name the store's folder"
        raise InputError(msg)
    given: set[tuple[int, int, int]] = set()
    while True:
        stopping = stop.is_set()
        segments = _segments(folder, run, source)
        for stored in segments:
            if stored.segment.key not in given:
                given.add(stored.segment.key)
                yield _file(folder, stored)
        if stopping or any(s.segment.last for s in segments):
            return
        stop.wait(poll_s)


def _segments(folder: Path, run: int, source: int | None) -> list[Stored]:
    """Return the segments of one source that are there, in order."""
    catalogue = Catalogue(folder)
    try:
        segments = catalogue.segments(run)
    finally:
        catalogue.close()
    sources = sorted({s.segment.source for s in segments})
    if source is None and len(sources) > 1:
        msg = (
            f"{folder}: run {run} has several sources ({', '.join(map(str, sources))}); choose one, such as "
            f"--source {sources[0]}"
        )
        raise InputError(msg)
    return [s for s in segments if source in (None, s.segment.source)]


def _file(folder: Path, stored: Stored) -> Path:
    """Return the file of a segment, which may have been compressed since the catalogue was read."""
    path = folder / stored.file
    if stored.deleted is None and not path.exists():
        catalogue = Catalogue(folder)
        try:
            now = catalogue.get(stored.segment.key)
        finally:
            catalogue.close()
        path = folder / now.file if now else path
        stored = now or stored
    if stored.deleted is not None:
        msg = f"{path}: was deleted before it was read; begin again with a copy of the run"
        raise InputError(msg)
    return path
