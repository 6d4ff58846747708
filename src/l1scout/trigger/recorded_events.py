"""Triggered events with what the Global Trigger decided on them: the decisions in L1Ntuples."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.streams.gt import ALGORITHMS
from l1scout.io import root
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import ROWS, reader_of

DECISIONS, BEFORE_PRESCALES = "l1uGTTree/L1uGTTree", "m_algoDecisionInitial"
"""Tree of the decisions of the hardware, and its branch of those before prescales and masks."""
RecordedEvents = tuple[OrbitData, NDArray[np.bool_]]


def has_decisions(path: Path) -> bool:
    """Return whether a file is an L1Ntuple with the Global Trigger's decisions (InputError if damaged)."""
    with InputFile(path) as file:
        return reader_of(file).name == "l1ntuple" and DECISIONS in root.classes(file)


def recorded_events(path: Path, rows: int = ROWS) -> Iterator[RecordedEvents]:
    """Read the events of an L1Ntuple, each with its 512 decisions before prescales.

    Yields
    ------
    data : OrbitData
    decisions : ndarray of bool, shape (events, 512)

    Raises
    ------
    InputError
        If the file is damaged, or has not 512 decisions of each event.
    """
    with InputFile(path) as file, guarded(path):
        branches = root.tree_branches(file, DECISIONS)
        if BEFORE_PRESCALES not in branches:
            msg = f"{path}: {DECISIONS} has no branch {BEFORE_PRESCALES}"
            raise InputError(msg)
        at = 0
        for data in reader_of(file).read(file, rows, ReadQuality()):
            n = len(data.main)
            read = branches[BEFORE_PRESCALES].array(entry_start=at, entry_stop=at + n)
            offsets, flat = root.flat(BEFORE_PRESCALES, read)
            if not np.array_equal(offsets, ALGORITHMS * np.arange(n + 1)):
                where = f"each of the {n} events from {at} on"
                msg = f"{path}: {DECISIONS} has not {ALGORITHMS} decisions of {where}"
                raise InputError(msg)
            yield data, flat.reshape(n, ALGORITHMS) != 0
            at += n
