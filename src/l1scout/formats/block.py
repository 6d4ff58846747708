"""The block of a crossing: 192 bytes, 6 rows of 8 words, a word a link. In Run 2 and in Run 3.

Rows 2 to 5 are the words f and s of each link's first muon (mu1), then of its second (mu2). Rows 0
and 1 say which crossing it was; their order and their spare bits are what differs between the runs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.lanes import differing
from l1scout.formats.layout import Field, Layout
from l1scout.formats.muon import MUON_2018, MUON_RUN3, MUON_RUN3_EXTRA, PT
from l1scout.jit import kernel

LINKS = 8
ROWS = 6
BLOCK_WORDS = LINKS * ROWS
BLOCK_BYTES = 4 * BLOCK_WORDS
PT_BITS = ((1 << PT.width) - 1) << PT.start
"""Bits of the word f which are 0 where there is no muon."""

ORBIT = Layout(
    "Orbit word of a link",
    32,
    (
        Field("orbit", 0, 31),
        Field("linkBad", 31, 1, note="l1scout's own: no valid data from this link in this orbit"),
    ),
    "Public decoders mask bit 31 of Run 3, and see a link that disagrees with the others in Run 2.",
)
ORBIT_MASK = (1 << ORBIT["orbit"].width) - 1
LINK_BAD = 1 << ORBIT["linkBad"].start
BX_RUN2 = Layout(
    "BX word of a link, Run 2",
    32,
    (
        Field("bx", 0, 16, note="1..3564"),
        Field("link", 23, 4),
        Field("marker", 27, 4, note="15 = intermediate muons, 0 = final"),
    ),
)
BX_RUN3 = Layout(
    "BX word of a link, Run 3",
    32,
    (Field("bx", 0, 13, note="1..3564"), *MUON_RUN3_EXTRA.fields[1:]),
    "The fields above the BX are those of the record's third word, as their widths suggest.",
)


@dataclass(frozen=True)
class BlockFormat:
    """What differs between the runs.

    Parameters
    ----------
    name : str
    bx_row, orbit_row : int
    bx : Layout
    muon : Layout
    record_words : int
        Words a muon in a zero-suppressed record.
    from_link : int
        Bits of the BX word which the link sends in frame 1 (the second-station etas of Run 3).
    """

    name: str
    bx_row: int
    orbit_row: int
    bx: Layout
    muon: Layout
    record_words: int
    from_link: int = 0

    @property
    def bx_mask(self) -> int:
        """Bits of the BX word that hold the BX."""
        return (1 << self.bx["bx"].width) - 1

    @property
    def intermediate_bits(self) -> int:
        """Bits of a link's BX word that are all set where its muons are intermediate."""
        marker = self.bx["intermediate" if self.record_words == 3 else "marker"]
        return ((1 << marker.width) - 1) << marker.start

    def bx_bits(self, intermediate: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """Constant bits of each link's BX word: link id, and whether its muons are intermediate."""
        if "link" in (f.name for f in self.bx.fields):
            return self.bx.encode({"link": np.arange(LINKS), "marker": 15 * intermediate})
        return self.bx.encode({"intermediate": intermediate})


RUN2 = BlockFormat("run2", 0, 1, BX_RUN2, MUON_2018, 2)
RUN3 = BlockFormat("run3", 1, 0, BX_RUN3, MUON_RUN3, 3, from_link=0x7FFFE000)
FORMATS = {f.name: f for f in (RUN2, RUN3)}


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
