"""Count crossings with objects of two kinds, k BX apart, and what uncorrelated sources would give.

A BX of a window of 64 orbits is a word: bit k is set if orbit k has an object there. Of N orbits in which
both kinds were looked for, a have the one kind in a BX and b the other kind k BX later. If the two have
nothing to do with each other, both occur together in a b / N orbits on average, with the variance
a b (N - a) (N - b) / (N^2 (N - 1)) of the hypergeometric distribution. Filling scheme, rates by BX and
changes of luminosity from window to window drop out, as this is added up by BX and window.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.orbit_windows import WINDOW, OrbitWindow
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

Counts = NDArray[np.int64]
BOTH, PRODUCT, VARIANCE = range(3)
"""Of the last axis of counts: coincidences, and the sums of a b and a b (N - a) (N - b)."""


def no_counts(pairs: int, reach: int) -> Counts:
    """Return zeros of shape (65 numbers of orbits, pairs, 2 reach + 1 offsets, 3)."""
    return np.zeros((WINDOW + 1, pairs, 2 * reach + 1, 3), np.int64)


def add_window(window: OrbitWindow, kinds: list[str], pairs: Counts, reach: int, counts: Counts) -> None:
    """Add the coincidences of a window.

    Parameters
    ----------
    window : OrbitWindow
    kinds : list of str
    pairs : ndarray of int64, shape (pairs, 2)
        Places of two kinds in `kinds`.
    reach : int
        Largest offset in BX.
    counts : ndarray of int64
        As `no_counts` gives them.
    """
    bits = np.zeros((len(kinds), 2, BX_PER_ORBIT), np.uint64)
    seen = np.zeros((len(kinds), 2), np.uint64)
    for k, kind in enumerate(kinds):
        for part, own in enumerate((window, window.head)):
            if own is not None:
                orbit, bx = np.divmod(own.objects(kind).time - own.first, BX_PER_ORBIT)
                np.bitwise_or.at(bits[k, part], bx, np.uint64(1) << orbit.astype(np.uint64))
                seen[k, part] = own.seen.get(kind, 0)
    _count(bits, seen, pairs, reach, counts)


@kernel
def _ones(word: Any) -> Any:
    """Count the bits of a word that are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def _next(word: Any, head: Any) -> Any:
    """Return the bits of the orbits that follow."""
    return (word >> np.uint64(1)) | (head << np.uint64(63))


@kernel
def _count(bits: Any, seen: Any, pairs: Any, reach: Any, counts: Any) -> None:
    size = bits.shape[2]
    for p in range(pairs.shape[0]):
        a, b = pairs[p, 0], pairs[p, 1]
        for d in range(-reach, reach + 1):
            if a == b and d <= 0:
                continue
            for bx in range(size):
                other = bx + d
                one, one_seen = bits[a, 0, bx], seen[a, 0]
                two_seen = seen[b, 0]
                if other >= size:
                    other -= size
                    two = _next(bits[b, 0, other], bits[b, 1, other])
                    two_seen = _next(seen[b, 0], seen[b, 1])
                elif other < 0:
                    other += size
                    two = bits[b, 0, other]
                    one = _next(one, bits[a, 1, bx])
                    one_seen = _next(one_seen, seen[a, 1])
                else:
                    two = bits[b, 0, other]
                common = one_seen & two_seen
                orbits = _ones(common)
                n_one, n_two = _ones(one & common), _ones(two & common)
                if orbits < 2 or n_one == 0 or n_two == 0:
                    continue
                product = n_one * n_two
                counts[orbits, p, d + reach, 0] += _ones(one & two & common)
                counts[orbits, p, d + reach, 1] += product
                counts[orbits, p, d + reach, 2] += product * (orbits - n_one) * (orbits - n_two)


def expected(counts: Counts) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return coincidences, those expected without correlation, and the variance of these.

    Each of shape (pairs, 2 reach + 1).
    """
    n = np.arange(WINDOW + 1, dtype=np.float64)[2:, None, None]
    some = counts[2:]
    mean = (some[..., PRODUCT] / n).sum(axis=0)
    variance = (some[..., VARIANCE] / (n**2 * (n - 1))).sum(axis=0)
    return some[..., BOTH].sum(axis=0), mean, variance
