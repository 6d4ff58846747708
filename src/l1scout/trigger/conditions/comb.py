"""Several objects of one kind, each with its own requirement: ``comb{MU5, MU3}[CHGCOR_OS]``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.assignments import combined
from l1scout.trigger.candidate_rows import candidates
from l1scout.trigger.condition_type import CONDITIONS, MAX_EQUAL_LEGS, ConditionType, same_objects
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.pair_values import starts_and_places
from l1scout.trigger.passing_objects import PassingObjects

MAX_DIFFERENT_LEGS = 4


class CombCondition(ConditionType):
    """Different objects for all legs."""

    legs = (2, MAX_EQUAL_LEGS)
    cuts = frozenset({"CHGCOR"})

    def check(self, condition: MenuCondition) -> None:
        """Refuse objects of several kinds, and more than four that differ."""
        super().check(condition)
        same_objects(condition)
        if len(condition.legs) > MAX_DIFFERENT_LEGS and len(set(condition.legs)) > 1:
            msg = f"comb of more than {MAX_DIFFERENT_LEGS} objects that are not all equal"
            raise UnsupportedError(msg)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which all legs can have different objects."""
        found = candidates(objects, condition.legs)
        places = starts_and_places(objects, condition.legs, found)[1]
        return found.crossing[combined(condition, objects, found, places, condition.legs)]


CONDITIONS.register("comb")(CombCondition())
