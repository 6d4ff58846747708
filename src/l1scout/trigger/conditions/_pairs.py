"""What conditions on pairs have in common, with and without overlap removal."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.overlap import ORM_CUTS, away_from_last, overlaps, without_overlap
from l1scout.trigger.passing_objects import PassingObjects, any_pair, passing_pairs


class PairCondition(ConditionType):
    """Two objects that pass all cuts."""

    legs = (2, 2)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings a pair passes."""
        return any_pair(objects, condition.legs, condition.cuts)


class CleanedPairCondition(ConditionType):
    """Two objects that pass all cuts, away from an object of a third leg; without one, from each other."""

    legs = (2, 3)

    def check(self, condition: MenuCondition) -> None:
        """Refuse more than one cut of overlap removal: which must hold then is not known."""
        super().check(condition)
        check_overlap_removal(condition)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.bool_]:
        """Return in which crossings a pair passes."""
        fulfilled = np.zeros(objects.inputs.crossings, np.bool_)
        removal = condition.cuts_of(*ORM_CUTS)
        cuts = [cut for cut in condition.cuts if cut not in removal]
        first, last = condition.legs[:2], condition.legs[-1]
        close = [overlaps(objects, leg, last, removal[0]) for leg in first] if len(condition.legs) > 2 else []
        for pairs in passing_pairs(objects, first, cuts):
            if close:
                kept = away_from_last(condition, objects, pairs, close)
            else:
                kept = without_overlap(removal, objects, first, pairs)
            fulfilled[pairs.rows[kept]] = True
        return fulfilled


def check_overlap_removal(condition: MenuCondition) -> None:
    """Refuse a condition without exactly one cut of overlap removal (UnsupportedError)."""
    if len(condition.cuts_of(*ORM_CUTS)) != 1:
        msg = f"{condition.type} with other than one of the cuts {', '.join(ORM_CUTS)}"
        raise UnsupportedError(msg)
    last = condition.legs[-1]
    if any(leg.kind == last.kind for leg in condition.legs[:-1]):
        msg = f"{condition.type} that removes overlaps of {last.kind} with {last.kind}"
        raise UnsupportedError(msg)
