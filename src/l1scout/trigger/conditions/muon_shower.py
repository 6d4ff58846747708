"""A signal of muon showers, a bit in the word of one of the eight muons: ``MUS0``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.passing_objects import PassingObjects


class MuonShowerCondition(ConditionType):
    """The shower bit of the muon at the signal's place."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings the bit is set (UnsupportedError if the muons have no such bit)."""
        (leg,) = condition.legs
        if "shower" not in objects.inputs.streams.get("muon", {}):
            msg = f"{leg.name}: the muons have no shower bit"
            raise UnsupportedError(msg)
        return np.asarray(objects.inputs.column("muon", "shower", leg.offset)[:, leg.threshold] == 1)


CONDITIONS.register("muon-shower")(MuonShowerCondition())
