"""Recorded bits of the Global Trigger beside those that the emulator makes of the recorded objects."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import joint_origin
from l1scout.errors import InputError
from l1scout.formats.streams.gt import ALGORITHM_COLUMNS, ALGORITHMS, combine_boards
from l1scout.lhc import BX_PER_ORBIT, orbit_and_bx
from l1scout.trigger.block_inputs import EMPTY_CROSSINGS, without_objects
from l1scout.trigger.cross_check_faults import FaultSearch
from l1scout.trigger.cross_check_inputs import objects_of
from l1scout.trigger.cross_check_result import CheckedAlgorithm, CrossCheck, Mismatch
from l1scout.trigger.crossing_blocks import CrossingBlock, crossing_blocks, places_of
from l1scout.trigger.emulator import emulate
from l1scout.trigger.event_inputs import SPAN, inputs_of_events
from l1scout.trigger.menu import Algorithm, Menu
from l1scout.trigger.recorded_events import RecordedEvents
from l1scout.trigger.trigger_inputs import SLOTS, TriggerInputs

GT = "gt"
Words = NDArray[np.uint32]
Times = NDArray[np.int64]
MAX_DELAY = BX_PER_ORBIT


class CrossChecker:
    """Compares recorded bits with emulated ones, some orbits at a time.

    The bits are compared as they leave the logic, before masks and prescales; those of several boards are
    ORed. In a crossing of an orbit that was seen and that has no record, no bit was set.

    Parameters
    ----------
    menu : Menu
    ignored : iterable of str
        Algorithms, by name or index, for which alone the recording keeps no crossing, such as those that are
        always true: they are compared in crossings with a record only.
    delay : int
        Crossings that the record of a decision is later than the objects it is about.
    examples : int
        Mismatches that are kept of each algorithm, with their objects.
    """

    def __init__(self, menu: Menu, ignored: Iterable[str] = (), delay: int = 0, examples: int = 5) -> None:
        if not -MAX_DELAY <= delay <= MAX_DELAY:
            msg = f"a delay of {delay} crossings is not within -{MAX_DELAY}..{MAX_DELAY}"
            raise InputError(msg)
        self.menu, self.delay, self.examples = menu, delay, examples
        self._ignored = {menu.select(name).index for name in ignored}
        self._checked = {a.name: CheckedAlgorithm(a.index, a.name, a.module) for a in menu.algorithms}
        self._problems: dict[str, str] = {}
        self._searches: dict[str, FaultSearch] = {}
        self._unknown = np.zeros(ALGORITHMS, np.int64)
        self._hashes: dict[str, int] = {}
        self._origins: set[bool | None] = set()
        self._orbits = self._left_out = self._events = 0
        self._empty: Mapping[str, bool] | None = None

    def run(self, chunks: Iterable[OrbitData]) -> CrossCheck:
        """Compare all crossings of data.

        Parameters
        ----------
        chunks : iterable of OrbitData
            In order of time, with the stream ``gt``.

        Raises
        ------
        InputError
            If they have no such stream or no objects, or nothing could be compared.
        """
        for block in crossing_blocks(map(self._with_decisions, chunks), {GT: self.delay}):
            self._add(block)
        return self._result()

    def run_events(self, events: Iterable[RecordedEvents]) -> CrossCheck:
        """Compare triggered events with what the trigger decided in their own crossing.

        Parameters
        ----------
        events : iterable of (OrbitData, ndarray of bool)
            See `l1scout.trigger.recorded_events.recorded_events`.

        Raises
        ------
        InputError
            If nothing could be compared.
        """
        for data, recorded in events:
            self._add_events(data, recorded)
        return self._result()

    def _add_events(self, data: OrbitData, recorded: NDArray[np.bool_]) -> None:
        """Compare some events."""
        inputs, row = inputs_of_events(data)
        self._events += len(row)
        self._origins |= data.origins
        rows = np.zeros(inputs.crossings, np.bool_)
        rows[row] = True
        run, orbit, bx = (np.repeat(v, SPAN) for v in (data.main.run, data.main.orbit, data.main.bx))
        decisions = emulate(self.menu, inputs)
        self._note_problems(decisions.problems)
        counts = recorded.sum(axis=0)
        counts[[a.index for a in self.menu.algorithms]] = 0
        self._unknown += counts
        for algorithm in self.menu.algorithms:
            if algorithm.name in decisions.bits:
                wanted = np.zeros(inputs.crossings, np.bool_)
                wanted[row] = recorded[:, algorithm.index]
                got = decisions.bits[algorithm.name]
                self._compare(algorithm, inputs, (run, orbit, bx), rows, got, wanted)

    def _result(self) -> CrossCheck:
        """Return what was found (InputError if nothing was compared)."""
        algorithms = tuple(a for n, a in self._checked.items() if n not in self._problems)
        if not any(a.compared for a in algorithms):
            reasons = list(dict.fromkeys(self._problems.values()))
            why = (
                f"no algorithm can be emulated ({reasons[0]})" if reasons and not algorithms else "no orbits"
            )
            msg = f"nothing was compared with {self.menu.name}: {why}"
            raise InputError(msg)
        for one in algorithms:
            search = self._searches.get(one.name)
            one.explanations = search.explanations if search else ()
        unknown = {int(k): int(self._unknown[k]) for k in np.flatnonzero(self._unknown)}
        return CrossCheck(
            algorithms,
            dict(self._problems),
            unknown,
            self._orbits,
            self._left_out,
            self._hashes,
            joint_origin(self._origins),
            self._events,
        )

    def _with_decisions(self, data: OrbitData) -> OrbitData:
        """Return data with one record per crossing (InputError if there are no decisions or no objects)."""
        if GT not in data.streams or not any(name in SLOTS for name in data.streams):
            msg = (
                f"{data.source}: has {', '.join(data.streams) or 'nothing'}; a cross-check needs the stream "
                f"{GT} and objects, read from the same files"
            )
            raise InputError(msg)
        self._origins |= data.origins
        gt = data.streams[GT]
        for value, n in zip(*np.unique(gt["menuHash"], return_counts=True), strict=True):
            key = f"{int(value):#010x}"
            self._hashes[key] = self._hashes.get(key, 0) + int(n)
        used = {name: batch for name, batch in data.streams.items() if name in SLOTS or name == GT}
        used[GT] = combine_boards(gt)
        used, left_out = _in_common_orbits(used)
        self._left_out += left_out
        return OrbitData(used, None, data.origin)

    def _add(self, block: CrossingBlock) -> None:
        """Compare the crossings of a block."""
        self._orbits += len(block.seen)
        self._left_out += block.unplaced or 0
        words, has_record = _recorded(block, self.delay)
        decisions = emulate(self.menu, block.inputs)
        self._note_problems(decisions.problems)
        decided = block.decided & block.is_known(self.delay)
        self._count_unknown(words[decided])
        for algorithm in self.menu.algorithms:
            if algorithm.name not in decisions.bits:
                continue
            wanted = (words[:, algorithm.index // 32] >> np.uint32(algorithm.index % 32)) & 1 == 1
            got = decisions.bits[algorithm.name]
            rows = block.reliable(algorithm.offsets) & decided
            if algorithm.index in self._ignored:
                rows &= has_record
            else:
                self._add_empty(algorithm, block, int(block.decided.sum()))
            run = np.full(len(block.time), block.run)
            self._compare(algorithm, block.inputs, (run, *orbit_and_bx(block.time)), rows, got, wanted)

    def _compare(
        self,
        algorithm: Algorithm,
        inputs: TriggerInputs,
        when: tuple[Times, Times, Times],
        rows: NDArray[np.bool_],
        got: NDArray[np.bool_],
        wanted: NDArray[np.bool_],
    ) -> None:
        """Count the bits of some rows, of which `when` are run, orbit and BX; look for what explains it."""
        one = self._checked[algorithm.name]
        wrong = np.flatnonzero(rows & (got != wanted))
        one.compared += int(rows.sum())
        one.recorded += int((rows & wanted).sum())
        one.emulated += int((rows & got).sum())
        one.only_recorded += int(wanted[wrong].sum())
        one.only_emulated += int(got[wrong].sum())
        run, orbit, bx = (values[wrong] for values in when)
        for value, n in zip(*np.unique(bx, return_counts=True), strict=True):
            one.by_bx[int(value)] = one.by_bx.get(int(value), 0) + int(n)
        for k, row in enumerate(wrong[: max(self.examples - len(one.examples), 0)].tolist()):
            objects = tuple(objects_of(algorithm, inputs, row))
            place = int(run[k]), int(orbit[k]), int(bx[k])
            one.examples.append(Mismatch(*place, bool(wanted[row]), objects))
        if wrong.size and algorithm.name not in self._searches:
            self._searches[algorithm.name] = FaultSearch(self.menu, algorithm)
        if algorithm.name in self._searches:
            self._searches[algorithm.name].add(inputs, rows, got, wanted)

    def _add_empty(self, algorithm: Algorithm, block: CrossingBlock, laid_out: int) -> None:
        """Count the crossings of these orbits that are not laid out: nothing was recorded there."""
        one, crossings = self._checked[algorithm.name], len(block.seen) * BX_PER_ORBIT - laid_out
        one.compared += crossings
        if self._emulated_empty(block)[algorithm.name]:
            one.emulated += crossings
            one.only_emulated += crossings

    def _emulated_empty(self, block: CrossingBlock) -> Mapping[str, bool]:
        """Return the bits of a crossing without any object, and none beside it."""
        if self._empty is None:
            bits = emulate(self.menu, without_objects(block.inputs)).bits
            self._empty = {name: bool(bits[name][EMPTY_CROSSINGS // 2]) for name in bits}
        return self._empty

    def _note_problems(self, problems: Mapping[str, str]) -> None:
        """Keep what cannot be emulated, be it only in some of the data."""
        for name, why in problems.items():
            self._problems.setdefault(name, why)

    def _count_unknown(self, words: Words) -> None:
        """Count bits that are set although the menu has no such algorithm."""
        bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
        counts = bits.sum(axis=0, dtype=np.int64)
        counts[[a.index for a in self.menu.algorithms]] = 0
        self._unknown += counts


def _in_common_orbits(used: dict[str, OrbitBatch]) -> tuple[dict[str, OrbitBatch], int]:
    """Return what is of orbits in which all streams were seen, and how many orbits are left out."""
    seen = [batch.orbits_seen() for batch in used.values()]
    first = seen[0]
    same = all(s is None if first is None else s is not None and np.array_equal(s, first) for s in seen)
    if same and len({batch.n_orbits for batch in used.values()}) == 1:
        return used, 0
    # of a stream that does not tell its orbits, those with a row are known
    own = [np.unique(b.orbit) if s is None else s for b, s in zip(used.values(), seen, strict=True)]
    orbits = reduce(np.intersect1d, own)
    most = max(max(batch.n_orbits or 0 for batch in used.values()), max(map(len, own)))
    common = {n: b.take(np.flatnonzero(np.isin(b.orbit, orbits))) for n, b in used.items()}
    return {n: b.with_orbits(orbits) for n, b in common.items()}, most - len(orbits)


def _recorded(block: CrossingBlock, delay: int) -> tuple[Words, NDArray[np.bool_]]:
    """Return the recorded words of each row, shape (rows, 16), and whether it has a record."""
    words = np.zeros((len(block.time), len(ALGORITHM_COLUMNS)), np.uint32)
    has_record = np.zeros(len(block.time), np.bool_)
    batches: Sequence[OrbitBatch] = block.around.get(GT, ())
    for batch in batches:
        rows, places = places_of(batch, block.time + delay)
        for k, name in enumerate(ALGORITHM_COLUMNS):
            words[places, k] = batch[name][rows]
        has_record[places] = True
    return words, has_record
