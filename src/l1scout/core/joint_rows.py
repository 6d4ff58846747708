"""Batches of several streams on the same crossings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch, joint_simulated
from l1scout.lhc import order_of_time


def joint_rows(batches: Sequence[OrbitBatch]) -> OrbitBatch:
    """Return the crossings in which any of the batches has a row, in order of time, without objects."""
    of_rows = ("orbit", "bx", "run", "lumisection")
    every = np.concatenate([np.stack([getattr(b, n) for n in of_rows], axis=1) for b in batches])
    rows = every[np.unique(order_of_time(every[:, 0], every[:, 1]), return_index=True)[1]]
    orbit, bx, run, lumisection = (rows[:, k].copy() for k in range(len(of_rows)))
    offsets = np.zeros(len(rows) + 1, np.int64)
    return OrbitBatch(orbit, bx, offsets, {}, run, lumisection, simulated=joint_simulated(batches))


def on_rows(batch: OrbitBatch, rows: OrbitBatch) -> OrbitBatch:
    """Return a batch with the crossings of another, which has all of its own: empty ones are added."""
    time = order_of_time(rows.orbit, rows.bx)
    place = np.searchsorted(time, order_of_time(batch.orbit, batch.bx))
    counts = np.zeros(len(rows), np.int64)
    counts[place] = batch.counts
    of_rows = {name: getattr(rows, name) for name in ("orbit", "bx", "run", "lumisection")}
    return replace(batch, offsets=np.r_[0, np.cumsum(counts)], **of_rows)
