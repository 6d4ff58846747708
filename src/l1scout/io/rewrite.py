"""Copies of files with new columns for each L1 muon; everything else is kept."""

from pathlib import Path
from typing import Any

from l1scout.core.flow import Progress
from l1scout.core.provenance import Provenance, current
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.io.input_file import InputFile, opened
from l1scout.io.reader import Compute, NewColumns, Rewritten, reader_of

ROWS = 50_000


def add_columns(
    source: str | Path | InputFile,
    target: str | Path,
    compute: Compute,
    *,
    rows: int = ROWS,
    progress: Progress = lambda _done, _of: None,
    made: Provenance | None = None,
    **options: Any,
) -> Rewritten:
    """Copy a file and give its L1 muons new columns.

    The target appears under its name when it is complete; before, it ends in ``.part``. ROOT files
    keep every other object bit for bit; the branches go into ``Events`` of a nano file and into
    ``l1UpgradeTree/L1UpgradeTree`` of an L1Ntuple (``l1UpgradeEmuTree/L1UpgradeTree`` if it has no other),
    where a branch ``nL1Mu`` counts them. Parquet files keep their columns, values, metadata and encodings.

    Parameters
    ----------
    source : str, Path or InputFile
        Of a format whose reader adds columns, such as nano files with L1 muons, L1Ntuples and archives.
    target : str or Path
        Is overwritten if it is there.
    compute : callable
        From the canonical hardware columns of some L1 muons to new columns of the same length,
        float32, int32 or bool; the same names each time.
    rows : int
        Rows that are read at a time.
    progress : callable
        Called with the rows done and the rows in all after every chunk.
    made : Provenance, optional
        Is written into the target: as the string ``l1scout_provenance`` of a ROOT file, in the metadata
        of a Parquet file (that of the source stays as ``l1scout_provenance_of_input``). By default, that of
        the command that runs.
    options
        See `l1scout.io.read_events`.

    Raises
    ------
    InputError
        If the source is of another format, an RNTuple, damaged or already has the columns, the target is
        the source, or cannot be written.
    """
    target = Path(target)
    with opened(source, **options) as file:
        reader = reader_of(file)
        if target.exists() and target.samefile(file.path):
            msg = f"{target}: is the input itself; name another file for the output"
            raise InputError(msg)
        made = made or current(simulated=reader.conditions(file).simulated)
        new = NewColumns(compute, rows, progress, made)
        if not reader.adds_columns:  # refuses, before a file is begun
            return reader.add_columns(file, target, new)
        with complete_or_nothing(target) as part:
            return reader.add_columns(file, part, new)
