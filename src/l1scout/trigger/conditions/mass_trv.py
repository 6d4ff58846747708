"""An object and missing energy with a transverse mass: ``mass_trv{EG32, ETM10}[MASS_MIN_40]``."""

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import PairCondition


class MassTrvCondition(PairCondition):
    """Two objects that pass a cut on their transverse mass, and perhaps on their difference of phi."""

    cuts = frozenset({"MASS", "DPHI"})
    needs = frozenset({"MASS"})
    transverse = True


CONDITIONS.register("mass-trv")(MassTrvCondition())
