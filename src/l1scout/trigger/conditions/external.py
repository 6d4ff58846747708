"""An external signal: ``EXT_BPTX_B1_VME-1``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.passing_objects import PassingObjects


class ExternalCondition(ConditionType):
    """A bit of the external signals."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which the signal is set (UnsupportedError if there are no signals)."""
        if objects.inputs.external is None:
            msg = f"{condition.legs[0].name}: the data have no external signals"
            raise UnsupportedError(msg)
        (leg,) = condition.legs
        fired = np.flatnonzero(objects.inputs.external[:, leg.threshold])
        return objects.inputs.fired_at(fired, leg.offset)


CONDITIONS.register("external")(ExternalCondition())
