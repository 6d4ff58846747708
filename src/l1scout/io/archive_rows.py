"""Records to a row a muon and back: the part of the archive in which bytes become columns.

A crossing's intermediate muon that repeats a final one (its words but for ``hwEtaAtVtx`` and
``tfMuonIndex``, which are 0) is no row of its own: ``twin`` of the final one says where it was.
``hwEta`` and ``hwPhi`` follow from the coordinates at the vertex by the GMT's table, which is
learned from the muons before: what is kept is how far they are from that.

Rows need not give back the words exactly: the archive keeps what differs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.records import HEADER_WORDS, LINKS, ORBIT_MASK
from l1scout.formats.reused_memory import arrays_in_one_block
from l1scout.formats.streams.muon import (
    ETA_VTX,
    MUON_2018,
    MUON_RUN3_EXTRA,
    PHI_BINS,
    TRACK_FINDERS,
    MuonWords,
)
from l1scout.jit import kernel

MAX_MUONS = 2 * LINKS
_ETA_BITS = ((1 << ETA_VTX.width) - 1) << ETA_VTX.start
_INDEX = MUON_2018["tfMuonIndex"]
_INDEX_BITS = ((1 << _INDEX.width) - 1) << (_INDEX.start - 32)
_ETA_AT = MUON_RUN3_EXTRA["hwEta1"].start, MUON_RUN3_EXTRA["hwEta2"].start
_ETA_MASK = (1 << MUON_RUN3_EXTRA["hwEta1"].width) - 1
_EARLY_AT = MUON_RUN3_EXTRA["intermediate"].start
_PT_LIMIT, _ADDRESSES = 128, 4096
_WHEN, _SMALL = ("orbit", "bx", "linkMatch"), ("second", "intermediate", "twin")
_STEPS = 16
"""Values of the GMT's table."""
_REGION = np.full(1 << _INDEX.width, 3, np.int8)
for _name, _indices in TRACK_FINDERS.items():
    _REGION[_indices.start : _indices.stop] = "BOE".index(_name[0])


@kernel
def _find_twins(words: Any, at: Any, size: Any, count: Any, twins: Any) -> Any:
    """Find which muons of a record repeat another one as intermediate copies: bits by their place.

    ``twins`` gets 1 + place of the copy, or 0, for each muon.
    """
    eta_bits, index_bits = np.uint32(_ETA_BITS), np.uint32(_INDEX_BITS)
    folded = 0
    for j in range(count):
        twins[j] = 0
    for j in range(1, count):
        f, s = words[at + size * j], words[at + size * j + 1]
        if f & eta_bits or s & index_bits:
            continue
        for i in range(count):
            fi, si = words[at + size * i], words[at + size * i + 1]
            if twins[i] or (fi ^ f) & ~eta_bits or (si ^ s) & ~index_bits:
                continue
            if fi & eta_bits or si & index_bits:
                twins[i] = j + 1
                folded |= 1 << j
                break
    return folded


@kernel
def _fold(
    words: Any,
    starts: Any,
    size: Any,
    bx_mask: Any,
    muons: Any,
    extra: Any,
    when: Any,
    small: Any,
    first: Any,
) -> Any:
    """Fill rows: f and s together, extra, when (orbit, BX, linkMatch), small (second, intermediate, twin)."""
    n = 0
    eta_bits, index_bits = np.uint32(_ETA_BITS), np.uint32(_INDEX_BITS)
    orbit, bx, match = when
    second, early, twin = small
    twins = np.zeros(MAX_MUONS, np.int8)
    for r in range(starts.size):
        at = starts[r]
        head = words[at]
        matched = np.uint16(
            (head >> np.uint32(16)) & np.uint32(0xFF00) | (head >> np.uint32(8)) & np.uint32(0xFF)
        )
        o, b = np.int64(words[at + 2] & np.uint32(ORBIT_MASK)), np.int16(words[at + 1] & bx_mask)
        n1 = np.int64((head >> np.uint32(16)) & np.uint32(15))
        count = n1 + np.int64(head & np.uint32(15))
        at += HEADER_WORDS
        folded = 0
        twins[0] = 0
        if count == 2:  # nearly all others have one muon
            f, s = words[at + size], words[at + size + 1]
            fi, si = words[at], words[at + 1]
            alike = not ((fi ^ f) & ~eta_bits or (si ^ s) & ~index_bits or f & eta_bits or s & index_bits)
            twins[1] = 0
            if alike and (fi & eta_bits or si & index_bits):
                twins[0], folded = 2, 2
        elif count > 2:
            folded = _find_twins(words, at, size, count, twins)
        first[r] = n
        for j in range(count):
            if folded >> j & 1:
                continue
            k = at + size * j
            muons[n] = np.uint64(words[k + 1]) << np.uint64(32) | np.uint64(words[k])
            if size == 3:
                extra[n] = words[k + 2]
                early[n] = words[k + 2] >> np.uint32(_EARLY_AT)
            orbit[n], bx[n], match[n] = o, b, matched
            second[n], twin[n] = j >= n1, twins[j]
            n += 1
    return n


@kernel
def _unfold(first: Any, muons: Any, eta: Any, when: Any, small: Any, size: Any, out: Any, starts: Any) -> Any:
    """Write the records of rows, from the first row of each; words written, or -1 if they cannot be records.

    Words come to what rows say; counts and the links' other etas to what is likely.
    """
    end, rows = 0, muons.size
    orbit, bx, match = when
    second, early, twin = small
    eta_bits, index_bits = np.uint32(_ETA_BITS), np.uint32(_INDEX_BITS)
    row, is_twin = np.zeros(MAX_MUONS, np.int64), np.zeros(MAX_MUONS, np.bool_)
    for r in range(first.size):
        k = first[r]
        last = first[r + 1] if r + 1 < first.size else rows
        starts[r] = end
        head = np.uint32(match[k] & np.uint16(0xFF00)) << np.uint32(16)
        head |= np.uint32(match[k] & np.uint16(0xFF)) << np.uint32(8)
        # of an orbit's number the epoch is in no word
        out[end + 1], out[end + 2] = np.uint32(bx[k]), np.uint32(orbit[k] & ORBIT_MASK)
        if last - k == 1 and second[k] == 0 and (twin[k] == 0 or twin[k] == 2):  # nearly all
            total = 1 + np.int64(twin[k] != 0)
            out[end] = head | np.uint32(total << 16)
            end += HEADER_WORDS
            f, s = np.uint32(muons[k]), np.uint32(muons[k] >> np.uint64(32))
            out[end], out[end + 1] = f, s
            if size == 3:
                own = (np.uint32(eta[k]) & np.uint32(_ETA_MASK)) << np.uint32(_ETA_AT[0])
                out[end + 2] = own | np.uint32(np.uint32(early[k] != 0) << np.uint32(_EARLY_AT))
            end += size
            if total == 2:
                out[end], out[end + 1] = f & ~eta_bits, s & ~index_bits
                if size == 3:
                    out[end + 2] = own | np.uint32(1) << np.uint32(_EARLY_AT)
                end += size
            continue
        total, n1 = arrange(k, last, second, twin, row, is_twin)
        if total < 0:
            return -1
        out[end] = head | np.uint32(n1 << 16) | np.uint32(total - n1)
        end += HEADER_WORDS
        for j in range(total):
            k = row[j]
            f, s = np.uint32(muons[k]), np.uint32(muons[k] >> np.uint64(32))
            out[end] = f & ~eta_bits if is_twin[j] else f
            out[end + 1] = s & ~index_bits if is_twin[j] else s
            if size == 3:
                own = np.uint32(eta[k]) & np.uint32(_ETA_MASK)
                marks = np.uint32(is_twin[j] or early[k] != 0) << np.uint32(_EARLY_AT) | np.uint32(j >= n1)
                out[end + 2] = marks | own << np.uint32(_ETA_AT[np.int64(j >= n1)])
            end += size
        if size == 3 and n1 < total:
            _pair(out, end - size * total, n1, total)
    return end


@kernel
def arrange(first: Any, last: Any, second: Any, twin: Any, row: Any, is_twin: Any) -> Any:
    """Find the row of each muon of a record; number of muons (-1: impossible), and of mu1."""
    total = last - first
    for k in range(first, last):
        total += np.int64(twin[k] != 0)
    if total > MAX_MUONS:
        return -1, -1
    row[:] = -1
    for k in range(first, last):
        at = np.int64(twin[k]) - 1
        if at < -1 or at >= total or (at >= 0 and row[at] >= 0):
            return -1, -1
        if at >= 0:
            row[at], is_twin[at] = k, True
    k, n1 = first, -1
    for j in range(total):
        if row[j] < 0:
            row[j], is_twin[j] = k, False
            if n1 < 0 and second[k] != 0:
                n1 = j
            k += 1
    n1 = total if n1 < 0 else n1
    if max(n1, total - n1) > LINKS:
        return -1, -1
    return total, n1


@kernel
def _pair(out: Any, at: Any, n1: Any, total: Any) -> None:
    """Give a link's muons each other's eta: the k-th mu2 of a kind shares the link of the k-th mu1."""
    for kind in range(2):
        i = 0
        for j in range(n1, total):
            two = at + 3 * j + 2
            if np.int64(out[two] >> np.uint32(_EARLY_AT)) != kind:
                continue
            while i < n1 and np.int64(out[at + 3 * i + 2] >> np.uint32(_EARLY_AT)) != kind:
                i += 1
            if i == n1:
                break
            one = at + 3 * i + 2
            eta1 = out[one] & np.uint32(_ETA_MASK << _ETA_AT[0])
            eta2 = out[two] & np.uint32(_ETA_MASK << _ETA_AT[1])
            out[one] |= eta2
            out[two] |= eta1
            i += 1


@kernel
def _pack(words: Any, column: Any, start: Any, mask: Any) -> None:
    """Put a field into 64-bit words."""
    for i in range(words.size):
        words[i] |= (np.uint64(column[i]) & mask) << start


@kernel
def _address(eta: Any, pt: Any) -> Any:
    return ((abs(eta) >> 3) & 31) << 7 | pt


@kernel
def _learn(columns: Any, regions: Any, back: Any) -> None:
    """Replace hwEta and hwPhi by what the GMT's table, as known so far, leaves of them, or go back.

    columns: hwPt, hwCharge, tfMuonIndex, hwEtaAtVtx, hwPhiAtVtx, and hwEta, hwPhi in place.
    """
    pts, charges, indices, eta_at, phi_at, etas, phis = columns
    tables = np.zeros((2, 4, _ADDRESSES), np.int16)
    for i in range(pts.size):
        pt, vertex, region = np.int64(pts[i]), np.int64(eta_at[i]), regions[indices[i] & 127]
        sign, corrected = 1 - 2 * (np.int64(charges[i]) & 1), 0 < pts[i] < _PT_LIMIT
        side = 1 if vertex >= 0 else -1
        guess = vertex
        if corrected:
            k = np.int64(tables[0, region, _address(vertex, pt)])
            for _ in range(_STEPS):  # an eta whose table entry leads back to the vertex's
                guess = vertex + side * k
                k = np.int64(tables[0, region, _address(guess, pt)])
                if vertex + side * k == guess:
                    break
        eta = guess + etas[i] if back else np.int64(etas[i])
        turn = np.int64(0)
        if corrected:
            turn = sign * np.int64(tables[1, region, _address(eta, pt)])
        phi = phi_at[i] - turn
        phi += PHI_BINS * (np.int64(phi < 0) - np.int64(phi >= PHI_BINS))
        known = phi
        phi = known + phis[i] if back else np.int64(phis[i])
        if corrected:
            at = _address(eta, pt)
            tables[0, region, at] = (eta - vertex) * (1 if eta >= 0 else -1)
            half = PHI_BINS // 2
            step = sign * (np.int64(phi_at[i]) - phi)
            step += PHI_BINS * (np.int64(step < -half) - np.int64(step >= half))
            tables[1, region, at] = step
        etas[i] = eta if back else eta - guess
        phis[i] = phi if back else phi - known


_LEARNED = ("hwPt", "hwCharge", "tfMuonIndex", "hwEtaAtVtx", "hwPhiAtVtx")


def to_residuals(columns: Mapping[str, NDArray[np.int16]]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return how far hwEta and hwPhi are from what the vertex coordinates and the GMT's table give."""
    eta, phi = columns["hwEta"].copy(), columns["hwPhi"].copy()
    _learn((*(columns[n] for n in _LEARNED), eta, phi), _REGION, False)
    return eta, phi


def from_residuals(
    columns: Mapping[str, NDArray[np.int16]], eta: NDArray[np.int16], phi: NDArray[np.int16]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return hwEta and hwPhi: the inverse of `to_residuals`, for rows from the same first one on."""
    eta, phi = eta.copy(), phi.copy()
    _learn((*(columns[n] for n in _LEARNED), eta, phi), _REGION, True)
    return eta, phi


def to_rows(
    words: NDArray[np.uint32], starts: NDArray[np.int64], form: MuonWords
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Make rows of records.

    Parameters
    ----------
    words : ndarray of uint32
    starts : ndarray of int64, shape (records,)
        From `formats.records.find_records`.
    form : MuonWords

    Returns
    -------
    columns : dict of str to ndarray, shape (rows,)
        ``orbit``, ``bx``, ``linkMatch`` (of the record's header: BX above orbit), those of the muon's
        layout, ``second``, ``intermediate``, ``twin`` (0, or 1 + place of the intermediate copy in the
        record), in Run 3 ``hwEta``.
    first : ndarray of int64, shape (records,)
        First row of each record.
    """
    most = words.size // form.record_words
    kinds = (np.uint64, np.uint32, np.int64, np.int16, np.uint16, np.int8, np.int8, np.int8)
    muons, extra, *others = arrays_in_one_block([((most,), kind) for kind in kinds])
    when, small = tuple(others[:3]), tuple(others[3:])
    first = np.empty(starts.size, np.int64)
    mask = np.uint32(form.bx_mask)
    n = int(_fold(words, starts, form.record_words, mask, muons, extra, when, small, first))
    fields = arrays_in_one_block([((len(form.muon.fields), n), form.muon.column)])[0]
    columns: dict[str, NDArray[Any]] = form.muon.decode(muons[:n], out=fields)
    columns |= {name: c[:n] for name, c in zip((*_WHEN, *_SMALL), (*when, *small), strict=True)}
    if form.extra is not None:
        etas = MUON_RUN3_EXTRA.decode(extra[:n], ("hwEta1", "hwEta2"))
        columns["hwEta"] = np.where(columns["second"] == 1, etas["hwEta2"], etas["hwEta1"])
    else:
        del columns["intermediate"]  # unknown
    return columns, first


def to_records(
    columns: Mapping[str, NDArray[Any]], first: NDArray[np.int64], form: MuonWords
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Make records of rows: the inverse of `to_rows`, but for what rows do not hold.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (rows,)
        Of the types that `to_rows` gives.
    first : ndarray of int64, shape (records,)
        First row of each record, from 0 on and rising.
    form : MuonWords

    Returns
    -------
    words : ndarray of uint32
    starts : ndarray of int64, shape (records,)

    Raises
    ------
    InputError
        If no records can have such rows.
    """
    rows = len(columns["hwPt"])
    room = HEADER_WORDS * first.size + 2 * form.record_words * rows
    muons, out = arrays_in_one_block([((rows,), np.uint64), ((room,), np.uint32)])
    muons[:] = 0
    for f in form.muon.fields:
        if f.name in columns:
            _pack(muons, columns[f.name], np.uint64(f.start), np.uint64((1 << f.width) - 1))
    eta = columns["hwEta"] if form.extra is not None else np.zeros(0, np.int16)
    early = columns["intermediate"] if form.extra is not None else np.zeros(0, np.int8)
    when = tuple(columns[n] for n in _WHEN)
    small = columns["second"], early, columns["twin"]
    starts = np.empty_like(first)
    end = int(_unfold(first, muons, eta, when, small, form.record_words, out, starts))
    if end < 0:
        msg = "rows that are no records"
        raise InputError(msg)
    return out[:end], starts
