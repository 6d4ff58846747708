"""Count pairs and tags of cosmic muons, and hold muons whose neighbours in time are not all known."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 2
"""BX within which the lower leg follows."""
PHI_BINS = 24
"""Of each half of the detector: 7.5 degrees."""
COSINE_BINS = 20


@dataclass
class LegCounts:
    """What is counted of pairs and tags.

    Attributes
    ----------
    apart, cosine, pair_phi : ndarray of int64
        Pairs in the right order (0) and in the wrong one (1), by BX between the legs, cosine of the zenith
        angle, and phi of the upper leg.
    tags : ndarray of int64, shape (2, 2, 24)
        Tags for the efficiency of each of `LEGS`, without (0) and with (1) a partner, by phi.
    chance : ndarray of int64, shape (2, 24)
        Those with a partner in the wrong order.
    true : int
        Pairs that are one cosmic muon, if the data have the truth.
    """

    apart: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, REACH + 1), np.int64))
    cosine: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, COSINE_BINS), np.int64))
    pair_phi: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, PHI_BINS), np.int64))
    tags: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 2, PHI_BINS), np.int64))
    chance: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, PHI_BINS), np.int64))
    true: int = 0

    def __add__(self, other: "LegCounts") -> "LegCounts":
        """Return the sum of two."""
        return LegCounts(**{name: value + getattr(other, name) for name, value in vars(self).items()})


class Held(NamedTuple):
    """Muons of which not all neighbours in time are known; objects of a run begin far from those before."""

    time: NDArray[np.int64]
    phi: NDArray[np.float64]
    eta: NDArray[np.float64]
    origin: NDArray[np.int64]
    done: NDArray[np.bool_]

    def select(self, keep: NDArray[np.bool_]) -> "Held":
        """Return some of them."""
        return Held._make(column[keep] for column in self)

    def followed_by(self, other: "Held", shift: int) -> "Held":
        """Return these and others, `shift` crossings later."""
        moved = other._replace(time=other.time + shift)
        return Held._make(np.concatenate(both) for both in zip(self, moved, strict=True))


def nothing_held() -> Held:
    """Return no muons."""
    none = np.zeros(0, np.int64)
    return Held(none, none.astype(np.float64), none.astype(np.float64), none, none.astype(np.bool_))
