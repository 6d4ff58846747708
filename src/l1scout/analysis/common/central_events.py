"""Scouting beside events of the central DAQ: the same run, orbit and BX, and their L1 objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch

MUON_COLUMNS = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "hwQual", "tfMuonIndex")
"""Columns of muons that both have, with the same meaning."""


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


def crossing_keys(batch: OrbitBatch) -> NDArray[np.int64]:
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
    events : OrbitBatch
        Objects of the same kind, a row per event; those of other BX than the event's own
        (``bxInEvent``) are left out. Events of which run, orbit or BX is not known count as not seen.
    columns : sequence of str
        That must agree; objects may come in any order.
    """
    if "bxInEvent" in events.columns:
        events = events.select(events["bxInEvent"] == 0, drop_empty=False)
    keys, own = crossing_keys(events), crossing_keys(scouting)
    seen = scouting.orbits_seen()
    here = np.isin(events.run, np.unique(scouting.run)) & (events.orbit >= 0)
    here &= np.isin(events.orbit, np.unique(scouting.orbit) if seen is None else seen)
    every = np.concatenate([keys, own])
    _, place = np.unique(every, axis=0, return_inverse=True)
    of_event, of_scouting = np.split(place.reshape(-1), [len(keys)])
    wanted = np.unique(of_event[here])
    tables = [
        _objects(batch, rows, columns, wanted)
        for batch, rows in ((events, of_event), (scouting, of_scouting))
    ]
    found, counts = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    in_event, in_scouting = (
        np.bincount(part, minlength=len(found)) for part in np.split(counts.reshape(-1), [len(tables[0])])
    )
    differing = np.unique(found[in_event != in_scouting, 0])
    common = int(np.minimum(in_event, in_scouting).sum())
    return EventComparison(
        events=len(events),
        not_seen=int(np.count_nonzero(~here)),
        compared=wanted.size,
        identical=wanted.size - differing.size,
        common=common,
        only_event=int(in_event.sum()) - common,
        only_scouting=int(in_scouting.sum()) - common,
    )


def _objects(
    batch: OrbitBatch, rows: NDArray[np.int64], columns: Sequence[str], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return a row for each object of the wanted crossings: the crossing's number, and its columns."""
    of_object = rows[batch.row]
    kept = np.isin(of_object, wanted)
    return np.stack([of_object, *(batch[name].astype(np.int64) for name in columns)], axis=1)[kept]
