"""What conditions on pairs have in common, with and without overlap removal."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.candidate_rows import candidates, same_list
from l1scout.trigger.condition_type import ConditionType
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.overlap import ORM_CUTS, check_overlap_removal, overlaps
from l1scout.trigger.pair_kernels import any_pair
from l1scout.trigger.pair_values import pair_rules, starts_and_places
from l1scout.trigger.passing_objects import PassingObjects

_NOTHING = np.zeros((0, 0), np.uint16)


class PairCondition(ConditionType):
    """Two objects that pass all cuts; with a third leg, away from its objects."""

    legs = (2, 2)
    transverse = False
    """Whether the mass is the transverse mass."""

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which a pair passes."""
        first, last = condition.legs[:2], condition.legs[2:]
        cuts = [cut for cut in condition.cuts if not (last and cut.type in ORM_CUTS)]
        found = candidates(objects, condition.legs)
        rules = pair_rules(objects, first, cuts, found.padded, transverse=self.transverse)
        starts, places = starts_and_places(objects, condition.legs, found)
        near = tuple(overlaps(condition, objects, found, k) if last else _NOTHING for k in (0, 1))
        same = same_list(*first) * (2 if first[0] == first[1] else 1)
        passed = np.zeros(len(found.crossing), np.bool_)
        any_pair(
            starts[:2],
            places[:2],
            same,
            rules.a,
            rules.b,
            rules.cuts,
            rules.tables,
            rules.turn,
            near,
            places[-1],
            condition.veto,
            passed,
        )
        return found.crossing[passed]


class CleanedPairCondition(PairCondition):
    """Two objects that pass all cuts, away from an object of a third leg; without one, from each other."""

    legs = (2, 3)

    def check(self, condition: MenuCondition) -> None:
        """Refuse more than one cut of overlap removal: which must hold then is not known."""
        super().check(condition)
        check_overlap_removal(condition)
