"""One way to read files, whatever their format."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.io.conditions import Conditions
from l1scout.io.input_file import InputFile, opened
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import ROWS, Reader, read_new, reader_of, reads_objects


def detect(path: str | Path | InputFile, **options: Any) -> Reader:
    """Return the reader of a file: what it is, told from its content; the name plays no part.

    Parameters
    ----------
    path : str, Path or InputFile
    options
        What is known about the file; see `read_events`.

    Raises
    ------
    InputError
        If there is no such file, or it is empty, truncated, or of no known format; if the flavour of a nano
        file is not clear; if an option is given that the format does not have.
    """
    with opened(path, **options) as file:
        return reader_of(file)


def read_events(
    path: str | Path | InputFile,
    *,
    rows: int = ROWS,
    intermediate: bool = False,
    quality: ReadQuality | None = None,
    **options: Any,
) -> Iterator[OrbitData]:
    """Read the objects of a file of any format that has them, a chunk of rows at a time.

    Parameters
    ----------
    path : str, Path or InputFile
        A file that is open already stays open.
    rows : int
        Rows a chunk: memory grows with it, not with the file. Of formats that count their orbits a
        chunk has whole orbits, at least one.
    intermediate : bool
        Give intermediate muons, too, and a column ``intermediate`` that tells them from final muons; by
        default final muons only.
    quality : ReadQuality, optional
        Counts what is left out; the same one for several files recognises orbits that overlap.
    options
        What is known about the file, such as

        - ``flavour``, "dpg" or "scouting": kind of a nano file with L1 muons, if its content does not tell
          whether hwCharge is a bit (L1-DPG nano) or a sign (scouting nano);
        - ``emulated``, bool: of an L1Ntuple, take the emulator's muons rather than the hardware's; by default
          only if it has no others.

        See `l1scout.io.reader.Reader.options`. None is not given.

    Yields
    ------
    OrbitData
        Rows whose file does not tell orbit and BX have orbit -1 and BX 1. Orbits and events that occur
        twice in the file are given once.

    Raises
    ------
    InputError
        If there is no such file, it is unknown, damaged, or holds no muons by its nature.
    """
    with ExitStack() as stack:
        file = stack.enter_context(opened(path, **options))
        reader = reader_of(file)
        if rows < 1:
            msg = f"rows must be 1 or more, not {rows}"
            raise InputError(msg)
        if not reads_objects(reader):
            msg = f"{file.path}: {reader.title}: holds no muons; `l1scout inspect` says what it holds"
            raise InputError(msg)
        chunks = read_new(reader, file, rows, quality or ReadQuality())
        return _closing(chunks if intermediate else map(final_only, chunks), stack.pop_all())


def _closing(chunks: Iterator[OrbitData], stack: ExitStack) -> Iterator[OrbitData]:
    with stack:
        yield from chunks


def conditions_of(path: str | Path | InputFile, **options: Any) -> Conditions:
    """Return under which conditions the L1 muons of a file were made; unknown if it is damaged.

    What a file states of itself comes before its run numbers.
    """
    try:
        with opened(path, **options) as file:
            return reader_of(file).conditions(file)
    except InputError:  # whoever reads the muons says what is wrong with the file
        return Conditions()
