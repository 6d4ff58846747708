"""The short form of an algorithm: its limits are in the expression, ``comb{MU5[QLTY>=12], MU3}[OS]``.

It is the menu's grammar, but a cut is written as ``TYPE>=LOW``, ``TYPE<=HIGH``, ``TYPE=VALUE`` or
``TYPE=LOW..HIGH``; ``|ETA|<=1.5`` is ``ETA=-1.5..1.5``, ``OS`` and ``LS`` are charges that differ or are
equal, ``CHG=+`` and ``CHG=-`` a charge. Units are GeV and rad. Windows in eta and phi hold the bins whose
centre is inside, so that every limit is exact in hardware.
"""

import math
import re

from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS
from l1scout.trigger.build_conditions import build_algorithm
from l1scout.trigger.expression import ConditionText
from l1scout.trigger.limits import MASK_BITS, leg_cut, pair_cut
from l1scout.trigger.menu import Algorithm, LegCut, Menu, PairCut
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import KINDS, ObjectKind

GRAMMAR = "0.13"
"""Of expressions that do not belong to a menu: the present one."""
_NUMBER = r"[+-]?\d{1,7}(?:\.\d{1,7})?"
_CUT = re.compile(
    rf"(?P<bar>\|?)(?P<type>[A-Z]+)(?P=bar)(?P<sign>>=|<=|=)(?P<low>{_NUMBER})(?:\.\.(?P<high>{_NUMBER}))?",
    re.ASCII,
)
_SPACES = re.compile(r"\s*(>=|<=|=|\.\.)\s*")
_WORDS = {"OS": "os", "LS": "ls"}
_CHARGES = {"CHG=+": "positive", "CHG=-": "negative"}
_ENDS = {"MASS": 14000.0, "MASSUPT": 14000.0, "DETA": 20.0, "DPHI": 4.0, "DR": 20.0}
"""Upper limits where none is asked for: above what objects can have, for masses as in the menus."""
_LAST = {"INDEX": 127, "SLICE": 11, "UPT": 255}
"""Largest values of the columns of objects."""


def parse_algorithm(text: str, name: str, *, index: int = 0, menu: Menu | None = None) -> Algorithm:
    """Return an algorithm in the short form.

    Parameters
    ----------
    text : str
        The expression.
    name : str
    index : int
    menu : Menu, optional
        Whose external signals, names of cuts and meaning of overlap removal are used.

    Raises
    ------
    InputError
        If it is not of the grammar, or cannot be emulated exactly.
    """
    limits = _ShortLimits(menu)
    head = Algorithm(index, name, without_spaces(text), None)
    signals = menu.signals if menu else None
    found = build_algorithm(head, limits, signals or None, menu.grammar if menu else GRAMMAR)
    if found.problem:
        msg = f"{printable(name, 60)}: {found.problem}"
        raise InputError(msg)
    for leg in (leg for condition in found.conditions.values() for leg in condition.legs):
        scale = STREAMS[KINDS[leg.kind].stream].fields[KINDS[leg.kind].value] if leg.kind in KINDS else None
        if scale and leg.threshold > scale.high:
            msg = f"{printable(name, 60)}: the threshold of {leg.name} is above its scale: it can never pass"
            raise InputError(msg)
    return found


def without_spaces(text: str) -> str:
    """Return an expression in which limits are one word: ``QLTY >= 12`` becomes ``QLTY>=12``."""
    return _SPACES.sub(r"\1", text.strip())


def menu_of(algorithms: "list[Algorithm] | tuple[Algorithm, ...]", name: str = "short form") -> Menu:
    """Return a menu of some algorithms, to be emulated."""
    return Menu(name, GRAMMAR, tuple(algorithms), name)


class _ShortLimits:
    """Limits that are written in the expression, or known to a menu by their name."""

    def __init__(self, menu: Menu | None) -> None:
        self._leg_cuts: dict[tuple[str, str], LegCut] = {}
        self._pair_cuts: dict[str, PairCut] = {}
        for algorithm in menu.algorithms if menu else ():
            for condition in algorithm.conditions.values():
                self._pair_cuts |= {cut.name: cut for cut in condition.cuts}
                self._leg_cuts |= {(leg.kind, cut.name): cut for leg in condition.legs for cut in leg.cuts}

    def leg_cuts(self, condition: ConditionText, place: int, kind: ObjectKind | None) -> tuple[LegCut, ...]:
        own = kind.name if kind else "CICADA"
        return tuple(
            self._leg_cuts.get((own, name)) or _leg_cut(name, kind) for name in condition.objects[place].cuts
        )

    def pair_cuts(self, condition: ConditionText) -> tuple[PairCut, ...]:
        return tuple(self._pair_cuts.get(name) or _pair_cut(name) for name in condition.cuts)

    def threshold(self, condition: ConditionText, place: int, kind: ObjectKind) -> int | None:
        del condition, place, kind
        return None


def _parts(text: str, known: str) -> tuple[str, float | None, float | None]:
    """Return the type and the limits of a cut; None for a limit that it does not have."""
    found = _CUT.fullmatch(text)
    if not found or (found["high"] and found["sign"] != "="):
        msg = f"cut {printable(text, 60)!r} is not understood: {known}"
        raise UnsupportedError(msg)
    low, high = float(found["low"]), float(found["high"] or found["low"])
    if found["bar"]:
        if found["sign"] != "<=" or low < 0:
            msg = f"{printable(text, 60)}: of an absolute value only an upper limit can be exact"
            raise UnsupportedError(msg)
        return found["type"], -low, low
    return found["type"], None if found["sign"] == "<=" else low, None if found["sign"] == ">=" else high


def _leg_cut(text: str, kind: ObjectKind | None) -> LegCut:
    if text in _CHARGES:
        return leg_cut("CHG", text, 0.0, 0.0, _CHARGES[text], kind)
    type_, low, high = _parts(text, "write ETA=-1.5..1.5, QLTY>=12 or CHG=+, or a name that the menu has")
    if type_ in MASK_BITS:
        values_end = MASK_BITS[type_] - 1 if high is None else _whole(high, text)
        values = ",".join(map(str, range(_whole(low or 0, text), min(values_end, 99) + 1)))
        return leg_cut(type_, text, 0.0, 0.0, values, kind)
    if kind and type_ in ("ETA", "PHI"):
        return _window(type_, text, low, high, kind)
    if type_ in ("CSCORE", *_LAST):
        first, last = (low or 0.0), (_LAST.get(type_, 0) if high is None else high)
        if type_ in _LAST and first > last:
            msg = f"{printable(text, 60)}: limits must rise, up to {_LAST[type_]}"
            raise UnsupportedError(msg)
        return leg_cut(type_, text, first, last, "", kind)
    msg = f"{printable(text, 60)}: no cut of the type {printable(type_, 20)}"
    raise UnsupportedError(msg)


def _window(type_: str, text: str, low: float | None, high: float | None, kind: ObjectKind) -> LegCut:
    """Return the bins of eta or phi whose centre is within the limits."""
    eta = type_ == "ETA"
    if not (kind.eta if eta else kind.phi) or (not eta and None in (low, high)):
        msg = f"{printable(text, 60)}: {kind.name} has no {type_}" if eta or not kind.phi else (
            f"{printable(text, 60)}: of phi both limits are needed, PHI=LOW..HIGH"
        )  # fmt: skip
        raise UnsupportedError(msg)
    step, end = kind.step(eta=eta), (-math.inf, math.inf)
    centre = 0.0 if eta and kind.muon else 0.5
    limits = [e if v is None else v for v, e in zip((low, high), end, strict=True)]
    codes = kind.eta_codes if eta else kind.phi_bins
    if not eta and (max(map(abs, limits)) > math.tau or limits[1] - limits[0] >= math.tau):
        msg = f"{printable(text, 60)}: limits of phi are -6.283 to 6.283 rad, and less than a turn apart"
        raise UnsupportedError(msg)
    bins = [max(-codes, min(codes, v / step - centre)) for v in limits]
    first, last = math.ceil(round(bins[0], 6)), math.floor(round(bins[1], 6))
    if not eta:
        return LegCut(type_, text, first % codes, last % codes)
    if first > last:
        msg = f"{printable(text, 60)}: no bin of {kind.name} is inside"
        raise UnsupportedError(msg)
    return LegCut(type_, text, first, last)


def _pair_cut(text: str) -> PairCut:
    word = text.removeprefix("CHGCOR=").upper()
    if word in _WORDS:
        return pair_cut("CHGCOR", text, 0.0, 0.0, _WORDS[word])
    type_, low, high = _parts(text, "write DR<=1.4, MASS=2..4 or OS, or a name that the menu has")
    end = _ENDS.get(type_.removeprefix("ORM"), 0.0)
    return pair_cut(type_, text, low or 0.0, end if high is None else high, "")


def _whole(value: float, text: str) -> int:
    if value != int(value) or value < 0:
        msg = f"{printable(text, 60)}: {value:g} is not a whole number"
        raise UnsupportedError(msg)
    return int(value)
