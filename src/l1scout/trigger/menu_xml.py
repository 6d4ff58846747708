"""The menu's XML, as the trigger uses it: grammar versions 0.2 (2016) to 0.13 (2026)."""

import math
from collections.abc import Mapping
from pathlib import Path

from l1scout.errors import InputError, printable
from l1scout.trigger.build_conditions import build_algorithm
from l1scout.trigger.expression import ConditionText
from l1scout.trigger.limits import leg_cut, pair_cut
from l1scout.trigger.menu import Algorithm, LegCut, Menu, PairCut, checked_algorithms, grammar_version
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import CALO_ETA_LSB, GEV_LSB, KINDS, ObjectKind
from l1scout.trigger.xml_tree import XmlElement, parse_xml

SKIPPED = frozenset({"bin"})
"""Elements of the XML that are not needed: bins follow from the step of their scale."""
_COMPARISONS = {".ge.": False, ".eq.": True}
_DECIMALS = {"Delta": 3, "Mass": 1, "MassPt": 1}
_CHANNELS, _SIGNALS = 64, 256


class _XmlLimits:
    """Cuts and thresholds of one algorithm."""

    def __init__(self, element: XmlElement, scales: Mapping[str, str]) -> None:
        self._cuts = {cut.get("name"): cut for cut in element.all("cut")}
        self._objects = {o.get("name"): o for o in element.all("object_requirement")}
        self._scales = scales

    def _limits(self, name: str) -> tuple[str, str, float, float, str]:
        if name not in self._cuts:
            msg = f"the menu has no limits of the cut {printable(name, 60)}"
            raise UnsupportedError(msg)
        cut = self._cuts[name]
        low, high = (number(cut.get(end)) for end in ("minimum", "maximum"))
        return cut.get("type"), name, low, high, cut.get("data")

    def leg_cuts(self, condition: ConditionText, place: int, kind: ObjectKind | None) -> tuple[LegCut, ...]:
        if kind and kind.name in self._scales:
            raise UnsupportedError(self._scales[kind.name])
        return tuple(leg_cut(*self._limits(name), kind) for name in condition.objects[place].cuts)

    def pair_cuts(self, condition: ConditionText) -> tuple[PairCut, ...]:
        if condition.cuts and "PRECISION" in self._scales:
            raise UnsupportedError(self._scales["PRECISION"])
        return tuple(pair_cut(*self._limits(name)) for name in condition.cuts)

    def threshold(self, condition: ConditionText, place: int, kind: ObjectKind) -> int | None:
        name = condition.objects[place].name
        stated = self._objects.get(name)
        if stated is None:  # then the name alone states it
            return None
        if _COMPARISONS.get(stated.get("comparison_operator")) is not (".eq." in name):
            msg = f"{name} is compared by {printable(stated.get('comparison_operator'), 20)!r}"
            raise UnsupportedError(msg)
        return kind.threshold_to_hardware(number(stated.get("threshold")))


def read_menu_xml(data: bytes, path: Path) -> Menu:
    """Read a menu from XML.

    Raises
    ------
    InputError
        If it is not a menu, or is damaged; what the emulator does not know is in `Menu.problems` instead.
    """
    root = _root(data, path)
    grammar = root.get("grammar_version")
    try:
        grammar_version(grammar)
        scales = _scale_problems(root)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    signals = _signals(root, path)
    if not root.all("algorithm"):
        msg = f"{path}: has no algorithms; it may be a cabling, which --cabling takes"
        raise InputError(msg)
    algorithms = []
    for element in root.all("algorithm"):
        name = element.get("name")
        head = Algorithm(
            _integer(element, "index", path),
            name,
            element.get("expression"),
            None,
            module=_module(element, path),
        )
        if not name or not head.text:
            msg = f"{path}: algorithm {head.index} has no name or no expression"
            raise InputError(msg)
        algorithms.append(build_algorithm(head, _XmlLimits(element, scales), signals, grammar))
    return Menu(
        root.get("name"), grammar, checked_algorithms(algorithms, str(path)), str(path), signals, str(path)
    )


def read_cabling(data: bytes, path: Path) -> dict[str, int]:
    """Read the bits of the external signals, by name, from a cabling's or a menu's XML.

    Raises
    ------
    InputError
        If it is damaged or has no signals.
    """
    signals = _signals(_root(data, path), path)
    if not signals:
        msg = f"{path}: has no external signals"
        raise InputError(msg)
    return signals


def number(text: str) -> float:
    """Return a number of the XML (UnsupportedError if it is none)."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"{printable(text, 40)!r} is not a number"
        raise UnsupportedError(msg)
    return value


def _root(data: bytes, path: Path) -> XmlElement:
    root = parse_xml(data, path, SKIPPED)
    if root.tag != "menu":
        msg = f"{path}: begins with {printable(root.tag, 40)!r}, so it is not a trigger menu"
        raise InputError(msg)
    return root


def _integer(element: XmlElement, tag: str, path: Path) -> int:
    text = element.get(tag)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        msg = f"{path}: {element.tag} {printable(element.get('name'), 60)}: {tag} {printable(text, 20)!r}"
        raise InputError(msg)
    return int(text)


def _module(element: XmlElement, path: Path) -> int | None:
    return _integer(element, "module_id", path) if element.get("module_id") else None


def _signals(root: XmlElement, path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for signal_set in root.all("ext_signal_set"):
        for signal in signal_set.all("ext_signal"):
            name = signal.get("name")
            bit = _CHANNELS * _integer(signal, "cable", path) + _integer(signal, "channel", path)
            if bit >= _SIGNALS or _integer(signal, "channel", path) >= _CHANNELS:
                msg = f"{path}: signal {printable(name, 60)} has no place among the 4 x 64 inputs"
                raise InputError(msg)
            found[name] = bit
    return found


def _expected_step(object_: str, type_: str) -> float | None:
    kind = KINDS.get(object_)
    if kind is None:
        return None
    if type_ == "ETA":
        return 0.010875 if kind.muon else CALO_ETA_LSB
    steps = {"ET": GEV_LSB, "COUNT": 1.0, "PHI": 2 * math.pi / kind.phi_bins, "UPT": 1.0}
    return steps.get(type_)


def _scale_problems(root: XmlElement) -> dict[str, str]:
    """Return the kinds of objects, and PRECISION, whose scale is not that of the emulator, and why."""
    problems: dict[str, str] = {}
    for scale in (s for scale_set in root.all("scale_set") for s in scale_set.all("scale")):
        object_, type_ = scale.get("object"), scale.get("type")
        if object_ == "PRECISION":
            first, _, what = type_.rpartition("-")
            expected = _DECIMALS.get(what, (4 if "MU" in first.split("-") else 3) if what == "Math" else None)
            if expected is not None and scale.get("n_bits") != str(expected):
                problems[object_] = f"precision {printable(type_, 40)} is not {expected} decimals"
            continue
        step = _expected_step(object_, type_)
        if step is not None and abs(number(scale.get("step")) - step) > 1e-6 * step:
            problems[object_] = (
                f"{object_} has {type_} in steps of {number(scale.get('step')):g}, not {step:g}"
            )
    return problems
