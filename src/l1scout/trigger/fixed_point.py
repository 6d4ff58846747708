"""Integers of the Global Trigger's arithmetic: differences, cosh, cos and pT as its look-up tables hold them.

Angles are in units of 0.001; cosh and cos have three decimals, four where a muon is involved; pT is in
units of 0.1 GeV at the centre of its bin. Beside a muon, calorimeter objects have the muon's finer bins.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.calo_objects import PHI_BINS as CALO_PHI_BINS
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS
from l1scout.trigger.scales import CALO_ETA_LSB, ObjectKind

Integers = NDArray[np.int64]
MUON_BINS_PER_CALO_BIN = 4
_ETA_ENTRIES = {True: 1024, False: 256}


def decimals(a: ObjectKind, b: ObjectKind) -> int:
    """Return the decimals of cosh and cos for a pair."""
    return 4 if a.muon or b.muon else 3


def turn(*, muon: bool) -> int:
    """Return the bins of phi in a full turn for a pair, with a muon in it or not."""
    return PHI_BINS if muon else CALO_PHI_BINS


def in_fine_bins(kind: ObjectKind, values: Integers, fine: bool) -> Integers:
    """Return eta or phi in the muon's bins if `fine` asks for them, and otherwise in the kind's own."""
    if fine and not kind.muon:
        return MUON_BINS_PER_CALO_BIN * values + MUON_BINS_PER_CALO_BIN // 2
    return values


def delta_table(*, muon: bool, eta: bool) -> Integers:
    """Return the differences of eta or phi by their number of bins, in units of 0.001."""
    return _table("delta", muon, eta)


def cosh_table(*, muon: bool) -> Integers:
    """Return cosh of differences of eta by their number of bins, with the pair's decimals."""
    return _table("cosh", muon, True)


def cos_table(*, muon: bool) -> Integers:
    """Return cos of differences of phi by their number of bins, with the pair's decimals."""
    return _table("cos", muon, False)


@cache
def _table(function: str, muon: bool, eta: bool) -> Integers:
    bins = turn(muon=muon)
    step = (ETA_LSB if muon else CALO_ETA_LSB) if eta else 2 * math.pi / bins
    entries = _ETA_ENTRIES[muon] if eta else bins // 2 + 1
    functions: dict[str, Callable[[float], float]] = {"delta": float, "cosh": math.cosh, "cos": math.cos}
    value, digits = functions[function], 4 if muon and function != "delta" else 3
    table = np.array([math.floor(value(k * step) * 10**digits + 0.5) for k in range(entries)], np.int64)
    table.flags.writeable = False
    return table


def pt_tenths(kind: ObjectKind, values: Integers) -> Integers:
    """Return pT in units of 0.1 GeV from hardware pT."""
    if kind.muon:
        return np.where(values > 0, 5 * (values - 1) + 3, 0)
    return 5 * values + 3


def unconstrained_pt_tenths(values: Integers) -> Integers:
    """Return a muon's pT without the vertex in units of 0.1 GeV."""
    return np.where(values > 0, 10 * (values - 1) + 5, 0)
