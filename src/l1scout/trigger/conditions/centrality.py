"""A bit of the centrality of heavy-ion collisions: ``CENT0``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.passing_objects import PassingObjects


class CentralityCondition(ConditionType):
    """A bit of the energy sums' centrality."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which the bit is set."""
        (leg,) = condition.legs
        sums = objects.inputs.objects("etsum", "centrality")
        fired = sums.columns["centrality"] >> leg.threshold & 1 == 1
        return objects.inputs.fired_at(np.repeat(sums.crossing, np.diff(sums.offsets))[fired], leg.offset)


CONDITIONS.register("centrality")(CentralityCondition())
