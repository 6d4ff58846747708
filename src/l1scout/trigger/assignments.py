"""Whether different objects can be given to all legs of a combination, without trying all permutations."""

from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np

from l1scout.trigger.candidate_rows import CandidateRows
from l1scout.trigger.menu import Leg, MenuCondition
from l1scout.trigger.passing_objects import Mask, PassingObjects, Places


def can_be_assigned(places: Sequence[Places], legs: Sequence[Leg], keys: Sequence[object]) -> Mask:
    """Return at which candidates every leg can have an object of its own that fulfils it.

    By Hall's theorem that is so if every set of n legs has n or more objects that fulfil one of them. Equal
    legs are taken together, and legs of different lists apart.

    Parameters
    ----------
    places : sequence of ndarray of uint16, each of shape (candidates,)
        Objects that fulfil each leg.
    legs : sequence of Leg
    keys : sequence of hashable
        Legs with equal keys have equal places.

    Returns
    -------
    ndarray of bool, shape (candidates,)
    """
    lists: dict[tuple[str, int], list[int]] = {}
    for k, leg in enumerate(legs):
        lists.setdefault((leg.kind, leg.offset), []).append(k)
    fulfilled = np.ones(len(places[0]), np.bool_)
    for members in lists.values():
        equal = Counter(keys[k] for k in members)
        different = {keys[k]: places[k] for k in members}
        for chosen in product((False, True), repeat=len(different)):
            some = [key for key, taken in zip(different, chosen, strict=True) if taken]
            if some:
                together = np.bitwise_or.reduce([different[key] for key in some])
                fulfilled &= np.bitwise_count(together) >= sum(equal[key] for key in some)
    return fulfilled


def combined(
    condition: MenuCondition,
    objects: PassingObjects,
    found: CandidateRows,
    places: Sequence[Places],
    legs: Sequence[Leg],
) -> Mask:
    """Return at which candidates legs can have objects of their own, with charges as the condition asks."""
    cuts = condition.cuts_of("CHGCOR")
    if not cuts:
        return can_be_assigned(places, legs, legs)
    charges = [objects.charged_places(sign, found.padded) for sign in (0, 1)]
    signed = [
        [place & charges[sign][row] for sign in (0, 1)]
        for place, row in zip(places, found.rows[: len(legs)], strict=True)
    ]
    fulfilled = np.zeros(len(places[0]), np.bool_)
    for signs in product((0, 1), repeat=len(legs)):
        if (len(set(signs)) == 1) == (cuts[0].low == 0):
            chosen = [signed[k][sign] for k, sign in enumerate(signs)]
            fulfilled |= can_be_assigned(chosen, legs, list(zip(legs, signs, strict=True)))
    return fulfilled
