"""`OrbitBatch`: object columns and BX offsets. The one type that flows everywhere after decoding."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l1scout.core.provenance import joint_origin
from l1scout.lhc import BX_PER_ORBIT, order_of_time

if TYPE_CHECKING:
    import awkward as ak


@dataclass(frozen=True)
class OrbitBatch:
    """Objects of one kind, grouped by the crossing in which they were.

    A row is a crossing (of scouting data) or a triggered event (of other data); row ``i`` holds
    the objects ``offsets[i]`` to ``offsets[i + 1]`` of every column. Scouting rows are the
    non-empty crossings in order of time.

    Parameters
    ----------
    orbit : ndarray of int64, shape (rows,)
        Number of the orbit in its run, from 0; -1 where unknown, as for files of offline muons (BX 1 then).
    bx : ndarray of int64, shape (rows,)
        Bunch crossing, 1..3564; 0 occurs in data that count from 0.
    offsets : ndarray of int64, shape (rows + 1,)
        Index of the first object of each row, from 0; the last entry is the number of objects.
    columns : mapping of str to ndarray, each of shape (objects,)
        Hardware columns carry the names of the GMT word: ``hwPt``, ``hwPhiAtVtx``...
    run, lumisection : ndarray of int64, shape (rows,)
        0 where unknown.
    n_orbits : int, optional
        Orbits that this batch stands for, empty ones too; None for triggered data, where no rate
        can be made.
    simulated : bool, optional
        None where nothing says whether it is simulation.
    lost_orbits : int
        Orbits of this time that are known to be lost, and are not among ``n_orbits``.
    first_orbit : int, optional
        First of the `n_orbits` orbits if they are consecutive.
    seen : ndarray of int64, shape (n_orbits,), optional
        Numbers of the `n_orbits` orbits, rising, where they are known and not consecutive: of a prescaled
        stream, or with orbits that were lost. Without it and `first_orbit` it is not known which orbits were
        seen. It is forgotten if it has not as many as `n_orbits` says: see `orbits_seen`.

    Raises
    ------
    ValueError
        If lengths or offsets do not agree, a BX is outside 0..3564, or an orbit is outside those that
        `first_orbit` and `n_orbits` state.
    """

    orbit: NDArray[np.int64]
    bx: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    run: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    lumisection: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    n_orbits: int | None = None
    simulated: bool | None = None
    lost_orbits: int = 0
    first_orbit: int | None = None
    seen: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows = len(self.offsets) - 1
        for name in ("run", "lumisection"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, constant(0, max(rows, 0)))
        for name in ("orbit", "bx", "run", "lumisection"):
            if getattr(self, name).shape != (rows,):
                msg = f"{name} has shape {getattr(self, name).shape}, but offsets say {rows} rows"
                raise ValueError(msg)
        if rows < 0 or self.offsets[0] != 0 or (self.offsets[1:] < self.offsets[:-1]).any():
            msg = "offsets must start at 0 and never fall"
            raise ValueError(msg)
        for name, column in self.columns.items():
            if column.shape != (self.offsets[-1],):
                msg = f"column {name} has shape {column.shape}, but offsets say {self.offsets[-1]} objects"
                raise ValueError(msg)
        if rows and not (self.bx.min() >= 0 and self.bx.max() <= BX_PER_ORBIT):
            msg = f"BX outside 0..{BX_PER_ORBIT}: {self.bx.min()}..{self.bx.max()}"
            raise ValueError(msg)
        if self.seen is not None and self.seen.size != self.n_orbits:
            object.__setattr__(self, "seen", None)
        if rows and self.first_orbit is not None and self.n_orbits is not None:
            end = self.first_orbit + self.n_orbits
            if self.orbit[0] < self.first_orbit or self.orbit[-1] >= end:
                msg = f"orbit {self.orbit[0]} or {self.orbit[-1]} is outside {self.first_orbit}..{end - 1}"
                raise ValueError(msg)

    @classmethod
    def of_decoder(
        cls, rows: Mapping[str, NDArray[np.int64]], columns: Mapping[str, NDArray[Any]]
    ) -> "OrbitBatch":
        """Make a batch of what a decoder made (orbit, bx and offsets), which agrees: nothing is checked."""
        zeros, batch = constant(0, rows["orbit"].size), object.__new__(cls)
        batch.__dict__.update(_NOTHING_STATED, **rows, columns=columns, run=zeros, lumisection=zeros)
        return batch

    def stating(self, **fields: Any) -> "OrbitBatch":
        """Return this batch with other fields that no array of objects or crossings depends on, unchecked."""
        batch = object.__new__(type(self))
        batch.__dict__.update(self.__dict__)
        batch.__dict__.update(fields)
        return batch

    @classmethod
    def from_objects(
        cls, orbit: ArrayLike, bx: ArrayLike, columns: Mapping[str, NDArray[Any]], **rest: Any
    ) -> "OrbitBatch":
        """Group objects given in order of time, each with its own orbit and BX, into rows."""
        orbit, bx = np.asarray(orbit, np.int64), np.asarray(bx, np.int64)
        time = order_of_time(orbit, bx)
        step = np.diff(time)
        if np.any(step < 0):
            msg = f"object {int(np.flatnonzero(step < 0)[0]) + 1} is earlier than the one before it"
            raise ValueError(msg)
        first = np.flatnonzero(np.r_[True, step > 0]) if time.size else np.zeros(0, np.int64)
        return cls(orbit[first], bx[first], np.r_[first, time.size], columns, **rest)

    @classmethod
    def from_dense(
        cls, orbit: int, offsets: ArrayLike, columns: Mapping[str, NDArray[Any]], **rest: Any
    ) -> "OrbitBatch":
        """Make a batch of one orbit from offsets by BX: ``offsets[b]..offsets[b + 1]`` is BX ``b``.

        This is CMSSW's OrbitCollection: 3566 offsets, index 0 unused.
        """
        dense = np.asarray(offsets, np.int64)
        if dense.shape != (BX_PER_ORBIT + 2,):
            msg = f"an orbit has {BX_PER_ORBIT + 2} offsets (BX 0..{BX_PER_ORBIT}, end), not {dense.shape}"
            raise ValueError(msg)
        bx = np.flatnonzero(np.diff(dense))
        return cls(
            np.full(bx.size, orbit, np.int64), bx, np.r_[dense[bx], dense[-1]], columns, n_orbits=1, **rest
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column: one value per object."""
        return self.columns[name]

    @property
    def n_objects(self) -> int:
        """Objects in all rows."""
        return int(self.offsets[-1])

    @property
    def origins(self) -> set[bool | None]:
        """Whether it is simulated, to be united with others for `joint_origin`.

        A batch without orbits and objects has no say: then this is empty.
        """
        return {self.simulated} if len(self) or self.n_orbits else set()

    @property
    def counts(self) -> NDArray[np.int64]:
        """Objects of each row."""
        return np.diff(self.offsets)

    @cached_property
    def row(self) -> NDArray[np.int64]:
        """Row of each object."""
        return np.repeat(np.arange(len(self)), self.counts)

    def with_columns(self, **columns: NDArray[Any]) -> "OrbitBatch":
        """Return this batch with columns added or replaced; nothing is copied."""
        return replace(self, columns={**self.columns, **columns})

    def select(self, keep: NDArray[np.bool_], *, drop_empty: bool = True) -> "OrbitBatch":
        """Keep the objects where ``keep`` (shape (objects,)) is True, and the rows that still hold any.

        With ``drop_empty=False`` every row stays.
        """
        counts = np.bincount(self.row[keep], minlength=len(self))
        rows = counts > 0 if drop_empty else np.ones(len(self), np.bool_)
        return replace(
            self,
            orbit=self.orbit[rows],
            bx=self.bx[rows],
            run=self.run[rows],
            lumisection=self.lumisection[rows],
            offsets=np.r_[0, np.cumsum(counts[rows])],
            columns={name: column[keep] for name, column in self.columns.items()},
        )

    def take(self, rows: NDArray[np.int64], *, n_orbits: int | None = None) -> "OrbitBatch":
        """Return some rows in a given order, as a batch that stands for `n_orbits` orbits."""
        counts = self.counts[rows]
        offsets = np.r_[0, np.cumsum(counts)]
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts)
        of_rows = {name: getattr(self, name)[rows] for name in ("orbit", "bx", "run", "lumisection")}
        columns = {name: column[index] for name, column in self.columns.items()}
        fixed: dict[str, Any] = {"n_orbits": n_orbits, "first_orbit": None, "seen": None}
        return replace(self, **of_rows, offsets=offsets, columns=columns, **fixed)

    def orbits_seen(self) -> NDArray[np.int64] | None:
        """Return the numbers of the orbits that the batch stands for, rising; None if they are not known."""
        if self.seen is None and self.first_orbit is not None and self.n_orbits is not None:
            return np.arange(self.first_orbit, self.first_orbit + self.n_orbits)
        return self.seen

    def with_orbits(self, seen: NDArray[np.int64]) -> "OrbitBatch":
        """Return this batch as one that stands for some orbits, rising; its rows must be of these."""
        if len(self) and not (seen.size and seen[0] <= self.orbit[0] and self.orbit[-1] <= seen[-1]):
            msg = f"orbit {self.orbit[0]} or {self.orbit[-1]} is none of those that the batch stands for"
            raise ValueError(msg)
        return self.stating(**orbits_stated(seen))

    def span(self, low: int, high: int, seen: NDArray[np.int64]) -> "OrbitBatch":
        """Return the rows `low` up to but not `high`, without copies, as those of some orbits, rising."""
        a, b = self.offsets[low], self.offsets[high]
        return replace(
            self,
            orbit=self.orbit[low:high],
            bx=self.bx[low:high],
            offsets=self.offsets[low : high + 1] - a,
            columns={name: column[a:b] for name, column in self.columns.items()},
            run=self.run[low:high],
            lumisection=self.lumisection[low:high],
            **orbits_stated(seen),
        )

    def of_orbits(self, wanted: NDArray[np.int64]) -> "OrbitBatch":
        """Return the rows of some orbits (rising); it stands for those of them that were seen.

        Orbits known to be lost stay counted.

        Raises
        ------
        ValueError
            If it is not known which orbits the batch stands for.
        """
        seen = self.orbits_seen()
        if seen is None:
            msg = "it is not known which orbits the batch stands for"
            raise ValueError(msg)
        here = np.intersect1d(seen, wanted, assume_unique=True)
        if here.size == seen.size:
            return self
        rows = np.flatnonzero(np.isin(self.orbit, here))
        return self.take(rows, n_orbits=here.size).with_orbits(here)

    def cut(self, orbit: int) -> tuple["OrbitBatch", "OrbitBatch"]:
        """Return the orbits before `orbit`, and those from it on, as two batches of one run; a view.

        Orbits known to be lost are counted with the first part.

        Raises
        ------
        ValueError
            If it is not known which orbits the batch stands for (`first_orbit`).
        """
        if self.first_orbit is None or self.n_orbits is None:
            msg = "only a batch with first_orbit and n_orbits can be cut at an orbit"
            raise ValueError(msg)
        end = self.first_orbit + self.n_orbits
        middle = min(max(orbit, self.first_orbit), end)
        row = int(np.searchsorted(self.orbit, middle))
        parts = []
        lost = (self.lost_orbits, 0) if middle > self.first_orbit else (0, self.lost_orbits)
        for start, stop, first, last, lost_orbits in (
            (0, row, self.first_orbit, middle, lost[0]),
            (row, len(self), middle, end, lost[1]),
        ):
            low, high = self.offsets[start], self.offsets[stop]
            of_rows = {n: getattr(self, n)[start:stop] for n in ("orbit", "bx", "run", "lumisection")}
            parts.append(
                replace(
                    self,
                    **of_rows,
                    offsets=self.offsets[start : stop + 1] - low,
                    columns={n: c[low:high] for n, c in self.columns.items()},
                    n_orbits=last - first,
                    first_orbit=first,
                    lost_orbits=lost_orbits,
                )
            )
        return parts[0], parts[1]

    def to_awkward(self) -> "ak.Array":
        """View as an awkward array with one row per crossing; no column is copied.

        Its fields are ``run``, ``lumisection``, ``orbit``, ``bx`` and a jagged record ``objects``.
        """
        import awkward as ak

        record = ak.contents.RecordArray(
            [ak.contents.NumpyArray(c) for c in self.columns.values()],
            list(self.columns),
            length=self.n_objects,
        )
        objects = ak.contents.ListOffsetArray(ak.index.Index64(self.offsets), record)
        rows = {
            name: ak.contents.NumpyArray(getattr(self, name))
            for name in ("run", "lumisection", "orbit", "bx")
        }
        return ak.Array(
            ak.contents.RecordArray([*rows.values(), objects], [*rows, "objects"], length=len(self))
        )


_NOTHING_STATED = {f.name: f.default for f in fields(OrbitBatch) if f.default is not MISSING}


def constant(value: int, size: int) -> NDArray[np.int64]:
    """Return an array that holds the same number everywhere, in the memory of one."""
    return np.ndarray(size, np.int64, value.to_bytes(8, sys.byteorder, signed=True), 0, (0,))


def orbits_stated(seen: NDArray[np.int64]) -> dict[str, Any]:
    """Return the fields of a batch that state which orbits it stands for; these rise."""
    first = int(seen[0]) if seen.size and seen[-1] - seen[0] + 1 == seen.size else None
    return {"n_orbits": seen.size, "first_orbit": first, "seen": seen if first is None else None}


def occurrence(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count from 0 the occurrences of each value; `values` rises."""
    _, start, counts = np.unique(values, return_index=True, return_counts=True)
    return np.arange(values.size) - np.repeat(start, counts)


def joint_simulated(batches: Iterable[OrbitBatch]) -> bool | None:
    """Tell of batches put together; those without orbits and objects count only if there are no others."""
    every = list(batches)
    return joint_origin(set[bool | None]().union(*(b.origins for b in every)) or (b.simulated for b in every))


def concatenate(batches: Sequence[OrbitBatch]) -> OrbitBatch:
    """Join batches end to end; their columns must be the same (ValueError if not, or if none given)."""
    if not batches or any(set(b.columns) != set(batches[0].columns) for b in batches):
        msg = "only one or more batches with the same columns can be joined"
        raise ValueError(msg)
    orbits = [b.n_orbits for b in batches]
    consecutive = _consecutive(batches)
    rows = {
        n: np.concatenate([getattr(b, n) for b in batches]) for n in ("orbit", "bx", "run", "lumisection")
    }
    return OrbitBatch(
        offsets=np.r_[0, np.cumsum(np.concatenate([b.counts for b in batches]))],
        columns={n: np.concatenate([b[n] for b in batches]) for n in batches[0].columns},
        n_orbits=None if None in orbits else sum(n for n in orbits if n is not None),
        simulated=joint_simulated(batches),
        lost_orbits=sum(b.lost_orbits for b in batches),
        first_orbit=batches[0].first_orbit if consecutive else None,
        seen=None if consecutive else _joint_orbits(batches),
        **rows,
    )


def _consecutive(batches: Sequence[OrbitBatch]) -> bool:
    """Return whether the orbits of each batch follow those of the batch before it, in one run."""
    known = [(b.first_orbit, b.n_orbits) for b in batches]
    ends = [None if first is None or n is None else first + n for first, n in known]
    one_run = len({int(run) for b in batches if len(b) for run in (b.run[0], b.run[-1])}) < 2
    return one_run and None not in ends and ends[:-1] == [first for first, _ in known[1:]]


def _joint_orbits(batches: Sequence[OrbitBatch]) -> NDArray[np.int64] | None:
    """Return the orbits that were seen of batches of one run, if all are known and rise."""
    seen = [batch.orbits_seen() for batch in batches]
    one_run = len({int(run) for b in batches if len(b) for run in (b.run[0], b.run[-1])}) < 2
    if not one_run or any(orbits is None for orbits in seen):
        return None
    every = np.concatenate([orbits for orbits in seen if orbits is not None])
    return every if np.all(np.diff(every) > 0) else None


def final_muons(batch: OrbitBatch) -> OrbitBatch:
    """Return a batch with its final muons only: the one place that leaves out intermediate muons.

    The GMT's links carry each final muon and, mostly, its intermediate copy; a reader that counts both
    counts twice. A batch without a column ``intermediate`` has final muons only and is returned unchanged;
    the column is gone from others.
    """
    if "intermediate" not in batch.columns:
        return batch
    keep = batch["intermediate"] == 0
    batch = replace(batch, columns={n: c for n, c in batch.columns.items() if n != "intermediate"})
    return batch if keep.all() else batch.select(keep)


def muon_counts(batch: OrbitBatch) -> tuple[int, int | None]:
    """Return the number of final and of intermediate muons; None where the data do not tell them apart."""
    if "intermediate" not in batch.columns:
        return batch.n_objects, None
    intermediate = int(np.count_nonzero(batch["intermediate"]))
    return batch.n_objects - intermediate, intermediate
