"""CSV files of offline muons, as CMS open data and people's spreadsheets have them: rows hold no L1 muon.

A row is an event with one to nine particles: ``pt1, eta1, phi1, Q1, pt2...``, or ``px1, py1, pz1``. The names
may be quoted, in capitals, or follow comment lines; the file may have a byte-order mark, and commas,
semicolons or tabs between its columns.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.io import columns
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin

BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_LINE_END = re.compile("\r\n|\n|\r")
"""Of the reader of the rows; ``splitlines`` also ends lines at bytes of letters such as Å."""
_PARTICLES = ("1", "2", "3", "4", "5", "6", "7", "8", "9")
_BYTES_PER_ROW = 200
_MIN_BLOCK = 1 << 16
_MUON, _ELECTRON = 13, 11
_OF_ELECTRONS = ("sigmaetaeta", "hovere", "isoecal")
"""Prefixes of quantities that only electrons have."""
_ELECTRON_MASS, _MUON_MASS = 0.000511, 0.10566
_MIN_ROWS = 20
_MAX_ENERGY = 60.0
"""GeV; the mass of particles above it is lost in the rounding of open data."""
_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_RUN = (1 << 32) - 1


@dataclass(frozen=True)
class CsvLayout:
    """Where the columns of a CSV file are.

    Parameters
    ----------
    names : tuple of str
        Of all columns, in small letters and without blanks and quotes; different from each other.
    delimiter : str
    skip : int
        Lines up to and with that of the names.
    decimal_comma : bool
    """

    names: tuple[str, ...]
    delimiter: str
    skip: int
    decimal_comma: bool = False

    @property
    def particles(self) -> tuple[str, ...]:
        """Suffixes of each particle's columns: "1", "2"..., or "" for a single particle."""
        found = [k for k in ("", *_PARTICLES) if self._has(k)]
        return tuple(found[1:] if len(found) > 1 and found[0] == "" else found)

    def _has(self, end: str) -> bool:
        polar, cartesian = ({n + end for n in names} for names in (("pt", "eta", "phi"), ("px", "py", "pz")))
        return polar <= set(self.names) or cartesian <= set(self.names)

    @property
    def is_of_muons(self) -> bool:
        """Whether the columns are those of charged particles."""
        return bool(self.particles) and all(f"q{k}" in self.names for k in self.particles)


def layout(head: bytes) -> CsvLayout | None:
    """Find the columns of a CSV file in its first bytes; None if they are not those of particles."""
    lines = _LINE_END.split(head.removeprefix(BOM).decode("latin-1"))
    skip = next((k for k, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), -1)
    if skip < 0 or "\0" in lines[skip]:
        return None
    for delimiter in _DELIMITERS:
        names = _names(next(csv.reader([lines[skip]], delimiter=delimiter, skipinitialspace=True)))
        row = lines[skip + 1] if skip + 1 < len(lines) else ""
        found = CsvLayout(names, delimiter, skip + 1, decimal_comma=delimiter != "," and "," in row)
        if found.particles:
            return found
    return None


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    out: list[str] = []
    for number, cell in enumerate(cells):
        name = cell.strip().strip("\"'").strip().lower().replace("charge", "q").replace("_", "")
        out.append(f"{name}#{number}" if name in out or not name else name)
    return tuple(out)


class DimuonCsvReader(FormatReader):
    """Reads CSV files of offline muons: as many per row as the file has.

    ``recoIsGlobal`` tells global muons (type G) from tracker muons (T), where the file does. Orbit and BX are
    unknown. Columns that are not needed are not looked at.
    """

    name, title = "dimuon-csv", "CSV of offline muons"
    streams = ()
    offline = True
    triggered = True
    removes_duplicates = True  # nothing says which event a row is

    def detect(self, file: InputFile) -> bool:
        """Return whether the file is a text with columns of charged particles."""
        found = _layout_of(file)
        return found is not None and found.is_of_muons

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read offline muons.

        Raises
        ------
        InputError
            If columns are missing or hold anything but numbers, or if the particles are electrons.
        """
        path = file.path
        with guarded(path, "not a CSV file of muons"):
            found = _layout_of(file)
            if found is None or not found.is_of_muons:
                msg = f"{path}: no columns pt1, eta1, phi1 (or px1, py1, pz1) and Q1; name them so"
                raise InputError(msg)
            if any(name.startswith(_OF_ELECTRONS) for name in found.names):
                msg = f"{path}: its particles are electrons (columns such as HoverE); l1scout reads muons"
                raise InputError(msg)
            kept = lines = 0
            for block in _blocks(file, found, rows):
                lines += block.num_rows
                for events in _events_of(file, block, found, rows, quality):
                    kept += events.offline.n_objects if events.offline else 0
                    yield events
            if not lines:
                msg = f"{path}: has no rows below the names of its columns"
                raise InputError(msg)
            if not kept:
                msg = f"{path}: its particles are electrons (PID +-11), or it has none; l1scout reads muons"
                raise InputError(msg)


def _layout_of(file: InputFile) -> CsvLayout | None:
    return file.once("csv layout", lambda: layout(file.head) if file.is_text else None)


def _events_of(
    file: InputFile, block: pa.RecordBatch, found: CsvLayout, rows: int, quality: ReadQuality
) -> Iterator[OrbitData]:
    """Yield the muons of a block of lines, `rows` at a time."""
    particles = [_particle(file.path, block, k) for k in found.particles]
    _refuse_electrons(file.path, block, found.particles)
    runs = _runs(block) if "run" in block.schema.names else None
    names = [n for n in particles[0] if n != "muon"]
    for start in range(0, block.num_rows, rows):
        part = slice(start, start + rows)
        muon = np.stack([p["muon"][part] for p in particles], axis=1).astype(np.bool_)
        quality.other_particles += int(muon.size - muon.sum())
        reco = {n: np.stack([p[n][part] for p in particles], axis=1)[muon] for n in names}
        run = None if runs is None else runs[part]
        yield _events(file, muon.sum(axis=1), reco, run)


def _blocks(file: InputFile, found: CsvLayout, rows: int) -> Iterator[pa.RecordBatch]:
    """Read the columns that are needed, as the types that they must have."""
    numbers = ("pt", "eta", "phi", "px", "py", "pz", "e", "q", "pid")
    types = {n + k: pa.float64() for k in found.particles for n in numbers} | {"run": pa.float64()}
    types |= {f"type{k}": pa.string() for k in found.particles}
    wanted = [name for name in found.names if name in types]
    options = pc.ReadOptions(
        block_size=max(rows * _BYTES_PER_ROW, _MIN_BLOCK),
        use_threads=False,
        column_names=list(found.names),
        skip_rows=found.skip,
        encoding="latin-1",  # holds every byte: comments and labels may have any
    )
    parse = pc.ParseOptions(delimiter=found.delimiter, invalid_row_handler=_is_comment)
    convert = pc.ConvertOptions(
        column_types=types,
        include_columns=wanted,
        decimal_point="," if found.decimal_comma else ".",
        check_utf8=False,
    )
    with pc.open_csv(file.stream(), options, parse, convert) as lines:
        yield from lines


def _is_comment(row: pc.InvalidRow) -> str:
    """Pass over comments and lines without a value between the rows; all else is an error."""
    text = (row.text or "").strip()
    return "skip" if text.startswith("#") or not text.strip(_DELIMITERS + " ") else "error"


def _particle(path: Path, block: pa.RecordBatch, end: str) -> dict[str, NDArray[np.float64]]:
    """Return pt, eta, phi and charge of a particle of each row, and whether it is a muon."""
    have = {n.removesuffix(end) if end else n for n in block.schema.names if n.endswith(end)}

    def read(name: str) -> NDArray[np.float64]:
        return np.asarray(block[name + end].to_numpy(zero_copy_only=False), np.float64)

    if {"pt", "eta", "phi"} <= have:
        out = {"recoPt": read("pt"), "recoEta": read("eta"), "recoPhi": read("phi")}
    else:
        px, py, pz = read("px"), read("py"), read("pz")
        pt = np.hypot(px, py)
        with np.errstate(divide="ignore", invalid="ignore"):
            out = {"recoPt": pt, "recoEta": np.arcsinh(pz / pt), "recoPhi": np.arctan2(py, px)}
    out["recoCharge"] = read("q")
    muon = np.abs(read("pid")) == _MUON if "pid" in have else np.ones(block.num_rows, np.bool_)
    if not all((np.abs(values[muon]) < _LARGEST).all() for values in out.values()):
        msg = f"{path}: has empty cells or values that are not finite"
        raise InputError(msg)
    if (out["recoPt"][muon] < 0).any() or not np.isin(out["recoCharge"][muon], (-1, 0, 1)).all():
        msg = f"{path}: has a pt below 0, or a charge that is not -1, 0 or 1"
        raise InputError(msg)
    if "type" in have:
        kinds = np.array([str(kind).strip().upper() for kind in block["type" + end].to_pylist()], "U16")
        if np.isin(kinds, ("EB", "EE")).any():
            msg = f"{path}: its particles are electrons (type EB or EE); l1scout reads muons"
            raise InputError(msg)
        out["recoIsGlobal"] = kinds == "G"
    return out | {"muon": muon}


def _runs(block: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the run of each row (InputError if that is not a whole number)."""
    numbers = np.asarray(block["run"].to_numpy(zero_copy_only=False), np.float64)
    if not np.all((numbers >= 0) & (numbers <= _LARGEST_RUN) & (numbers % 1 == 0)):
        msg = "a run is empty or no whole number; remove the column, or fill it"
        raise InputError(msg)
    return numbers.astype(np.int64)


def _refuse_electrons(path: Path, block: pa.RecordBatch, ends: Sequence[str]) -> None:
    """Refuse particles with the mass of electrons, where energies and momenta tell it and no PID does."""
    names = set(block.schema.names)
    if f"pid{ends[0]}" in names or not all({f"e{k}", f"px{k}", f"py{k}", f"pz{k}"} <= names for k in ends):
        return
    energy, *momentum = (
        np.concatenate([block[n + k].to_numpy(zero_copy_only=False) for k in ends])
        for n in ("e", "px", "py", "pz")
    )
    low = (energy > 0) & (energy < _MAX_ENERGY)
    if np.count_nonzero(low) < _MIN_ROWS:
        return
    squared = float(np.median((energy**2 - sum(p**2 for p in momentum))[low]))
    if abs(squared - _ELECTRON_MASS**2) < abs(squared - _MUON_MASS**2):
        msg = f"{path}: its particles have the mass of electrons; l1scout reads muons"
        raise InputError(msg)


def _events(
    file: InputFile,
    counts: NDArray[np.int64],
    reco: dict[str, NDArray[np.float64]],
    run: NDArray[np.int64] | None,
) -> OrbitData:
    n = counts.size
    orbit, bx = columns.unknown_crossings(n)
    like = OrbitBatch(orbit, bx, np.zeros(n + 1, np.int64), {})
    if run is not None:
        like = replace(like, run=run)
    offline = columns.offline(reco, like, np.r_[0, np.cumsum(counts)])
    return OrbitData({MUON: like}, offline, origin(file))


READERS.register("dimuon-csv")(DimuonCsvReader())
