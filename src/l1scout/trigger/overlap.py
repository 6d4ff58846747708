"""Overlap removal: objects that are close to an object of the condition's last leg do not count."""

import numpy as np

from l1scout.trigger.candidate_rows import CandidateRows
from l1scout.trigger.menu import MenuCondition, PairCut
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.pair_kernels import overlapping
from l1scout.trigger.pair_values import pair_rules, starts_and_places
from l1scout.trigger.passing_objects import PassingObjects, Places
from l1scout.trigger.scales import KINDS
from l1scout.trigger.trigger_inputs import SLOTS

ORM_CUTS = ("ORMDETA", "ORMDPHI", "ORMDR")


def overlaps(condition: MenuCondition, objects: PassingObjects, found: CandidateRows, k: int) -> Places:
    """Return which objects of the k-th leg overlap which of the last leg.

    Returns
    -------
    ndarray of uint16, shape (candidates, slots)
        By place of the leg's object, the places of the last leg's.
    """
    (cut,) = condition.cuts_of(*ORM_CUTS)
    within = PairCut(cut.type.removeprefix("ORM"), cut.name, cut.low, cut.high)
    legs = condition.legs[k], condition.legs[-1]
    rules = pair_rules(objects, legs, [within], found.padded)
    both = CandidateRows(found.crossing, (found.rows[k], found.rows[-1]), found.padded)
    near = np.zeros((len(found.crossing), SLOTS[KINDS[legs[0].kind].stream]), np.uint16)
    starts, places = starts_and_places(objects, legs, both)
    overlapping(starts, places, rules.a, rules.b, rules.cuts, rules.tables, rules.turn, near)
    return near


def check_overlap_removal(condition: MenuCondition) -> None:
    """Refuse a condition without exactly one cut of overlap removal (UnsupportedError)."""
    if len(condition.cuts_of(*ORM_CUTS)) != 1:
        msg = f"{condition.type} with other than one of the cuts {', '.join(ORM_CUTS)}"
        raise UnsupportedError(msg)
    last = condition.legs[-1]
    if any(leg.kind == last.kind for leg in condition.legs[:-1]):
        msg = f"{condition.type} that removes overlaps of {last.kind} with {last.kind}"
        raise UnsupportedError(msg)
