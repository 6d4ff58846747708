"""Objects of one kind, away from an object of another: ``comb_orm{TAU26, TAU26, JET55}[ORMDR_0p5]``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.assignments import combined
from l1scout.trigger.candidate_rows import candidates
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import CleanedPairCondition
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.overlap import ORM_CUTS, overlaps
from l1scout.trigger.pair_values import starts_and_places
from l1scout.trigger.passing_objects import Mask, PassingObjects, Places


class CombOrmCondition(CleanedPairCondition):
    """Different objects for all legs but the last, which do not overlap the last leg's object."""

    legs = (2, 5)
    cuts = frozenset({"CHGCOR", *ORM_CUTS})
    needs = frozenset(ORM_CUTS)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which all legs can have such objects."""
        if len(condition.legs) == 2:
            return super().evaluate(condition, objects)
        found = candidates(objects, condition.legs)
        *places, last = starts_and_places(objects, condition.legs, found)[1]
        legs = condition.legs[:-1]
        near = [overlaps(condition, objects, found, k) for k in range(len(legs))]
        if condition.veto:
            kept = [place & _where(close == 0) for place, close in zip(places, near, strict=True)]
            return found.crossing[combined(condition, objects, found, kept, legs)]
        fulfilled = np.zeros(len(found.crossing), np.bool_)
        for k in range(int(last.max(initial=0)).bit_length()):
            kept = [p & _where(close >> k & 1 == 0) for p, close in zip(places, near, strict=True)]
            fulfilled |= (last >> k & 1 == 1) & combined(condition, objects, found, kept, legs)
        return found.crossing[fulfilled]


def _where(flags: Mask) -> Places:
    """Return the places whose flag is set: flags of shape (candidates, slots)."""
    return np.asarray((flags << np.arange(flags.shape[1], dtype=np.uint16)).sum(axis=1, dtype=np.uint16))


CONDITIONS.register("comb-orm")(CombOrmCondition())
