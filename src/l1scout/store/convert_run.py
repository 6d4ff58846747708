"""A run of a store as a file of any format that can be written: its sources as one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from l1scout.core.flow import Progress
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance, current, file_inputs
from l1scout.io.folder import refuse_stored
from l1scout.io.format_writer import WrittenFile, write_data
from l1scout.io.quality import ReadQuality
from l1scout.store.stored_run import RunInStore


def convert_run(
    stored: RunInStore,
    target: str | Path,
    name: str | None = None,
    *,
    accept_damaged: bool = False,
    flavour: str | None = None,
    quality: ReadQuality | None = None,
    progress: Progress = lambda _done, _of: None,
    made: Provenance | None = None,
    **options: Any,
) -> WrittenFile:
    """Write a run of a store, intermediate muons too, in memory of a chunk.

    Several sources are joined by the orbit: a stream has the orbits in which all of its sources were seen.

    Parameters
    ----------
    stored : RunInStore
    target : str or Path
        File, or folder of a Parquet data set; not in the store's folder.
    name : str, optional
        Of the format, see `l1scout.io.format_writer.writer_of`.
    accept_damaged : bool
        Convert a run of which half or more cannot be read.
    flavour : str, optional
        Of nano files, see `l1scout.io.read.read_events`.
    quality : ReadQuality, optional
        Gets the account of what was left out.
    progress : callable
        Called with the bytes read, and with those of all files.
    made : Provenance, optional
        By default that of the command that runs, with the files as inputs.
    options
        See `l1scout.io.format_writer.write_data`.

    Raises
    ------
    InputError
        If a file is damaged, the target exists in the store's folder, or its format cannot hold all of the
        data and ``drop`` is not given.
    """
    target, quality = Path(target), quality if quality is not None else ReadQuality()
    refuse_stored(target, stored.folder)
    made = replace(made or current(), inputs=file_inputs(stored.files))
    total = sum(path.stat().st_size for path in next(iter(stored.sources.values())))  # others are in step

    def chunks() -> Iterator[OrbitData]:
        progress(0, total)
        for data in stored.read(quality, intermediate=True, flavour=flavour):
            yield data
            progress(min(quality.bytes, total), total)
        quality.check(allow_damaged=accept_damaged)

    return write_data(chunks(), target, name, made=made, **options)
