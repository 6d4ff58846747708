"""Three objects of one kind with an invariant mass: ``mass_inv_3{MU5, MU3, MU0}[MASS_MAX_12]``."""

from itertools import combinations as pairs_of

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType, same_objects
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.pair_values import half_mass_squared, same_or_other_charge
from l1scout.trigger.passing_objects import PassingObjects, combinations


class MassInv3Condition(ConditionType):
    """Three different objects that pass a cut on the sum of their pairs' half squared masses."""

    legs = (3, 3)
    cuts = frozenset({"MASS", "CHGCOR"})
    needs = frozenset({"MASS"})

    def check(self, condition: MenuCondition) -> None:
        """Refuse objects of several kinds."""
        super().check(condition)
        same_objects(condition)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings three objects pass."""
        fulfilled = np.zeros(objects.inputs.crossings, np.bool_)
        (mass,) = condition.cuts_of("MASS")
        inputs, legs = objects.inputs, condition.legs
        for found in combinations([objects.passing(leg) for leg in legs], legs):
            total, scale = np.zeros(len(found.rows), np.int64), 1
            for a, b in pairs_of(range(3), 2):
                value, digits = half_mass_squared(
                    inputs, (legs[a], legs[b]), found.rows, (found.slots[a], found.slots[b])
                )
                total, scale = total + value, 10 ** (digits - 1)
            keep = (total >= mass.low * scale) & (total <= mass.high * scale)
            for cut in condition.cuts_of("CHGCOR"):
                keep &= same_or_other_charge(inputs, legs, found.rows, found.slots, cut)
            fulfilled[found.rows[keep]] = True
        return fulfilled


CONDITIONS.register("mass-inv-3")(MassInv3Condition())
