"""An object and missing energy with a transverse mass: ``mass_trv{EG32, ETM10}[MASS_MIN_40]``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.pair_values import half_mass_squared
from l1scout.trigger.passing_objects import PassingObjects, passing_pairs


class MassTrvCondition(ConditionType):
    """Two objects that pass a cut on their transverse mass, and perhaps on their difference of phi."""

    legs = (2, 2)
    cuts = frozenset({"MASS", "DPHI"})
    needs = frozenset({"MASS"})

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings a pair passes."""
        fulfilled = np.zeros(objects.inputs.crossings, np.bool_)
        (mass,) = condition.cuts_of("MASS")
        legs = condition.legs
        for pairs in passing_pairs(objects, legs, condition.cuts_of("DPHI")):
            value, digits = half_mass_squared(objects.inputs, legs, pairs.rows, pairs.slots, transverse=True)
            scale = 10 ** (digits - 1)
            fulfilled[pairs.rows[(value >= mass.low * scale) & (value <= mass.high * scale)]] = True
        return fulfilled


CONDITIONS.register("mass-trv")(MassTrvCondition())
