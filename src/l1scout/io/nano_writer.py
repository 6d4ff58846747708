"""Write L1 scouting nano files as CMSSW lays them out: objects of all streams, as TTree or RNTuple."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from l1scout.core.joint_rows import on_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.core.provenance import KEY, Provenance, current, joint_origin
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.formats.stream import STREAMS
from l1scout.io.crossings import crossings_to_write, flags_of, within
from l1scout.io.lumisection_parts import LumisectionPart, lumisection_parts
from l1scout.io.nano import EVENTS
from l1scout.io.nano_tables import MARK, ORBITS
from l1scout.io.orbit_bitmaps import encode_orbits

_EVENT = {"run": "run", "luminosityBlock": "lumisection", "bunchCrossing": "bx", "orbitNumber": "orbit"}
"""Branches of a crossing, and what they are of a batch."""
COMPRESSION_LEVEL = 9
"""Of ZLIB: CMS's choice for nano files."""
ZSTD_LEVEL = 3


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
    zstd : bool
        Compress by zstd, level 3, rather than CMS's ZLIB, level 9.
    empty_crossings : bool
        Write all 3564 crossings of each orbit, rather than those with an object.
    """

    rntuple: bool = False
    hardware: bool = False
    exact: bool = False
    zstd: bool = False
    empty_crossings: bool = False


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

    Of muons only the final ones are written; offline muons are not. ``LuminosityBlocks.nOrbits`` counts the
    orbits of muons, or of the first stream if there are no muons; where other streams were seen in other
    orbits, ``nOrbits_L1CaloTower`` and the like count theirs. Which orbits without objects belong to which
    lumisection: see `l1scout.io.lumisection_parts.lumisection_parts`.

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
    with complete_or_nothing(Path(target)) as part:
        return fill_nano(chunks, part, options or NanoOptions(), made or current(), progress)


def fill_nano(
    chunks: Iterable[OrbitData],
    path: Path,
    options: NanoOptions,
    made: Provenance,
    progress: Callable[[int], None] = lambda _crossings: None,
) -> WrittenNano:
    """Write data to a nano file under its final name; see `write_nano`."""
    compression = uproot.ZSTD(ZSTD_LEVEL) if options.zstd else uproot.ZLIB(COMPRESSION_LEVEL)
    with uproot.recreate(path, compression=compression) as file:
        writer = _Writer(file, options)
        for section in lumisection_parts(map(writer.note, chunks)):
            writer.add(section)
            progress(writer.crossings)
        writer.finish(path.with_suffix(""), made)
    return WrittenNano(writer.crossings, writer.objects, writer.orbits)


class _Writer:
    """Fills the trees of an open file."""

    def __init__(self, file: Any, options: NanoOptions) -> None:
        self.file, self.options = file, options
        self.crossings, self.objects = 0, dict[str, int]()
        self._events: Any = None
        self._types: dict[str, Any] = {}
        self._orbits: dict[str, dict[tuple[int, int], int] | None] = {}
        self._lumisections: set[tuple[int, int]] = set()
        self._seen: dict[str, dict[tuple[int, int], list[NDArray[np.int64]]] | None] = {}
        self._main = ""
        self._origins: set[bool | None] = set()
        self._stated: dict[str, Any] = {}

    @property
    def orbits(self) -> int | None:
        """Orbits that the data stand for."""
        counts = self._orbits.get(self._main)
        return None if counts is None else sum(counts.values())

    def note(self, data: OrbitData) -> OrbitData:
        """Take down what a chunk states of itself."""
        self._origins |= data.origins
        self._stated = {"seed": data.origin.seed, "version": data.origin.version}
        self._main = self._main or (MUON if MUON in data.streams else next(iter(data.streams)))
        return data

    def add(self, section: LumisectionPart) -> None:
        """Write the crossings of a part of a lumisection, and count its orbits."""
        key, streams = (section.run, section.lumisection), section.data.streams
        for name, batch in streams.items():
            counts = self._orbits.setdefault(name, {})
            if batch.n_orbits is None:
                self._orbits[name] = None
            elif counts is not None:
                counts[key] = counts.get(key, 0) + batch.n_orbits
            self._note_orbits(name, key, batch)
        self._lumisections.add(key)
        self._add_crossings(section.data)

    def _note_orbits(self, name: str, key: tuple[int, int], batch: OrbitBatch) -> None:
        """Note which orbits a stream has seen, as long as all are known."""
        known, seen = self._seen.setdefault(name, {}), batch.orbits_seen()
        if seen is None and batch.n_orbits != 0:
            self._seen[name] = None
        elif known is not None and seen is not None and seen.size:
            of_key = known.setdefault(key, [])
            if len(of_key) > 1:  # a bitmap's worth of memory, not one number an orbit
                of_key[:] = [np.concatenate(of_key)]
            of_key.append(seen.astype(np.int64))

    def _orbit_lists(self) -> dict[str, list[Any]]:
        """Return the orbits that streams have seen: run, lumisection, and `encode_orbits`."""
        made = {}
        for name, of_keys in self._seen.items():
            if of_keys is None:
                continue
            rows = [[*key, encode_orbits(np.unique(np.concatenate(of_keys[key])))] for key in sorted(of_keys)]
            if all(orbits is not None for *_, orbits in rows):
                made[name] = rows
        return made

    def _add_crossings(self, data: OrbitData) -> None:
        tables = {}
        for name, batch in data.streams.items():
            table = STREAMS[name].nano
            if table is None:
                msg = f"the stream {name} has no table in nano files: leave it out"
                raise InputError(msg)
            tables[name] = table, batch.take(np.flatnonzero(batch.counts))
            self.objects[name] = self.objects.get(name, 0) + int(batch.n_objects)
        for crossings in crossings_to_write(data, empty=self.options.empty_crossings):
            groups = {}
            for table, batch in tables.values():
                offsets, made = table.branches(
                    on_rows(within(batch, crossings), crossings),
                    hardware=self.options.hardware,
                    exact=self.options.exact,
                )
                groups[table.name] = np.diff(offsets), made
            event = {branch: _unsigned(branch, getattr(crossings, of)) for branch, of in _EVENT.items()}
            self._fill(event | flags_of(data.selections, crossings), groups)
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

    def finish(self, target: Path, made: Provenance) -> None:
        """Write lumisections, runs and what the file states of itself."""
        if self._events is None:
            msg = f"{target}: there is nothing to write: the input has no objects"
            raise InputError(msg)
        keys = sorted(self._lumisections)
        blocks = {
            "run": _unsigned("run", np.array([run for run, _ in keys], np.int64)),
            "luminosityBlock": _unsigned("luminosityBlock", np.array([block for _, block in keys], np.int64)),
        }
        main = self._orbits[self._main]
        for name, counts in self._orbits.items():
            if counts is None or (name != self._main and counts == main):
                continue
            table = STREAMS[name].nano
            branch = "nOrbits" if name == self._main or table is None else f"nOrbits_{table.name}"
            blocks[branch] = _unsigned(branch, np.array([counts.get(key, 0) for key in keys], np.int64))
        make = self.file.mkrntuple if self.options.rntuple else self.file.mktree
        for name, branches in (("LuminosityBlocks", blocks), ("Runs", {"run": np.unique(blocks["run"])})):
            make(name, {n: v.dtype for n, v in branches.items()}).extend(branches)
        mark = {"version": 1, "streams": list(self.objects), "simulated": joint_origin(self._origins)}
        mark |= {n: v for n, v in self._stated.items() if v is not None}
        mark |= {"hardware": self.options.hardware, "exact_phi": self.options.exact}
        self.file[MARK] = json.dumps(mark)
        self.file[ORBITS] = json.dumps(self._orbit_lists())
        self.file[KEY] = replace(made, simulated=joint_origin(self._origins)).as_json()


def _unsigned(name: str, values: NDArray[Any]) -> NDArray[np.uint32]:
    """Return values as the 32 bits of a branch (InputError if they do not fit: unknown orbits are -1)."""
    if values.size and not (values.min() >= 0 and values.max() < 1 << 32):
        msg = f"{name} is {values.min()}..{values.max()}, which 32 bits of a nano file cannot hold"
        raise InputError(msg)
    return values.astype(np.uint32)
