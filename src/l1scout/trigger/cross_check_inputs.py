"""The objects that an algorithm looks at in a crossing, in hardware integers and in physics units."""

from collections.abc import Iterator, Mapping
from typing import Any

from l1scout.trigger.block_inputs import objects_at
from l1scout.trigger.menu import Algorithm
from l1scout.trigger.scales import KINDS, ObjectKind
from l1scout.trigger.trigger_inputs import TriggerInputs

_MORE = {
    "muon": ("hwQual", "hwCharge", "hwChargeValid", "hwIso", "hwDXY", "tfMuonIndex", "hwPtUnconstrained"),
    "egamma": ("hwIso",),
    "tau": ("hwIso",),
    "jet": ("hwDisplaced",),
}
"""Columns that cuts read, besides those of pT, eta and phi."""


def objects_of(algorithm: Algorithm, inputs: TriggerInputs, row: int) -> Iterator[dict[str, Any]]:
    """Yield the objects of the kinds and crossings at which an algorithm looks.

    Yields
    ------
    dict
        ``object`` (``MU``, with the offset of its crossing if it has one: ``MU-1``), ``slot`` from 0, the
        hardware columns, and ``pt_gev``, ``eta`` and ``phi`` (the middle of the bin, rad) where it has them.
        Places without an object are left out.
    """
    legs = [leg for condition in algorithm.conditions.values() for leg in condition.legs]
    for kind_name, offset in dict.fromkeys((leg.kind, leg.offset) for leg in legs):
        kind = KINDS.get(kind_name)
        if kind is None or kind.stream not in inputs.streams:
            continue
        named = (kind.value, kind.eta, kind.phi, *_MORE.get(kind.stream, ()))
        for slot, columns in enumerate(objects_at(inputs, kind.stream, row + offset)):
            if columns[kind.value] > 0:
                hardware = {name: columns[name] for name in named if name in columns}
                yield {
                    "object": _label(kind_name, offset),
                    "slot": slot,
                    **hardware,
                    **_physics(kind, hardware),
                }


def _label(kind: str, offset: int) -> str:
    return f"{kind}{offset:+d}" if offset else kind


def _physics(kind: ObjectKind, hardware: Mapping[str, int]) -> dict[str, float]:
    """Return pT, eta and phi as far as the kind has them."""
    if kind.count:
        return {}
    made = {"pt_gev": kind.threshold_to_physics(hardware[kind.value])}
    for name, column, edges in (
        ("eta", kind.eta, kind.eta_to_physics),
        ("phi", kind.phi, kind.phi_to_physics),
    ):
        if column in hardware:
            made[name] = round(sum(edges(hardware[column], hardware[column])) / 2, 6)
    return made


def in_words(found: Mapping[str, Any]) -> str:
    """Return an object as text: ``MU-1 12.5 GeV (26) eta -0.522 (-48) phi 1.238 (113) qual 12``."""
    kind = KINDS[found["object"].rstrip("+-012")]  # no kind's name ends with a digit
    unit = f"{found['pt_gev']:g} GeV ({found[kind.value]})" if "pt_gev" in found else f"{found[kind.value]}"
    text = [f"{found['object']} {unit}"]
    text += [
        f"{angle} {found[angle]:.3f} ({found[column]})"
        for angle, column in (("eta", kind.eta), ("phi", kind.phi))
        if angle in found
    ]
    if "hwQual" in found and kind.muon:
        text.append(f"quality {found['hwQual']}")
    if "hwCharge" in found:
        sign = "-+"[found["hwCharge"] == 0] if found.get("hwChargeValid", 1) else "unknown"
        text.append(f"charge {sign}")
    return " ".join(text)
