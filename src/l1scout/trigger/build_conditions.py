"""From conditions as expressions write them, and the limits of a menu file, to conditions as data."""

import re
from collections.abc import Mapping
from typing import Protocol

from l1scout.errors import InputError, printable
from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.expression import ConditionText, ObjectText, conditions_of, parse_expression
from l1scout.trigger.menu import (
    LAST_VETO_GRAMMAR,
    Algorithm,
    Leg,
    LegCut,
    MenuCondition,
    PairCut,
    grammar_version,
)
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import KINDS, SHOWER_SLOTS, THRESHOLD_NAME, ObjectKind

MAX_OFFSET = 2
ALIASES = {"mass": "mass-inv"}
"""Functions by their name in older grammars."""
_EXTERNAL = re.compile(r"EXT_(.+?)([+-]\d+)?")
_SIGNAL = re.compile(r"(CENT[0-7]|MUS\d|MUSOOT\d|CICADA)([+-]\d+)?")
_LEG_CUTS: dict[str, tuple[str, ...]] = {
    "muon": ("UPT", "ETA", "PHI", "ISO", "QLTY", "CHG", "IP", "INDEX", "SLICE"),
    "egamma": ("ETA", "PHI", "ISO", "SLICE"),
    "tau": ("ETA", "PHI", "ISO", "SLICE"),
    "jet": ("ETA", "PHI", "DISP", "SLICE"),
    "etsum": ("PHI",),
}
"""Cuts on one object that are emulated, by its stream."""
NOT_EMULATED = {
    "AXO": "is a neural network whose weights are not part of l1scout",
    "TOPO": "is a neural network whose weights are not part of l1scout",
    "ADT": "is an anomaly trigger outside the menu's own logic",
    "ZDCP": "comes on a link of which test vectors have no field",
    "ZDCM": "comes on a link of which test vectors have no field",
    "mass_inv_dr": "needs a look-up table of 1/dR^2 of which no public values were checked",
}
"""What menus may have and the emulator has not, and why."""


class MenuLimits(Protocol):
    """Limits of an algorithm, from a menu file; its methods raise UnsupportedError for what is not known."""

    def leg_cuts(self, condition: ConditionText, place: int, kind: ObjectKind | None) -> tuple[LegCut, ...]:
        """Return the cuts of an object of a condition; `kind` is None for signals."""

    def pair_cuts(self, condition: ConditionText) -> tuple[PairCut, ...]:
        """Return the cuts on several objects of a condition."""

    def threshold(self, condition: ConditionText, place: int, kind: ObjectKind) -> int | None:
        """Return the threshold of an object as the file states it; None if it states none."""


def build_algorithm(
    head: Algorithm, limits: MenuLimits, signals: Mapping[str, int] | None, grammar: str
) -> Algorithm:
    """Return an algorithm with its expression parsed and its conditions as data.

    Parameters
    ----------
    head : Algorithm
        Index, name, text and module.
    limits : MenuLimits
    signals : mapping of str to int, optional
        Bits of the external signals; None if no file states them.
    grammar : str
        Version of the grammar.

    Returns
    -------
    Algorithm
        What cannot be emulated exactly is in its `problem`.
    """
    expression, problem, conditions = None, "", {}
    veto = grammar_version(grammar) <= LAST_VETO_GRAMMAR
    try:
        expression = parse_expression(head.text)
    except InputError as error:
        problem = str(error)
    for text in conditions_of(expression) if expression else ():
        if str(text) in conditions:
            continue
        try:
            conditions[str(text)] = _condition(text, limits, signals, veto)
        except UnsupportedError as error:
            problem = problem or f"{printable(str(text), 80)}: {error}"
    return Algorithm(head.index, head.name, head.text, expression, conditions, head.module, problem)


def _condition(
    text: ConditionText, limits: MenuLimits, signals: Mapping[str, int] | None, veto: bool
) -> MenuCondition:
    if text.function:
        name = text.function.replace("_", "-")
        type_name = ALIASES.get(name, name)
        if type_name not in CONDITIONS:
            raise _not_emulated(text.function)
        legs = tuple(_object(text, place, limits) for place in range(len(text.objects)))
    else:
        type_name, leg = _alone(text, limits, signals)
        legs = (leg,)
    three = len(legs) > 2 and type_name.endswith("-orm")
    condition = MenuCondition(type_name, legs, limits.pair_cuts(text), veto and three)
    CONDITIONS[type_name].check(condition)
    return condition


def _alone(text: ConditionText, limits: MenuLimits, signals: Mapping[str, int] | None) -> tuple[str, Leg]:
    """Return type and leg of a condition without a function: an object or a signal."""
    (item,) = text.objects
    if found := _EXTERNAL.fullmatch(item.name):
        if signals is None:
            msg = f"no file states the bit of {printable(found[1], 60)}: give the menu's cabling"
            raise UnsupportedError(msg)
        if found[1] not in signals:
            msg = f"the signal {printable(found[1], 60)} is not in the cabling"
            raise UnsupportedError(msg)
        return "external", Leg("EXT", item.name, signals[found[1]], offset=_offset(found[2]))
    if not (found := _SIGNAL.fullmatch(item.name)):
        return "single", _object(text, 0, limits)
    name, offset = found[1], _offset(found[2])
    if name == "CICADA":
        cuts = limits.leg_cuts(text, 0, None)
        if [cut.type for cut in cuts] != ["SCORE"]:
            msg = "CICADA needs one cut, CSCORE"
            raise UnsupportedError(msg)
        return "cicada", Leg("CICADA", item.name, cuts[0].low, offset=offset, cuts=cuts)
    if item.cuts:
        msg = f"{name} with cuts"
        raise UnsupportedError(msg)
    if name.startswith("CENT"):
        return "centrality", Leg("CENT", item.name, int(name[4:]), offset=offset)
    if name not in SHOWER_SLOTS:
        msg = f"signal {name} is not emulated"
        raise UnsupportedError(msg)
    return "muon-shower", Leg("MUS", item.name, SHOWER_SLOTS[name], offset=offset)


def _not_emulated(name: str) -> UnsupportedError:
    kind = next((k for k in NOT_EMULATED if re.match(rf"{k}(?![A-Za-z])", name)), "")
    return UnsupportedError(f"{printable(name, 40)} {NOT_EMULATED.get(kind, 'is not known')}")


def _offset(text: str | None) -> int:
    offset = int(text or 0)
    if abs(offset) > MAX_OFFSET:
        msg = f"BX offset {offset}; -{MAX_OFFSET} to +{MAX_OFFSET} are emulated"
        raise UnsupportedError(msg)
    return offset


def _object(text: ConditionText, place: int, limits: MenuLimits) -> Leg:
    item: ObjectText = text.objects[place]
    found = THRESHOLD_NAME.fullmatch(item.name)
    if not found:
        raise _not_emulated(item.name)
    kind = KINDS[found[1]]
    threshold = kind.threshold_to_hardware(float(found[3].replace("p", ".")))
    stated = limits.threshold(text, place, kind)
    if stated not in (None, threshold):
        msg = f"{item.name} has the threshold {threshold} by its name, but {stated} by its limits"
        raise UnsupportedError(msg)
    cuts = limits.leg_cuts(text, place, kind)
    for cut in cuts:
        if cut.type not in _LEG_CUTS[kind.stream]:
            msg = f"cut {cut.type} on {kind.name} is not emulated"
            raise UnsupportedError(msg)
    return Leg(kind.name, item.name, threshold, found[2] == ".eq.", _offset(found[4]), cuts)
