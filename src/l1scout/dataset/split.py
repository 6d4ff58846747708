"""Training, validation and test muons, told apart by what they are and not by where they stand."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SALT = "l1scout split 1"
PARTS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
"""Share of `fraction` of each part: three, one and one fifths."""


def fraction(columns: Mapping[str, NDArray[Any]], salt: str = SALT) -> NDArray[np.float64]:
    """Give a number in [0, 1) made of a muon's own values: the same wherever and whenever it is met.

    Muons with equal values get equal numbers, so copies of a muon never stand on two sides of a
    split, and the order of files and rows does not matter. Five folds are ``floor(5 * fraction)``.

    Parameters
    ----------
    columns : mapping of str to ndarray, each of shape (n,)
        Integers, or reals that are compared as float32.
    salt : str
        Another salt gives an independent split.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    start = np.frombuffer(hashlib.blake2b(salt.encode(), digest_size=8).digest(), np.uint64)[0]
    size = next(iter(columns.values())).size
    state = np.full(size, start, np.uint64)
    for name in sorted(columns):
        state = _mix(state ^ _bits(columns[name]))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def part(columns: Mapping[str, NDArray[Any]], name: str, salt: str = SALT) -> NDArray[np.bool_]:
    """Mask of the muons of a part (a key of `PARTS`), shape (n,)."""
    low, high = PARTS[name]
    u = fraction(columns, salt)
    return (u >= low) & (u < high)


def _bits(column: NDArray[Any]) -> NDArray[np.uint64]:
    if column.dtype.kind == "f":
        column = column.astype(np.float32) + np.float32(0)  # -0 and 0 are equal
        return column.view(np.uint32).astype(np.uint64)
    return column.astype(np.int64).view(np.uint64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Splitmix64 (Steele, Lea and Flood 2014): every output bit depends on every input bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
