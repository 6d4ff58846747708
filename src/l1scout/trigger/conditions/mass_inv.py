"""Two objects with an invariant mass: ``mass_inv{MU3, MU3}[MASS_MIN_7]``; in 2016 ``mass{...}``."""

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import PairCondition


class MassInvCondition(PairCondition):
    """Two objects that pass a cut on their mass, and perhaps on distance and charges."""

    cuts = frozenset({"MASS", "DETA", "DPHI", "DR", "CHGCOR"})
    needs = frozenset({"MASS"})


CONDITIONS.register("mass-inv")(MassInvCondition())
