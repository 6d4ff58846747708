"""Packets of records of any source, as the boards of a simulated run send them; l1scout's own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.packets import ORBITS_PER_PACKET, Trailer
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.wire_formats.objects import encode_packet, payloads_of
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob, other_parts, unknown_orbits
from l1scout.io.quality import covered_orbits
from l1scout.io.record_columns import as_recorded, lost_in_records, recorded_sources, recorded_streams


class PacketsWriter(FormatWriter):
    """Writes packets of the wire format ``objects``: for some orbits one of each source, and then the next.

    Sources are those of `l1scout.io.writers.raw.RawWriter`. A packet has up to 20 orbits, empty ones too, and
    counts all that were written of its source.
    """

    name, title, suffixes = "packets", "packets of records of any source", (".packets",)

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Name columns that have no place in records, the run, and orbits whose numbers are not known."""
        yield from lost_in_records(data)
        held = recorded_streams(data)
        yield from unknown_orbits(OrbitData(held))
        if any(batch.run.any() for batch in held.values()):
            yield "run"
        if any(len(batch) and int(batch.orbit.max()) > ORBIT_MASK for batch in held.values()):
            yield "orbit numbers above 31 bits"
        yield from other_parts(data)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:  # noqa: ARG002
        """Write packets."""
        sent: dict[int, int] = {}
        with target.open("wb") as out:
            for data in chunks:
                for packet in _packets(data, sent, target.with_suffix("")):
                    out.write(packet)


def _packets(data: OrbitData, sent: dict[int, int], target: Path) -> Iterator[bytes]:
    """Yield the packets of data; `sent` counts the orbits of each source."""
    held = {name: as_recorded(name, batch) for name, batch in recorded_streams(data).items()}
    parts = {}
    for source, names in recorded_sources(held).items():
        orbits = np.unique(np.concatenate([covered_orbits(held[name]) for name in names]))
        try:
            parts[source] = payloads_of({name: held[name] for name in names}, source, orbits)
        except ValueError as error:
            msg = f"{target}: source id {source}: {error}"
            raise InputError(msg) from error
    for first in range(0, max(map(len, parts.values()), default=0), ORBITS_PER_PACKET):
        for source, payloads in parts.items():
            own = payloads[first : first + ORBITS_PER_PACKET]
            if own:
                sent[source] = sent.get(source, 0) + len(own)
                yield encode_packet(source, own, Trailer(0, 0, sent[source]))


WRITERS.register("packets")(PacketsWriter())
