"""The barrel track finder of 2016-2018: pairs of stubs to pT, charge, phi and eta, from tables."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB
from l1scout.jit import kernel
from l1scout.simulate import stubs as dt
from l1scout.simulate.detector import STATION_RADII
from l1scout.simulate.stubs import Stubs

PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Stations of each assignment method, in order of preference: 12, 13, 14, 23, 24, 34"""
REFERENCE = (0, 0, 0, 1, 1, 3)
"""Station whose direction starts the extrapolation of a pair"""
BEND_STATIONS = (*REFERENCE, 1)
"""Station of each table of the direction's pT; the last is for MB1-MB2 without a good direction in MB1"""
LOWEST_PT = 6
"""hwPt of 2.5 GeV, the least that the track finder says"""
HIGHEST_PT = 280
WRONG_CHARGE = 0.002
QUALITY_TWO, QUALITY_MORE = 8, 12


class BmtfTables(NamedTuple):
    """The look-up tables of the assignment, in the form of the official ones; rows follow `PAIRS`.

    Parameters
    ----------
    high, low : ndarray of int16, shape (6, 4096)
        hwPt against the difference of stub azimuths + 2048, for muons whose reference direction is
        below and above the pair's limit.
    limit : ndarray of int16, shape (6,)
        That limit, in units of the stub direction.
    bend : ndarray of int16, shape (7, 1024)
        hwPt against the direction + 512 of the stubs in `BEND_STATIONS`.
    window : ndarray of int16, shape (6, 1024, 2)
        Smallest and largest difference of azimuth, other station minus reference, that a pair may
        have, against the reference direction + 512.
    to_second : ndarray of int16, shape (2, 1024)
        From MB1's and MB4's azimuth to MB2's, in units of GMT phi, against the direction + 512.
    """

    high: NDArray[np.int16]
    low: NDArray[np.int16]
    limit: NDArray[np.int16]
    bend: NDArray[np.int16]
    window: NDArray[np.int16]
    to_second: NDArray[np.int16]


class Candidates(NamedTuple):
    """Regional candidates, one value a particle; hwPt = 0 where there is none.

    Parameters
    ----------
    hwPt, hwPhi, hwEta, hwCharge, hwQual : ndarray of int16
        At the second station, in the units of the GMT word.
    pair : ndarray of int16
        Row of `PAIRS` that gave the pT; -1 where there is no candidate.
    stubStations : ndarray of int16
        Bit s is set if station MB(s + 1) has a stub.
    stubPhiB1, stubPhiB2 : ndarray of int16
        Direction of the stubs in MB1 and MB2, in units of 1/512 rad; 0 where there is none.
    stubBend12 : ndarray of int16
        Azimuth of the stub in MB2 minus that in MB1, in units of 1/4096 rad; 0 where one is missing.
    stubEtaFine : ndarray of int16
        1 if a station with a stub has a theta bin, too.
    """

    hwPt: NDArray[np.int16]
    hwPhi: NDArray[np.int16]
    hwEta: NDArray[np.int16]
    hwCharge: NDArray[np.int16]
    hwQual: NDArray[np.int16]
    pair: NDArray[np.int16]
    stubStations: NDArray[np.int16]
    stubPhiB1: NDArray[np.int16]
    stubPhiB2: NDArray[np.int16]
    stubBend12: NDArray[np.int16]
    stubEtaFine: NDArray[np.int16]


@kernel
def _eta(stubs: Any, i: Any) -> Any:
    """Pseudorapidity at which the stations' theta bins (wheels, without theta) overlap, seen from 0."""
    low, high, total, seen = -10.0, 10.0, 0.0, 0
    for s in range(4):
        if stubs.quality[i, s] == 0:
            continue
        fine = stubs.theta[i, s] >= 0
        centre = stubs.wheel[i, s] * dt.WHEEL_PITCH
        half = dt.WHEEL_HALF
        if fine:
            centre += (stubs.theta[i, s] - 3) * dt.THETA_BIN
            half = 0.5 * dt.THETA_BIN
        low = max(low, (centre - half) / STATION_RADII[s])
        high = min(high, (centre + half) / STATION_RADII[s])
        total += centre / STATION_RADII[s]
        seen += 1
    return np.arcsinh(0.5 * (low + high) if low < high else total / seen)


@kernel
def _assign(stubs: Any, tables: Any, random: Any, wrong_charge: Any, out: Any) -> None:
    for i in range(stubs.phi.shape[0]):
        out.hwPt[i] = 0
        out.pair[i] = -1
        for m in range(6):
            a, b = PAIRS[m]
            if stubs.quality[i, a] == 0 or stubs.quality[i, b] == 0:
                continue
            ref = REFERENCE[m]
            other = a + b - ref
            direction = stubs.bend[i, ref]
            difference = stubs.phi[i, other] - stubs.phi[i, ref]
            window = tables.window[m, direction + 512]
            if difference < window[0] or difference > window[1]:
                continue
            bend = stubs.phi[i, b] - stubs.phi[i, a]
            address = min(max(bend, -2048), 2047) + 2048
            steep = abs(direction) >= tables.limit[m]
            pt = tables.low[m, address] if steep else tables.high[m, address]
            n = 0
            for s in range(4):
                if stubs.quality[i, s] > 0:
                    n += 1
                    out.stubStations[i] += 1 << s
                    if stubs.theta[i, s] >= 0:
                        out.stubEtaFine[i] = 1
            first, second = stubs.quality[i, 0] > 0, stubs.quality[i, 1] > 0
            out.stubPhiB1[i] = stubs.bend[i, 0] if first else 0
            out.stubPhiB2[i] = stubs.bend[i, 1] if second else 0
            out.stubBend12[i] = stubs.phi[i, 1] - stubs.phi[i, 0] if first and second else 0
            # two stations: the smaller of this and a well measured direction's pT, unless steep
            if n == 2 and not steep:
                if stubs.quality[i, ref] == dt.CORRELATED:
                    pt = min(pt, tables.bend[m, direction + 512])
                elif m == 0 and stubs.quality[i, 1] == dt.CORRELATED:
                    pt = min(pt, tables.bend[6, stubs.bend[i, 1] + 512])
            out.pair[i] = m
            out.hwPt[i] = pt
            # positive muons turn towards negative phi inside, so do their stubs outside
            negative = bend > 0
            out.hwCharge[i] = negative != (random.random() < wrong_charge)
            source = 1 if stubs.quality[i, 1] > 0 else ref
            # downwards, as in real 2024 data: 40 muons above 12 GeV lie 6.4 mrad (half a step is 5.5) too low
            phi = int(np.floor(stubs.phi[i, source] * (dt.STUB_PHI_LSB / PHI_LSB)))
            if source != 1:
                phi += tables.to_second[0 if source == 0 else 1, stubs.bend[i, source] + 512]
            out.hwPhi[i] = phi % PHI_BINS
            out.hwEta[i] = int(np.floor(_eta(stubs, i) / ETA_LSB + 0.5))
            out.hwQual[i] = QUALITY_MORE if n > 2 else QUALITY_TWO
            break


def assign(
    stubs: Stubs, tables: BmtfTables, random: np.random.Generator, wrong_charge: float = WRONG_CHARGE
) -> Candidates:
    """Make a regional candidate of each particle's stubs."""
    out = Candidates(*(np.zeros(stubs.phi.shape[0], np.int16) for _ in Candidates._fields))
    _assign(stubs, tables, random, wrong_charge, out)
    return out
