"""The block of a crossing: 192 bytes, 6 rows of 8 words, a word a link. In Run 2 and in Run 3.

Rows 2 to 5 are the words f and s of each link's first muon (mu1), then of its second (mu2). Rows 0
and 1 say which crossing it was; their order and their spare bits are what differs between the runs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.decoded import Decoded
from l1scout.formats.lanes import differing
from l1scout.formats.layout import Layout
from l1scout.formats.records import LINK_BAD, LINKS, ORBIT_MASK
from l1scout.formats.streams.muon import PT_BITS, MuonWords, make_muons
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

ROWS = 6
BLOCK_WORDS = LINKS * ROWS
BLOCK_BYTES = 4 * BLOCK_WORDS
MAP_WORDS = 112
"""Of a map of the non-empty BX of an orbit: bit b is BX b + 1 or, in packets of the public DAQ code, BX b;
the last bits of the 3584 stay 0."""


@dataclass(frozen=True)
class BlockLayout(MuonWords):
    """Where things are in a block, and how its muons are written.

    Parameters
    ----------
    bx_row, orbit_row : int
    bx : Layout
        BX word of a link.
    intermediate_field : str
        Field of the BX word that has all bits set where the link's muons are intermediate.
    from_link : int
        Bits of the BX word which the link sends in frame 1 (the second-station etas of Run 3).
    """

    bx_row: int
    orbit_row: int
    bx: Layout
    intermediate_field: str
    from_link: int = 0

    @property
    def intermediate_bits(self) -> int:
        """Bits of a link's BX word that are all set where its muons are intermediate."""
        marker = self.bx[self.intermediate_field]
        return ((1 << marker.width) - 1) << marker.start

    def constant_bits(self, intermediate: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """Return constant bits of the links' BX words: link id, and whether muons are intermediate."""
        columns = {self.intermediate_field: self.bx[self.intermediate_field].high * intermediate}
        if any(field.name == "link" for field in self.bx.fields):
            columns["link"] = np.arange(LINKS)
        return self.bx.encode(columns)


@kernel
def _occupied(words: Any, out: Any) -> None:
    bits, zero = np.uint32(PT_BITS), np.uint32(0)
    for i in range(out.size):
        at = np.uint64(i * BLOCK_WORDS)
        mu1 = differing(words, at + np.uint64(16), zero, bits)
        mu2 = differing(words, at + np.uint64(32), zero, bits)
        out[i] = mu1 | mu2 != 0


def occupied(blocks: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Say which blocks hold a muon (hwPt > 0) on any link: the scan of the board's zero suppression.

    Parameters
    ----------
    blocks : ndarray of uint32, shape (n, 6, 8), contiguous

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    words = np.ascontiguousarray(blocks, np.uint32).reshape(-1)
    out = np.empty(words.size // BLOCK_WORDS, np.bool_)
    _occupied(words, out)
    return out


def decode_blocks(blocks: NDArray[np.uint32], layout: BlockLayout) -> Decoded:
    """Decode the muons (hwPt > 0) of BX blocks.

    A block whose links do not agree on orbit and BX flags its orbit; orbit and BX are those of link 0.
    A block with a BX above 3564 is counted and left out.

    Parameters
    ----------
    blocks : ndarray of uint32, shape (n, 6, 8)
    layout : BlockLayout
    """
    bx, orbit = blocks[:, layout.bx_row] & layout.bx_mask, blocks[:, layout.orbit_row] & ORBIT_MASK
    good = bx[:, 0] <= BX_PER_ORBIT
    disagree = np.any(
        (bx != bx[:, :1]) | (orbit != orbit[:, :1]) | (blocks[:, layout.orbit_row] & LINK_BAD != 0), axis=1
    )
    hit = (blocks[:, 2:6:2] & PT_BITS != 0) & good[:, None, None]
    block, second, link = np.nonzero(hit)
    marks = blocks[block, layout.bx_row, link]
    columns: dict[str, NDArray[Any]] = {"second": second, "link": link}
    extra = None
    if layout.extra is None:
        columns["intermediate"] = marks & layout.intermediate_bits == layout.intermediate_bits
    else:
        extra = marks & ~np.uint32(layout.bx_mask)
    bad = int(np.count_nonzero(~good))
    words = blocks[block, 2 + 2 * second, link], blocks[block, 3 + 2 * second, link], extra
    muons = make_muons(layout, orbit[block, 0], bx[block, 0], words, columns)
    flagged = np.unique(orbit[disagree & good, 0]).astype(np.int64)
    return Decoded(muons, flagged, bad, bad * blocks[0].nbytes if bad else 0)
