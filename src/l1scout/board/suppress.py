"""Zero suppression of an orbit: eight links' payload to the blocks of the crossings with a muon."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import BLOCK_WORDS, MAP_WORDS, ROWS, BlockLayout
from l1scout.formats.lanes import lowest, ones
from l1scout.formats.records import LINK_BAD, LINKS, ORBIT_MASK
from l1scout.formats.streams.muon import MUON_2018, PT
from l1scout.jit import kernel

_PT_AT, _PT_MAX = PT.start, PT.high
_QUALITY = MUON_2018["hwQual"]
_QUALITY_AT, _QUALITY_MAX = _QUALITY.start, _QUALITY.high
INTERMEDIATE_LINKS = (False, False, False, False, True, True, True, True)
"""Links with intermediate muons: four of final and four of intermediate ones is an inference from
the number of links, muons and slots, in no public document."""


@dataclass(frozen=True)
class BoardSelection:
    """What the board takes for a muon, a value a link.

    Parameters
    ----------
    min_hw_pt : tuple of int
        Smallest hwPt: 1 keeps every muon.
    min_quality : tuple of int
        Smallest hwQual.
    intermediate : tuple of bool
        Links that carry intermediate muons.
    """

    min_hw_pt: tuple[int, ...] = (1,) * LINKS
    min_quality: tuple[int, ...] = (0,) * LINKS
    intermediate: tuple[bool, ...] = field(default=INTERMEDIATE_LINKS)

    def __post_init__(self) -> None:
        tables = self.min_hw_pt, self.min_quality, self.intermediate
        if any(len(t) != LINKS for t in tables) or min(self.min_hw_pt) < 1 or min(self.min_quality) < 0:
            msg = f"{LINKS} values for each threshold, hwPt from 1 on, hwQual from 0: not {self}"
            raise ValueError(msg)


@kernel
def _is_muon(f: Any, min_hw_pt: Any, min_quality: Any) -> Any:
    pt = (f >> np.uint32(_PT_AT)) & np.uint32(_PT_MAX)
    quality = (f >> np.uint32(_QUALITY_AT)) & np.uint32(_QUALITY_MAX)
    return pt >= min_hw_pt and quality >= min_quality


class SelectionTables(NamedTuple):
    """A `BoardSelection` and the format of blocks, as kernels take them.

    Parameters
    ----------
    min_hw_pt, min_quality : ndarray of uint32, shape (8,)
    bits : ndarray of uint32, shape (8,)
        Constant bits of each link's BX word.
    orbit_at, bx_at : int
        First of the orbit words and of the BX words in a block.
    from_link : uint32
        Bits of the BX word that a link sends in frame 1.
    """

    min_hw_pt: NDArray[np.uint32]
    min_quality: NDArray[np.uint32]
    bits: NDArray[np.uint32]
    orbit_at: int
    bx_at: int
    from_link: np.uint32


def selection_tables(form: BlockLayout, selection: BoardSelection) -> SelectionTables:
    """Return the tables with which `write_blocks` suppresses zeros."""
    return SelectionTables(
        np.array(selection.min_hw_pt, np.uint32),
        np.array(selection.min_quality, np.uint32),
        form.constant_bits(np.array(selection.intermediate)).astype(np.uint32),
        LINKS * form.orbit_row,
        LINKS * form.bx_row,
        np.uint32(form.from_link),
    )


@kernel
def _find(crossings: Any, busy: Any, good: Any, min_hw_pt: Any, min_quality: Any, found: Any) -> None:
    """Set the bit of each BX with a muon on a good link in the map `found`."""
    found[:] = 0
    for link in range(LINKS):
        if not good >> link & 1:
            continue
        n, pt, quality = 0, min_hw_pt[link], min_quality[link]
        for w in range(MAP_WORDS):
            left = busy[link, w]
            while left != 0:
                bit = left & (~left + np.uint32(1))
                left ^= bit
                one = _is_muon(crossings[link, n, 2], pt, quality)
                if one or _is_muon(crossings[link, n, 4], pt, quality):
                    found[w] |= bit
                n += 1


@kernel
def write_blocks(crossings: Any, busy: Any, good: Any, orbit: Any, tables: Any, found: Any, out: Any) -> Any:
    """Write the blocks of the BX with a muon.

    Parameters
    ----------
    crossings, busy : ndarray
        What was received, see `link.receive.LinkReceiver`.
    good : int
        Links to use, as bits; the others' slots stay empty, and marked.
    orbit : int
    tables : SelectionTables
    found : ndarray of uint32, shape (112,)
        Becomes the map of the BX with a muon; bit b is BX b + 1.
    out : ndarray of uint32, shape (at least 48 x 3564,)

    Returns
    -------
    int
        Number of blocks.
    """
    pt, quality, bits, from_link = tables.min_hw_pt, tables.min_quality, tables.bits, tables.from_link
    orbit_at, bx_at = tables.orbit_at, tables.bx_at
    _find(crossings, busy, good, pt, quality, found)
    n = 0
    before = np.zeros(LINKS, np.int64)  # crossings of each link in earlier words of its map
    for w in range(MAP_WORDS):
        left = found[w]
        while left != 0:
            bit = left & (~left + np.uint32(1))
            bx = np.uint32(32 * w + 1) + np.uint32(lowest(left))
            left ^= bit
            block = out[n * BLOCK_WORDS : (n + 1) * BLOCK_WORDS]
            block[:] = 0
            for link in range(LINKS):
                usable = good >> link & 1
                block[bx_at + link] = bx | bits[link]
                block[orbit_at + link] = np.uint32(orbit & ORBIT_MASK) | np.uint32(0 if usable else LINK_BAD)
                if not usable or busy[link, w] & bit == 0:
                    continue
                k = before[link] + np.int64(ones(busy[link, w] & (bit - np.uint32(1))))
                block[bx_at + link] |= crossings[link, k, 1] & from_link
                for row in range(2, ROWS, 2):
                    if _is_muon(crossings[link, k, row], pt[link], quality[link]):
                        block[row * LINKS + link] = crossings[link, k, row]
                        block[(row + 1) * LINKS + link] = crossings[link, k, row + 1]
            n += 1
        for link in range(LINKS):
            before[link] += np.int64(ones(busy[link, w]))
    return n
