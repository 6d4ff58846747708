"""What compiled loops over pairs need: values of the objects, tables, and limits in the same integers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger import fixed_point as fp
from l1scout.trigger import pair_kernels as kernels
from l1scout.trigger.candidate_rows import CandidateRows
from l1scout.trigger.menu import Leg, PairCut
from l1scout.trigger.passing_objects import PassingObjects, Places
from l1scout.trigger.scales import KINDS

Integers = NDArray[np.int64]
_NOTHING = np.zeros(0, np.int64)
_LARGEST = 2**63 - 1
_CUTS = {
    "CHGCOR": kernels.CHARGES,
    "DETA": kernels.DETA,
    "DPHI": kernels.DPHI,
    "DR": kernels.DISTANCE,
    "MASS": kernels.MASS,
    "MASSUPT": kernels.MASS,
}


@dataclass(frozen=True)
class PairRules:
    """Two legs and their cuts as compiled loops take them.

    Parameters
    ----------
    a, b : tuple of ndarray of int64
        pT, eta, phi and charge of each leg's objects; empty what no cut needs.
    cuts : ndarray of int64, shape (cuts, 4)
    tables : tuple of ndarray of int64
    turn : int
        See `pair_kernels.pair_passes`.
    """

    a: tuple[Integers, ...]
    b: tuple[Integers, ...]
    cuts: Integers
    tables: tuple[Integers, ...]
    turn: int


def pair_rules(
    objects: PassingObjects, legs: Sequence[Leg], cuts: Sequence[PairCut], padded: bool, *,
    transverse: bool = False,
) -> PairRules:  # fmt: skip
    """Return the rules of two legs.

    Parameters
    ----------
    objects : PassingObjects
    legs : sequence of two Leg
    cuts : sequence of PairCut
        Those of overlap removal must not be fulfilled.
    padded : bool
    transverse : bool
        Whether the cut on the mass is on the transverse mass.
    """
    muon = any(KINDS[leg.kind].muon for leg in legs)
    kinds = {cut.type.removeprefix("ORM") for cut in cuts}
    wanted = {
        "unconstrained" if "MASSUPT" in kinds else "pt": bool(kinds & {"MASS", "MASSUPT"}),
        "eta": bool(kinds & {"DETA", "DR", "MASS", "MASSUPT"}) and not transverse,
        "phi": bool(kinds - {"CHGCOR", "DETA"}),
        "charge": "CHGCOR" in kinds,
    }
    values = [
        tuple(
            objects.values(leg.kind, what, fine=muon, padded=padded) if needed else _NOTHING
            for what, needed in wanted.items()
        )
        for leg in legs
    ]
    rows = [_row(cut, fp.decimals(*(KINDS[leg.kind] for leg in legs)), transverse) for cut in cuts]
    table = np.array(rows, np.int64).reshape(len(rows), 4)
    return PairRules(values[0], values[1], table, tables(muon=muon), fp.turn(muon=muon))


def tables(*, muon: bool) -> tuple[Integers, ...]:
    """Return the tables of a pair, with a muon in it or not."""
    return (
        fp.delta_table(muon=muon, eta=True),
        fp.delta_table(muon=muon, eta=False),
        fp.cosh_table(muon=muon),
        fp.cos_table(muon=muon),
    )


def _row(cut: PairCut, decimals: int, transverse: bool) -> list[int]:
    kind = cut.type.removeprefix("ORM")
    low, high = mass_limits(cut, decimals) if kind in ("MASS", "MASSUPT") else (cut.low, cut.high)
    if kind == "DR":
        low, high = low * 1000, high * 1000
    code = kernels.TRANSVERSE_MASS if transverse and kind == "MASS" else _CUTS[kind]
    return [code, min(low, _LARGEST), min(high, _LARGEST), int(not cut.type.startswith("ORM"))]


def mass_limits(cut: PairCut, decimals: int) -> tuple[int, int]:
    """Return the limits of half a squared mass with the decimals of two pT and of cosh."""
    scale: int = 10 ** (1 + decimals)
    return min(cut.low * scale, _LARGEST), min(cut.high * scale, _LARGEST)


def starts_and_places(
    objects: PassingObjects, legs: Sequence[Leg], found: CandidateRows
) -> tuple[tuple[Integers, ...], tuple[Places, ...]]:
    """Return the first object of each leg's row at each candidate, and which of its objects pass."""
    starts, places = [], []
    for k, leg in enumerate(legs):
        row = found.rows[k]
        starts.append(objects.stream(KINDS[leg.kind].stream, found.padded).offsets[row])
        places.append(objects.places(leg, found.padded)[row])
    return tuple(starts), tuple(places)
