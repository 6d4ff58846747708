"""Two muons with a mass made of their pT without the vertex: ``mass_inv_upt{MU0, MU0}[MASSUPT_MIN_5]``."""

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.conditions._pairs import PairCondition
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError


class MassInvUptCondition(PairCondition):
    """Two muons that pass a cut on their mass with unconstrained pT."""

    cuts = frozenset({"MASSUPT", "DETA", "DPHI", "DR", "CHGCOR"})
    needs = frozenset({"MASSUPT"})

    def check(self, condition: MenuCondition) -> None:
        """Refuse objects that are not muons."""
        super().check(condition)
        if any(leg.kind != "MU" for leg in condition.legs):
            msg = "mass_inv_upt of objects without unconstrained pT"
            raise UnsupportedError(msg)


CONDITIONS.register("mass-inv-upt")(MassInvUptCondition())
