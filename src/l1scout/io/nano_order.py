"""Rows of scouting nano files in order of time, by whole orbits, with the orbits that they stand for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.io import root

MAX_SORTED_ROWS = 10_000_000
"""Rows that are sorted in memory if a scouting nano file is not in order of time."""
TIME = ("run", "orbitNumber", "bunchCrossing")
_SCAN = 100_000
"""Entries that are read at a time to look at values of single branches."""
_RUN, _BLOCK, _ORBIT = range(3)


class Span(NamedTuple):
    """Rows of whole orbits of one lumisection: from `start` to before `stop`.

    `orbits` counts those with a row, `last` is the last of them; `ends` says that the lumisection has no
    later rows.
    """

    start: int
    stop: int
    run: int
    lumisection: int
    orbits: int
    last: int
    ends: bool


def time_order(named: Mapping[str, Any], entries: int) -> NDArray[np.int64] | None:
    """Return the order of time of all entries of a scouting nano file; None if they are in order.

    Raises
    ------
    InputError
        If a crossing has two rows, or there are too many rows to sort.
    """
    last, ordered = None, True
    for start, stop in root.chunks(entries, _SCAN):
        keys = _time_keys(named, start, stop)
        if last is not None:
            keys = np.concatenate([last, keys], axis=1)
        last, ordered = keys[:, -1:], ordered and _first_not_rising(keys) is None
        if not ordered:
            break
    if ordered:
        return None
    if entries > MAX_SORTED_ROWS:
        msg = (
            f"its {entries} rows are not in order of run, orbit and BX, and more than {MAX_SORTED_ROWS} are "
            "not sorted here: split the file, or write it in order"
        )
        raise InputError(msg)
    keys = _time_keys(named, 0, entries)
    order = np.lexsort(keys[::-1])
    keys = keys[:, order]
    at = _first_not_rising(keys)
    if at is not None:
        run, orbit, bx = keys[:, at].tolist()
        msg = (
            f"run {run}, orbit {orbit}, BX {bx} has more than one row: the file holds the same data twice "
            "(was a file merged with itself?); make it again without the repetition"
        )
        raise InputError(msg)
    return order


def _time_keys(named: Mapping[str, Any], start: int, stop: int) -> NDArray[np.int64]:
    """Return run, orbit and BX, shape (3, entries)."""
    return np.stack([root.scalar(named, name, start, stop).astype(np.int64) for name in TIME])


def _first_not_rising(keys: NDArray[np.int64]) -> int | None:
    """Return the first entry that is not later than the one before it; None if all are."""
    later = np.zeros(max(keys.shape[1] - 1, 0), np.bool_)
    for row in keys[::-1]:
        step = np.diff(row)
        later = (step > 0) | ((step == 0) & later)
    at = np.flatnonzero(~later)
    return int(at[0]) + 1 if at.size else None


def spans(
    named: Mapping[str, Any], entries: int, rows: int, order: NDArray[np.int64] | None
) -> Iterator[Span]:
    """Cut a scouting nano file into spans of about `rows` rows: whole orbits of one lumisection each.

    Parameters
    ----------
    named : mapping
        Branches of the tree.
    entries, rows : int
    order : ndarray of int64, optional
        Order of time, see `time_order`: spans are then of rows in this order.
    """
    if rows < 1:
        msg = f"rows must be 1 or more, not {rows}"
        raise InputError(msg)
    keys_of = _keys_of(named, entries, order)
    start = 0
    if not entries:
        yield Span(0, 0, 0, 0, 0, -1, ends=True)
    while start < entries:
        size = rows
        while True:
            keys = keys_of(start, min(start + size + 1, entries))
            changes = np.flatnonzero(np.any(keys[:2, 1:] != keys[:2, :1], axis=0)) + 1
            n, ends = (int(changes[0]), True) if changes.size else (keys.shape[1], start + size >= entries)
            if not ends:  # the last row looked at is one more than wanted
                steps = np.flatnonzero(np.diff(keys[_ORBIT])) + 1
                n = int(steps[-1]) if steps.size else 0
            if n:
                break
            size *= 2  # an orbit with more rows
        orbits = int(np.count_nonzero(np.diff(keys[_ORBIT, :n]))) + 1
        run, block, last = int(keys[_RUN, 0]), int(keys[_BLOCK, 0]), int(keys[_ORBIT, n - 1])
        yield Span(start, start + n, run, block, orbits, last, ends)
        start += n


def _keys_of(
    named: Mapping[str, Any], entries: int, order: NDArray[np.int64] | None
) -> Callable[[int, int], NDArray[np.int64]]:
    """Return what reads run, lumisection and orbit of rows, shape (3, rows)."""

    def read(start: int, stop: int) -> NDArray[np.int64]:
        names = ("run", "luminosityBlock", "orbitNumber")
        zeros = np.zeros(stop - start, np.int64)
        read = [root.scalar(named, n, start, stop).astype(np.int64) if n in named else zeros for n in names]
        return np.stack(read)

    if order is None:
        return read
    every = read(0, entries)[:, order]
    return lambda start, stop: every[:, start:stop]


class OrbitShares:
    """Shares the orbits of lumisections among spans: those with rows, and the rest for the last span.

    Parameters
    ----------
    orbits : mapping of (run, lumisection) to int
        Run 0 and lumisection 0 stand for all, where a file does not tell.
    seen : mapping of (run, lumisection) to ndarray of int64
        Numbers of these orbits, where they are known.
    entries : int
        Rows of the file.
    """

    def __init__(
        self,
        orbits: Mapping[tuple[int, int], int],
        seen: Mapping[tuple[int, int], NDArray[np.int64]],
        entries: int,
    ) -> None:
        self._left, self._seen, self._entries = dict(orbits), dict(seen), entries
        self._whole = (0, 0) in self._left and len(self._left) == 1

    def of(self, batch: OrbitBatch, span: Span) -> OrbitBatch:
        """Return a batch with the orbits that its span stands for; spans come one after the other."""
        key = (0, 0) if self._whole else (span.run, span.lumisection)
        stated = key in self._left
        if not stated and self._left:  # a file whose lumisections are not those of its rows
            key = max(self._left, key=self._left.__getitem__)
        left, is_last = self._left.get(key, 0), span.stop == self._entries
        seen = self._seen.get(key) if stated else None
        if seen is not None and (not is_last or sum(self._left.values()) == left):
            return self._of_seen(batch, span, key, seen)
        if is_last:
            return replace(batch, n_orbits=sum(self._left.values()))
        share = left if span.ends and stated and not self._whole else min(span.orbits, left)
        self._left[key] = left - share
        return replace(batch, n_orbits=share)

    def _of_seen(
        self, batch: OrbitBatch, span: Span, key: tuple[int, int], seen: NDArray[np.int64]
    ) -> OrbitBatch:
        stop = seen.size if span.ends else int(np.searchsorted(seen, span.last, "right"))
        now, self._seen[key] = seen[:stop], seen[stop:]
        with_objects = batch.orbit[batch.counts > 0]
        if seen.size != self._left[key] or not np.isin(with_objects, now).all():
            msg = f"lumisection {span.lumisection} of run {span.run}: its orbits contradict each other"
            raise InputError(msg)
        self._left[key] -= now.size
        rows = np.flatnonzero(np.isin(batch.orbit, now))
        part = batch if rows.size == len(batch) else batch.take(rows)
        return replace(part, n_orbits=now.size).with_orbits(now)
