"""MP7 pattern files as events: the final muons that a GMT sends."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats import pattern
from l1scout.formats.streams.muon import MUON_2018
from l1scout.lhc import orbit_and_bx


def read_pattern(path: Path, rows: int) -> Iterator[OrbitData]:
    """Read the final muons (links 0-3) of a pattern; rows are its crossings from BX 1 of orbit 0.

    Test vectors are marked as simulated.

    Raises
    ------
    InputError
        If it is no pattern, or does not carry final muons: patterns of a GMT's input do not.
    """
    found = pattern.read(path)
    words = found.final_muons()
    if words is None:
        msg = f"{path}: no final muons on links 0-3 (a pattern of a GMT's input?)"
        raise InputError(msg)
    for start in range(0, len(words), rows):
        part = words[start : start + rows]
        present = (part >> np.uint64(10)) & np.uint64(511) > 0
        crossing, _ = np.nonzero(present)
        columns = MUON_2018.decode(part[present])
        columns.pop("reserved")
        counts = np.bincount(crossing, minlength=len(part))
        time = np.arange(start, start + len(part))
        orbit, bx = orbit_and_bx(time)
        yield OrbitData.of_muons(
            OrbitBatch(orbit, bx, np.r_[0, np.cumsum(counts)], columns, simulated=True), source=str(path)
        )
