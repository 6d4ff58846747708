"""The barrel track finders that can be simulated: that of 2016-2018 (`bmtf`) and that of Run 3 (`kalman`)."""

from pathlib import Path

import numpy as np

from l1scout.errors import InputError
from l1scout.simulate import bmtf, kalman
from l1scout.simulate.bmtf import BmtfTables, Candidates
from l1scout.simulate.kalman import KalmanCandidates, KalmanTables
from l1scout.simulate.kalman_tables import own_kalman, read_gains
from l1scout.simulate.stubs import Stubs
from l1scout.simulate.tables import own_bmtf, read_bmtf

TRIGGERS = ("bmtf", "kbmtf")
RUN3 = ("hwPtUnconstrained", "hwDXY")
"""Columns that only the Kalman filter gives"""

FinderTables = BmtfTables | KalmanTables
Found = Candidates | KalmanCandidates


def finder_tables(
    trigger: str = "bmtf", bmtf_luts: Path | None = None, kalman_gains: Path | None = None
) -> FinderTables:
    """Tables of a track finder: official ones from a directory or file, or our own.

    Raises
    ------
    InputError
        If they cannot be used, or belong to another track finder.
    """
    if trigger not in TRIGGERS:
        msg = f"trigger {trigger!r}: {' or '.join(TRIGGERS)} expected"
        raise InputError(msg)
    if trigger == "kbmtf":
        if bmtf_luts:
            msg = f"{bmtf_luts}: tables of the 2016-2018 track finder; the Kalman filter has gains instead"
            raise InputError(msg)
        return read_gains(kalman_gains) if kalman_gains else own_kalman()
    if kalman_gains:
        msg = f"{kalman_gains}: gains are for the trigger kbmtf"
        raise InputError(msg)
    return read_bmtf(bmtf_luts) if bmtf_luts else own_bmtf()


def assign(stubs: Stubs, tables: FinderTables, random: np.random.Generator) -> Found:
    """Make a regional candidate of each particle's stubs, with the finder whose tables these are."""
    if isinstance(tables, KalmanTables):
        return kalman.find(stubs, tables)
    return bmtf.assign(stubs, tables, random)
