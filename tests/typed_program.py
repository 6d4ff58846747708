"""A program that uses the public API: `make types` finds what is wrong in it, and accepts what is right.

An ignored line without an error would be an error itself. Nothing runs it.
"""

from pathlib import Path

import l1scout

data: l1scout.Data = l1scout.open(Path("run.raw"))
for piece in data:
    batch: l1scout.OrbitBatch = piece.streams["muon"]
    print(batch.n_objects, piece.origin.source)
model = l1scout.load_model("model")
better: l1scout.Data = data.recalibrated(model)
result = l1scout.analyse("luminosity", better, min_pt=5.0)
print(dict(result.numbers), sorted(l1scout.analyses), l1scout.readers["l1ntuple"].title)
data.recalibrate(model)  # type: ignore[attr-defined]
l1scout.open(3)  # type: ignore[arg-type]
