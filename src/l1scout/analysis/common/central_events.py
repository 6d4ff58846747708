"""Scouting beside events of the central DAQ: the same run, orbit and BX, and their L1 objects."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, concatenate, final_muons
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.lhc import crossing
from l1scout.statistics import proportion
from l1scout.trigger.nearby_crossings import spread

MUON_COLUMNS = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "hwQual", "tfMuonIndex")
"""Columns of muons that both have, with the same meaning."""
MAX_SHIFT = 2
"""BX before and after its own at which an event's objects are looked for, to see whether BX agree."""
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class EventComparison:
    """Objects of events in scouting data.

    Parameters
    ----------
    events : int
        Of the central DAQ.
    not_seen : int
        Events in orbits that scouting did not see, as far as that is known; they are not compared.
    compared : int
        Events that were compared; ``identical`` of them have the same objects in both.
    identical : int
    common : int
        Objects that are in both.
    only_event, only_scouting : int
        Objects of compared events that the other does not have.
    """

    events: int
    not_seen: int
    compared: int
    identical: int
    common: int
    only_event: int
    only_scouting: int


class CentralMatch:
    """Gathers what scouting has at the crossings of triggered events, and compares it with these.

    Parameters
    ----------
    events : OrbitBatch
        Objects of a stream, a row per event; those of other BX than the event's own (``bxInEvent``) are left
        out. An event of which run, orbit or BX is not known counts as not seen.
    columns : sequence of str
        That must agree; objects may come in any order.
    bx_offset : int
        How many BX later scouting has numbered the crossings.
    """

    def __init__(self, events: OrbitBatch, columns: Sequence[str] = MUON_COLUMNS, bx_offset: int = 0) -> None:
        events = final_muons(events)
        if "bxInEvent" in events.columns:
            events = events.select(events["bxInEvent"] == 0, drop_empty=False)
        self.events, self.columns, self._offset = events, tuple(columns), bx_offset
        self.seen = np.zeros(len(events), np.bool_)
        self._found: list[OrbitBatch] = []

    def add(self, scouting: OrbitBatch) -> None:
        """Take in scouting data of the same stream (InputError if they lack a column)."""
        scouting = final_muons(scouting)
        missing = [name for name in self.columns if scouting.n_objects and name not in scouting.columns]
        if missing:
            msg = f"scouting data have no column {', '.join(missing)}, which is to be compared"
            raise InputError(msg)
        orbits = scouting.orbits_seen()
        runs = np.unique(scouting.run).tolist()
        own, wanted = self.events, crossing(self.events.orbit, self.events.bx) + self._offset
        time = crossing(scouting.orbit, scouting.bx)
        near = np.zeros(len(scouting), np.bool_)
        for run in runs:
            of_run = (own.run == run) & (own.orbit >= 0)
            # a batch of several runs does not say of which of them an orbit without objects is
            known = scouting.orbit[scouting.run == run] if orbits is None or len(runs) > 1 else orbits
            self.seen |= of_run & np.isin(own.orbit, known)
            near |= (scouting.run == run) & np.isin(time, spread(np.unique(wanted[of_run]), MAX_SHIFT))
        if near.any():
            columns = {name: scouting[name] for name in self.columns}
            part = OrbitBatch(
                scouting.orbit, scouting.bx, scouting.offsets, columns, scouting.run, scouting.lumisection
            )
            self._found.append(part.take(np.flatnonzero(near)))

    def compare(self, shift: int = 0, columns: Sequence[str] | None = None) -> EventComparison:
        """Compare events with the objects of scouting some BX later than expected."""
        found = self._tables(self.columns if columns is None else columns, shift)
        both, in_event, in_scouting, compared = found
        differing = np.unique(both[in_event != in_scouting, 0])
        common = int(np.minimum(in_event, in_scouting).sum())
        return EventComparison(
            events=len(self.events),
            not_seen=int(np.count_nonzero(~self.seen)),
            compared=compared,
            identical=compared - differing.size,
            common=common,
            only_event=int(in_event.sum()) - common,
            only_scouting=int(in_scouting.sum()) - common,
        )

    def differences(self) -> list[dict[str, int]]:
        """Return the objects that only one of both has: run, orbit and BX of the event, and columns."""
        both, in_event, in_scouting, _ = self._tables(self.columns, 0)
        own, rows = self._keys(), []
        for k in np.flatnonzero(in_event != in_scouting).tolist():
            key = dict(zip(("run", "orbit", "bx"), own[both[k, 0]].tolist(), strict=True))
            counts = {"in_event": int(in_event[k]), "in_scouting": int(in_scouting[k])}
            rows.append(key | counts | dict(zip(self.columns, both[k, 1:].tolist(), strict=True)))
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison, the same at other BX, and how many events agree without each column."""
        result = self.compare()
        share = proportion(result.identical, result.compared)
        shifts = [self.compare(shift) for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)]
        return {
            **asdict(result),
            "identical_share": {"value": share.value, "low": share.low, "high": share.high},
            "columns": list(self.columns),
            "identical_without_column": {
                name: self.compare(columns=[c for c in self.columns if c != name]).identical
                for name in self.columns
            },
            "common_by_bx_shift": {str(k - MAX_SHIFT): shifted.common for k, shifted in enumerate(shifts)},
        }

    def _keys(self) -> Keys:
        """Return run, orbit and BX of the events, each once, in order."""
        return np.unique(crossing_keys(self.events)[self.seen], axis=0)

    def _tables(self, columns: Sequence[str], shift: int) -> tuple[Keys, Keys, Keys, int]:
        """Return objects (number of the event, columns), how often each has them, and events compared."""
        keys = self._keys()
        parts = [_objects(self.events, keys, columns, 0)]
        if self._found:
            parts.append(_objects(concatenate(self._found), keys, columns, self._offset + shift))
        found, place = np.unique(np.concatenate(parts), axis=0, return_inverse=True)
        place = place.reshape(-1)
        counts = [np.bincount(p, minlength=len(found)) for p in np.split(place, [len(parts[0])])]
        return found, counts[0], counts[1], len(keys)


def crossing_keys(batch: OrbitBatch) -> Keys:
    """Return run, orbit and BX of each row, shape (rows, 3)."""
    return np.stack([batch.run, batch.orbit, batch.bx], axis=1)


def compare_with_events(
    scouting: OrbitBatch, events: OrbitBatch, columns: Sequence[str] = MUON_COLUMNS
) -> EventComparison:
    """Compare the objects of triggered events with those of the same crossings in scouting data.

    Parameters
    ----------
    scouting : OrbitBatch
        Final objects of a stream, of orbits that were seen without gaps, or with `OrbitBatch.seen`.
    events, columns
        As for `CentralMatch`.
    """
    match = CentralMatch(events, columns)
    match.add(scouting)
    return match.compare()


def compared_columns(name: str, batch: OrbitBatch) -> tuple[str, ...]:
    """Return the hardware columns of a stream that are compared, of those that a batch has."""
    wanted = MUON_COLUMNS if name == "muon" else tuple(STREAMS[name].fields)
    return tuple(column for column in wanted if column in batch.columns)


def _objects(batch: OrbitBatch, keys: Keys, columns: Sequence[str], offset: int) -> Keys:
    """Return a row for each object in the crossings of some events: the event's number, and columns."""
    time = crossing(batch.orbit, batch.bx) - offset
    own = np.stack([batch.run, time], axis=1)
    wanted = np.stack([keys[:, 0], crossing(keys[:, 1], keys[:, 2])], axis=1)
    _, place = np.unique(np.concatenate([wanted, own]), axis=0, return_inverse=True)
    place = place.reshape(-1)
    number = np.full(int(place.max(initial=-1)) + 1, -1, np.int64)
    number[place[: len(keys)]] = np.arange(len(keys))
    of_object = number[place[len(keys) :]][batch.row]
    kept = of_object >= 0
    return np.stack([of_object, *(batch[name].astype(np.int64) for name in columns)], axis=1)[kept]
