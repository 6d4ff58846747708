"""Which single fault of the firmware would make recorded bits equal to emulated ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.crossing_blocks import REACH
from l1scout.trigger.emulator import emulate
from l1scout.trigger.menu import Algorithm, Leg, LegCut, Menu, MenuCondition, PairCut
from l1scout.trigger.scales import KINDS
from l1scout.trigger.trigger_inputs import TriggerInputs

Bits = NDArray[np.bool_]
MAX_EXPLANATIONS = 20
_EXAMPLES, _OTHERS = 400, 1600
"""Crossings of a block in which all possible faults are tried: where a bit is set, and others."""
_THRESHOLD_BITS = {"muon": 9, "egamma": 9, "tau": 9, "jet": 11, "etsum": 13}
_MASK_BITS = {"QLTY": 16, "ISO": 4, "IP": 4, "DISP": 2, "CHG": 2}
_WINDOW_BITS = {"INDEX": 7, "UPT": 8, "SLICE": 4}


class FaultSearch:
    """Tries all single faults of an algorithm, and keeps those that explain every crossing seen so far.

    They are: one bit of one threshold, limit or look-up table of a cut; a bit that is never set, or always;
    and bits that come one or two crossings early or late.

    Parameters
    ----------
    menu : Menu
    algorithm : Algorithm
    """

    def __init__(self, menu: Menu, algorithm: Algorithm) -> None:
        self._menu, self._algorithm = menu, algorithm
        self._possible: list[tuple[str, Callable[[TriggerInputs, Bits], Bits]]] = [
            ("the recorded bit is never set", lambda _inputs, got: np.zeros_like(got)),
            ("the recorded bit is always set", lambda _inputs, got: np.ones_like(got)),
        ]
        for late in () if algorithm.offsets else (-2, -1, 1, 2):
            what = f"the recorded bit comes {abs(late)} BX {'late' if late > 0 else 'early'}"
            self._possible.append((what, partial(_shifted, late)))
        for what, changed in single_bit_faults(algorithm):
            self._possible.append((what, partial(self._emulate, changed)))

    @property
    def explanations(self) -> tuple[str, ...]:
        """Return what explains everything so far, `MAX_EXPLANATIONS` at most; empty if nothing does."""
        return tuple(dict.fromkeys(what for what, _ in self._possible))[:MAX_EXPLANATIONS]

    def add(self, inputs: TriggerInputs, rows: Bits, got: Bits, wanted: Bits) -> None:
        """Try what is left on the crossings of a block.

        Parameters
        ----------
        inputs : TriggerInputs
        rows : ndarray of bool, shape (crossings,)
            That can be compared: the rows within two of them are there, too.
        got, wanted : ndarray of bool, shape (crossings,)
            Emulated and recorded.
        """
        if not self._possible or not rows.any():
            return
        chosen = _chosen(rows, got, wanted)
        near = np.unique((chosen[:, None] + np.arange(-REACH, REACH + 1)).ravel())
        near = near[(near >= 0) & (near < len(rows))]
        part = inputs.only(near)
        place = np.searchsorted(near, chosen)
        self._possible = [
            (what, bits)
            for what, bits in self._possible
            if np.array_equal(bits(part, got[near])[place], wanted[chosen])
        ]

    def _emulate(self, changed: Algorithm, inputs: TriggerInputs, _got: Bits) -> Bits:
        return emulate(replace(self._menu, algorithms=(changed,)), inputs).bits[changed.name]


def _shifted(late: int, _inputs: TriggerInputs, got: Bits) -> Bits:
    return np.roll(got, late)


def _chosen(rows: Bits, got: Bits, wanted: Bits) -> NDArray[np.int64]:
    """Return some rows: those that differ first, then those in which a bit is set, then others."""
    wrong = np.flatnonzero(rows & (got != wanted))[:_EXAMPLES]
    fired = np.flatnonzero(rows & got & wanted)[:_EXAMPLES]
    rest = np.flatnonzero(rows)
    rest = rest[:: max(1, len(rest) // _OTHERS)]
    return np.unique(np.concatenate([wrong, fired, rest]))


def single_bit_faults(algorithm: Algorithm) -> Iterator[tuple[str, Algorithm]]:
    """Go through the algorithms that differ in one bit of one limit, each with what differs."""
    for text, condition in algorithm.conditions.items():
        for what, changed in _changed_conditions(condition):
            conditions = {**algorithm.conditions, text: changed}
            yield f"{text}: {what}", replace(algorithm, conditions=conditions)


def _changed_conditions(condition: MenuCondition) -> Iterator[tuple[str, MenuCondition]]:
    for k, leg in enumerate(condition.legs):
        # of equal legs, which one is wrong makes no difference
        if leg in condition.legs[:k] or leg.kind not in KINDS:
            continue
        for what, changed in _changed_legs(leg):
            legs = (*condition.legs[:k], changed, *condition.legs[k + 1 :])
            yield what, replace(condition, legs=legs)
    for k, cut in enumerate(condition.cuts):
        for what, other in _changed_pair_cuts(cut):
            yield what, replace(condition, cuts=(*condition.cuts[:k], other, *condition.cuts[k + 1 :]))


def _changed_legs(leg: Leg) -> Iterator[tuple[str, Leg]]:
    kind = KINDS[leg.kind]
    for bit in range(_THRESHOLD_BITS[kind.stream]):
        threshold = leg.threshold ^ 1 << bit
        what = f"bit {bit} of the threshold of {leg.name}: {threshold}, not {leg.threshold}"
        if not kind.count:
            values = (kind.threshold_to_physics(t) for t in (threshold, leg.threshold))
            what += " ({:g}, not {:g} GeV)".format(*values)
        yield what, replace(leg, threshold=threshold)
    for k, cut in enumerate(leg.cuts):
        for what, other in _changed_cuts(cut, muon=kind.muon):
            yield f"{what}, of {leg.name}", replace(leg, cuts=(*leg.cuts[:k], other, *leg.cuts[k + 1 :]))


def _changed_cuts(cut: LegCut, *, muon: bool) -> Iterator[tuple[str, LegCut]]:
    """Go through the cuts on one object that differ in one bit."""
    name = cut.name or cut.type
    if cut.type in _MASK_BITS:
        for bit in range(_MASK_BITS[cut.type]):
            mask = cut.mask ^ 1 << bit
            yield f"value {bit} of {name} {'passes' if mask >> bit & 1 else 'fails'}", replace(cut, mask=mask)
        return
    bits = _WINDOW_BITS.get(cut.type) or (9 if muon else 8) + (cut.type == "PHI" and muon)
    for end in ("low", "high"):
        for bit in range(bits):
            value = getattr(cut, end) ^ 1 << bit
            if cut.type == "ETA":  # two's complement
                value = (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
            what = f"bit {bit} of the {_END[end]} of {name}: {value}, not {getattr(cut, end)}"
            yield what, replace(cut, **{end: value})


_END = {"low": "lower limit", "high": "upper limit"}


def _changed_pair_cuts(cut: PairCut) -> Iterator[tuple[str, PairCut]]:
    """Go through the cuts on several objects that differ in one bit."""
    name = cut.name or cut.type
    if cut.type == "CHGCOR":
        other = 1 - cut.low
        yield (
            f"{name} asks for {'different' if other else 'equal'} charges",
            replace(cut, low=other, high=other),
        )
        return
    for end in ("low", "high"):
        for bit in range(max(cut.high.bit_length(), 1)):
            value = getattr(cut, end) ^ 1 << bit
            what = f"bit {bit} of the {_END[end]} of {name}: {value}, not {getattr(cut, end)}"
            yield what, replace(cut, **{end: value})
