"""How Phase-2 events are written: the wire formats of `l1scout.formats.event_format`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.event_format import EventFormat
from l1scout.formats.wire_format import recognise_format
from l1scout.io.format_writer import FormatWriter, WriteJob, other_parts, unknown_orbits
from l1scout.io.quality import covered_orbits
from l1scout.lhc import lumisection

_ORBITS = 64
"""Orbits that are written at a time."""
_ORBIT_BITS = 32


class EventWriter(FormatWriter):
    """Writes an event for each crossing of the orbits that the data cover, empty ones too.

    Attributes
    ----------
    form : EventFormat
        Says which stream is written, and how.
    left_out : str
        Which objects are no objects in files, such as "whose hwPt is 0".
    """

    form: ClassVar[EventFormat]
    left_out: ClassVar[str]

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Name other streams, what only other formats state, and what the words of events do not hold."""
        name = self.form.stream.name
        yield from (f"stream {other}" for other in data.streams if other != name)
        if name not in data.streams:
            return
        batch = data.streams[name]
        yield from self._lost_objects(batch)
        yield from unknown_orbits(OrbitData({name: batch}))
        if batch.run.any():
            yield "run"
        if batch.simulated is not None:
            yield "whether the data are simulated"
        if batch.lost_orbits:
            yield f"number of lost orbits of {name}"
        if len(batch) and int(batch.orbit.max()) >> _ORBIT_BITS:
            yield f"orbit numbers above {_ORBIT_BITS} bits"
        if not np.array_equal(batch.lumisection, lumisection(batch.orbit)):
            yield "lumisections that do not follow from the orbit"
        yield from other_parts(data)

    def _lost_objects(self, batch: OrbitBatch) -> Iterator[str]:
        """Name columns that words have not, or not for all objects (hwZ0 of neutral ones), and objects."""
        name = self.form.stream.name
        try:
            columns, held = self.read_back(batch)
        except ValueError:  # a value that does not fit: `write` says which
            return
        if not held.all():
            yield f"{name}s {self.left_out}"
        for column, values in batch.columns.items():
            if column not in columns:
                yield f"{name}.{column}"
            elif not np.array_equal(columns[column], values[held]):
                yield f"{name}.{column} (kept for some objects)"

    def read_back(self, batch: OrbitBatch) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.bool_]]:
        """Return the columns of a batch as they come back from words, and which of its objects do."""
        n, stream = batch.n_objects, self.form.stream
        zeros = np.zeros(n, np.int64)
        each = OrbitBatch(zeros, zeros, np.arange(n + 1), _complete(self.form, batch).columns)
        words, count = stream.pack(each)
        columns, counts = stream.unpack(words, np.cumsum(count) - count, count)
        return columns, counts > 0

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:  # noqa: ARG002
        """Write events."""
        name = self.form.stream.name
        with target.open("wb") as out:
            for data in chunks:
                for packets in self._packets(data.streams[name], target.with_suffix("")):
                    out.write(packets)
        with target.open("rb") as made:
            found = recognise_format(made)
        if found is not self.form:
            msg = (
                f"{target.with_suffix('')}: the first orbits have too few {name}s to tell them from other "
                "objects, and events do not state their kind: write another format"
            )
            raise InputError(msg)

    def _packets(self, batch: OrbitBatch, target: Path) -> Iterator[bytes]:
        """Yield the events of orbits that follow each other, some at a time."""
        orbits, name = covered_orbits(batch), self.form.stream.name
        cuts = np.flatnonzero(np.diff(orbits) != 1) + 1
        for span in np.split(orbits, cuts):
            for first in range(0, span.size, _ORBITS):
                part = span[first : first + _ORBITS]
                low, high = np.searchsorted(batch.orbit, [part[0], part[-1] + 1])
                objects = _complete(self.form, batch.take(np.arange(low, high)))
                try:
                    objects = objects.select(self.read_back(objects)[1])
                    yield self.form.encode(objects, int(part[0]), int(part[-1]) + 1)
                except ValueError as error:
                    msg = f"{target}: {name}: {error}"
                    raise InputError(msg) from error


def _complete(form: EventFormat, batch: OrbitBatch) -> OrbitBatch:
    """Return a batch with all columns of its stream; those that it has not are 0, ``valid`` is 1."""
    missing = {n: c for n, c in form.stream.empty().columns.items() if n not in batch.columns}
    return batch.with_columns(
        **{n: np.full(batch.n_objects, n == "valid", c.dtype) for n, c in missing.items()}
    )
