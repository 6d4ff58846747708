"""Folders as inputs: the files with muons in them."""

from collections.abc import Iterable
from pathlib import Path

from l1scout.errors import InputError
from l1scout.io.data_set import MANIFEST
from l1scout.io.read import detect
from l1scout.io.reader import reads_objects


def expand(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Replace folders by the files with muons in them, in order of their names; data sets by their manifest.

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
        found = sorted(manifest for manifest in path.rglob(MANIFEST) if manifest.is_file())
        parts = {manifest.parent for manifest in found}
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            if not parts.isdisjoint(file.parents):
                continue
            try:
                reader = detect(file)
            except InputError as error:
                skipped.append(str(error))
                continue
            if reads_objects(reader):
                found.append(file)
            else:
                skipped.append(f"{file}: {reader.title}: holds no muons")
        if not found:
            msg = f"{path}: no file with muons in this folder"
            raise InputError(msg)
        files += found
    return files, skipped


def refuse_input(target: Path, files: Iterable[Path]) -> None:
    """Refuse to write over the input: one of some files, or the folder of one (InputError)."""
    if target.exists() and any(target.samefile(p) or target.samefile(p.parent) for p in files):
        msg = f"{target}: is the input itself; name another file for the output"
        raise InputError(msg)


def refuse_stored(target: Path, store: Path) -> None:
    """Refuse to write over a file or folder in a store, or the store (InputError)."""
    if target.exists() and target.resolve().is_relative_to(store.resolve()):
        msg = f"{target}: is in the store itself; name another file for the output"
        raise InputError(msg)
