"""Copies of files with new columns for each L1 muon; everything else is kept."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from numpy.typing import NDArray

from l1scout.core.provenance import KEY, Provenance, current
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.io import nano, ntuple, parquet, root
from l1scout.io.kinds import FLAVOURS, Kind, detect
from l1scout.io.rootadd import BranchAdder

Columns = dict[str, NDArray[Any]]
Compute = Callable[[Columns], Columns]
ROWS = 50_000


@dataclass(frozen=True)
class Rewritten:
    """What was written: format, tree (ROOT only), rows, L1 muons, and the new columns."""

    kind: Kind
    tree: str
    rows: int
    muons: int
    columns: tuple[str, ...]


def add_columns(
    source: str | Path,
    target: str | Path,
    compute: Compute,
    *,
    rows: int = ROWS,
    flavour: str | None = None,
    progress: Callable[[int, int], object] = lambda _done, _of: None,
    made: Provenance | None = None,
) -> Rewritten:
    """Copy a file and give its L1 muons new columns.

    The target appears under its name when it is complete; before, it ends in ``.part``. ROOT files
    keep every other object bit for bit; the branches go into ``OrbitData`` of a nano file and into
    ``l1UpgradeTree/L1UpgradeTree`` of an L1Ntuple (``l1UpgradeEmuTree/L1UpgradeTree`` if it has no other),
    where a branch ``nL1Mu`` counts them. Parquet files are compressed anew (zstd), with the same columns,
    values and metadata.

    Parameters
    ----------
    source, target : str or Path
        L1-DPG nano, L1 scouting nano, L1Ntuple or Parquet; the target is overwritten if it is there.
    compute : callable
        From the canonical hardware columns of some L1 muons to new columns of the same length,
        float32 or bool; the same names each time.
    rows : int
        Rows in a chunk.
    flavour : {"dpg", "scouting"}, optional
        Kind of a nano file, if its content does not tell; see `l1scout.io.read_events`.
    progress : callable
        Told rows done and rows in all after every chunk.
    made : Provenance, optional
        Is written into the target: as the string ``l1scout_provenance`` of a ROOT file, in the metadata
        of a Parquet file (that of the source stays as ``l1scout_provenance_of_input``). By default, that of
        the command that runs.

    Raises
    ------
    InputError
        If the source is of another format, an RNTuple, damaged or already has the columns, the target is
        the source, or cannot be written.
    """
    source, target = Path(source), Path(target)
    kind = detect(source, flavour=flavour)
    if kind not in (Kind.DPG_NANO, Kind.SCOUTING_NANO, Kind.L1NTUPLE, Kind.PARQUET):
        msg = (
            f"{source}: {kind}: columns can be added to nano files with L1 muons, L1Ntuples and Parquet files"
        )
        raise InputError(msg)
    if target.exists() and target.samefile(source):
        msg = f"{target}: is the input itself; name another file for the output"
        raise InputError(msg)
    write = _parquet if kind is Kind.PARQUET else _root
    with complete_or_nothing(target) as part:
        counts = write(kind, source, part, _checked(compute), rows, progress, made or current())
    return Rewritten(kind, *counts)


def _checked(compute: Compute) -> Compute:
    def checked(columns: Columns) -> Columns:
        new = {name: np.asarray(values) for name, values in compute(columns).items()}
        n = len(columns["hwPt"])
        for name, values in new.items():
            if values.shape != (n,) or values.dtype.str[1:] not in ("f4", "i4", "b1"):
                msg = f"column {name} is {values.dtype} {values.shape}, not float32, int32 or bool ({n},)"
                raise TypeError(msg)
        return new

    return checked


def _refuse(path: Path, present: set[str]) -> None:
    if present:
        msg = f"{path}: already has {', '.join(sorted(present))}; start from the original file"
        raise InputError(msg)


def _root(
    kind: Kind,
    source: Path,
    part: Path,
    compute: Compute,
    rows: int,
    progress: Callable[[int, int], object],
    made: Provenance,
) -> tuple[str, int, int, tuple[str, ...]]:
    done, muons, names = 0, 0, tuple[str, ...]()
    with root.opened(source) as file:
        with root.guarded(source):
            name = ntuple.find_tree(file) if kind is Kind.L1NTUPLE else "Events"
            tree = file[name]
            if root.is_rntuple(tree):
                msg = (
                    f"{name} is an RNTuple, to which columns cannot be added; write the file as a TTree "
                    "first (uproot: mktree), or recalibrate what l1scout.io.read_events gives"
                )
                raise InputError(msg)
            branches, entries = root.branches(tree), int(tree.num_entries)
            like = next((branches[b] for b in nano.L1_MUON if b in branches), None)
        shutil.copyfile(source, part)
        with part.open("r+b") as copy:
            with root.guarded(source):
                adder = BranchAdder(source, copy, file, name, like=like)
            for start, offsets, hw in _chunks(kind, source, branches, entries, rows):
                new = compute(hw)
                names = tuple(new)
                _refuse(source, {n for n in names if n in branches})
                adder.extend(start, offsets, new)
                done, muons = start + len(offsets) - 1, muons + int(offsets[-1])
                progress(done, entries)
            with root.guarded(source):
                adder.finish()
    with root.guarded(source), uproot.update(part) as file:
        file[KEY] = made.as_json()
    return name, done, muons, names


def _chunks(
    kind: Kind, source: Path, branches: dict[str, Any], entries: int, rows: int
) -> Iterator[tuple[int, NDArray[np.int64], Columns]]:
    for start, stop in root.chunks(entries, rows):
        with root.guarded(source):
            if kind is Kind.L1NTUPLE:
                offsets, hw = ntuple.read_l1(branches, start, stop)
            else:
                offsets, hw = nano.read_l1(branches, start, stop, FLAVOURS[kind])
        yield start, offsets, dict(hw)


def _parquet(
    _: Kind,
    source: Path,
    part: Path,
    compute: Compute,
    rows: int,
    progress: Callable[[int, int], object],
    made: Provenance,
) -> tuple[str, int, int, tuple[str, ...]]:
    done, names, writer = 0, tuple[str, ...](), None
    with root.guarded(source, "not a readable Parquet file"):
        file = pq.ParquetFile(source)
    try:
        total = file.metadata.num_rows
        for batch in _batches(source, file, rows):
            with root.guarded(source):
                hw: Columns = dict(parquet.hardware(source, batch))
            new = compute(hw)
            names = tuple(new)
            _refuse(source, set(names) & set(batch.schema.names))
            for name, values in new.items():
                batch = batch.append_column(name, pa.array(values))
            if writer is None:
                about = dict(batch.schema.metadata or {})
                if KEY.encode() in about:
                    about[f"{KEY}_of_input".encode()] = about[KEY.encode()]
                batch = batch.replace_schema_metadata({**about, KEY.encode(): made.as_json().encode()})
                writer = pq.ParquetWriter(part, batch.schema, compression="zstd")
            writer.write_batch(batch.replace_schema_metadata(writer.schema.metadata))
            done += batch.num_rows
            progress(done, total)
    finally:
        if writer is not None:
            writer.close()
        file.close()
    return "", done, done, names


def _batches(source: Path, file: pq.ParquetFile, rows: int) -> Iterator[pa.RecordBatch]:
    """Record batches of a file; one without rows if the file has none, so that columns are added."""
    if not file.metadata.num_rows:
        yield pa.RecordBatch.from_pylist([], schema=file.schema_arrow)
        return
    batches = file.iter_batches(rows)
    while True:
        with root.guarded(source, "damaged Parquet file"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch
