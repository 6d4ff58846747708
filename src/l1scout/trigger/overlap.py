"""Overlap removal: objects that are close to an object of the condition's last leg do not count."""

from collections.abc import Sequence

import numpy as np

from l1scout.trigger.menu import Leg, MenuCondition, PairCut
from l1scout.trigger.pair_values import passes_pair_cut
from l1scout.trigger.passing_objects import Combinations, Mask, PassingObjects, combinations

ORM_CUTS = ("ORMDETA", "ORMDPHI", "ORMDR")


def overlaps(objects: PassingObjects, leg: Leg, last: Leg, cut: PairCut) -> Mask:
    """Return which objects of a leg overlap which passing object of the last: (crossings, slots, slots)."""
    masks = objects.passing(leg), objects.passing(last)
    found = np.zeros((len(masks[0]), masks[0].shape[1], masks[1].shape[1]), np.bool_)
    for pairs in combinations(masks, (leg, last)):
        close = passes_pair_cut(objects.inputs, (leg, last), pairs.rows, pairs.slots, cut)
        found[pairs.rows[close], pairs.slots[0][close], pairs.slots[1][close]] = True
    return found


def away_from_last(
    condition: MenuCondition, objects: PassingObjects, pairs: Combinations, close: Sequence[Mask]
) -> Mask:
    """Return which pairs the overlap removal keeps.

    Parameters
    ----------
    condition : MenuCondition
    objects : PassingObjects
    pairs : Combinations
        Of objects of the first two legs.
    close : sequence of two ndarray of bool
        `overlaps` of these legs.
    """
    last = objects.passing(condition.legs[-1])[pairs.rows]
    near = close[0][pairs.rows, pairs.slots[0]] | close[1][pairs.rows, pairs.slots[1]]
    if condition.veto:
        return np.asarray(last.any(axis=1) & ~(last & near).any(axis=1))
    return np.asarray((last & ~near).any(axis=1))


def without_overlap(
    cuts: Sequence[PairCut], objects: PassingObjects, legs: Sequence[Leg], pairs: Combinations
) -> Mask:
    """Return which pairs of two legs are not within the cut of the overlap removal."""
    close = np.zeros(len(pairs.rows), np.bool_)
    for cut in cuts:
        close |= passes_pair_cut(objects.inputs, legs, pairs.rows, pairs.slots, cut)
    return ~close
