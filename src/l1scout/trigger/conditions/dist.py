"""Two objects at a distance: ``dist{MU3, JET90}[DR_MAX_0p8]``."""

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import PairCondition


class DistCondition(PairCondition):
    """Two objects that pass cuts on differences of eta and phi, and on charges."""

    cuts = frozenset({"DETA", "DPHI", "DR", "CHGCOR"})
    needs = frozenset({"DETA", "DPHI", "DR"})


CONDITIONS.register("dist")(DistCondition())
