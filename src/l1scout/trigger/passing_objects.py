"""Objects of some crossings against the requirements of conditions; pairs and their integers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.menu import Leg, LegCut, PairCut
from l1scout.trigger.pair_values import passes_pair_cut
from l1scout.trigger.scales import KINDS, ObjectKind
from l1scout.trigger.trigger_inputs import TriggerInputs

Mask = NDArray[np.bool_]
_CELLS = 1 << 22
"""Combinations of objects that are looked at together."""


class PassingObjects:
    """Crossings, with the objects that fulfil each requirement kept for the next condition that asks.

    Parameters
    ----------
    inputs : TriggerInputs
    """

    def __init__(self, inputs: TriggerInputs) -> None:
        self.inputs = inputs
        self._masks: dict[Leg, Mask] = {}

    def passing(self, leg: Leg) -> Mask:
        """Return which objects fulfil a requirement: shape (crossings, slots)."""
        if leg not in self._masks:
            kind = KINDS[leg.kind]
            values = self.inputs.column(kind.stream, kind.value, leg.offset)
            mask = values == leg.threshold if leg.equal else values >= leg.threshold
            for type_ in dict.fromkeys(cut.type for cut in leg.cuts):
                mask = mask & self._passing_cuts(kind, leg, [c for c in leg.cuts if c.type == type_])
            self._masks[leg] = mask
        return self._masks[leg]

    def _passing_cuts(self, kind: ObjectKind, leg: Leg, cuts: Sequence[LegCut]) -> Mask:
        """Return which objects pass at least one of several cuts of one type."""
        if cuts[0].type == "SLICE":
            places = np.arange(kind.slots)
            inside = np.any([(places >= cut.low) & (places <= cut.high) for cut in cuts], axis=0)
            return np.broadcast_to(inside, (self.inputs.crossings, kind.slots))
        values = self.inputs.column(kind.stream, _column(kind, cuts[0].type), leg.offset)
        passed = np.zeros(values.shape, np.bool_)
        for cut in cuts:
            if cut.mask:
                passed |= (cut.mask >> values.astype(np.int64)) & 1 == 1
            elif cut.low <= cut.high:
                passed |= (values >= cut.low) & (values <= cut.high)
            else:
                passed |= (values >= cut.low) | (values <= cut.high)
        if cuts[0].type == "CHG":
            passed &= self.inputs.column(kind.stream, "hwChargeValid", leg.offset) == 1
        return passed

    def charges(self, leg: Leg) -> tuple[Mask, Mask]:
        """Return which objects have a valid positive, and which a valid negative charge."""
        valid = self.inputs.column("muon", "hwChargeValid", leg.offset) == 1
        negative = self.inputs.column("muon", "hwCharge", leg.offset) == 1
        return valid & ~negative, valid & negative


def _column(kind: ObjectKind, type_: str) -> str:
    columns = {
        "ETA": kind.eta,
        "PHI": kind.phi,
        "QLTY": "hwQual",
        "ISO": "hwIso",
        "CHG": "hwCharge",
        "DISP": "hwDisplaced",
        "IP": "hwDXY",
        "INDEX": "tfMuonIndex",
        "UPT": "hwPtUnconstrained",
    }
    return columns[type_]


def same_list(a: Leg, b: Leg) -> bool:
    """Return whether two objects come from the same list, so that they must be different entries of it."""
    return a.kind == b.kind and a.offset == b.offset


@dataclass(frozen=True)
class Combinations:
    """Combinations of objects: the crossing of each, and the slot of each leg's object.

    Parameters
    ----------
    rows : ndarray of int64, shape (combinations,)
    slots : tuple of ndarray of int64, each of shape (combinations,)
    """

    rows: NDArray[np.int64]
    slots: tuple[NDArray[np.int64], ...]


def combinations(masks: Sequence[Mask], legs: Sequence[Leg]) -> Iterator[Combinations]:
    """Go through all combinations of objects that fulfil the legs' requirements, a part at a time.

    Parameters
    ----------
    masks : sequence of ndarray of bool, each of shape (crossings, slots)
        Objects that fulfil each leg.
    legs : sequence of Leg
        Those from the same list have different objects.
    """
    rows = np.flatnonzero(np.logical_and.reduce([mask.any(axis=1) for mask in masks]))
    at_once = max(1, _CELLS // int(np.prod([mask.shape[1] for mask in masks])))
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        joint = np.ones((len(part),) + (1,) * len(masks), np.bool_)
        for k, mask in enumerate(masks):
            shape = [len(part)] + [1] * len(masks)
            shape[k + 1] = mask.shape[1]
            joint = joint & mask[part].reshape(shape)
        found, *slots = np.nonzero(joint)
        keep = np.ones(len(found), np.bool_)
        for a in range(len(legs)):
            for b in range(a):
                if same_list(legs[a], legs[b]):
                    keep &= slots[a] != slots[b]
        yield Combinations(part[found[keep]], tuple(slot[keep] for slot in slots))


def passing_pairs(
    objects: PassingObjects, legs: Sequence[Leg], cuts: Sequence[PairCut]
) -> Iterator[Combinations]:
    """Go through the pairs of objects that fulfil two legs and cuts, a part at a time."""
    for pairs in combinations([objects.passing(leg) for leg in legs], legs):
        keep = np.ones(len(pairs.rows), np.bool_)
        for cut in cuts:
            keep &= passes_pair_cut(objects.inputs, legs, pairs.rows, pairs.slots, cut)
        yield Combinations(pairs.rows[keep], tuple(slot[keep] for slot in pairs.slots))


def any_pair(objects: PassingObjects, legs: Sequence[Leg], cuts: Sequence[PairCut]) -> Mask:
    """Return in which crossings two objects fulfil two legs and cuts."""
    fulfilled = np.zeros(objects.inputs.crossings, np.bool_)
    for pairs in passing_pairs(objects, legs, cuts):
        fulfilled[pairs.rows] = True
    return fulfilled
