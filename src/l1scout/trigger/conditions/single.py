"""One object: ``MU22[MU-QLTY_SNGL]``, ``ETM120``, ``MBT0HFP1``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.candidate_rows import candidates
from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.passing_objects import PassingObjects


class SingleCondition(ConditionType):
    """An object that fulfils its requirement."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which there is such an object."""
        return candidates(objects, condition.legs).crossing


CONDITIONS.register("single")(SingleCondition())
