"""Histograms as files to download: ROOT, JSON of the Unified Histogram Interface, CSV."""

import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.errors import InputError
from l1scout.quality.accumulators import to_hist
from l1scout.quality.histogram_definitions import definitions
from l1scout.quality.histogram_file import SavedHistograms


def _chosen(run: SavedHistograms, stream: str, histogram: str) -> dict[str, Any]:
    found = {
        f"{name}/{d.name}": to_hist(d, counts[d.name])
        for name, counts in run.counts.items()
        for d in definitions(name)
        if stream in ("", name) and histogram in ("", d.name)
    }
    if not found:
        msg = "nothing to download: no data yet, or no histogram of this name"
        raise InputError(msg)
    return found


def _as_root(run: SavedHistograms, stream: str, histogram: str, record: str) -> bytes:
    import uproot

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "histograms.root"
        with uproot.recreate(path) as file:
            for name, made in _chosen(run, stream, histogram).items():
                file[name] = made
            file["l1scout_provenance"] = record
        return path.read_bytes()


def _as_json(run: SavedHistograms, stream: str, histogram: str, record: str) -> bytes:
    import uhi.io.json
    from boost_histogram.serialization import to_uhi

    made = {name: to_uhi(h) for name, h in _chosen(run, stream, histogram).items()}
    for one in made.values():
        one["metadata"] = {**one.get("metadata", {}), "provenance": record, "data": run.data}
    return json.dumps(made, default=uhi.io.json.default).encode()


def _as_csv(run: SavedHistograms, stream: str, histogram: str, record: str) -> bytes:
    made = _chosen(run, stream, histogram)
    if len(made) > 1:
        msg = "a CSV file has one histogram: name stream and histogram"
        raise InputError(msg)
    ((_, h),) = made.items()
    out = io.StringIO()
    out.write(f"# {record}\n")
    writer = csv.writer(out)
    writer.writerow([*(f"{axis.name}_{end}" for axis in h.axes for end in ("low", "high")), "count"])
    values = h.values()
    for index in np.ndindex(values.shape):
        edges = [f"{e:.9g}" for axis, k in zip(h.axes, index, strict=True) for e in axis.edges[k : k + 2]]
        writer.writerow([*edges, int(values[index])])
    return out.getvalue().encode()


WRITERS: dict[str, Callable[[SavedHistograms, str, str, str], bytes]] = {
    "root": _as_root,
    "json": _as_json,
    "csv": _as_csv,
}
"""Makes a file of the histograms of a run: all, those of a stream, or one of a stream."""
MEDIA = {"root": "application/octet-stream", "json": "application/json", "csv": "text/csv"}
