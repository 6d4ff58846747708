"""Find the files of a run in a store, to analyse them."""

from pathlib import Path

from l1scout.errors import InputError
from l1scout.store.catalogue import Catalogue


def stored_run(folder: Path, run: int, source: int | None = None) -> tuple[list[Path], list[str]]:
    """Return the files of a run in a store's folder, in order, and what is missing of it.

    Parameters
    ----------
    folder : Path
    run : int
    source : int, optional
        Source id; needed if the run has several.

    Raises
    ------
    InputError
        If there is no catalogue, the run is unknown, comes from several sources of which none is
        chosen, or all of it was deleted.
    """
    catalogue = Catalogue(folder)
    try:
        segments = catalogue.segments(run)
        known = sorted({row["run"] for row in catalogue.runs()})
    finally:
        catalogue.close()
    if not segments:
        listed = ", ".join(map(str, known[-5:])) or "none"
        msg = f"{folder}: run {run} is not in this store; the latest runs are {listed} (see `l1scout runs`)"
        raise InputError(msg)
    sources = sorted({s.segment.source for s in segments})
    listed = ", ".join(map(str, sources))
    if source is None and len(sources) > 1:
        msg = (
            f"{folder}: run {run} has several sources ({listed}), whose orbits would count twice; "
            f"choose one, such as --source {sources[0]}"
        )
        raise InputError(msg)
    if source is not None and source not in sources:
        msg = f"{folder}: run {run} has no source {source}; it has {listed}"
        raise InputError(msg)
    segments = [s for s in segments if source in (None, s.segment.source)]
    here = [folder / s.file for s in segments if s.deleted is None]
    if not here:
        msg = f"{folder}: all {len(segments)} segments of run {run} were deleted here; analyse their copies"
        raise InputError(msg)
    gone = len(segments) - len(here)
    return here, [f"{gone} of {len(segments)} segments of run {run} were deleted here"] if gone else []
