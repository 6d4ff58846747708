"""A menu in words and as a document: every limit in hardware and in physics units."""

import math
from typing import Any

from l1scout.formats.streams.muon import TRACK_FINDERS
from l1scout.trigger.limits import pair_cut_to_physics
from l1scout.trigger.menu import (
    LAST_VETO_GRAMMAR,
    Algorithm,
    Leg,
    LegCut,
    Menu,
    MenuCondition,
    grammar_version,
)
from l1scout.trigger.scales import KINDS

_CODES = {
    "QLTY": (16, "quality"),
    "ISO": (4, "isolation"),
    "IP": (4, "impact parameter"),
    "DISP": (2, "displaced"),
}
_NUMBERS = {"INDEX": "tfMuonIndex", "SLICE": "place"}
_PAIRS = {
    "DETA": ("difference of eta", ""),
    "DPHI": ("difference of phi", "rad"),
    "DR": ("distance", ""),
    "MASS": ("mass", "GeV"),
    "MASSUPT": ("mass with unconstrained pT", "GeV"),
}
VETO = "no object of the last leg that passes may overlap"
EXISTS = "one object of the last leg that passes and does not overlap is enough"


def describe_menu(menu: Menu, algorithms: tuple[Algorithm, ...]) -> dict[str, Any]:
    """Return some algorithms of a menu as a document, for JSON."""
    veto = grammar_version(menu.grammar) <= LAST_VETO_GRAMMAR
    return {
        "menu": menu.name,
        "grammar_version": menu.grammar,
        "overlap_removal": VETO if veto else EXISTS,
        "signals_from": menu.signals_from or None,
        "algorithms": [_algorithm(a) for a in algorithms],
        "not_emulated": {a.name: a.problem for a in algorithms if a.problem},
    }


def describe_lines(algorithm: Algorithm) -> list[str]:
    """Describe an algorithm in lines of text."""
    found = _algorithm(algorithm)
    board = "" if algorithm.module is None else f", module {algorithm.module}"
    lines = [f"{algorithm.index} {algorithm.name}{board}", f"  {algorithm.text}"]
    if algorithm.problem:
        lines.append(f"  not emulated: {algorithm.problem}")
    for condition in found["conditions"]:
        lines += [f"    {condition['expression']}"] * (len(found["conditions"]) > 1)
        for leg in condition["objects"]:
            later = f" at BX {leg['bx_offset']:+d}" if leg["bx_offset"] else ""
            lines.append(f"      {leg['name']}{later}: " + "; ".join(_line(limit) for limit in leg["limits"]))
        lines += [f"      {_line(cut)}" for cut in condition["cuts"]]
    return lines


def _algorithm(algorithm: Algorithm) -> dict[str, Any]:
    return {
        "index": algorithm.index,
        "name": algorithm.name,
        "module": algorithm.module,
        "expression": algorithm.text,
        "problem": algorithm.problem or None,
        "conditions": [_condition(text, c) for text, c in algorithm.conditions.items()],
    }


def _condition(text: str, condition: MenuCondition) -> dict[str, Any]:
    return {
        "expression": text,
        "type": condition.type,
        "objects": [
            {"name": leg.name, "kind": leg.kind, "bx_offset": leg.offset, "limits": _limits(leg)}
            for leg in condition.legs
        ],
        "cuts": [
            _pair(cut.type, cut.name, cut.low, cut.high, pair_cut_to_physics(cut)) for cut in condition.cuts
        ],
    }


def _limits(leg: Leg) -> list[dict[str, Any]]:
    kind = KINDS.get(leg.kind)
    if kind is None:
        what = {
            "EXT": "bit of the external signals",
            "CENT": "bit of the centrality",
            "MUS": "place of the muon",
        }
        if leg.kind in what:
            return [_limit(what[leg.kind], "is", (leg.threshold,), None, "", leg.name)]
        return [_limit("score", ">=", (leg.threshold,), (leg.threshold / 256,), "", leg.cuts[0].name)]
    unit, quantity = ("", "count") if kind.count else ("GeV", "pT" if kind.eta else "energy")
    sign = "=" if leg.equal else ">="
    limits = [
        _limit(quantity, sign, (leg.threshold,), (kind.threshold_to_physics(leg.threshold),), unit, leg.name)
    ]
    return limits + [_leg_cut(leg, cut) for cut in leg.cuts]


def _leg_cut(leg: Leg, cut: LegCut) -> dict[str, Any]:
    kind = KINDS[leg.kind]
    if cut.type in _CODES:
        bits, quantity = _CODES[cut.type]
        values = tuple(k for k in range(bits) if cut.mask >> k & 1)
        return _limit(quantity, "one of", values, None, "", cut.name)
    if cut.type == "CHG":
        return _limit("charge", "is", (cut.mask >> 1,), (1 if cut.mask == 1 else -1,), "e", cut.name)
    hardware = (cut.low, cut.high)
    if cut.type == "ETA":
        return _limit("eta", "within", hardware, kind.eta_to_physics(*hardware), "", cut.name)
    if cut.type == "PHI":
        return _limit("phi", "within", hardware, kind.phi_to_physics(*hardware), "rad", cut.name)
    if cut.type == "UPT":
        return _limit(
            "unconstrained pT", "within", hardware, (cut.low - 1.0, float(cut.high)), "GeV", cut.name
        )
    name = cut.name
    for finder, indices in TRACK_FINDERS.items():
        if cut.type == "INDEX" and indices.start <= cut.low <= cut.high < indices.stop:
            name += f" ({finder})"
    return _limit(_NUMBERS[cut.type], "within", hardware, None, "", name)


def _pair(type_: str, name: str, low: int, high: int, physics: tuple[float, float]) -> dict[str, Any]:
    if type_ == "CHGCOR":
        return _limit("charges", "different" if low else "equal", (low,), None, "", name)
    quantity, unit = _PAIRS[type_.removeprefix("ORM")]
    comparison = "overlaps within" if type_.startswith("ORM") else "within"
    return _limit(quantity, comparison, (low, high), physics, unit, name)


def _limit(
    quantity: str,
    comparison: str,
    hardware: tuple[int, ...],
    physics: tuple[float, ...] | None,
    unit: str,
    name: str,
) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "comparison": comparison,
        "hardware": list(hardware),
        "physics": None if physics is None else list(physics),
        "unit": unit or None,
        "name": name,
    }


def _line(limit: dict[str, Any]) -> str:
    hardware, physics = limit["hardware"], limit["physics"]
    ranged = limit["comparison"].endswith("within")
    text = f"{limit['quantity']} {limit['comparison']}"
    if physics is not None:
        shown = [_number(value) for value in physics]
        text += f" {'..'.join(shown)}{' ' + limit['unit'] if limit['unit'] else ''}"
    if limit["quantity"] != "charges":
        numbers = "..".join(map(str, hardware)) if ranged else ", ".join(map(str, hardware))
        text += f" (hardware {numbers})" if physics is not None else f" {numbers}"
    return f"{text} [{limit['name']}]"


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "any"
