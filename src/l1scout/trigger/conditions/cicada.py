"""The score of the calorimeter's anomaly trigger: ``CICADA[CICADA-CSCORE_127]``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.passing_objects import PassingObjects


class CicadaCondition(ConditionType):
    """A score at or above the threshold."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which the score is high (UnsupportedError if the data have no score)."""
        if objects.inputs.cicada is None:
            msg = "the data have no CICADA score"
            raise UnsupportedError(msg)
        (leg,) = condition.legs
        fired = np.flatnonzero(objects.inputs.cicada >= leg.threshold)
        return objects.inputs.fired_at(fired, leg.offset)


CONDITIONS.register("cicada")(CicadaCondition())
