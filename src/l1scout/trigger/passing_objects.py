"""Objects against the requirements of conditions, and crossings in which all requirements are met."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.jit import kernel
from l1scout.trigger import fixed_point as fp
from l1scout.trigger.menu import Leg, LegCut
from l1scout.trigger.scales import KINDS, ObjectKind
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs

Mask = NDArray[np.bool_]
Places = NDArray[np.uint16]
"""Objects of a crossing: bit k is set for the k-th."""
Integers = NDArray[np.int64]
_COLUMNS = {
    "QLTY": "hwQual",
    "ISO": "hwIso",
    "CHG": "hwCharge",
    "DISP": "hwDisplaced",
    "IP": "hwDXY",
    "INDEX": "tfMuonIndex",
    "UPT": "hwPtUnconstrained",
}


class PassingObjects:
    """Inputs, with the objects that fulfil each requirement kept for the next condition that asks.

    Requirements that an empty place fulfils, such as ``MU.eq.0``, need all places of all crossings: methods
    with `padded` give those, and one more row behind the last crossing, which is empty.

    Parameters
    ----------
    inputs : TriggerInputs
    """

    def __init__(self, inputs: TriggerInputs) -> None:
        self.inputs = inputs
        self._kept: dict[tuple[object, ...], Any] = {}

    def stream(self, name: str, padded: bool = False) -> StreamObjects:
        """Return the objects of a stream (UnsupportedError if the data have none)."""
        if not padded:
            return self.inputs.objects(name)
        key = "stream", name
        if key not in self._kept:
            rows, slots = self.inputs.crossings + 1, SLOTS[name]
            columns = _PaddedColumns(self.inputs.objects(name), rows, slots)
            self._kept[key] = StreamObjects(np.arange(rows), slots * np.arange(rows + 1), columns)
        found: StreamObjects = self._kept[key]
        return found

    def passing(self, leg: Leg, padded: bool = False) -> Mask:
        """Return which objects of its stream fulfil a requirement, in their own crossing."""
        key = "passing", leg.kind, leg.threshold, leg.equal, leg.cuts, padded
        if key not in self._kept:
            for name in _needed(leg):
                self.inputs.objects(KINDS[leg.kind].stream, name)
            self._kept[key] = _evaluate(leg, self.stream(KINDS[leg.kind].stream, padded), self._kept, padded)
        return np.asarray(self._kept[key])

    def places(self, leg: Leg, padded: bool = False) -> Places:
        """Return which objects of each row of its stream fulfil a requirement."""
        key = "places", leg.kind, leg.threshold, leg.equal, leg.cuts, padded
        if key not in self._kept:
            offsets = self.stream(KINDS[leg.kind].stream, padded).offsets
            self._kept[key] = places_of(self.passing(leg, padded), offsets)
        return np.asarray(self._kept[key])

    def charged_places(self, sign: int, padded: bool) -> Places:
        """Return which muons of each row have a valid charge: positive with `sign` 0, negative with 1."""
        key = "charged", sign, padded
        if key not in self._kept:
            charge = self.values("MU", "charge", padded=padded)
            self._kept[key] = places_of(charge == 1 + sign, self.stream("muon", padded).offsets)
        return np.asarray(self._kept[key])

    def passes_empty(self, leg: Leg) -> bool:
        """Return whether an empty place fulfils a requirement."""
        if leg.threshold != 0:
            return False
        nothing = dict.fromkeys(_needed(leg), np.zeros(1, np.int16))
        return bool(_evaluate(leg, StreamObjects(np.zeros(1, int), np.array([0, 1]), nothing), {}, False)[0])

    def values(self, kind_name: str, what: str, *, fine: bool = False, padded: bool = False) -> Integers:
        """Return a quantity of all objects of a kind in the integers of the trigger's arithmetic.

        Parameters
        ----------
        kind_name : str
        what : {"pt", "unconstrained", "eta", "phi", "charge"}
            pT is in units of 0.1 GeV; charge is 0 if not valid, 1 if positive, 2 if negative.
        fine : bool
            Whether eta and phi are wanted in the muon's bins.
        padded : bool
        """
        key = "values", kind_name, what, fine, padded
        if key not in self._kept:
            self._kept[key] = self._value(KINDS[kind_name], what, fine, padded)
        return np.asarray(self._kept[key])

    def row_at(self, stream: str) -> NDArray[np.int32]:
        """Return the row of a stream at each crossing; -1 where it has no objects."""
        key = "row at", stream
        if key not in self._kept:
            crossing = self.stream(stream).crossing
            self._kept[key] = np.full(self.inputs.crossings, -1, np.int32)
            self._kept[key][crossing] = np.arange(len(crossing))
        return np.asarray(self._kept[key])

    def _value(self, kind: ObjectKind, what: str, fine: bool, padded: bool) -> Integers:
        def column(name: str) -> Integers:
            self.inputs.objects(kind.stream, name)
            return self.stream(kind.stream, padded).columns[name].astype(np.int64)

        if what == "pt":
            return fp.pt_tenths(kind, column(kind.value))
        if what == "unconstrained":
            return fp.unconstrained_pt_tenths(column("hwPtUnconstrained"))
        if what == "charge":
            return np.asarray((column("hwChargeValid") == 1) * (1 + (column("hwCharge") == 1)))
        if what == "phi":
            return fp.in_fine_bins(kind, column(kind.phi), fine)
        eta = column(kind.eta)
        limit = kind.eta_codes
        if eta.size and not -limit <= eta.min() <= eta.max() < limit:
            msg = f"{kind.stream}: {kind.eta} {eta.min()}..{eta.max()} is outside {-limit}..{limit - 1}"
            raise InputError(msg)
        return fp.in_fine_bins(kind, eta, fine)


class _PaddedColumns(dict[str, NDArray[Any]]):
    """Columns of all places of all crossings, each made when it is asked for."""

    def __init__(self, objects: StreamObjects, rows: int, slots: int) -> None:
        super().__init__()
        self._from = objects, rows, slots

    def __missing__(self, name: str) -> NDArray[Any]:
        objects, rows, slots = self._from
        self[name] = objects.in_slots(name, rows, slots).ravel()
        return self[name]


def _evaluate(leg: Leg, objects: StreamObjects, kept: dict[tuple[object, ...], Any], padded: bool) -> Mask:
    """Return which objects fulfil a requirement; what passes cuts is kept for the next leg that has them."""
    kind = KINDS[leg.kind]
    values = objects.columns[kind.value]
    mask = values == leg.threshold if leg.equal else values >= leg.threshold
    for type_ in dict.fromkeys(cut.type for cut in leg.cuts):
        cuts = [cut for cut in leg.cuts if cut.type == type_]
        key = "cuts", kind.name, type_, padded, *((cut.low, cut.high, cut.mask) for cut in cuts)
        if key not in kept:
            kept[key] = _passes_any(kind, cuts, objects)
        mask = mask & kept[key]
    return np.asarray(mask)


def _needed(leg: Leg) -> list[str]:
    """Return the columns that a requirement looks at."""
    kind = KINDS[leg.kind]
    types = {cut.type for cut in leg.cuts}
    names = [_column(kind, type_) for type_ in sorted(types - {"SLICE"})]
    return [kind.value, *names, *(["hwChargeValid"] if "CHG" in types else [])]


def _column(kind: ObjectKind, type_: str) -> str:
    return {"ETA": kind.eta, "PHI": kind.phi}.get(type_) or _COLUMNS[type_]


def _passes_any(kind: ObjectKind, cuts: Sequence[LegCut], objects: StreamObjects) -> Mask:
    """Return which objects pass at least one of several cuts of one type."""
    if cuts[0].type == "SLICE":
        values = np.arange(objects.offsets[-1]) - np.repeat(objects.offsets[:-1], np.diff(objects.offsets))
    else:
        values = objects.columns[_column(kind, cuts[0].type)]
    passed = np.zeros(values.shape, np.bool_)
    for cut in cuts:
        if cut.mask:
            codes = np.array([cut.mask >> k & 1 for k in range(64)], np.bool_)
            passed |= codes[values & 63] & (values >> 6 == 0)
        elif cut.low <= cut.high:
            passed |= (values >= cut.low) & (values <= cut.high)
        else:
            passed |= (values >= cut.low) | (values <= cut.high)
    if cuts[0].type == "CHG":
        passed &= objects.columns["hwChargeValid"] == 1
    return passed


def places_of(passing: Mask, offsets: NDArray[np.int64]) -> Places:
    """Return which objects of each row pass."""
    return np.asarray(_places_of(np.asarray(passing), np.asarray(offsets)))


@kernel
def _places_of(passing: Mask, offsets: NDArray[np.int64]) -> Places:
    places = np.zeros(len(offsets) - 1, np.uint16)
    for row in range(len(places)):
        start, stop = offsets[row], offsets[row + 1]
        if stop == start + 1:  # nearly all crossings with muons have one
            places[row] = passing[start]
            continue
        found = 0
        for k in range(start, stop):
            found |= np.int64(passing[k]) << (k - start)
        places[row] = found
    return places
