"""`Reader`: what a file format is to l1scout, and `READERS`, the registry of formats.

A format is one module of `l1scout.io.readers`, or an entry point of the group ``l1scout.readers`` in another
package. Everything follows from its reader: that files of the format are recognized, described by
``l1scout inspect``, read by every command, taken from folders, compared with a model's training, and given
new columns.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from l1scout.core.flow import Progress
from l1scout.core.orbit_data import MUON, OrbitData, Origin
from l1scout.core.provenance import Provenance
from l1scout.core.registry import Registry
from l1scout.errors import InputError, ScoutingWarning, printable
from l1scout.io.conditions import Conditions
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.summary import summarize

ROWS = 100_000
"""Rows that are read at a time by default."""
Columns = dict[str, NDArray[Any]]
Compute = Callable[[Columns], Columns]


@dataclass(frozen=True)
class NewColumns:
    """New columns for the L1 muons of a file.

    Parameters
    ----------
    compute : callable
        From the hardware columns of some L1 muons to new columns of the same length, float32, int32 or bool;
        the same names each time.
    rows : int
        Rows that are read at a time.
    progress : callable
        Called with the rows done and the rows in all after every chunk.
    made : Provenance
        Record that is written into the new file.
    """

    compute: Compute
    rows: int
    progress: Progress
    made: Provenance

    def __call__(self, path: Path, hardware: Mapping[str, NDArray[Any]], present: set[str]) -> Columns:
        """Return the new columns of some L1 muons.

        Raises
        ------
        InputError
            If the file at `path` has such columns already, among those `present`.
        TypeError
            If they do not have the type and the length that they must have.
        """
        n = len(hardware["hwPt"])
        new = {name: np.asarray(values) for name, values in self.compute(dict(hardware)).items()}
        for name, values in new.items():
            if values.shape != (n,) or values.dtype.str[1:] not in ("f4", "i4", "b1"):
                msg = f"column {name} is {values.dtype} {values.shape}, not float32, int32 or bool ({n},)"
                raise TypeError(msg)
        if twice := present & set(new):
            msg = f"{path}: already has {', '.join(sorted(twice))}; start from the original file"
            raise InputError(msg)
        return new


@dataclass(frozen=True)
class Rewritten:
    """What was written: title of the format, tree (ROOT only), rows, L1 muons, and the new columns."""

    format: str
    tree: str
    rows: int
    muons: int
    columns: tuple[str, ...]


@runtime_checkable
class Reader(Protocol):
    """A file format. Derive from `FormatReader`, which has everything but the first three and `detect`.

    Attributes
    ----------
    name : str
        In the registry, such as ``l1ntuple``.
    title : str
        For people, such as "L1Ntuple".
    streams : tuple of str
        Names of the streams whose objects a file may hold; empty for files without any.
    offline : bool
        Whether a file may hold offline muons.
    triggered : bool
        Whether a row is a triggered event; if not, the rows are crossings as they came.
    counts_orbits : bool
        Whether files tell how many orbits they stand for, so that rates can be made.
    order : int
        Readers with lower numbers are asked first: 0 if `detect` recognizes a mark that no other format has,
        1 if it judges whether the first bytes are plausible, 2 if it has to search the file.
    removes_duplicates : bool
        Whether `read` itself leaves out orbits that were read before. If not, this is done row by row.
    adds_columns : bool
        Whether copies with new columns can be made; see `add_columns`.
    options : mapping of str to str
        Names of the options that a user can give for a file, and what they mean; see `InputFile.options`.
    """

    name: str
    title: str
    streams: tuple[str, ...]
    offline: bool
    triggered: bool
    counts_orbits: bool
    order: int
    removes_duplicates: bool
    adds_columns: bool
    options: Mapping[str, str]

    def detect(self, file: InputFile) -> bool:
        """Return whether a file has this format, by its content; InputError if it has, but is damaged."""

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read the objects of a file, a chunk of about `rows` rows at a time.

        What is left out is counted in `quality`. Chunks state their origin (`OrbitData.origin`), and batches
        whether they are simulated (`OrbitBatch.simulated`): True or False only if the file states it.
        """

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what a file holds, for ``l1scout inspect`` and JSON."""

    def conditions(self, file: InputFile) -> Conditions:
        """Return under which conditions the L1 muons of a file were made, as far as it tells."""

    def add_columns(self, file: InputFile, target: Path, new: NewColumns) -> Rewritten:
        """Write a copy of a file whose L1 muons have new columns."""


class FormatReader:
    """Base of readers: a format without options that holds muons in crossings."""

    name: str
    title: str
    streams: tuple[str, ...] = (MUON,)
    offline: bool = False
    triggered: bool = False
    counts_orbits: bool = False
    order: int = 0
    removes_duplicates: bool = False
    adds_columns: bool = False
    options: Mapping[str, str] = {}

    def detect(self, file: InputFile) -> bool:
        """Return whether a file has this format, by its content."""
        raise NotImplementedError

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:  # noqa: ARG002
        """Read the objects of a file; the base refuses."""
        msg = f"{file.path}: {self.title}: holds no muons; `l1scout inspect` says what it holds"
        raise InputError(msg)

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the objects of a file are; see `l1scout.io.summary.summarize`."""
        quality = ReadQuality()
        out = summarize(read_new(self, file, ROWS, quality), quality)
        names = ("duplicate_orbits", "duplicate_events", "repeated_orbits", "other_particles")
        counts = {n: getattr(quality, n) for n in names}
        if out["orbits"] is None:  # without orbit numbers nothing is compared: not known, rather than 0
            counts |= dict.fromkeys(names[:3])
        return out | counts

    def conditions(self, file: InputFile) -> Conditions:  # noqa: ARG002
        """Return the conditions of a file: unknown."""
        return Conditions()

    def add_columns(self, file: InputFile, target: Path, new: NewColumns) -> Rewritten:  # noqa: ARG002
        """Write a copy of a file with new columns; the base refuses."""
        titles = ", ".join(sorted(r.title for r in READERS.values() if r.adds_columns))
        msg = f"{file.path}: {self.title}: columns can be added to files of these formats: {titles}"
        raise InputError(msg)


READERS: Registry[Reader] = Registry("readers", "l1scout.io.readers", lambda: Reader)
"""All file formats by name."""


def reads_objects(reader: Reader) -> bool:
    """Return whether files of a format hold objects: those of a stream, or offline muons."""
    return bool(reader.streams) or reader.offline


def read_new(reader: Reader, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
    """Read the objects of a file without the rows that were read before."""
    chunks = reader.read(file, rows, quality)
    return chunks if reader.removes_duplicates else quality.new_only(chunks, triggered=reader.triggered)


def origin(file: InputFile, stated: Mapping[str, Any] | None = None, note: str = "") -> Origin:
    """Return where the data of a file come from.

    Parameters
    ----------
    file : InputFile
    stated : mapping, optional
        What the file states of itself: its ``seed`` (int) and ``version`` (str) are taken.
    note : str
        Is written after the name of the file.
    """
    seed, version = (stated or {}).get("seed"), (stated or {}).get("version")
    return Origin(
        f"{file.path} {note}".rstrip(),
        seed if isinstance(seed, int) else None,
        version if isinstance(version, str) else None,
    )


def reader_of(file: InputFile) -> Reader:
    """Return the reader of a file: the first that recognizes it, those of other packages before l1scout's.

    Raises
    ------
    InputError
        If no reader does, the file is damaged, or it was given an option that its format does not have.
    """
    return file.once("reader", lambda: _checked_options(file, _find(file)))


def _find(file: InputFile) -> Reader:
    readers = sorted(READERS.values(), key=_precedence)
    found = next((reader for reader in readers if _detects(reader, file)), None)
    if found is not None:
        return found
    if file.is_root:
        classes: dict[str, str] = file.once("classes", dict)
        held = ", ".join(f"{name} ({kind})" for name, kind in list(classes.items())[:4]) or "nothing"
        msg = f"{file.path}: ROOT file with no L1 or offline muons known here; it holds {printable(held)}"
    elif file.compression:
        msg = f"{file.path}: compressed, and not a .raw file nor records inside; decompress it first"
    elif file.head.startswith((b"\xff\xfe", b"\xfe\xff")):
        msg = f"{file.path}: UTF-16 text; save it as UTF-8"
    else:
        titles = ", ".join(sorted(r.title for r in readers))
        msg = f"{file.path}: unknown format (begins {file.head[:16]!r}); known are {titles}"
    raise InputError(msg)


def _detects(reader: Reader, file: InputFile) -> bool:
    """Ask a reader whether a file has its format; one of another package that fails has not recognized it."""
    try:
        return reader.detect(file)
    except InputError:
        raise
    except Exception as error:
        package = READERS.package_of(reader.name)
        if package == "l1scout":
            raise
        why = printable(f"{type(error).__name__}: {error}", 120)
        msg = f"{file.path}: left out the reader {reader.name} of {package}, which failed ({why})"
        warnings.warn(msg, ScoutingWarning, stacklevel=2)
        return False


def _precedence(reader: Reader) -> tuple[int, bool, str]:
    return reader.order, READERS.package_of(reader.name) == "l1scout", reader.name


def _checked_options(file: InputFile, reader: Reader) -> Reader:
    for name, value in file.options.items():
        if name in reader.options or value is False:
            continue
        titles = ", ".join(sorted(r.title for r in READERS.values() if name in r.options))
        of = f"it is an option of {titles}" if titles else "no format has it"
        msg = f"{file.path}: {reader.title} has no option {name}; {of}"
        raise InputError(msg)
    return reader
