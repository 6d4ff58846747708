"""Types of conditions: what one may contain, and in which crossings it is fulfilled."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.registry import Registry
from l1scout.trigger.menu import MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import KINDS

if TYPE_CHECKING:
    from l1scout.trigger.passing_objects import PassingObjects

MAX_EQUAL_LEGS = 12


class ConditionType(ABC):
    """A type of condition; a module of ``trigger/conditions`` defines and registers it.

    Attributes
    ----------
    legs : tuple of int
        Smallest and largest number of objects.
    cuts : frozenset of str
        Types of cuts on several objects that it may have.
    needs : frozenset of str
        Of which it must have one.
    """

    legs: ClassVar[tuple[int, int]] = (1, 1)
    cuts: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def evaluate(self, condition: MenuCondition, objects: "PassingObjects") -> NDArray[np.int64]:
        """Return the crossings in which the condition is fulfilled, in any order."""

    def check(self, condition: MenuCondition) -> None:
        """Refuse what this type does not emulate.

        Raises
        ------
        UnsupportedError
            With the reason.
        """
        few, many = self.legs
        if not few <= len(condition.legs) <= many:
            wanted = str(few) if few == many else f"{few} to {many}"
            msg = f"{condition.type} of {len(condition.legs)} objects; it has {wanted}"
            raise UnsupportedError(msg)
        types = [cut.type for cut in condition.cuts]
        for name in types:
            if name not in self.cuts or types.count(name) > 1:
                known = ", ".join(sorted(self.cuts)) or "none"
                msg = f"cuts {', '.join(types)} in {condition.type}; it has {known}, each once at most"
                raise UnsupportedError(msg)
        if self.needs and not self.needs.intersection(types):
            msg = f"{condition.type} without a cut {' or '.join(sorted(self.needs))}"
            raise UnsupportedError(msg)
        kinds = [KINDS.get(leg.kind) for leg in condition.legs]
        compared = [k for k in kinds if k is not None]
        if "CHGCOR" in types and not all(k.muon for k in compared):
            msg = f"CHGCOR in {condition.type} of objects without a charge"
            raise UnsupportedError(msg)
        for cut in condition.cuts:
            for kind in compared:
                wants_eta = cut.type not in ("CHGCOR", "DPHI", "ORMDPHI") and condition.type != "mass-trv"
                if (wants_eta and not kind.eta) or (cut.type != "CHGCOR" and not kind.phi):
                    msg = f"{cut.type} of {kind.name}, which has no {'phi' if not kind.phi else 'eta'}"
                    raise UnsupportedError(msg)


def same_objects(condition: MenuCondition) -> None:
    """Refuse a condition whose objects are of several kinds (UnsupportedError)."""
    kinds = {leg.kind for leg in condition.legs}
    if len(kinds) > 1:
        msg = f"{condition.type} of {' and '.join(sorted(kinds))}; its objects are of one kind"
        raise UnsupportedError(msg)


CONDITIONS: Registry[ConditionType] = Registry(
    "conditions", "l1scout.trigger.conditions", lambda: ConditionType
)
"""Types of conditions; the name is that of the function in expressions, with ``-`` for ``_``."""
