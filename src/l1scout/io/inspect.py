"""What a file is and what it holds, for people and for scripts."""

from pathlib import Path
from typing import Any

from l1scout.errors import InputError
from l1scout.io.data_set import MANIFEST, is_data_set
from l1scout.io.input_file import InputFile, opened
from l1scout.io.reader import reader_of


def describe(path: str | Path | InputFile, **options: Any) -> dict[str, Any]:
    """Describe what a file is and what it holds.

    Parameters
    ----------
    path : str, Path or InputFile
        A file, or the folder of a Parquet data set.
    options
        See `read_events`.

    Returns
    -------
    dict
        ``file``, ``bytes`` and ``format``, then what the format has: for files with muons the keys of
        `l1scout.io.summary.summarize`, for the others their trees, histograms, arrays or tables.
        None where the file does not tell.

    Raises
    ------
    InputError
        If the file is missing, unknown, truncated or damaged.
    """
    if not isinstance(path, InputFile) and is_data_set(Path(path)):
        path = Path(path) / MANIFEST
    if not isinstance(path, InputFile) and Path(path).is_dir():
        msg = f"{path}: is a folder, and not a data set: name a file in it (`l1scout runs` describes a store)"
        raise InputError(msg)
    with opened(path, **options) as file:
        reader = reader_of(file)
        return {"file": file.path.name, "bytes": file.size, "format": reader.title} | reader.describe(file)
