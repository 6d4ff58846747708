"""Copies of ROOT files with new branches for each L1 muon; everything else is kept bit for bit."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.provenance import KEY
from l1scout.errors import InputError
from l1scout.io import root
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.reader import NewColumns, Rewritten
from l1scout.io.rootadd import BranchAdder

ReadL1 = Callable[[int, int], tuple[NDArray[np.int64], Mapping[str, NDArray[Any]]]]


def add_branches(
    file: InputFile, title: str, tree: str, like: Any, read: ReadL1, target: Path, new: NewColumns
) -> Rewritten:
    """Write a copy of a ROOT file whose tree has new branches.

    Parameters
    ----------
    file : InputFile
    title : str
        Of the format.
    tree : str
        Path of the tree in the file.
    like : branch, optional
        One with as many objects an entry; see `BranchAdder`.
    read : callable
        From the first entry and the one after the last to the offsets and the hardware columns of their L1
        muons.
    target : Path
    new : NewColumns
    """
    done, muons, names = 0, 0, tuple[str, ...]()
    with guarded(file.path):
        branches, entries = root.tree_branches(file, tree), int(file.root[tree].num_entries)
        if root.is_rntuple(file.root[tree]):
            msg = (
                f"{tree} is an RNTuple, to which columns cannot be added; write the file as a TTree "
                "first (uproot: mktree), or recalibrate what l1scout.io.read_events gives"
            )
            raise InputError(msg)
    with target.open("w+b") as copy:
        shutil.copyfileobj(file.stream(), copy, 1 << 20)
        with guarded(file.path):
            adder = BranchAdder(file.path, copy, file.root, tree, like=like)
        for start, stop in root.chunks(entries, new.rows):
            with guarded(file.path):
                offsets, hardware = read(start, stop)
            columns = new(file.path, hardware, set(branches))
            names = tuple(columns)
            adder.extend(start, offsets, columns)
            done, muons = start + len(offsets) - 1, muons + int(offsets[-1])
            new.progress(done, entries)
        with guarded(file.path):
            adder.finish()
    import uproot

    with guarded(file.path), uproot.update(target) as copied:
        copied[KEY] = new.made.as_json()
    return Rewritten(title, tree, done, muons, names)
