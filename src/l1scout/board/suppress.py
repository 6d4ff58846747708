"""Zero suppression of an orbit: eight links' payload to the blocks of the crossings with a muon."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.block import BLOCK_WORDS, MAP_WORDS, BlockLayout
from l1scout.formats.lanes import lowest
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINK_BAD, LINKS, ORBIT_MASK
from l1scout.formats.streams.muon import MUON_2018, PT
from l1scout.jit import kernel
from l1scout.link.receive import LinkReceiver

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


@kernel
def _find(payload: Any, busy: Any, good: Any, min_hw_pt: Any, min_quality: Any, found: Any) -> None:
    """Set the bit of each BX with a muon on a good link in the map `found`."""
    found[:] = 0
    for link in range(LINKS):
        if not good >> link & 1:
            continue
        row = payload[link]
        for w in range(MAP_WORDS):
            left = busy[link, w]
            while left != 0:
                bit = left & (~left + np.uint32(1))
                at = (32 * w + np.int64(lowest(left))) * FRAMES_PER_BX
                left ^= bit
                one = _is_muon(row[at + 2], min_hw_pt[link], min_quality[link])
                if one or _is_muon(row[at + 4], min_hw_pt[link], min_quality[link]):
                    found[w] |= bit


@kernel
def _build(
    payload: Any,
    busy: Any,
    good: Any,
    orbit: Any,
    min_hw_pt: Any,
    min_quality: Any,
    layout: Any,
    bits: Any,
    found: Any,
    out: Any,
) -> Any:
    """Write the blocks of the BX with a muon; the number of blocks.

    layout: row of the orbit words, row of the BX words, bits of frame 1 for the BX word. bits:
    constant bits of each link's BX word.
    """
    _find(payload, busy, good, min_hw_pt, min_quality, found)
    n = 0
    orbit_at, bx_at, from_link = LINKS * layout[0], LINKS * layout[1], np.uint32(layout[2])
    for w in range(MAP_WORDS):
        left = found[w]
        while left != 0:
            bit = left & (~left + np.uint32(1))
            bx = 32 * w + np.int64(lowest(left))
            left ^= bit
            block = out[n * BLOCK_WORDS : (n + 1) * BLOCK_WORDS]
            block[:] = 0
            for link in range(LINKS):
                usable = good >> link & 1
                block[bx_at + link] = np.uint32(bx + 1) | bits[link]
                block[orbit_at + link] = orbit if usable else orbit | np.uint32(LINK_BAD)
                if not usable or busy[link, w] & bit == 0:
                    continue
                frames = payload[link, bx * FRAMES_PER_BX : (bx + 1) * FRAMES_PER_BX]
                block[bx_at + link] |= frames[1] & from_link
                for slot in range(2):
                    if _is_muon(frames[2 + 2 * slot], min_hw_pt[link], min_quality[link]):
                        block[(2 + 2 * slot) * LINKS + link] = frames[2 + 2 * slot]
                        block[(3 + 2 * slot) * LINKS + link] = frames[3 + 2 * slot]
            n += 1
    return n


class Suppressor:
    """Zero suppression with one selection and one format.

    Parameters
    ----------
    form : BlockLayout
    selection : BoardSelection

    Attributes
    ----------
    map : ndarray of uint32, shape (112,)
        Non-empty BX of the orbit last seen; bit b is BX b + 1.
    """

    def __init__(self, form: BlockLayout, selection: BoardSelection) -> None:
        self.map = np.zeros(MAP_WORDS, np.uint32)
        self._pt = np.array(selection.min_hw_pt, np.uint32)
        self._quality = np.array(selection.min_quality, np.uint32)
        self._bits = form.constant_bits(np.array(selection.intermediate)).astype(np.uint32)
        self._layout = np.array([form.orbit_row, form.bx_row, form.from_link])

    def blocks(self, receiver: LinkReceiver, good: int, orbit: int, out: NDArray[np.uint32]) -> int:
        """Write the blocks of the orbit that was received last.

        Parameters
        ----------
        receiver : LinkReceiver
        good : int
            Links to use, as bits; the others' slots stay empty, and marked.
        orbit : int
        out : ndarray of uint32, shape (at least 48 x 3564,)

        Returns
        -------
        int
            Number of blocks.
        """
        number = np.uint32(orbit & ORBIT_MASK)
        tables = self._pt, self._quality, self._layout, self._bits, self.map
        return int(_build(receiver.payload, receiver.busy, good, number, *tables, out))
