"""A bit of the centrality of heavy-ion collisions: ``CENT0``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.passing_objects import PassingObjects


class CentralityCondition(ConditionType):
    """A bit of the energy sums' centrality."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings the bit is set."""
        (leg,) = condition.legs
        values = objects.inputs.column("etsum", "centrality", leg.offset)[:, 0]
        return np.asarray((values >> leg.threshold) & 1 == 1)


CONDITIONS.register("centrality")(CentralityCondition())
