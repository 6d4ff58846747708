"""The barrel track finder of Run 3: a Kalman filter from the outermost stub inwards to the beam.

The state is curvature, azimuth and bending angle. Two transverse momenta come of it: one from the stubs alone
(``hwPtUnconstrained``) and one that the beam line constrains (``hwPt``); the impact parameter before the
constraint is ``hwDXY``. All is integer arithmetic with the widths of the hardware.

The algorithm is public: CMSSW, L1Trigger/L1TMuonBarrel (L1TMuonBarrelKalmanAlgo and RegionModule), from whose
behaviour this was written anew. Not described here: overlapping tracks of several muons, the offset of
alignment in its assignment of pT, the calculation of quality that came in 2024.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS
from l1scout.jit import kernel
from l1scout.simulate import stubs as dt
from l1scout.simulate.detector import STATION_RADII
from l1scout.simulate.stubs import Stubs

CURVATURE_LSB = 1.25 / 8192
"""1/GeV; of the curvature, whose sign is the charge"""
PATTERNS = (15, 11, 13, 10, 12, 14, 9, 7, 5, 6, 3)
"""Sets of stations that a track may use (bit s: MB(s + 1)), the first preferred at equal rank"""
LAST_PAIR_RANK = 60
"""Of tracks in MB3 and MB4 alone"""
SECTOR = 2144
"""Thirty degrees in steps of the stubs' azimuth, as the hardware counts them"""
TIGHT_SPREAD = (40, 126, 60, 126, 126, 126)
"""Most spread of pairs 12, 13, 23, 14, 24, 34 (patterns 3, 5, 6, 9, 10, 12) that keeps a high pT"""
MOST_SPREAD = 126
"""Of three and four stubs"""
SPREAD_CURVATURE, PAIR_CURVATURE = 2500, 34
"""Below these curvatures (the second in steps of 16) the cuts above act"""
DIRECTION_CUT = 15
"""Most deviation of a pair's direction from that of its curvature, in standard deviations"""
LARGEST_CURVATURE = 8191
"""A pair that fails the cuts gets it, and so the lowest pT"""
_PAIR_ROW = (-1, -1, -1, 0, -1, 1, 2, -1, -1, 3, 4, -1, 5, -1, -1, -1)


class KalmanTables(NamedTuple):
    """Integers of the filter; stations MB1..MB4 are 0..3, patterns are bits of stations.

    Parameters
    ----------
    initial : ndarray, shape (4, 513)
        Size of the first curvature against the size of the seed's direction.
    phi_step, bend_step : ndarray, shape (4, 2)
        Factors of curvature and bending angle in the azimuth and the bending angle one station further in;
        unit 2^-13 (the last of `bend_step`: 2^-14). Row s leads away from MB(s + 1); row 0 is not used.
    loss, offset : ndarray, shape (2048,)
        Loss of curvature and impact parameter of a straight track on the way from MB1 to the beam, against
        half the size of the curvature.
    several : ndarray, shape (4, 16, 1024, 2)
        Gains of curvature (2^-3) and bending angle (2^-5) with a residual of azimuth, by station, pattern so
        far and a quarter of the curvature: tracks of three and four stubs.
    pair : ndarray, shape (4, 4, 4, 512, 4)
        Gains (2^-4, 2^-8, 2^-8, 2^-12) of curvature with azimuth and with bending angle, of bending angle
        with azimuth and with bending angle, by station, seed's station, two bits (have the seed and the stub
        two superlayers) and an eighth of the curvature: tracks of two stubs.
    vertex : ndarray, shape (16, 1024)
        Gain (2^-6) of curvature with the impact parameter, by pattern and half the curvature.
    to_second : ndarray, shape (1,)
        Factor (2^-13) of the bending angle in MB1 that leads to the azimuth in MB2.
    turn : ndarray, shape (4,)
        Direction gained since MB1 against curvature (2^-8).
    direction : ndarray, shape (4, 3)
        Stub direction against curvature / 16 (2^-4), its error's constant, and slope (2^-5).
    pt : ndarray, shape (2048,)
        hwPt against the size of the curvature.
    """

    initial: NDArray[np.int64]
    phi_step: NDArray[np.int64]
    bend_step: NDArray[np.int64]
    loss: NDArray[np.int64]
    offset: NDArray[np.int64]
    several: NDArray[np.int64]
    pair: NDArray[np.int64]
    vertex: NDArray[np.int64]
    to_second: NDArray[np.int64]
    turn: NDArray[np.int64]
    direction: NDArray[np.int64]
    pt: NDArray[np.int64]


class KalmanCandidates(NamedTuple):
    """Regional candidates, one value a particle; hwPt = 0 where there is none.

    Parameters
    ----------
    hwPt, hwPtUnconstrained, hwDXY, hwPhi, hwEta, hwCharge, hwQual : ndarray of int16
        At the second station, in the units of the GMT word.
    pair : ndarray of int16
        Pattern of the stations used; -1 where there is no candidate.
    stubStations, stubPhiB1, stubPhiB2, stubBend12, stubEtaFine : ndarray of int16
        As in `l1scout.simulate.bmtf.Candidates`, for the stubs of the track.
    sector : ndarray of int16
        Processor (0..11) that found it: that of the outermost stub.
    curvature, curvatureAtMuon, impact : ndarray of int16
        With the constraint, and without it in MB1 (unit `CURVATURE_LSB`); impact parameter in steps of the
        bending angle (about 1/4096 rad in MB1).
    """

    hwPt: NDArray[np.int16]
    hwPtUnconstrained: NDArray[np.int16]
    hwDXY: NDArray[np.int16]
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
    sector: NDArray[np.int16]
    curvature: NDArray[np.int16]
    curvatureAtMuon: NDArray[np.int16]
    impact: NDArray[np.int16]


@kernel
def _wrap(value: Any, bits: Any) -> Any:
    """Keep the lowest bits of an integer, as a signed number."""
    half = 1 << (bits - 1)
    return ((value + half) & (2 * half - 1)) - half


@kernel
def _is_pair(pattern: Any) -> Any:
    return pattern in (3, 5, 6, 9, 10, 12)


@kernel
def _outermost(pattern: Any) -> Any:
    return 3 if pattern & 8 else 2 if pattern & 4 else 1


@kernel
def _collect(stubs: Any, i: Any, pattern: Any, phi: Any) -> Any:
    """Put azimuths of a pattern's stubs, as its processor counts them, into `phi`; the processor, or -1."""
    seed = _outermost(pattern)
    turn = 2 * np.pi / dt.STUB_PHI_LSB
    sector = int(np.floor(stubs.phi[i, seed] / turn * 12 + 0.5))
    wheel = stubs.wheel[i, seed]
    inner = wheel - (1 if wheel > 0 else 0) + (1 if wheel < 0 else 0)
    for s in range(4):
        if not (pattern >> s) & 1:
            continue
        if stubs.quality[i, s] == 0 or (stubs.wheel[i, s] != wheel and stubs.wheel[i, s] != inner):
            return -1
        own = int(np.floor(stubs.phi[i, s] / turn * 12 + 0.5))
        local = stubs.phi[i, s] - int(np.floor(own * turn / 12 + 0.5)) + (own - sector) * SECTOR
        # chambers of the neighbouring sectors, up to here
        if abs(own - sector) > 1 or local <= 111 - SECTOR or local >= SECTOR - 112:
            return -1
        phi[s] = local
    return sector % 12


@kernel
def _update(t: Any, state: Any, residual: Any, bend: Any, step: Any, hits: Any, code: Any) -> Any:
    """Bring the state's curvature and bending angle to a stub; False if they leave their range.

    `code` is -1 for tracks of more than two stubs, else the two bits of the superlayers.
    """
    k = state[0]
    size = min(abs(k), 4095)
    residual = _wrap(residual, 13)
    if code < 0:
        gain = t.several[step, hits, size // 4]
        state[0] = k + ((gain[0] * residual) >> 3)
        state[2] += (-gain[1] * residual) >> 5
    else:
        gains = t.pair[step, _outermost(hits), code, size // 8]
        turned = _wrap(bend - state[2], 14)
        state[0] = k + _wrap((gains[0] * residual) >> 4, 19) - _wrap((gains[1] * turned) >> 8, 17)
        state[2] += ((gains[3] * turned) >> 12) - _wrap((gains[2] * residual) >> 8, 17)
    return abs(state[0]) < 8191 and abs(state[2]) < 4095


@kernel
def _to_first(t: Any, stubs: Any, i: Any, pattern: Any, phi: Any, state: Any) -> Any:
    """Filter from the outermost stub to MB1; False if the track is lost."""
    seed = _outermost(pattern)
    bend = stubs.bend[i, seed]
    good = stubs.quality[i, seed] == dt.CORRELATED
    state[0] = (1 if bend < 0 else -1) * t.initial[seed, abs(bend)] if good else 0
    state[1] = phi[seed]
    state[2] = 8 * bend if good else 0
    hits = 1 << seed
    for step in range(seed - 1, -1, -1):
        k, angle = state[0], state[2]
        a, b = t.phi_step[step + 1]
        state[1] = _wrap(state[1] + _wrap((a * k) >> 13, 14) + _wrap((b * angle) >> 13, 13), 12)
        a, b = t.bend_step[step + 1]
        state[2] = _wrap(_wrap((a * k) >> 13, 14) + _wrap((b * angle) >> 14, 14), 13)
        if (pattern >> step) & 1:
            here = stubs.quality[i, step] == dt.CORRELATED
            code = 2 * good + here if _is_pair(pattern) else -1
            if not _update(t, state, phi[step] - state[1], 8 * stubs.bend[i, step], step, hits, code):
                return False
            state[1] = phi[step]
            hits |= 1 << step
    return True


@kernel
def _spread(t: Any, stubs: Any, i: Any, pattern: Any, phi: Any, state: Any) -> Any:
    """Sum of the stubs' deviations from the fitted direction, in steps of 1/256 rad, at most 127."""
    track = _wrap((state[1] + state[2]) >> 4, 10)
    total = 0
    for s in range(4):
        if (pattern >> s) & 1:
            turn = _wrap((-t.turn[s] * (state[0] >> 4)) >> 8, 9)
            stub = _wrap((phi[s] >> 4) + (stubs.bend[i, s] >> 1), 10)
            total += abs(_wrap(stub - track, 11) + turn)
    return min(total, 127)


@kernel
def _to_beam(t: Any, stubs: Any, i: Any, pattern: Any, spread: Any, state: Any) -> Any:
    """Curvature at the beam line, constrained to it, and impact parameter."""
    k = state[0]
    half = min(abs(k), 4095) // 2
    sign = 1 if k >= 0 else -1
    impact = _wrap((-t.offset[half] if k > 1 else t.offset[half]) - state[2], 13)
    k = k - sign * t.loss[half]
    k = _wrap(k + _wrap((t.vertex[pattern, min(abs(k), 2047) // 2] * impact) >> 6, 14), 14)
    if _is_pair(pattern):
        outer = _outermost(pattern)
        s = 0
        while not (pattern >> s) & 1:
            s += 1
        if stubs.quality[i, outer] > stubs.quality[i, s]:
            s = outer
        size = abs(k >> 4)
        factor, constant, slope = t.direction[s]
        deviation = abs((16 * stubs.bend[i, s] - factor * (k >> 4)) >> 4)
        error = constant + ((slope * size) >> 5)
        wide = spread > TIGHT_SPREAD[_PAIR_ROW[pattern]] or deviation > DIRECTION_CUT * error
        if size < PAIR_CURVATURE and wide:
            k = LARGEST_CURVATURE
    return k, impact


@kernel
def _eta(stubs: Any, i: Any, pattern: Any) -> Any:
    """hwEta: mean of the stubs' theta bins, rounded towards 0; without any, where their wheels overlap."""
    total, seen, low, high, centre, n = 0, 0, -10.0, 10.0, 0.0, 0
    for s in range(4):
        if not (pattern >> s) & 1:
            continue
        r = STATION_RADII[s]
        middle = stubs.wheel[i, s] * dt.WHEEL_PITCH
        low, high = max(low, (middle - dt.WHEEL_HALF) / r), min(high, (middle + dt.WHEEL_HALF) / r)
        centre += middle / r
        n += 1
        if stubs.theta[i, s] >= 0:
            at = np.arcsinh((middle + (stubs.theta[i, s] - 3) * dt.THETA_BIN) / r) / ETA_LSB
            total += int(np.floor(at + 0.5))
            seen += 1
    if seen == 0:
        at = np.arcsinh(0.5 * (low + high) if low < high else centre / n) / ETA_LSB
        return int(np.floor(at + 0.5)), 0
    factor = 1024 if seen == 1 else 512 if seen == 2 else 340
    size = (factor * abs(total)) >> 10
    return (size if total > 0 else -size), 1


@kernel
def _find(stubs: Any, t: Any, out: Any) -> None:
    phi, state = np.zeros(4, np.int64), np.zeros(3, np.int64)
    for i in range(stubs.phi.shape[0]):
        best = -1
        out.pair[i] = -1
        for pattern in PATTERNS:
            sector = _collect(stubs, i, pattern, phi)
            if sector < 0 or not _to_first(t, stubs, i, pattern, phi, state):
                continue
            spread = _spread(t, stubs, i, pattern, phi, state)
            several = not _is_pair(pattern)
            if several and spread > MOST_SPREAD and abs(state[0]) < SPREAD_CURVATURE:
                continue
            n = (pattern & 1) + (pattern >> 1 & 1) + (pattern >> 2 & 1) + (pattern >> 3)
            rank = LAST_PAIR_RANK if pattern == 12 else 160 + 20 * n - spread
            if rank <= best:
                continue
            best = rank
            k, impact = _to_beam(t, stubs, i, pattern, spread, state)
            out.hwPt[i] = t.pt[min(abs(k), 2047)]
            out.hwPtUnconstrained[i] = t.pt[min(abs(state[0]), 2047)] // 2
            out.hwDXY[i] = min(abs(impact) >> 8, 3)
            out.hwCharge[i] = 1 if k < 0 else 0
            out.hwQual[i] = 12 | rank >> 6
            at = phi[1]
            if not pattern & 2:
                shift = 8192 * state[1] + t.to_second[0] * state[2]
                at = min(max(shift >> 13 if shift >= 0 else -(-shift >> 13), -4096), 4095)
            # 1467 / 2^14: from four steps of the stubs' azimuth to one of hwPhi
            out.hwPhi[i] = (48 * sector + ((1467 * (at >> 2)) >> 14)) % PHI_BINS
            out.hwEta[i], out.stubEtaFine[i] = _eta(stubs, i, pattern)
            out.pair[i] = pattern
            out.stubStations[i] = pattern
            out.stubPhiB1[i] = stubs.bend[i, 0] if pattern & 1 else 0
            out.stubPhiB2[i] = stubs.bend[i, 1] if pattern & 2 else 0
            out.stubBend12[i] = stubs.phi[i, 1] - stubs.phi[i, 0] if pattern & 3 == 3 else 0
            out.sector[i] = sector
            out.curvature[i], out.curvatureAtMuon[i], out.impact[i] = k, state[0], impact


def find(stubs: Stubs, tables: KalmanTables) -> KalmanCandidates:
    """Make the best candidate of each particle's stubs."""
    out = KalmanCandidates(*(np.zeros(stubs.phi.shape[0], np.int16) for _ in KalmanCandidates._fields))
    _find(stubs, tables, out)
    return out
