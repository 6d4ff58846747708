"""Menus as JSON of facts derived from the menu's public documents: limits are hardware integers already.

The document is an object with ``menu`` (its name) and ``algorithms``; each has ``index``, ``name``,
``module``, ``expression`` and ``conditions``, of which each has the ``expression`` of the condition, its
``objects`` (``name`` and ``req``, texts such as "Threshold: 3.0 GeV : 0x7") and its ``cuts`` (texts such as
"Delta-R: [0.0, 1.6] : [0.0, 2.561] precision: 3"); the hardware values are between backticks.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l1scout.errors import InputError, printable
from l1scout.formats.streams.muon import TRACK_FINDERS
from l1scout.trigger.build_conditions import build_algorithm
from l1scout.trigger.expression import ConditionText, parse_condition
from l1scout.trigger.menu import Algorithm, LegCut, Menu, PairCut, checked_algorithms
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import ObjectKind

_YEAR = re.compile(r"20(\d\d)")
_GRAMMARS = {range(15, 18): "0.2", range(18, 21): "0.6", range(21, 100): "0.12"}
"""Version of the grammar by year; a document of facts does not state it."""
_LIMIT = re.compile(r"(?P<label>[^:]+): (?P<name>.*?) ?:? ?: `(?P<hardware>[^`]+)`")
_MASKS = {"Quality": "QLTY", "Isolation": "ISO", "Impact Parameter": "IP"}
_WINDOWS = {"Eta": "ETA", "Phi": "PHI", "Unconstrained Pt": "UPT", "Slice": "SLICE"}
_PAIR = re.compile(
    r"(?P<label>[\w ()-]+): \[[^]]*\] : `\[(?P<low>[\d.]+), (?P<high>[\d.]+)\]` `precision: (?P<n>\d)`"
)
_PAIR_CUTS = {
    "Delta-Eta": ("DETA", 3),
    "Delta-Phi": ("DPHI", 3),
    "Delta-R": ("DR", 3),
    "ORM-Delta-Eta": ("ORMDETA", 3),
    "ORM-Delta-Phi": ("ORMDPHI", 3),
    "ORM-Delta-R": ("ORMDR", 3),
    "Mass": ("MASS", 1),
}
"""Types of cuts, and decimals of their limits."""
_ETA_BITS = {True: 9, False: 8}


class _FactLimits:
    """Cuts and thresholds of the conditions of one algorithm."""

    def __init__(self, conditions: list[Mapping[str, Any]]) -> None:
        self._conditions = {str(parse_condition(c["expression"])): c for c in conditions}

    def _of(self, condition: ConditionText) -> Mapping[str, Any]:
        found = self._conditions.get(str(condition))
        if found is None or len(found["objects"]) != len(condition.objects):
            msg = "the document has no limits of this condition"
            raise UnsupportedError(msg)
        return found

    def leg_cuts(self, condition: ConditionText, place: int, kind: ObjectKind | None) -> tuple[LegCut, ...]:
        texts = self._of(condition)["objects"][place]["req"]
        named = [t for t in texts if not t.startswith(("Threshold:", "Count:"))]
        if len(named) != len(condition.objects[place].cuts):
            msg = f"the document has {len(named)} limits of {printable(str(condition.objects[place]), 60)}"
            raise UnsupportedError(msg)
        return tuple(_leg_cut(text, kind) for text in named)

    def pair_cuts(self, condition: ConditionText) -> tuple[PairCut, ...]:
        if not condition.cuts:
            return ()
        texts = self._of(condition)["cuts"]
        if len(texts) != len(condition.cuts):
            msg = f"the document has {len(texts)} limits of {len(condition.cuts)} cuts"
            raise UnsupportedError(msg)
        return tuple(_pair_cut(text) for text in texts)

    def threshold(self, condition: ConditionText, place: int, kind: ObjectKind) -> int | None:
        del kind
        for text in self._of(condition)["objects"][place]["req"]:
            if text.startswith(("Threshold:", "Count:")):
                return _hex(text)
        return None


def read_menu_facts(data: bytes, path: Path, signals: Mapping[str, int] | None, signals_from: str) -> Menu:
    """Read a menu from JSON of derived facts.

    Parameters
    ----------
    data : bytes
    path : Path
        For messages.
    signals : mapping of str to int, optional
        Bits of the external signals, which the document does not state.
    signals_from : str
        The file that states them.

    Raises
    ------
    InputError
        If it is damaged or not such a document.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not valid JSON, or cut short: {printable(str(error))}"
        raise InputError(msg) from error
    try:
        name = str(document["menu"])
        grammar = _grammar(name)
        algorithms = [_algorithm(a, signals, grammar) for a in document["algorithms"]]
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: not a document of a menu's facts: {printable(f'{type(error).__name__} {error}')}"
        raise InputError(msg) from error
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    checked = checked_algorithms(algorithms, str(path))
    return Menu(name, grammar, checked, str(path), signals or {}, signals_from)


def _algorithm(facts: Mapping[str, Any], signals: Mapping[str, int] | None, grammar: str) -> Algorithm:
    module = facts.get("module")
    head = Algorithm(
        int(facts["index"]),
        str(facts["name"]),
        str(facts["expression"]),
        None,
        module=None if module is None else int(module),
    )
    try:
        limits = _FactLimits(list(facts["conditions"].values()))
    except InputError as error:
        return Algorithm(head.index, head.name, head.text, None, {}, head.module, str(error))
    return build_algorithm(head, limits, signals, grammar)


def _grammar(name: str) -> str:
    found = _YEAR.search(name)
    for years, version in _GRAMMARS.items():
        if found and int(found[1]) in years:
            return version
    msg = f"the menu's name, {printable(name, 60)}, has no year, which tells what overlap removal means"
    raise InputError(msg)


def _hex(text: str) -> int:
    found = re.search(r"`(0x[0-9a-f]{1,8})`", text)
    if not found:
        msg = f"no hardware value in {printable(text, 60)!r}"
        raise UnsupportedError(msg)
    return int(found[1], 16)


def _leg_cut(text: str, kind: ObjectKind | None) -> LegCut:
    found = _LIMIT.fullmatch(text)
    if not found:
        msg = f"limit {printable(text, 60)!r} is not understood"
        raise UnsupportedError(msg)
    label, name, hardware = found["label"], found["name"].split(" ")[0], found["hardware"]
    if label in _MASKS:
        return LegCut(_MASKS[label], name, mask=_hex(text))
    if label == "Displaced" and hardware in ("0", "1"):
        return LegCut("DISP", name, mask=1 << int(hardware))
    if label == "CicadaScore":
        return LegCut("SCORE", name, low=_hex(text))
    if label == "Index":
        return LegCut("INDEX", name, *_index_range(_hex(text)))
    window = re.fullmatch(r"\[(0x[0-9a-f]{1,4}), (0x[0-9a-f]{1,4})\]", hardware)
    if label in _WINDOWS and window and kind:
        low, high = (int(value, 16) for value in window.groups())
        if label == "Eta":
            low, high = (_signed(value, _ETA_BITS[kind.muon]) for value in (low, high))
        return LegCut(_WINDOWS[label], name, low, high)
    msg = f"limit {printable(text, 60)!r} is not emulated"
    raise UnsupportedError(msg)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _index_range(first: int) -> tuple[int, int]:
    """Return the range of tfMuonIndex that begins with a value: the documents print the first only."""
    for indices in TRACK_FINDERS.values():
        if indices.start == first:
            return first, indices.stop - 1
    msg = f"INDEX from {first}, where no track finder begins, and the document does not state the last"
    raise UnsupportedError(msg)


def _pair_cut(text: str) -> PairCut:
    if found := re.fullmatch(r"Charge Corr\w+: `\"?(os|ls)\"?`", text):
        value = int(found[1] == "os")
        return PairCut("CHGCOR", f"CHGCOR_{found[1].upper()}", value, value)
    found = _PAIR.fullmatch(text)
    if not found or found["label"] not in _PAIR_CUTS:
        msg = f"cut {printable(text, 60)!r} is not emulated"
        raise UnsupportedError(msg)
    type_, decimals = _PAIR_CUTS[found["label"]]
    if int(found["n"]) != decimals:
        msg = f"cut {printable(text, 60)!r} has not {decimals} decimals"
        raise UnsupportedError(msg)
    low, high = (round(float(found[end]) * 10**decimals) for end in ("low", "high"))
    return PairCut(type_, found["label"], low, high)
