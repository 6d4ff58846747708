"""Select data by run and lumisection, so that orbits outside the selection count nowhere."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection

Ranges = tuple[tuple[int, int], ...]
_MOST_COUNTED = 1 << 24
"""Orbits of a batch that are counted one by one; a batch of more has them from a damaged file."""
_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?\Z")


def parse_ranges(option: str, text: str) -> Ranges:
    """Read numbers and ranges such as ``380963,381000-381010`` (InputError)."""
    ranges = []
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            msg = f"{option} {text}: numbers or ranges from low to high expected, such as 12,20-40"
            raise InputError(msg)
        ranges.append((first, last))
    return tuple(ranges)


def read_golden(path: Path) -> dict[int, Ranges]:
    """Read a golden JSON: for each run the ranges of good lumisections, ``{"297050": [[12, 137]]}``.

    Raises
    ------
    InputError
        If the file cannot be read or is not that.
    """
    wanted = 'not a golden JSON, which is {"run": [[first lumisection, last], ...], ...}'
    return read_ranges(path, 1, wanted)


def read_ranges(path: Path, lowest: int, wanted: str) -> dict[int, Ranges]:
    """Read a JSON file with ranges of numbers by run.

    Parameters
    ----------
    path : Path
    lowest : int
        That a number may be.
    wanted : str
        Says in a message what the file is not.

    Raises
    ------
    InputError
        If the file cannot be read or is not that.
    """

    def pair_of(pair: Any) -> tuple[int, int]:
        first, last = pair
        if not (type(first) is type(last) is int and lowest <= first <= last):  # True is no number
            raise ValueError(pair)
        return first, last

    try:
        content = json.loads(path.read_text("utf-8-sig"))
        return {int(run): tuple(pair_of(pair) for pair in pairs) for run, pairs in content.items()}
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path}: {wanted}"
        raise InputError(msg) from error


@dataclass(frozen=True)
class DataSelection:
    """Runs and lumisections that are wanted; what is None is not restricted."""

    runs: Ranges | None = None
    lumisections: Ranges | None = None
    golden: Mapping[int, Ranges] | None = None

    def __bool__(self) -> bool:
        """Return whether anything is restricted."""
        return any(part is not None for part in (self.runs, self.lumisections, self.golden))

    def wanted(self, run: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pairs of run and lumisection are selected."""
        good = np.ones(run.shape, np.bool_)
        if self.runs is not None:
            good &= within_ranges(run, self.runs)
        if self.lumisections is not None:
            good &= within_ranges(number, self.lumisections)
        if self.golden is not None:
            certified = np.zeros(run.shape, np.bool_)
            for one in np.unique(run).tolist():
                certified |= (run == one) & within_ranges(number, self.golden.get(one, ()))
            good &= certified
        return good


def within_ranges(values: NDArray[np.int64], ranges: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return which values are in any of some ranges, both ends included."""
    inside = np.zeros(values.shape, np.bool_)
    for first, last in ranges:
        inside |= (values >= first) & (values <= last)
    return inside


class Selector:
    """Applies a selection to the batches of data, in order, and counts their orbits.

    An orbit without muons belongs to the lumisection that its number says. Where a batch does not tell
    which of its empty orbits were seen, they are shared out in proportion, and counted as uncertain.

    Parameters
    ----------
    selection : DataSelection

    Attributes
    ----------
    kept, left_out : int
        Orbits in and outside the selection.
    uncertain : int
        Orbits among both that might belong to the other.
    """

    def __init__(self, selection: DataSelection) -> None:
        self.selection = selection
        self.kept = self.left_out = self.uncertain = 0
        self._rows = 0
        self._runs: dict[int, tuple[int, int]] = {}

    def apply(self, data: Iterable[OrbitData]) -> Iterator[OrbitData]:
        """Yield the selected part of each batch.

        Raises
        ------
        InputError
            If rows do not tell run or lumisection as needed, or nothing is selected.
        """
        if not self.selection:
            yield from data
            return
        empty: list[OrbitData] = []  # orbits without a muon, before any row tells their lumisection
        latest: bool | None = None
        for events in data:
            batch = max(events.streams.values(), key=len)
            if not len(batch):
                if latest is None:
                    empty.append(events)
                else:
                    yield from self._whole(events, latest)
                continue
            good = {name: self._good(b, events.source) for name, b in events.streams.items()}
            every = np.concatenate(list(good.values()))
            for before in empty:
                yield from self._whole(before, bool(every[0]))
            empty, latest = [], bool(every[-1])
            self._rows += int(every.sum())
            if every.all() or not every.any():
                yield from self._whole(events, bool(every[0]))
            else:
                yield self._part(events, good)
        if not self._rows:
            seen = ", ".join(f"run {r} lumisections {a}-{b}" for r, (a, b) in list(self._runs.items())[:5])
            msg = f"no muon is in the selected runs and lumisections; the data have {seen or 'none'}"
            raise InputError(msg)

    def _good(self, batch: OrbitBatch, source: str) -> NDArray[np.bool_]:
        """Return which rows of a batch are selected."""
        s = self.selection
        if (s.runs is not None or s.golden is not None) and np.any(batch.run <= 0):
            msg = f"{source}: does not state its run, so --runs and --golden cannot select from it"
            raise InputError(msg)
        unknown = batch.lumisection <= 0
        if (s.lumisections is not None or s.golden is not None) and np.any(unknown & (batch.orbit < 0)):
            msg = f"{source}: states neither lumisection nor orbit, so --lumisections cannot select from it"
            raise InputError(msg)
        number = np.where(unknown, lumisection(batch.orbit.clip(0)), batch.lumisection)
        for run in np.unique(batch.run).tolist():
            here = number[batch.run == run]
            low, high = self._runs.get(run, (int(here[0]), int(here[0])))
            self._runs[run] = (min(low, int(here.min())), max(high, int(here.max())))
        return s.wanted(batch.run, number)

    def _whole(self, events: OrbitData, keep: bool) -> Iterator[OrbitData]:
        """Keep or leave out a batch as a whole."""
        orbits = events.main.n_orbits or 0
        self.kept, self.left_out = self.kept + orbits * keep, self.left_out + orbits * (not keep)
        if keep:
            yield events

    def _part(self, events: OrbitData, good: Mapping[str, NDArray[np.bool_]]) -> OrbitData:
        """Keep the selected rows of each stream, and their share of its orbits."""
        most = max(events.streams, key=lambda name: len(events.streams[name]))
        every, orbits = events.main.n_orbits, None
        if every is not None:
            of_most, uncertain = self._orbits(events.streams[most], good[most])
            orbits = min(of_most, every)
            self.kept, self.left_out = self.kept + orbits, self.left_out + every - orbits
            self.uncertain += uncertain
        rows = {name: np.flatnonzero(kept) for name, kept in good.items()}
        runs = np.unique(np.concatenate([batch.run for batch in events.streams.values()]))
        streams = {n: self._of_stream(b, rows[n], orbits, runs) for n, b in events.streams.items()}
        offline = None if events.offline is None else events.offline.take(next(iter(rows.values())))
        return replace(events, streams=streams, offline=offline)

    def _of_stream(
        self, batch: OrbitBatch, rows: NDArray[np.int64], orbits: int | None, runs: NDArray[np.int64]
    ) -> OrbitBatch:
        """Return rows of a stream with its own orbits, where it tells which it has; else with `orbits`."""
        part, seen = batch.take(rows, n_orbits=orbits), batch.orbits_seen()
        if seen is None or runs.size != 1 or not _standard(batch):
            return part
        return part.with_orbits(seen[self.selection.wanted(np.full(seen.size, runs[0]), lumisection(seen))])

    def _orbits(self, batch: OrbitBatch, good: NDArray[np.bool_]) -> tuple[int, int]:
        """Return how many of a batch's orbits are selected, and how many are uncertain."""
        every, seen = batch.n_orbits or 0, batch.orbits_seen()
        if seen is not None and len(batch) and np.all(batch.run == batch.run[0]) and _standard(batch):
            run = np.full(seen.size, batch.run[0])
            return int(self.selection.wanted(run, lumisection(seen)).sum()), 0
        first, last = int(batch.orbit[0]), int(batch.orbit[-1])
        if (
            last - first + 1 == every <= _MOST_COUNTED
            and np.all(batch.run == batch.run[0])
            and _standard(batch)
        ):
            numbers = lumisection(np.arange(first, last + 1))  # as many as the batch says it has
            run = np.full(numbers.shape, batch.run[0])
            return int(self.selection.wanted(run, numbers).sum()), 0
        named = np.stack([batch.run, batch.orbit])  # orbits of two runs may have the same number
        inside, all_seen = (np.unique(of, axis=1).shape[1] for of in (named[:, good], named))
        rest = max(every - all_seen, 0)
        return min(inside + round(rest * inside / all_seen), every), rest


def _standard(batch: OrbitBatch) -> bool:
    """Return whether lumisections are those that the orbit numbers give."""
    stated = batch.lumisection > 0
    return bool(np.all(batch.lumisection[stated] == batch.orbit[stated] // ORBITS_PER_LUMISECTION + 1))
