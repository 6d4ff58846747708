"""Data sets of matched muons: Parquet files of flat columns, ours or anyone's."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from l1scout.core.provenance import joint_origin
from l1scout.dataset import plausibility, split
from l1scout.errors import InputError
from l1scout.formats.streams.muon import PHI_BINS
from l1scout.io.parquet import METADATA_KEY, statements
from l1scout.simulate.kinds import KINDS


@dataclass(frozen=True)
class Column:
    """A column of a data set: its type on disk and in memory, and the values that it may hold."""

    name: str
    type: str
    low: float
    high: float
    unit: str = ""


COLUMNS = (
    Column("hwPt", "int16", 1, 511, "steps of 0.5 GeV, plus 1"),
    Column("hwEta", "int16", -256, 255, "steps of 0.010875, at station 2"),
    Column("hwPhi", "int16", 0, PHI_BINS - 1, "steps of 2 pi / 576, at station 2"),
    Column("hwEtaAtVtx", "int16", -256, 255, "steps of 0.010875"),
    Column("hwPhiAtVtx", "int16", 0, PHI_BINS - 1, "steps of 2 pi / 576"),
    Column("hwCharge", "int8", 0, 1, "the bit of the trigger word (1 = negative)"),
    Column("hwQual", "int8", 0, 15),
    Column("tfMuonIndex", "int8", 0, 127),
    Column("recoPt", "float32", float(np.finfo(np.float32).tiny), 1e6, "GeV"),
    Column("recoEta", "float32", -10, 10),
    Column("recoPhi", "float32", -6.2832, 6.2832, "rad"),
    Column("recoCharge", "int8", -1, 1, "units of e, -1 or 1"),
)
"""What a data set must hold: L1 muons in hardware units, offline muons in physics units."""

STUB_COLUMNS = (
    Column("stubStations", "int8", 1, 15, "bits, bit s: MB(s + 1) has a stub"),
    Column("stubPhiB1", "int16", -512, 511, "steps of 1/512 rad"),
    Column("stubPhiB2", "int16", -512, 511, "steps of 1/512 rad"),
    Column("stubBend12", "int16", -25736, 25736, "steps of 1/4096 rad, MB2 minus MB1"),
    Column("stubEtaFine", "int8", 0, 1, "bits, 1 = from theta bins"),
)
"""What a data set can hold besides: the stubs of the track finder."""

KIND = Column("simKind", "int8", 0, len(KINDS) - 1, f"0 to {len(KINDS) - 1}: {', '.join(KINDS)}")
"""Of simulated muons: what they come from. Published numbers are compared without the hard component."""
OPTIONAL_COLUMNS = (*STUB_COLUMNS, KIND)


@dataclass(frozen=True)
class Dataset:
    """Matched pairs of an L1 and an offline muon.

    Parameters
    ----------
    columns : mapping of str to ndarray, each of shape (muons,)
        Those of `COLUMNS`, and of `OPTIONAL_COLUMNS` those that there are.
    about : mapping
        The file's own statement: ``source``, ``simulated`` (absent if the file does not say), ``era``,
        ``selection``, ``cuts``, ``seed``, ``version``.
    name : str
        File name.
    sha256 : str
        Of the file's bytes.
    """

    columns: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return int(self.columns["hwPt"].size)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column."""
        return self.columns[name]

    @property
    def simulated(self) -> bool | None:
        """None where the file does not say."""
        value = self.about.get("simulated")
        return value if isinstance(value, bool) else None

    @property
    def identity(self) -> dict[str, NDArray[Any]]:
        """Columns that tell muons apart: more of them must not move a muon to another part or fold."""
        return {c.name: self.columns[c.name] for c in COLUMNS}

    def select(self, keep: NDArray[Any]) -> "Dataset":
        """Keep the pairs of a mask or index."""
        return Dataset({n: c[keep] for n, c in self.columns.items()}, self.about, self.name, self.sha256)

    def part(self, name: str) -> "Dataset":
        """Muons of the ``train``, ``validation`` or ``test`` part, see `l1scout.dataset.split`.

        Raises
        ------
        InputError
            If there are none.
        """
        chosen = self.select(split.part(self.identity, name))
        if not len(chosen):
            msg = f"{self.name}: none of its {len(self)} muons falls into the {name} part; use more muons"
            raise InputError(msg)
        return chosen


def read_dataset(path: str | Path) -> Dataset:
    """Read a data set, and refuse one that would train or test a network on nonsense: `plausibility.check`.

    Parameters
    ----------
    path : str or Path
        A Parquet file with the columns of `COLUMNS`, of any numeric type, and perhaps some of
        `OPTIONAL_COLUMNS`; others are ignored.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, lacks a column, or holds missing, fractional (where
        integers are needed) or impossible values, or values that are implausible on the whole.
    """
    with opened(Path(path)) as file:
        data = Dataset(file.read(), file.about, file.path.name, file.sha256())
    plausibility.check(data.columns, str(path))
    return data


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return files, and in the place of folders their Parquet files (InputError if one has none)."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not found:
            msg = f"{path}: no *.parquet in this folder"
            raise InputError(msg)
        files += found
    return files


def read_datasets(paths: Sequence[Path]) -> Dataset:
    """Read data sets one after the other as one, with the columns that all have; see `read_dataset`."""
    if len(paths) == 1:
        return read_dataset(paths[0])
    data = joined([read_dataset(p) for p in paths])
    plausibility.refuse_repeated(plausibility.keys(data.columns), data.name)
    return data


def joined(parts: Sequence[Dataset]) -> Dataset:
    """Put data sets together; what they state of themselves stays if they agree.

    If any is simulated, all is: that is stated even if others state something else.
    """
    names = [n for n in parts[0].columns if all(n in p.columns for p in parts)]
    columns = {n: np.concatenate([p[n] for p in parts]) for n in names}
    sums = list(dict.fromkeys(p.sha256 for p in parts))
    sha256 = sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
    files = list(dict.fromkeys(p.name for p in parts))
    name = files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    first = parts[0].about
    about = {k: v for k, v in first.items() if all(p.about.get(k) == v for p in parts)}
    simulated = joint_origin(p.simulated for p in parts)
    return Dataset(columns, about | ({} if simulated is None else {"simulated": simulated}), name, sha256)


class DatasetFile:
    """A data set's file, open and with all columns that it must have; see `opened`.

    Attributes
    ----------
    path : Path
    about : dict
    groups : int
        Row groups: the parts that can be read by themselves.
    """

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self.path, self._file = path, file
        names = file.schema_arrow.names
        missing = [c.name for c in COLUMNS if c.name not in names]
        if missing:
            msg = f"{path}: no column {', '.join(missing)}; `l1scout dataset` writes them all"
            raise InputError(msg)
        self._columns = [*COLUMNS, *(c for c in OPTIONAL_COLUMNS if c.name in names)]
        twice = [c.name for c in self._columns if names.count(c.name) > 1]
        if twice:
            msg = f"{path}: holds column {', '.join(twice)} more than once"
            raise InputError(msg)
        self.muons = file.metadata.num_rows
        self.groups = file.num_row_groups
        if not self.muons:
            msg = f"{path}: holds no muons"
            raise InputError(msg)
        self.about = _about(path, file.metadata.metadata or {})

    def read(self, group: int | None = None) -> dict[str, NDArray[Any]]:
        """Read all columns, checked: of all muons, or of one row group."""
        file, found = self._file, {}
        for c in self._columns:
            table = file.read([c.name]) if group is None else file.read_row_group(group, [c.name])
            found[c.name] = _column(self.path, c, table[c.name])
        return found

    def sha256(self) -> str:
        """Hash of the file."""
        with self.path.open("rb") as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[DatasetFile]:
    """Open a data set's file; its errors become an `InputError` while it is open."""
    try:
        with pq.ParquetFile(path) as file:
            yield DatasetFile(path, file)
    except (OSError, pa.ArrowException, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path}: not a readable Parquet file ({reason})"
        raise InputError(msg) from error


def _about(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what a file states of itself; InputError if l1scout's own metadata is damaged."""
    try:
        own = json.loads(metadata.get(METADATA_KEY, b"{}"))
    except (ValueError, RecursionError):
        own = None
    if not isinstance(own, dict):
        msg = f"{path}: its l1scout metadata is not a JSON object"
        raise InputError(msg)
    return statements(metadata)


def _column(path: Path, column: Column, values: pa.ChunkedArray) -> NDArray[Any]:
    """Values of a column in its own type, checked."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        msg = f"{path}: column {column.name} holds {values.type}, not numbers"
        raise InputError(msg)
    if values.null_count:
        msg = f"{path}: column {column.name} has {values.null_count} missing values"
        raise InputError(msg)
    array: NDArray[Any] = values.to_numpy()
    integer = column.type != "float32"
    ok = (array >= column.low) & (array <= column.high)  # False for NaN
    if integer and array.dtype.kind == "f":
        ok &= np.floor(array) == array
    if column.name == "recoCharge":
        ok &= array != 0
    if not ok.all():
        at = int(np.flatnonzero(~ok)[0])
        kind = "whole numbers " if integer else ""
        low = "above 0" if column.name == "recoPt" else f"{column.low:g}"
        msg = (
            f"{path}: column {column.name}, row {at}: {array[at]} is not one of the {kind}"
            f"{low}..{column.high:g} ({np.count_nonzero(~ok)} such values)"
            + (f"; expected: {column.unit}" if column.unit else "")
        )
        raise InputError(msg)
    return array.astype(column.type)
