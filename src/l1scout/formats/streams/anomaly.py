"""Anomaly scores of crossings, as a network in the trigger would give them: a word per score.

The score is a sum of squares in sixteenths, as that of the anomaly trigger AXOL1TL: 18 bits. A crossing has
as many scores as models looked at it. All of this is ours: no stream of anomaly scores is published, nor a
source id; 48 is free. Records are as those of objects over TCP: a header that counts the scores, BX, orbit,
and a word each.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.object_records import FoundObjects, ObjectTable, RecordForm, write_records
from l1scout.formats.object_stream import ObjectStream
from l1scout.formats.stream import STREAMS

SOURCE = 48
MAX_SCORES = 8
"""Of a crossing; more are damage."""
MAX_THRESHOLDS = 8
"""On the scores of a model, that are counted as data come."""
LEVELS = ("muon", "all")
"""What a model looks at, by value of ``level``."""
SCORE = Layout(
    "Anomaly score",
    32,
    (
        Field("hwScore", 0, 18, scale=1 / 16, note="262143 = that or more"),
        Field("level", 18, 2, note="0 = muons, 1 = all objects"),
        Field("modelId", 20, 12, note="first 12 bits of the SHA-256 of the model's network"),
    ),
    "Ours.",
)
MAX_SCORE = SCORE["hwScore"].high
STEPS_PER_UNIT = 16
RECORD = np.dtype([*((name, "<u4") for name in ("header", "bx", "orbit")), ("scores", "<u4", (1,))])
_FORM = RecordForm(MAX_SCORES, count_mask=0xFF)


class AnomalyStream(ObjectStream):
    """Anomaly scores of crossings."""

    name = "anomaly"
    title = "anomaly scores of crossings"
    source_ids = (SOURCE,)
    layouts = {"l1scout": (SCORE,)}  # noqa: RUF012
    absent = ""
    forms = {SOURCE: _FORM}  # noqa: RUF012
    table = ObjectTable(keep_words=True)
    nano = NanoTable("L1Anomaly", cms=False)
    records = {"Record of a crossing's scores: as many as the header's low byte says": RECORD}  # noqa: RUF012

    def objects(self, found: FoundObjects, names: Collection[str] | None = None) -> OrbitBatch:
        """Make a batch of the words of scores, which are too wide for int16."""
        columns = SCORE.decode(found.words[0])
        return found.batch({n: v for n, v in columns.items() if names is None or n in names})

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write the scores of crossings."""
        del source
        return write_records(
            objects, _FORM, {0: SCORE.encode({f.name: objects[f.name] for f in SCORE.fields})}
        )


ANOMALIES: AnomalyStream = STREAMS.register("anomaly")(AnomalyStream())
