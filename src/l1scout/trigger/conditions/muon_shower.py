"""A signal of muon showers, a bit in the word of one of the eight muons: ``MUS0``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS, ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.passing_objects import PassingObjects


class MuonShowerCondition(ConditionType):
    """The shower bit of the muon at the signal's place."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which the bit is set (UnsupportedError if the muons have no such bit)."""
        (leg,) = condition.legs
        muons = objects.inputs.objects("muon")
        if "shower" not in muons.columns:
            msg = f"{leg.name}: the muons have no shower bit"
            raise UnsupportedError(msg)
        place = np.arange(muons.offsets[-1]) - np.repeat(muons.offsets[:-1], np.diff(muons.offsets))
        fired = (muons.columns["shower"] == 1) & (place == leg.threshold)
        return objects.inputs.fired_at(np.repeat(muons.crossing, np.diff(muons.offsets))[fired], leg.offset)


CONDITIONS.register("muon-shower")(MuonShowerCondition())
