"""How far the sources of a run have the same orbits: what orbit building will find.

Orbits are compared as intervals, so that the memory does not grow with the length of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.raw import RawFile, read_frames, read_header
from l1scout.readout.segments import Segment
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import content
from l1scout.store.evidence import Evidence, HeldSegment
from l1scout.store.stored_run import is_of_its_streams, prescale

Intervals = NDArray[np.int64]
"""Starts and stops of stretches of orbits, shape (2, n)."""


@dataclass
class JoinedOrbits:
    """Orbits of several sources.

    Parameters
    ----------
    orbits : int
        That any source has; `complete` are those that all have.
    absent : dict of int to int
        Orbits of others that a source has not.
    not_compared : dict of int to str
        Sources that were left out, and why.
    """

    orbits: int = 0
    complete: int = 0
    absent: dict[int, int] = field(default_factory=dict)
    not_compared: dict[int, str] = field(default_factory=dict)


def join_orbits(run: int, evidence: Evidence, *, verify: bool) -> JoinedOrbits | None:
    """Compare the stored orbits of all sources; None if they are no sources that can be joined.

    Sources that were to send only some orbits are left out, and without `verify`, which reads files, those
    with gaps within a segment.
    """
    held = [h for h in evidence.held if h.stored.deleted is None and h.path.is_file()]
    sources = sorted({h.stored.segment.source for h in held})
    if len(sources) < 2 or not all(is_of_its_streams(h.stored) for h in held):
        return None
    found = JoinedOrbits()
    prescaled = _prescaled(run, held)
    intervals: dict[int, Intervals] = {}
    for source in sources:
        own = [h for h in held if h.stored.segment.source == source]
        if source in prescaled:
            found.not_compared[source] = "{} of {} orbits".format(*prescaled[source])
            continue
        parts = [_intervals(h, verify=verify) for h in own if h.stored.segment.orbits]
        if any(part is None for part in parts):
            found.not_compared[source] = "orbits missing within segments: see --verify"
            continue
        known = [part for part in parts if part is not None]
        intervals[source] = np.concatenate([np.zeros((2, 0), np.int64), *known], axis=1)
    found.orbits, found.complete = _covered(list(intervals.values()))
    for source, own_orbits in intervals.items():
        found.absent[source] = found.orbits - int((own_orbits[1] - own_orbits[0]).sum())
    return found


def _prescaled(run: int, held: Sequence[HeldSegment]) -> Mapping[int, tuple[int, int]]:
    made = {}
    for store in {h.store for h in held}:
        catalogue = Catalogue(store)
        try:
            for source, text in catalogue.settings(run).items():
                if found := prescale(text):
                    made[source] = found
        finally:
            catalogue.close()
    return made


def _intervals(held: HeldSegment, *, verify: bool) -> Intervals | None:
    """Return the orbits of a segment; None if only its file tells them, and is not to be read."""
    segment: Segment = held.stored.segment
    base = segment.epoch << 31
    if segment.last_orbit - segment.first_orbit + 1 == segment.orbits:
        return np.array([[base + segment.first_orbit], [base + segment.last_orbit + 1]])
    if not verify:
        return None
    try:
        data = content(held.store, held.stored)
    except (OSError, ValueError):
        return np.zeros((2, 0), np.int64)  # is damaged: the account of the store says so
    frames = read_frames(data, read_header(data) or RawFile(segment.run, 0, 0, 0))
    orbit = np.unique(np.array([frame.orbit & ((1 << 31) - 1) for frame in frames], np.int64)) + base
    cuts = np.flatnonzero(np.diff(orbit) != 1) + 1
    runs = [part for part in np.split(orbit, cuts) if part.size]
    return np.array([[part[0], part[-1] + 1] for part in runs], np.int64).reshape(-1, 2).T


def _covered(intervals: Sequence[Intervals]) -> tuple[int, int]:
    """Return the number of orbits in any of some sets of intervals, and in all of them."""
    if not intervals:
        return 0, 0
    at = np.concatenate([part.reshape(-1) for part in intervals])
    step = np.concatenate([np.repeat([1, -1], part.shape[1]) for part in intervals])
    order = np.lexsort((step, at))
    at, depth = at[order], np.cumsum(step[order])
    length = np.diff(at)
    return int(length[depth[:-1] > 0].sum()), int(length[depth[:-1] == len(intervals)].sum())
