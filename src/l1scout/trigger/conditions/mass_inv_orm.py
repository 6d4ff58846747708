"""Two objects with a mass, and overlap removal: ``mass_inv_orm{JET45, JET45, EG20}[MASS_5, ORMDR_0p2]``."""

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import CleanedPairCondition
from l1scout.trigger.overlap import ORM_CUTS


class MassInvOrmCondition(CleanedPairCondition):
    """Two objects that pass a cut on their mass, with overlap removal."""

    cuts = frozenset({"MASS", "DETA", "DPHI", "DR", "CHGCOR", *ORM_CUTS})
    needs = frozenset({"MASS"})


CONDITIONS.register("mass-inv-orm")(MassInvOrmCondition())
