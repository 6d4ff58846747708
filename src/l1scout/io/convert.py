"""Files of any format that holds scouting data, converted to any that can be written."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from l1scout.core.flow import Progress
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance, current, file_inputs
from l1scout.io import archive
from l1scout.io.folder import expand, refuse_input
from l1scout.io.format_writer import WRITERS, WrittenFile, write_data, writer_of
from l1scout.io.input_file import InputFile
from l1scout.io.packet_files import are_of_one_run, read_as_one
from l1scout.io.quality import ReadQuality
from l1scout.io.read import read_events
from l1scout.io.reader import ROWS, reader_of


def convert(
    sources: Sequence[str | Path],
    target: str | Path,
    name: str | None = None,
    *,
    drop: bool = False,
    empty_crossings: bool = False,
    flavour: str | None = None,
    accept_damaged: bool = False,
    rows: int = ROWS,
    quality: ReadQuality | None = None,
    progress: Progress = lambda _done, _of: None,
    made: Provenance | None = None,
    **options: Any,
) -> WrittenFile:
    """Convert files to another format, in memory of a chunk; several files become one.

    Orbits that were read before, and those with a missing link, are left out and counted in `quality`. A
    ``.raw`` file or records become an archive, and an archive becomes these, byte by byte.

    Parameters
    ----------
    sources : sequence of str or Path
        Files and folders, in order of time.
    target : str or Path
    name : str, optional
        Of the format, see `l1scout.io.format_writer.writer_of`.
    drop, empty_crossings
        See `l1scout.io.format_writer.write_data`.
    flavour : str, optional
        Of nano files, see `l1scout.io.read.read_events`.
    accept_damaged : bool
        Convert files of which half or more cannot be read.
    rows : int
        Rows that are read at a time.
    quality : ReadQuality, optional
        Gets the account of what was left out.
    progress : callable
        Called with the bytes read, and with those of all sources.
    made : Provenance, optional
        By default that of the command that runs, with the sources as inputs.
    options
        Of the format that is written, and ``run_number``, see `l1scout.io.format_writer.write_data`.

    Raises
    ------
    InputError
        If a source is damaged, the target is a source or cannot be written, or its format cannot hold all
        of the data and `drop` is not given.
    """
    target, quality = Path(target), quality if quality is not None else ReadQuality()
    files, _ = expand(map(Path, sources))
    writer = writer_of(target, name)
    refuse_input(target, files)
    made = made or current()
    made = replace(made, inputs=file_inputs(files))
    if len(files) == 1 and not drop:
        done = _same_bytes(files[0], target, writer.name, options, made, progress)
        if done is not None:
            return done
    chunks = read_inputs(files, quality, rows=rows, flavour=flavour, progress=progress)

    def checked() -> Iterator[OrbitData]:
        yield from chunks
        quality.check(allow_damaged=accept_damaged)

    return write_data(
        checked(), target, name, drop=drop, empty_crossings=empty_crossings, made=made, **options
    )


def read_inputs(
    paths: Sequence[Path],
    quality: ReadQuality,
    *,
    rows: int = ROWS,
    flavour: str | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Iterator[OrbitData]:
    """Read files one after the other with all that they hold, intermediate muons too.

    Packets of different sources are read as one.

    Parameters
    ----------
    paths : sequence of Path
    quality : ReadQuality
        Gets the account of what was left out: duplicates, and orbits with a missing link.
    rows : int
        Rows that are read at a time.
    flavour : str, optional
        Of nano files.
    progress : callable
        Called with the bytes read, and with those of all files.
    """
    quality.skip_flagged = True
    done, total = 0, sum(path.stat().st_size for path in paths)
    if not flavour and are_of_one_run(paths):
        for data in read_as_one(paths, quality, rows=rows, intermediate=True):
            quality.add(data.main)
            progress(min(quality.bytes, total), total)
            yield data
        return
    for path in paths:
        with InputFile(path, flavour=flavour) as file:
            if quality.is_duplicate_file(path):
                continue
            quality.files += 1
            size, before = path.stat().st_size, quality.bytes
            for data in read_events(file, rows=rows, intermediate=True, quality=quality):
                quality.add(data.main)
                progress(done + min(quality.bytes - before, size), total)
                yield data
            done += size
    progress(total, total)


def _same_bytes(
    path: Path, target: Path, name: str, options: dict[str, Any], made: Provenance, progress: Progress
) -> WrittenFile | None:
    """Convert a stored file to an archive, or an archive to its stored file; None if it is neither."""
    given = {key for key, value in options.items() if value is not None and value is not False}
    with InputFile(path) as file:
        reader = reader_of(file)
        if name == "archive" and reader.name in ("raw", "records") and given <= {"plain"}:
            done = archive.to_parquet(file, target, plain="plain" in given, made=made, progress=progress)
        elif reader.name == "archive" and not given and name == _stored_format(file):
            done = archive.to_raw(file, target, progress=progress)
        else:
            return None
    objects = {"muon": done.final_muons + done.intermediate_muons}
    orbits = done.orbits if done.orbits or name == "raw" else None
    return WrittenFile(WRITERS[name].title, None, objects, orbits, done.simulated, [], done)


def _stored_format(file: InputFile) -> str:
    return "raw" if archive.metadata(file)["header"] else "records"
