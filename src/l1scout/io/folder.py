"""Folders as inputs: the files with muons in them."""

from collections.abc import Iterable
from pathlib import Path

from l1scout.errors import InputError
from l1scout.io.kinds import Kind, detect

_NO_MUONS = {Kind.HISTOGRAMS, Kind.HISTOGRAM_CSV, Kind.GMT_LUT, Kind.BMTF_LUT, Kind.NPZ, Kind.LINK_CAPTURE}


def expand(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Replace folders by the files with muons in them, in order of their names.

    Returns
    -------
    files : list of Path
    skipped : list of str
        Files of folders that hold no muons, each with the reason.

    Raises
    ------
    InputError
        If a folder holds no file with muons. (A file that is named itself is not looked at here.)
    """
    files: list[Path] = []
    skipped: list[str] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = []
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            try:
                kind = detect(file)
            except InputError as error:
                skipped.append(str(error))
                continue
            if kind in _NO_MUONS:
                skipped.append(f"{file}: {kind}: holds no muons")
            else:
                found.append(file)
        if not found:
            msg = f"{path}: no file with muons in this folder"
            raise InputError(msg)
        files += found
    return files, skipped
