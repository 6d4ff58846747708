"""Write L1 scouting nano files as CMSSW lays them out: objects of all streams, as TTree or RNTuple."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, joint_rows, on_rows
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import KEY, Provenance, current, joint_origin
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.formats.stream import STREAMS
from l1scout.io.nano import EVENTS
from l1scout.io.nano_tables import MARK
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection, order_of_time

_EVENT = {"run": "run", "luminosityBlock": "lumisection", "bunchCrossing": "bx", "orbitNumber": "orbit"}
"""Branches of a crossing, and what they are of a batch."""
COMPRESSION_LEVEL = 9
"""Of ZLIB: CMS's choice for nano files."""


@dataclass(frozen=True)
class NanoOptions:
    """How a nano file is written.

    Parameters
    ----------
    rntuple : bool
        As RNTuple, with one field for each branch, rather than as TTree.
    hardware : bool
        Write all hardware columns, also those for which CMS has no branch: what is read back is what was
        written. By default CMS's branches only.
    exact : bool
        Write the exact phi of calorimeter objects, 2 pi / 144 x hw, rather than CMSSW's, 0.0435 x hw.
    """

    rntuple: bool = False
    hardware: bool = False
    exact: bool = False


@dataclass(frozen=True)
class WrittenNano:
    """What was written: crossings, objects by stream, and orbits (None where they are not counted)."""

    crossings: int
    objects: Mapping[str, int]
    orbits: int | None


def write_nano(
    chunks: Iterable[OrbitData],
    target: str | Path,
    options: NanoOptions | None = None,
    *,
    made: Provenance | None = None,
    progress: Callable[[int], None] = lambda _crossings: None,
) -> WrittenNano:
    """Write data to a nano file, which appears when it is complete; one chunk is in memory.

    Crossings without an object are left out, as by CMS. Of muons only the final ones are written; offline
    muons are not. ``LuminosityBlocks.nOrbits`` counts the orbits of muons, or of the first stream if there
    are no muons; orbits without objects, if the data do not state which they are, count for the lumisection
    of the crossing before them.

    Parameters
    ----------
    chunks : iterable of OrbitData
        In order of time, all with the same streams and columns.
    target : str or Path
    options : NanoOptions, optional
    made : Provenance, optional
        Is written into the file; by default that of the command that runs.
    progress : callable
        Called with the number of crossings so far.

    Raises
    ------
    InputError
        If there are no chunks, they differ in streams or columns, a stream has no table, a crossing is not
        known or does not fit 32 bits, or the target cannot be written.
    """
    options = options or NanoOptions()
    with complete_or_nothing(Path(target)) as part:
        with uproot.recreate(part, compression=uproot.ZLIB(COMPRESSION_LEVEL)) as file:
            writer = _Writer(file, options)
            for data in chunks:
                writer.add(data)
                progress(writer.crossings)
            writer.finish(Path(target), made or current())
        return WrittenNano(writer.crossings, writer.objects, writer.orbits)


class _Writer:
    """Fills the trees of an open file."""

    def __init__(self, file: Any, options: NanoOptions) -> None:
        self.file, self.options = file, options
        self.crossings, self.objects = 0, dict[str, int]()
        self._events: Any = None
        self._types: dict[str, Any] = {}
        self._lumisections: dict[tuple[int, int], int] = {}
        self._counts_orbits = True
        self._last: tuple[int, int] | None = None
        self._early: list[tuple[int | None, int]] = []
        self._origins: set[bool | None] = set()
        self._stated: dict[str, Any] = {}

    @property
    def orbits(self) -> int | None:
        """Orbits that the data stand for."""
        return sum(self._lumisections.values()) if self._counts_orbits else None

    def add(self, data: OrbitData) -> None:
        """Write the crossings of a chunk that have an object."""
        self._origins |= data.origins
        self._stated = {"seed": data.origin.seed, "version": data.origin.version}
        self._count_orbits(data)
        for one in _by_run(data):
            self._add_run(one)

    def _add_run(self, data: OrbitData) -> None:
        tables, given = {}, []
        for name, batch in data.streams.items():
            table = STREAMS[name].nano
            if table is None:
                msg = f"the stream {name} has no table in nano files: leave it out"
                raise InputError(msg)
            full = batch.take(np.flatnonzero(batch.counts))
            given.append(full)
            tables[name] = table, full
        crossings = joint_rows(given)
        groups = {}
        for name, (table, batch) in tables.items():
            offsets, made = table.branches(
                on_rows(batch, crossings), hardware=self.options.hardware, exact=self.options.exact
            )
            groups[table.name] = np.diff(offsets), made
            self.objects[name] = self.objects.get(name, 0) + int(batch.n_objects)
        event = {branch: _unsigned(branch, getattr(crossings, of)) for branch, of in _EVENT.items()}
        self._fill(event | _flags(data.selections, crossings), groups)
        self.crossings += len(crossings)

    def _fill(
        self, flat: dict[str, NDArray[Any]], groups: dict[str, tuple[NDArray[np.int64], dict[str, Any]]]
    ) -> None:
        """Write branches with one value per crossing, and those of tables."""
        arrays: dict[str, Any] = dict(flat)
        for group, (counts, made) in groups.items():
            jagged = {name: ak.unflatten(np.ascontiguousarray(v), counts) for name, v in made.items()}
            if self.options.rntuple:
                arrays |= {f"{group}_{name}": values for name, values in jagged.items()}
            else:
                arrays[group] = ak.zip(jagged)
        types = {n: v.type.content if isinstance(v, ak.Array) else v.dtype for n, v in arrays.items()}
        if self._events is None:
            make = self.file.mkrntuple if self.options.rntuple else self.file.mktree
            self._types, self._events = types, make(EVENTS, types)
        if {n: str(t) for n, t in types.items()} != {n: str(t) for n, t in self._types.items()}:
            msg = (
                "the streams, columns or selections of the data change on the way, and the branches of a "
                "nano file cannot: write the parts as files of their own"
            )
            raise InputError(msg)
        self._events.extend(arrays)

    def _count_orbits(self, data: OrbitData) -> None:
        """Add the orbits of a chunk to their lumisections; before the first crossing the run is not known."""
        of_rows = [
            np.stack([batch.run, batch.lumisection, batch.orbit], axis=1) for batch in data.streams.values()
        ]
        seen = np.unique(np.concatenate(of_rows), axis=0)
        for run, block in np.unique(seen[:, :2], axis=0).tolist():
            self._lumisections.setdefault((run, block), 0)
        batch = data.main
        if batch.n_orbits is None:
            self._counts_orbits = False
            return
        if not len(seen) and self._last is None:
            self._early.append((batch.first_orbit, batch.n_orbits))
            return
        runs = np.unique(seen[:, 0]).tolist()
        if self._last is None:
            self._last = int(seen[0, 0]), int(seen[0, 1])
            self._add_early()
        if batch.first_orbit is not None and len(runs) < 2:
            self._add_range(runs[0] if runs else self._last[0], batch.first_orbit, batch.n_orbits)
            return
        own = np.unique(np.stack([batch.run, batch.lumisection, batch.orbit], axis=1), axis=0)
        for run, block, _ in own.tolist():
            self._add_orbits((run, block), 1)
        self._add_orbits(self._last, batch.n_orbits - len(own))

    def _add_early(self) -> None:
        """Add the orbits before the first crossing to its run; to run 0 if there is no crossing."""
        for first, n in self._early:
            run, block = self._last or (0, 1)
            if first is None:
                self._add_orbits((run, block), n)
            else:
                self._add_range(run, first, n)
        self._early = []

    def _add_range(self, run: int, first: int, n: int) -> None:
        for block, of_block in _orbits_of_blocks(first, n):
            self._add_orbits((run, block), of_block)

    def _add_orbits(self, key: tuple[int, int], n: int) -> None:
        self._lumisections[key] = self._lumisections.get(key, 0) + n
        self._last = key

    def finish(self, target: Path, made: Provenance) -> None:
        """Write lumisections, runs and what the file states of itself."""
        if self._events is None:
            msg = f"{target}: there is nothing to write: the input has no objects"
            raise InputError(msg)
        self._add_early()
        keys = np.array(sorted(self._lumisections), np.int64).reshape(-1, 2)
        blocks = {
            "run": _unsigned("run", keys[:, 0]),
            "luminosityBlock": _unsigned("luminosityBlock", keys[:, 1]),
        }
        if self._counts_orbits:
            orbits = np.array([self._lumisections[a, b] for a, b in keys.tolist()], np.int64)
            blocks["nOrbits"] = _unsigned("nOrbits", orbits)
        make = self.file.mkrntuple if self.options.rntuple else self.file.mktree
        for name, branches in (("LuminosityBlocks", blocks), ("Runs", {"run": np.unique(blocks["run"])})):
            make(name, {n: v.dtype for n, v in branches.items()}).extend(branches)
        mark = {"version": 1, "streams": list(self.objects), "simulated": joint_origin(self._origins)}
        mark |= {n: v for n, v in self._stated.items() if v is not None}
        mark |= {"hardware": self.options.hardware, "exact_phi": self.options.exact}
        self.file[MARK] = json.dumps(mark)
        self.file[KEY] = made.as_json()


def _by_run(data: OrbitData) -> Iterator[OrbitData]:
    """Yield data of one run each."""
    runs = np.unique(np.concatenate([batch.run for batch in data.streams.values()]))
    if runs.size < 2:
        yield data
        return
    for run in runs.tolist():
        streams = {n: b.take(np.flatnonzero(b.run == run)) for n, b in data.streams.items()}
        flags = data.selections
        flags = None if flags is None else flags.take(np.flatnonzero(flags.run == run))
        yield replace(data, streams=streams, selections=flags)


def _orbits_of_blocks(first: int, n: int) -> Iterator[tuple[int, int]]:
    """Yield each lumisection that n orbits from the first on touch, and how many of them it has."""
    at, end = first, first + n
    while at < end:
        stop = min(end, (at // ORBITS_PER_LUMISECTION + 1) * ORBITS_PER_LUMISECTION)
        yield int(lumisection(at)), stop - at
        at = stop


def _flags(flags: OrbitBatch | None, crossings: OrbitBatch) -> dict[str, NDArray[np.bool_]]:
    """Return the flags of selections of some crossings; False where there is none."""
    if flags is None:
        return {}
    made = {name: np.zeros(len(crossings), np.bool_) for name in flags.columns}
    time = order_of_time(crossings.orbit, crossings.bx)
    here = order_of_time(flags.orbit, flags.bx)
    place = np.searchsorted(time, here)
    known = np.isin(here, time)
    for name, values in flags.columns.items():
        made[name][place[known]] = values[known]
    return made


def _unsigned(name: str, values: NDArray[Any]) -> NDArray[np.uint32]:
    """Return values as the 32 bits of a branch (InputError if they do not fit: unknown orbits are -1)."""
    if values.size and not (values.min() >= 0 and values.max() < 1 << 32):
        msg = f"{name} is {values.min()}..{values.max()}, which 32 bits of a nano file cannot hold"
        raise InputError(msg)
    return values.astype(np.uint32)
