"""Whether different objects can be given to all legs of a combination, without trying all permutations."""

from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np

from l1scout.trigger.menu import Leg, MenuCondition
from l1scout.trigger.passing_objects import Mask, PassingObjects


def can_be_assigned(masks: Sequence[Mask], legs: Sequence[Leg]) -> Mask:
    """Return in which crossings every leg can have an object of its own that fulfils it.

    By Hall's theorem that is so if every set of n legs has n or more objects that fulfil one of them. Equal
    legs are taken together, and legs of different lists apart.

    Parameters
    ----------
    masks : sequence of ndarray of bool, each of shape (crossings, slots)
        Objects that fulfil each leg.
    legs : sequence of Leg

    Returns
    -------
    ndarray of bool, shape (crossings,)
    """
    lists: dict[tuple[str, int], list[int]] = {}
    for k, leg in enumerate(legs):
        lists.setdefault((leg.kind, leg.offset), []).append(k)
    fulfilled = np.ones(len(masks[0]), np.bool_)
    for members in lists.values():
        equal = Counter(id(masks[k]) for k in members)
        different = {id(masks[k]): masks[k] for k in members}
        for chosen in product((False, True), repeat=len(different)):
            keys = [key for key, taken in zip(different, chosen, strict=True) if taken]
            if keys:
                together = np.logical_or.reduce([different[key] for key in keys])
                fulfilled &= together.sum(axis=1) >= sum(equal[key] for key in keys)
    return fulfilled


def combined(
    condition: MenuCondition, objects: PassingObjects, masks: Sequence[Mask], legs: Sequence[Leg]
) -> Mask:
    """Return in which crossings legs can have objects of their own, with charges as the condition asks."""
    cuts = condition.cuts_of("CHGCOR")
    if not cuts:
        return can_be_assigned(masks, legs)
    charges = [objects.charges(leg) for leg in legs]
    signed = [[mask & charge[sign] for sign in (0, 1)] for mask, charge in zip(masks, charges, strict=True)]
    fulfilled = np.zeros(len(masks[0]), np.bool_)
    for signs in product((0, 1), repeat=len(legs)):
        if (len(set(signs)) == 1) == (cuts[0].low == 0):
            fulfilled |= can_be_assigned([signed[k][sign] for k, sign in enumerate(signs)], legs)
    return fulfilled
