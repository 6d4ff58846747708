"""Compiled decoding of the muons' records of Run 3: the same as `formats.streams.muon.decode_records`."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded
from l1scout.formats.lanes import SOME
from l1scout.formats.object_kernels import cut_columns
from l1scout.formats.object_records import FoundObjects, ObjectTable
from l1scout.formats.payloads import Payloads
from l1scout.formats.record_kernels import BX, END, IN_ORDER, OBJECTS, ORBIT, ROWS, add_rows
from l1scout.formats.records import ALL_MATCH, HEADER_WORDS, ORBIT_MASK, record_length
from l1scout.formats.reused_memory import arrays_in_one_block
from l1scout.jit import kernel

MUON_WORDS = 3
_WORDS = 4
"""Rows of words that columns are cut from: f, s, whether it is of a second slot, and the third word, in which
the eta of the second slot is moved to that of the first."""
_MARKED = 1 << 31


@kernel
def _decode_muons(
    words: Any,
    spans: Any,
    bases: Any,
    bx_mask: Any,
    eta_bits: Any,
    cuts: Any,
    records: Any,
    scratch: Any,
    out: Any,
    room: Any,
    rows: Any,
    counts: Any,
    flagged: Any,
    ends: Any,
) -> Any:
    """Decode payloads; return how many orbits are in `flagged`: of records in which a link is missing."""
    bad, stride = 0, np.uint64(scratch.size // _WORDS)
    two, three = np.uint64(2) * stride, np.uint64(3) * stride
    one, marked = np.uint64(1), np.uint32(_MARKED)
    for k in range(bases.size):
        at, end, n, last = spans[0, k], spans[1, k], 0, np.uint64(0)
        length = record_length(words, at, end, MUON_WORDS, bx_mask)
        while length:
            head, place = words[at], np.uint64(at + HEADER_WORDS)
            first = np.int64((head >> np.uint32(16)) & np.uint32(15))
            orbit = bases[k] + np.int64(words[at + 2] & np.uint32(ORBIT_MASK))
            if head & np.uint32(ALL_MATCH) != np.uint32(ALL_MATCH):
                flagged[bad] = orbit
                bad += 1
            for i in range((length - HEADER_WORDS) // MUON_WORDS):
                second, extra = np.uint32(i >= first), words[place + np.uint64(2)]
                scratch[last], scratch[stride + last] = words[place], words[place + one]
                scratch[two + last] = second
                moved = (extra & ~marked) >> (second * eta_bits)
                scratch[three + last] = (extra & marked) | moved
                place += np.uint64(MUON_WORDS)
                last += one
            records[ORBIT, n], records[BX, n] = orbit, np.int64(words[at + 1] & bx_mask)
            records[END, n] = np.int64(last)
            n += 1
            at += length
            length = record_length(words, at, end, MUON_WORDS, bx_mask)
        ends[k] = at
        add_rows(records, n, counts, rows)
        cut_columns(scratch, np.int64(stride), np.int64(last), cuts, out, room, counts[OBJECTS])
        counts[OBJECTS] += np.int64(last)
    return bad


def decode_muons(
    payloads: Payloads, table: ObjectTable, bx_mask: int, eta_bits: int, names: Collection[str] | None
) -> tuple[Decoded, NDArray[np.int64]]:
    """Decode records of Run 3 in payloads.

    Parameters
    ----------
    payloads : Payloads
    table : ObjectTable
        Columns of the words f, s, whether it is of a second slot, and the third word, in which the eta of the
        second slot is moved to that of the first: by `eta_bits`.
    bx_mask : int
        Bits of the BX word that hold the BX.
    eta_bits : int
    names : collection of str, optional
        Columns that are wanted; all if it is None.

    Returns
    -------
    decoded, ends
        See `formats.stream.Stream.decode`.
    """
    chosen, total, largest = table.choose(names), payloads.size, payloads.largest
    shortest = HEADER_WORDS + MUON_WORDS
    most, room = total // shortest + 1, total // MUON_WORDS + 2 * SOME
    out, rows = arrays_in_one_block([((len(chosen.cuts) * room,), np.int16), ((3, most), np.int64)])
    scratch, records, flagged = arrays_in_one_block(
        [
            ((_WORDS * (largest // MUON_WORDS + 2 * SOME),), np.uint32),
            ((END + 1, largest // shortest + 1), np.int64),
            ((most,), np.int64),
        ]
    )
    counts, ends = np.zeros(3, np.int64), np.empty(payloads.sources.size, np.int64)
    counts[IN_ORDER] = 1
    bad = _decode_muons(
        *(payloads.words, payloads.spans, payloads.bases, np.uint32(bx_mask), np.uint32(eta_bits)),
        *(chosen.cuts, records, scratch, out, room, rows, counts, flagged, ends),
    )
    n, objects = int(counts[ROWS]), int(counts[OBJECTS])
    offsets = np.append(rows[2, :n], objects)
    columns = chosen.made(out, room, 0, objects)
    nothing = np.zeros((0, 0), np.uint32)
    found = FoundObjects(rows[0, :n], rows[1, :n], offsets, columns, nothing, bool(counts[IN_ORDER]))
    batch: OrbitBatch = found.batch()
    return Decoded(batch, np.unique(flagged[:bad])), ends
