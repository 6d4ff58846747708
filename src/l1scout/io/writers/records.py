"""Files of zero-suppressed muon records without frames."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.streams.muon import RUN2_MUONS, RUN3_MUONS, MuonWords, encode_records
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob, other_parts
from l1scout.io.record_columns import as_recorded, lost_in_records


class RecordsWriter(FormatWriter):
    """Writes bare records: of Run 2 if the muons have its column ``reserved``, otherwise of Run 3."""

    name, title, suffixes = "records", "zero-suppressed records", (".dat",)

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Name what only frames tell, other streams, and columns that have no place in records."""
        yield from (f"stream {name}" for name in data.streams if name != MUON)
        if MUON not in data.streams:
            return
        muons = data.muons
        if _shape(data) is RUN2_MUONS:
            held = {field.name for field in RUN2_MUONS.muon.fields} | {"second", "intermediate"}
            yield from (f"muon.{column}" for column in muons.columns if column not in held)
        else:
            yield from lost_in_records(OrbitData({MUON: muons}))
        if muons.run.any():
            yield "run"
        if muons.n_orbits is not None:
            yield "number of orbits"
        if muons.simulated is not None:
            yield "whether the data are simulated"
        if len(muons) and int(muons.orbit.max()) > ORBIT_MASK:
            yield "orbit numbers above 31 bits"
        yield from other_parts(data)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:  # noqa: ARG002
        """Write records."""
        with target.open("wb") as out:
            for data in chunks:
                shape = _shape(data)
                try:
                    words, _ = encode_records(_recorded(data, shape), shape)
                except ValueError as error:
                    msg = f"{target.with_suffix('')}: {error}"
                    raise InputError(msg) from error
                out.write(words.tobytes())


def _shape(data: OrbitData) -> MuonWords:
    return RUN2_MUONS if "reserved" in data.muons.columns else RUN3_MUONS


def _recorded(data: OrbitData, shape: MuonWords) -> Any:
    muons = as_recorded(MUON, data.muons)
    if shape is RUN2_MUONS:
        reserved = data.muons.take(np.flatnonzero(data.muons.counts))["reserved"]
        return muons.with_columns(reserved=reserved)
    return muons


WRITERS.register("records")(RecordsWriter())
