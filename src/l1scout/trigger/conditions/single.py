"""One object: ``MU22[MU-QLTY_SNGL]``, ``ETM120``, ``MBT0HFP1``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.passing_objects import PassingObjects


class SingleCondition(ConditionType):
    """An object that fulfils its requirement."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings there is such an object."""
        return np.asarray(objects.passing(condition.legs[0]).any(axis=1))


CONDITIONS.register("single")(SingleCondition())
