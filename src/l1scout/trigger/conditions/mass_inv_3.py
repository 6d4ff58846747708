"""Three objects of one kind with an invariant mass: ``mass_inv_3{MU5, MU3, MU0}[MASS_MAX_12]``."""

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.candidate_rows import candidates
from l1scout.trigger.condition_type import CONDITIONS, ConditionType, same_objects
from l1scout.trigger.fixed_point import decimals
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.pair_kernels import any_triple
from l1scout.trigger.pair_values import mass_limits, pair_rules, starts_and_places
from l1scout.trigger.passing_objects import PassingObjects
from l1scout.trigger.scales import KINDS


class MassInv3Condition(ConditionType):
    """Three different objects that pass a cut on the sum of their pairs' half squared masses."""

    legs = (3, 3)
    cuts = frozenset({"MASS", "CHGCOR"})
    needs = frozenset({"MASS"})

    def check(self, condition: MenuCondition) -> None:
        """Refuse objects of several kinds."""
        super().check(condition)
        same_objects(condition)

    def evaluate(self, condition: MenuCondition, objects: PassingObjects) -> NDArray[np.int64]:
        """Return the crossings in which three objects pass."""
        legs, charges = condition.legs, condition.cuts_of("CHGCOR")
        found = candidates(objects, legs)
        starts, places = starts_and_places(objects, legs, found)
        rules = pair_rules(objects, legs[:2], condition.cuts, found.padded)
        (mass,) = condition.cuts_of("MASS")
        kind = KINDS[legs[0].kind]
        lists = np.array([leg.offset for leg in legs])
        passed = np.zeros(len(found.crossing), np.bool_)
        any_triple(
            np.stack(starts), np.stack(places), lists, rules.a, *mass_limits(mass, decimals(kind, kind)),
            charges[0].low if charges else -1, rules.tables, rules.turn, passed,
        )  # fmt: skip
        return found.crossing[passed]


CONDITIONS.register("mass-inv-3")(MassInv3Condition())
