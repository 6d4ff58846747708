"""Phase-2 events in the format "native64" with tracker muons."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.wire_formats.native64_tkmuon import NATIVE64_TKMUON
from l1scout.io.event_writer import EventWriter
from l1scout.io.format_writer import WRITERS


class Native64TrackerMuonWriter(EventWriter):
    """Writes tracker muons."""

    name, title, suffixes = NATIVE64_TKMUON.name, NATIVE64_TKMUON.title, (f".{NATIVE64_TKMUON.suffix}",)
    form = NATIVE64_TKMUON
    left_out = "that are not valid"

    def read_back(self, batch: OrbitBatch) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.bool_]]:
        """Return what comes back; muons that are not valid would make the file one of other objects."""
        columns, held = super().read_back(batch)
        valid = columns["valid"] == 1
        held[held] = valid
        return {name: values[valid] for name, values in columns.items()}, held


WRITERS.register(NATIVE64_TKMUON.name)(Native64TrackerMuonWriter())
