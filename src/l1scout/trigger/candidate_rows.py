"""Crossings in which every leg of a condition has objects, before their combinations are looked at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.menu import Leg
from l1scout.trigger.passing_objects import Mask, PassingObjects
from l1scout.trigger.scales import KINDS
from l1scout.trigger.trigger_inputs import TriggerInputs


@dataclass(frozen=True)
class CandidateRows:
    """Crossings in which every leg of a condition has objects that fulfil its requirement.

    Parameters
    ----------
    crossing : ndarray of int64, shape (candidates,)
    rows : tuple of ndarray of int64, each of shape (candidates,)
        Row of each leg's stream at which the leg looks.
    padded : bool
        Whether these are rows of padded streams (`PassingObjects`).
    """

    crossing: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], ...]
    padded: bool


def candidates(objects: PassingObjects, legs: Sequence[Leg]) -> CandidateRows:
    """Return the crossings in which every leg has objects, and each list at least as many as it has legs."""
    inputs = objects.inputs
    for leg in legs:
        objects.places(leg)  # refuses what the data lack
    if any(objects.passes_empty(leg) for leg in legs):
        every = np.arange(inputs.crossings)
        return CandidateRows(every, tuple(_padded_rows(inputs, every, leg.offset) for leg in legs), True)
    kept = _kept_rows(objects, legs)
    first = min(kept, key=lambda key: np.count_nonzero(kept[key]))
    rows = {first: np.flatnonzero(kept[first])}
    crossing = objects.stream(first[0]).crossing[rows[first]]
    if first[1]:
        crossing = inputs.seen_from(crossing, first[1])
        rows, crossing = _where(crossing >= 0, rows, crossing)
    for key in kept:
        if key != first:
            stream, offset = key
            at = inputs.seen_from(crossing, -offset)
            row = objects.row_at(stream)[at].astype(np.int64)
            rows[key] = row
            rows, crossing = _where((at >= 0) & (row >= 0) & kept[key][row], rows, crossing)
    return CandidateRows(crossing, tuple(rows[KINDS[leg.kind].stream, leg.offset] for leg in legs), False)


_Rows = dict[tuple[str, int], NDArray[np.int64]]


def _where(keep: Mask, rows: _Rows, crossing: NDArray[np.int64]) -> tuple[_Rows, NDArray[np.int64]]:
    return {key: values[keep] for key, values in rows.items()}, crossing[keep]


def _kept_rows(objects: PassingObjects, legs: Sequence[Leg]) -> dict[tuple[str, int], Mask]:
    """Return the rows, by stream and BX offset, in which all legs that look there have objects."""
    kept: dict[tuple[str, int], Mask] = {}
    wanted = Counter((KINDS[leg.kind].stream, leg.kind, leg.offset) for leg in legs)
    for leg in dict.fromkeys(legs):
        key = KINDS[leg.kind].stream, leg.offset
        some = objects.places(leg) != 0
        if wanted[KINDS[leg.kind].stream, leg.kind, leg.offset] > 1:
            number = wanted[KINDS[leg.kind].stream, leg.kind, leg.offset]
            some &= np.diff(objects.stream(key[0]).offsets) >= number
        kept[key] = kept[key] & some if key in kept else some
    return kept


def _padded_rows(inputs: TriggerInputs, crossing: NDArray[np.int64], offset: int) -> NDArray[np.int64]:
    at = inputs.seen_from(crossing, -offset)
    return np.where(at < 0, inputs.crossings, at)


def same_list(a: Leg, b: Leg) -> bool:
    """Return whether two objects come from the same list, so that they must be different entries of it."""
    return a.kind == b.kind and a.offset == b.offset
