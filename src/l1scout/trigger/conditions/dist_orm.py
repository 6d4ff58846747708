"""Two objects at a distance, with overlap removal: ``dist_orm{JET40, TAU30}[DETA_MAX_1p5, ORMDR_0p2]``."""

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import CleanedPairCondition
from l1scout.trigger.overlap import ORM_CUTS


class DistOrmCondition(CleanedPairCondition):
    """Two objects that pass cuts on differences of eta and phi, with overlap removal."""

    cuts = frozenset({"DETA", "DPHI", "DR", "CHGCOR", *ORM_CUTS})
    needs = frozenset({"DETA", "DPHI", "DR"})


CONDITIONS.register("dist-orm")(DistOrmCondition())
