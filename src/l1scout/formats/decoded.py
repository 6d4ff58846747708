"""What comes out of packets and records: muons, flagged orbits, and what could not be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.formats.block import BX_RUN3, LINK_BAD, ORBIT_MASK, PT_BITS, BlockFormat
from l1scout.formats.muon import join
from l1scout.lhc import BX_PER_ORBIT, crossing


@dataclass(frozen=True)
class Decoded:
    """Muons of some blocks or records.

    Parameters
    ----------
    muons : OrbitBatch
        Columns of the muon's layout, ``second`` (0 = first slot of its link, 1 = second) and, where
        the data say it, ``link`` (0..7); ``intermediate`` (0/1), see `orbits.final_muons`. In Run 3 also
        ``hwEta``, at the second station. Within a crossing: first slots by link, then second slots.
    flagged : ndarray of int64
        Orbits, rising, in which a link was missing or disagreed with link 0.
    corrupt : int
        Blocks, or stretches of records, that could not be used.
    corrupt_bytes : int
    """

    muons: OrbitBatch
    flagged: NDArray[np.int64]
    corrupt: int = 0
    corrupt_bytes: int = 0


def join_decoded(parts: Sequence[Decoded]) -> Decoded:
    """Put parts (one or more) one after the other."""
    return Decoded(
        concatenate([p.muons for p in parts]),
        np.unique(np.concatenate([p.flagged for p in parts])),
        sum(p.corrupt for p in parts),
        sum(p.corrupt_bytes for p in parts),
    )


def decoded(
    form: BlockFormat,
    orbit: NDArray[Any],
    bx: NDArray[Any],
    words: tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32] | None],
    columns: Mapping[str, NDArray[Any]],
    flagged: NDArray[Any],
    **rest: Any,
) -> Decoded:
    """Make columns of words f, s and (Run 3) extra, given for each muon with its orbit and BX (1..3564)."""
    f, s, extra = words
    made: dict[str, NDArray[Any]] = dict(form.muon.decode(join(f, s)))
    made |= {name: column.astype(np.int16) for name, column in columns.items()}
    if extra is not None:
        fields = BX_RUN3.decode(extra)
        made["hwEta"] = np.where(made["second"] == 1, fields["hwEta2"], fields["hwEta1"]).astype(np.int16)
        made["intermediate"] = fields["intermediate"].astype(np.int16)
    orbit, bx = orbit.astype(np.int64), bx.astype(np.int64)
    time = crossing(orbit, bx)
    if np.any(time[1:] < time[:-1]):  # damaged or foreign data: a batch is in order of time
        order = np.argsort(time, kind="stable")
        orbit, bx, made = orbit[order], bx[order], {n: c[order] for n, c in made.items()}
    return Decoded(OrbitBatch.from_objects(orbit, bx, made), np.unique(flagged).astype(np.int64), **rest)


def decode_blocks(blocks: NDArray[np.uint32], form: BlockFormat) -> Decoded:
    """Muons (hwPt > 0) of BX blocks.

    A block whose links do not agree on orbit and BX flags its orbit; orbit and BX are those of link 0.
    A block with a BX outside 1..3564 is counted and left out.

    Parameters
    ----------
    blocks : ndarray of uint32, shape (n, 6, 8)
    form : BlockFormat
    """
    bx, orbit = blocks[:, form.bx_row] & form.bx_mask, blocks[:, form.orbit_row] & ORBIT_MASK
    good = (bx[:, 0] >= 1) & (bx[:, 0] <= BX_PER_ORBIT)
    disagree = np.any(
        (bx != bx[:, :1]) | (orbit != orbit[:, :1]) | (blocks[:, form.orbit_row] & LINK_BAD != 0), axis=1
    )
    hit = (blocks[:, 2:6:2] & PT_BITS != 0) & good[:, None, None]
    block, second, link = np.nonzero(hit)
    marks = blocks[block, form.bx_row, link]
    extra = None
    columns: dict[str, NDArray[Any]] = {"second": second, "link": link}
    if form.record_words == 3:
        extra = marks & ~np.uint32(form.bx_mask)
    else:
        columns["intermediate"] = form.bx.decode(marks)["marker"] == form.bx["marker"].high
    bad = int(np.count_nonzero(~good))
    return decoded(
        form,
        orbit[block, 0],
        bx[block, 0],
        (blocks[block, 2 + 2 * second, link], blocks[block, 3 + 2 * second, link], extra),
        columns,
        orbit[disagree & good, 0],
        corrupt=bad,
        corrupt_bytes=bad * blocks[0].nbytes if bad else 0,
    )
