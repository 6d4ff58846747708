"""What an anomaly model takes of a crossing: objects in fixed places, scaled to integers of eight bits.

As the anomaly trigger AXOL1TL takes them: a value minus an offset, divided by a power of two, with two bits
below the point, rounded to the nearest (halves to even) and saturated. Logic needs no multiplier for it. The
places of objects that a crossing lacks are 0.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial, reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED
from l1scout.core.joint_rows import joint_rows
from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.lhc import order_of_time
from l1scout.model.object_places import HIGH, LOW, fill_inputs, place_objects

Level = Literal["muon", "all"]
FRACTION = 2
"""Bits of an input below the point: 1 is 4."""
MAX_PLACES = 12
_MAX_OFFSET, _MAX_SHIFT = 1 << 15, 15
_THREE = ("hwPt", "hwEta", "hwPhi")
_MUON_THREE = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx")
PLACES: Mapping[Level, tuple[tuple[str, int, tuple[str, ...]], ...]] = {
    "muon": ((MUON, 8, (*_MUON_THREE, "hwDXY")),),
    "all": (
        ("etsum", 1, ("hwMissEt", "hwMissEtPhi")),
        ("egamma", 4, _THREE),
        (MUON, 4, _MUON_THREE),
        ("jet", 10, _THREE),
    ),
}
"""Streams, places and columns of each level. Those of all objects are the inputs of AXOL1TL, without the eta
of missing Et, which is always 0; those of muons are ours."""


@dataclass(frozen=True, config=CLOSED)
class ObjectInputs:
    """Places of the objects of a stream, and how their columns are scaled.

    Parameters
    ----------
    stream : str
    places : int
        The objects of largest hwPt, that of the largest first; the others are not looked at.
    columns : tuple of str
    offset, shift : tuple of int
        Of each column: an input is ``(value - offset) / 2**shift``, in quarters.
    """

    stream: str
    places: int
    columns: tuple[str, ...]
    offset: tuple[int, ...]
    shift: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.columns), len(self.offset), len(self.shift), len(set(self.columns))}
        if not 0 < self.places <= MAX_PLACES or len(sizes) > 1 or not self.columns:
            msg = f"{self.stream}: needs 1 to {MAX_PLACES} places, and an offset and a shift for each column"
            raise ValueError(msg)
        if (
            max(map(abs, self.offset)) > _MAX_OFFSET
            or not 0 <= min(self.shift) <= max(self.shift) <= _MAX_SHIFT
        ):
            msg = f"{self.stream}: offsets beyond {_MAX_OFFSET}, or shifts outside 0..{_MAX_SHIFT}"
            raise ValueError(msg)

    @property
    def scaling(self) -> NDArray[np.float64]:
        """Offset and factor by column, shape (columns, 2): an input is the product, rounded and saturated."""
        return np.stack([self.offset, 2.0 ** (FRACTION - np.array(self.shift, np.float64))], axis=1)

    def scaled(self, name: str, values: NDArray[Any]) -> NDArray[np.int16]:
        """Return values of a column as an input: -128..127, where 4 is 1."""
        offset, factor = self.scaling[self.columns.index(name)]
        steps = (values.astype(np.float64) - offset) * factor
        return np.asarray(np.clip(np.rint(steps), LOW, HIGH), np.int16)


@dataclass(frozen=True, config=CLOSED)
class AnomalyInputs:
    """All inputs of an anomaly model.

    Parameters
    ----------
    level : {"muon", "all"}
    objects : tuple of ObjectInputs
    """

    level: Level
    objects: tuple[ObjectInputs, ...]

    def __post_init__(self) -> None:
        streams = [part.stream for part in self.objects]
        if not streams or len(set(streams)) < len(streams):
            msg = "objects: name each stream once, and at least one"
            raise ValueError(msg)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, such as ``jet0.hwPt`` for the hardest jet."""
        return tuple(
            f"{part.stream}{place}.{column}"
            for part in self.objects
            for place in range(part.places)
            for column in part.columns
        )

    def __call__(self, data: OrbitData) -> tuple[OrbitBatch, NDArray[np.int16]]:
        """Lay out the crossings of data that have an object in any of the places.

        Returns
        -------
        crossings : OrbitBatch
            In order of time, without objects; it stands for the orbits in which all of the streams were seen.
        hardware : ndarray of int16, shape (inputs, crossings)

        Raises
        ------
        InputError
            If the data lack a stream or column, or are no crossings of counted orbits.
        """
        batches = _of_common_orbits({part.stream: _objects(data, part) for part in self.objects}, data.source)
        first = batches[self.objects[0].stream]
        stated: dict[str, Any] = {
            k: getattr(first, k) for k in ("n_orbits", "first_orbit", "seen", "lost_orbits")
        }
        crossings = replace(joint_rows(list(batches.values())), **stated)
        time = order_of_time(crossings.orbit, crossings.bx)
        laid, row = np.zeros((len(self.names), len(crossings)), np.int16), 0
        for part in self.objects:
            batch, size = batches[part.stream], part.places * len(part.columns)
            at = np.searchsorted(time, order_of_time(batch.orbit, batch.bx))
            found = np.empty((len(batch), part.places), np.int64)
            pt = batch["hwPt"] if "hwPt" in batch.columns else np.zeros(batch.n_objects, np.int16)
            place_objects(batch.offsets, _plain(pt), found)
            of_part = laid[row : row + size].reshape(part.places, len(part.columns), len(crossings))
            for k, (name, (offset, factor)) in enumerate(zip(part.columns, part.scaling, strict=True)):
                fill_inputs(found, at, _plain(batch[name]), offset, factor, of_part[:, k])
            row += size
        return crossings, laid


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """Return a column in one of two types, so that few kernels are compiled."""
    return np.ascontiguousarray(column, np.int16 if column.dtype == np.int16 else np.int64)


def _of_common_orbits(batches: dict[str, OrbitBatch], source: str) -> dict[str, OrbitBatch]:
    """Leave out orbits in which not all streams were seen: there, objects would seem to be missing."""
    seen = [batch.orbits_seen() for batch in batches.values()]
    known = [orbits for orbits in seen if orbits is not None]
    if len(known) < len(seen):
        if len({batch.n_orbits for batch in batches.values()}) > 1:
            msg = f"{source}: does not tell in which orbits all of {', '.join(batches)} were seen"
            raise InputError(msg)
        return batches
    if all(np.array_equal(orbits, known[0]) for orbits in known[1:]):
        return batches
    common = reduce(partial(np.intersect1d, assume_unique=True), known)
    return {name: batch.of_orbits(common) for name, batch in batches.items()}


def _objects(data: OrbitData, part: ObjectInputs) -> OrbitBatch:
    """Return the objects of a stream that are laid out, in the crossings that have any."""
    if part.stream not in data.streams:
        have = ", ".join(data.streams)
        msg = f"{data.source}: has no {part.stream}, which the anomaly model takes, but {have}"
        raise InputError(msg)
    batch = data.streams[part.stream]
    if batch.n_orbits is None:
        msg = f"{data.source}: does not count its orbits: anomaly scores are of scouting data, every crossing"
        raise InputError(msg)
    missing = [name for name in part.columns if name not in batch.columns]
    if missing and batch.n_objects:
        msg = f"{data.source}: {part.stream} has no {', '.join(missing)}, which the anomaly model takes"
        raise InputError(msg)
    looked_at = {*part.columns, "hwPt", "intermediate"}
    batch = batch.stating(columns={n: c for n, c in batch.columns.items() if n in looked_at})
    if part.stream == MUON:
        batch = final_muons(batch)
    if "hwPt" in batch.columns:
        keep = batch["hwPt"] > 0
        return batch if keep.all() and batch.counts.all() else batch.select(keep)
    if not batch.counts.all():
        seen = batch.orbits_seen()
        batch = batch.take(np.flatnonzero(batch.counts), n_orbits=batch.n_orbits)
        batch = batch if seen is None else batch.with_orbits(seen)
    return batch if not missing else batch.with_columns(**{n: np.zeros(0, np.int16) for n in missing})
