"""Crossings that a trigger expression selects, and those beside them, with what rates need to know."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ, crossing, lumisection, orbit_and_bx
from l1scout.trigger.block_inputs import EMPTY_CROSSINGS, without_objects
from l1scout.trigger.crossing_blocks import CrossingBlock, crossing_blocks
from l1scout.trigger.emulator import emulate
from l1scout.trigger.event_inputs import inputs_of_events, is_triggered
from l1scout.trigger.menu import Menu
from l1scout.trigger.trigger_inputs import SLOTS, TriggerInputs

MAX_WINDOW = BX_PER_ORBIT - 1
Times = NDArray[np.int64]


@dataclass
class SkimCounts:
    """What a skim has looked at, and what it kept.

    Parameters
    ----------
    orbits : int, optional
        That were looked at, empty ones too; None if the data do not count them.
    crossings : int
        With an object that were looked at.
    selected : int
        Crossings that fulfil the expression.
    selected_without_object : int
        Of these, those without an object of their own, as the expression looks at crossings beside it: no
        file can keep them.
    kept : int
        Crossings with an object that are selected or within the window of one that is.
    uncertain : int
        Crossings that were decided although an orbit beside them, where the expression looks, was not seen.
    """

    orbits: int | None = 0
    crossings: int = 0
    selected: int = 0
    selected_without_object: int = 0
    kept: int = 0
    uncertain: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the numbers for JSON, with the rate of selected crossings in Hz and its uncertainty."""
        per_crossing = ORBIT_FREQUENCY_HZ / self.orbits if self.orbits else None
        rate, error = (
            None if per_crossing is None else n * per_crossing for n in (self.selected, self.selected**0.5)
        )
        return {**self.__dict__, "selected_rate_hz": rate, "selected_rate_uncertainty_hz": error}


@dataclass(frozen=True)
class _Decided:
    """A block, and the crossings in it that are selected."""

    block: CrossingBlock
    selected: Times


class Skim:
    """Keeps the crossings that an algorithm selects, and windows of crossings around them.

    What is kept stands for all orbits that were looked at, those without anything that is kept, too: a rate
    is a number of crossings over these orbits. The flag of the selection (`OrbitData.selections`) tells the
    selected crossings from those beside them.

    Parameters
    ----------
    menu : Menu
        With one algorithm (`l1scout.trigger.skim_expression.skim_menu`).
    window : int
        Crossings before and after each selected one that are kept, also of other orbits.
    name : str
        Of the flag, such as ``SelBx_Skim``.

    Attributes
    ----------
    window, name
        As given.
    counts : SkimCounts
        So far.

    Raises
    ------
    InputError
        If the window is negative or an orbit long.
    """

    streams: ClassVar[Collection[str]] = tuple(SLOTS)
    """Streams of which data must have one."""
    shifts: ClassVar[Mapping[str, int]] = {}
    """Streams that the trigger does not read, and are needed: see `crossing_blocks`."""

    def __init__(self, menu: Menu, window: int = 0, name: str = "SelBx_Skim") -> None:
        (self._algorithm,) = menu.algorithms
        self._menu, self._is_checked = menu, False
        self._begin(window, name)

    def _begin(self, window: int, name: str, before: int = 0) -> None:
        """Set what is kept: a window, and `before` crossings more before each selected one (InputError)."""
        if not 0 <= window <= MAX_WINDOW - before:
            msg = f"a window of {window} crossings is not within 0..{MAX_WINDOW - before}"
            raise InputError(msg)
        self.window, self.name, self.before = window, name, window + before
        self.counts = SkimCounts()

    def apply(self, chunks: Iterable[OrbitData]) -> Iterator[OrbitData]:
        """Yield what is kept of data, in order of time.

        Parameters
        ----------
        chunks : iterable of OrbitData
            In order of time. Two parts of it are held.

        Raises
        ------
        InputError
            If the data have not what the expression looks at, or it is fulfilled where there is no object.
        """
        parts = iter(self._counted(chunks))
        first = next(parts, None)
        if first is None:
            return
        parts = chain([first], parts)
        yield from (map(self._kept_events, parts) if is_triggered(first) else self._kept_parts(parts))

    def _kept_events(self, data: OrbitData) -> OrbitData:
        """Return the triggered events that fulfil the expression, with all their crossings."""
        if self.window or not is_triggered(data):
            msg = (
                f"{data.source}: triggered events keep the crossings around them: skim them without a window"
            )
            raise InputError(msg)
        inputs, row = inputs_of_events(data)
        self._check(inputs)
        rows = np.flatnonzero(self._decide(inputs)[row])
        streams = {name: batch.take(rows) for name, batch in data.streams.items()}
        self.counts.selected += len(rows)
        self.counts.kept += len(rows)
        offline = None if data.offline is None else data.offline.take(rows)
        flags = replace(
            data.main.take(rows),
            offsets=np.arange(len(rows) + 1),
            columns={self.name: np.ones(len(rows), np.bool_)},
        )
        return replace(data, streams=streams, offline=offline, selections=flags)

    def _kept_parts(self, parts: Iterable[OrbitData]) -> Iterator[OrbitData]:
        """Yield what is kept of the crossings of orbits."""
        before: _Decided | None = None
        here: _Decided | None = None
        for block in crossing_blocks(parts, self.shifts):
            after = _Decided(block, self._selected(block))
            if here is not None:
                yield self._kept(before, here, after)
            before, here = here, after
        if here is not None:
            yield self._kept(before, here, None)

    def _counted(self, chunks: Iterable[OrbitData]) -> Iterator[OrbitData]:
        """Count the orbits and crossings of data (InputError if nothing is read of them)."""
        counts = self.counts
        for data in chunks:
            if not any(name in self.streams for name in data.streams):
                what = f"of which {', '.join(self.streams)} are read" if data.streams else "nothing to read"
                msg = f"{data.source}: has {', '.join(data.streams)}, {what}"
                raise InputError(msg)
            orbits = data.main.n_orbits
            counts.orbits = None if orbits is None or counts.orbits is None else counts.orbits + orbits
            keys = [crossing(b.orbit, b.bx) for b in data.streams.values() if len(b)]
            counts.crossings += len(np.unique(np.concatenate(keys))) if keys else 0
            yield data

    def _selected(self, block: CrossingBlock) -> Times:
        """Return the crossings of a block that fulfil the expression."""
        bits = self._decide(block.inputs)
        self._check(block.inputs)
        fulfilled = bits & block.decided
        self.counts.uncertain += int((block.decided & ~block.reliable(self._algorithm.offsets)).sum())
        return block.time[fulfilled]

    def _decide(self, inputs: TriggerInputs) -> NDArray[np.bool_]:
        decisions = emulate(self._menu, inputs)
        for name, why in decisions.problems.items():
            msg = f"{name}: {why}"
            raise InputError(msg)
        return decisions.bits[self._algorithm.name]

    def _check(self, inputs: TriggerInputs) -> None:
        """Refuse an expression that every empty crossing fulfils: there is nothing to keep of them."""
        if self._is_checked:
            return
        self._is_checked = True
        if self._decide(without_objects(inputs))[EMPTY_CROSSINGS // 2]:
            msg = (
                f"{self._algorithm.text}: is fulfilled by crossings without any object, which no file keeps: "
                "ask for an object, too"
            )
            raise InputError(msg)

    def _kept(self, before: _Decided | None, here: _Decided, after: _Decided | None) -> OrbitData:
        """Return what is kept of a block, given the crossings selected in it and beside it."""
        block, run = here.block, here.block.run
        near = [d.selected for d in (before, here, after) if d is not None and d.block.run == run]
        selected = np.sort(np.concatenate(near))
        streams, times = {}, []
        for name, batch in block.data.streams.items():
            time = crossing(batch.orbit, batch.bx)
            rows = np.flatnonzero(_is_within(time, selected, self.before, self.window))
            part, orbits = batch.take(rows, n_orbits=batch.n_orbits), batch.orbits_seen()
            streams[name] = part if orbits is None else part.with_orbits(orbits)
            times.append(time[rows])
        times_kept = np.unique(np.concatenate(times))
        self.counts.kept += len(times_kept)
        self.counts.selected += len(here.selected)
        of_object = np.isin(here.selected, times_kept)
        self.counts.selected_without_object += int((~of_object).sum())
        flags = self._flags(block, times_kept, np.isin(times_kept, here.selected))
        return replace(block.data, streams=streams, selections=flags, offline=None)

    def _flags(self, block: CrossingBlock, times: Times, selected: NDArray[np.bool_]) -> OrbitBatch:
        """Return the flags of the crossings that are kept: those there were before, and this selection's."""
        orbit, bx = orbit_and_bx(times)
        columns: dict[str, NDArray[np.bool_]] = {}
        old = block.data.selections
        if old is not None:
            own = crossing(old.orbit, old.bx)
            place = np.searchsorted(times, own)
            known = np.append(times, -1)[place] == own
            for name, values in old.columns.items():
                columns[name] = np.zeros(len(times), np.bool_)
                columns[name][place[known]] = values[known]
        if self.name in columns:
            msg = f"{block.data.source}: has a selection {self.name} already; give this one another name"
            raise InputError(msg)
        columns[self.name] = selected
        run = np.full(len(times), block.run, np.int64)
        return OrbitBatch(orbit, bx, np.arange(len(times) + 1), columns, run, lumisection(orbit))


def _is_within(times: Times, selected: Times, before: int, after: int) -> NDArray[np.bool_]:
    """Return which crossings are up to some before or after a selected one; `selected` is in order."""
    if not before and not after:
        return np.isin(times, selected)
    first = np.searchsorted(selected, times - after)
    last = np.searchsorted(selected, times + before, side="right")
    return last > first
