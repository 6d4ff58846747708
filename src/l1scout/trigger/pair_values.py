"""Distances and masses of combinations of objects, in the integers of the Global Trigger."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger import fixed_point as fp
from l1scout.trigger.menu import Leg, PairCut
from l1scout.trigger.scales import KINDS
from l1scout.trigger.trigger_inputs import TriggerInputs

Integers = NDArray[np.int64]


def values_of(inputs: TriggerInputs, leg: Leg, column: str, rows: Integers, slots: Integers) -> Integers:
    """Return a column of a leg's objects: shape of `rows`, as int64."""
    values: NDArray[Any] = inputs.column(KINDS[leg.kind].stream, column, leg.offset)
    return values[rows, slots].astype(np.int64)


def passes_pair_cut(
    inputs: TriggerInputs, legs: Sequence[Leg], rows: Integers, slots: Sequence[Integers], cut: PairCut
) -> NDArray[np.bool_]:
    """Return which pairs of objects pass a cut.

    Parameters
    ----------
    inputs : TriggerInputs
    legs : sequence of two Leg
    rows, slots : ndarray of int64, shape (pairs,)
        Crossing of each pair, and the slots of its two objects.
    cut : PairCut
    """
    if cut.type == "CHGCOR":
        return same_or_other_charge(inputs, legs, rows, slots, cut)
    kind = cut.type.removeprefix("ORM")
    if kind in ("MASS", "MASSUPT"):
        value, digits = half_mass_squared(inputs, legs, rows, slots, cut.type == "MASSUPT")
        scale = 10 ** (digits - 1)
    else:
        value, scale = _distance(inputs, legs, rows, slots, kind)
    return np.asarray((value >= cut.low * scale) & (value <= cut.high * scale))


def same_or_other_charge(
    inputs: TriggerInputs, legs: Sequence[Leg], rows: Integers, slots: Sequence[Integers], cut: PairCut
) -> NDArray[np.bool_]:
    """Return which combinations of muons have charges that are valid, and all equal or not all equal."""
    names = ("hwCharge", "hwChargeValid")
    negative, valid = (
        np.stack([values_of(inputs, leg, name, rows, slot) for leg, slot in zip(legs, slots, strict=True)])
        for name in names
    )
    equal = (negative == negative[0]).all(axis=0)
    return np.asarray((valid == 1).all(axis=0) & (equal if cut.low == 0 else ~equal))


def _distance(
    inputs: TriggerInputs, legs: Sequence[Leg], rows: Integers, slots: Sequence[Integers], kind: str
) -> tuple[Integers, int]:
    """Return a difference of eta or phi, or the squared distance, and the steps of 0.001 in it."""
    a, b = (KINDS[leg.kind] for leg in legs)
    muon = a.muon or b.muon
    if kind == "DETA":
        return fp.delta_table(muon=muon, eta=True)[_delta_eta(inputs, legs, rows, slots)], 1
    phi = fp.delta_table(muon=muon, eta=False)[_delta_phi(inputs, legs, rows, slots)]
    if kind == "DPHI":
        return phi, 1
    eta = fp.delta_table(muon=muon, eta=True)[_delta_eta(inputs, legs, rows, slots)]
    return eta * eta + phi * phi, 1000


def _delta_eta(
    inputs: TriggerInputs, legs: Sequence[Leg], rows: Integers, slots: Sequence[Integers]
) -> Integers:
    first, second = _in_common_bins(inputs, legs, rows, slots, "eta")
    return np.asarray(np.abs(first - second))


def _delta_phi(
    inputs: TriggerInputs, legs: Sequence[Leg], rows: Integers, slots: Sequence[Integers]
) -> Integers:
    first, second = _in_common_bins(inputs, legs, rows, slots, "phi")
    return fp.delta_phi(first, second, fp.full_turn(*(KINDS[leg.kind] for leg in legs)))


def _in_common_bins(
    inputs: TriggerInputs, legs: Sequence[Leg], rows: Integers, slots: Sequence[Integers], angle: str
) -> list[Integers]:
    """Return eta or phi of both legs, in the bins of both kinds of objects."""
    kinds = [KINDS[leg.kind] for leg in legs]
    return [
        fp.in_bins_of(kind, other, values_of(inputs, leg, getattr(kind, angle), rows, slot))
        for kind, other, leg, slot in zip(kinds, reversed(kinds), legs, slots, strict=True)
    ]


def half_mass_squared(
    inputs: TriggerInputs,
    legs: Sequence[Leg],
    rows: Integers,
    slots: Sequence[Integers],
    unconstrained: bool = False,
    transverse: bool = False,
) -> tuple[Integers, int]:
    """Return half the squared mass of pairs, pT1 pT2 (cosh - cos), and its number of decimals.

    Parameters
    ----------
    inputs, legs, rows, slots
        As of `passes_pair_cut`.
    unconstrained : bool
        Whether with the muons' pT without the vertex.
    transverse : bool
        Whether with 1 in place of cosh.
    """
    a, b = (KINDS[leg.kind] for leg in legs)
    muon = a.muon or b.muon
    pts = []
    for leg, kind, slot in zip(legs, (a, b), slots, strict=True):
        if unconstrained:
            pts.append(fp.unconstrained_pt_tenths(values_of(inputs, leg, "hwPtUnconstrained", rows, slot)))
        else:
            pts.append(fp.pt_tenths(kind, values_of(inputs, leg, kind.value, rows, slot)))
    digits = fp.decimals(a, b)
    if transverse:
        cosh = np.full(len(rows), 10**digits, np.int64)
    else:
        cosh = fp.cosh_table(muon=muon)[_delta_eta(inputs, legs, rows, slots)]
    cos = fp.cos_table(muon=muon)[_delta_phi(inputs, legs, rows, slots)]
    return pts[0] * pts[1] * (cosh - cos), 2 + digits
