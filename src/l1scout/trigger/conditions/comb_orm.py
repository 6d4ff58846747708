"""Objects of one kind, away from an object of another: ``comb_orm{TAU26, TAU26, JET55}[ORMDR_0p5]``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.assignments import combined
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import CleanedPairCondition
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.overlap import ORM_CUTS, overlaps
from l1scout.trigger.passing_objects import PassingObjects


class CombOrmCondition(CleanedPairCondition):
    """Different objects for all legs but the last, which do not overlap the last leg's object."""

    legs = (2, 5)
    cuts = frozenset({"CHGCOR", *ORM_CUTS})
    needs = frozenset(ORM_CUTS)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings all legs can have such objects."""
        if len(condition.legs) == 2:
            return super().evaluate(condition, objects)
        *legs, last = condition.legs
        (cut,) = condition.cuts_of(*ORM_CUTS)
        reference = objects.passing(last)
        masks = [objects.passing(leg) for leg in legs]
        close = [overlaps(objects, leg, last, cut) for leg in legs]
        if condition.veto:
            kept = [mask & ~near.any(axis=2) for mask, near in zip(masks, close, strict=True)]
            return reference.any(axis=1) & combined(condition, objects, kept, legs)
        fulfilled = np.zeros(objects.inputs.crossings, np.bool_)
        for k in range(reference.shape[1]):
            kept = [mask & ~near[:, :, k] for mask, near in zip(masks, close, strict=True)]
            fulfilled |= reference[:, k] & combined(condition, objects, kept, legs)
        return fulfilled


CONDITIONS.register("comb-orm")(CombOrmCondition())
