"""What travels to the page: one binary message with a JSON head and arrays behind it.

A message is ``l1sm``, the length of the head (u32, little-endian), the head (JSON, padded to a multiple of 8
bytes with spaces) and its arrays. The head names each array: ``[name, type, offset, length]``, with offsets
from the end of the head, in bytes.
"""

import json
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import Section
from l1scout.core.provenance import data_label
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.monitor.live_histograms import CURRENT, LiveHistograms
from l1scout.quality.histogram_definitions import (
    EXCEEDED,
    HistogramDefinition,
    definitions,
    stream_of,
)
from l1scout.quality.stream_histograms import Counts, StreamHistograms

MAGIC = b"l1sm"
VIEWS = ("overview", "physics", "maps", "bunches", "menu", "history", "compare", "anomaly")
WINDOWS = ("run", "last")
_BEYOND = ("bx", "occupied_bx")
_ROWS = (*_BEYOND, "multiplicity", "next_crossing")


@dataclass(frozen=True)
class View:
    """What a page asks for.

    Parameters
    ----------
    name : str
        One of `VIEWS`.
    stream : str
        Empty for the first one that there is.
    window : str
        ``run``, or ``last`` for the newest lumisection.
    """

    name: str
    stream: str = ""
    window: str = "run"

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> "View":
        """Check what a page asks for (InputError)."""
        view, stream = values.get("view", "overview"), values.get("stream", "")
        window = values.get("window", "run")
        if view not in VIEWS or window not in WINDOWS or (stream and stream_of(stream) not in STREAMS):
            msg = f"view is one of {', '.join(VIEWS)}; window one of {', '.join(WINDOWS)}; stream a known one"
            raise InputError(msg)
        return cls(view, stream, window)


def wanted(view: str, definition: HistogramDefinition) -> bool:
    """Say whether a view shows a histogram."""
    one = len(definition.axes) == 1
    return {
        "overview": definition.name
        in ("pt", "pt_recalibrated", "et", "mass_opposite_sign", "mass_recalibrated_opposite_sign"),
        "physics": one and definition.name not in _BEYOND and definition.name != "algorithm",
        "maps": not one or definition.name == "track_finder_index",
        "bunches": definition.name in (*_BEYOND, "next_crossing"),
        "menu": definition.name == "algorithm",
        "history": False,
        "compare": one,
        "anomaly": definition.name in ("score", EXCEEDED),
    }[view]


def pack(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Make a message."""
    offset, listed, parts = 0, [], []
    for name, array in arrays.items():
        kind = "f8" if array.dtype.kind == "f" or array.dtype.itemsize > 4 else "u4"
        data = np.ascontiguousarray(array, f"<{kind}").tobytes()
        data += bytes(-len(data) % 8)
        listed.append([name, kind, offset, int(array.size)])
        parts.append(data)
        offset += len(data)
    text = json.dumps({**head, "arrays": listed}, allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([MAGIC, struct.pack("<I", len(text)), text, *parts])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a message apart: the inverse of `pack`."""
    (length,) = struct.unpack_from("<I", message, 4)
    head, start = json.loads(message[8 : 8 + length]), 8 + length
    return head, {
        name: np.frombuffer(message, f"<{kind}", size, start + offset)
        for name, kind, offset, size in head.pop("arrays")
    }


def _compact(counts: NDArray[np.int64]) -> NDArray[Any]:
    """Return counts in 32 bits where they fit."""
    return counts.astype(np.uint32) if counts.max(initial=0) < 1 << 32 else counts.astype(np.float64)


def live_frame(live: LiveHistograms, view: View) -> bytes:
    """Make the message of a view."""
    arrays: dict[str, NDArray[Any]] = {}
    with live.guard:
        histograms, fraction = live.histograms, live.seen_fraction
        stream = chosen_stream(view, list(histograms.streams))
        orbits, section = 0, None
        if stream:
            known = histograms.streams[stream]
            section = max(known.sections, default=None)
            counts, orbits = _shown(known, view, section)
            arrays = {f"{stream}/{name}": _compact(c) for name, c in counts.items()}
        models = _models(live, view) if view.name in ("overview", "anomaly") else []
        if view.name == "anomaly":
            for name in _of_scores(histograms.streams):
                scores = histograms.streams[name]
                counts = _shown(scores, view, max(scores.sections, default=None))[0]
                arrays |= {f"{name}/{histogram}": _compact(c) for histogram, c in counts.items()}
        for name in _with_trend(view, histograms.streams):
            arrays |= _trend(name, histograms.streams[name].trend())
        head = {
            **_head(view, stream, orbits, list(histograms.streams), data_label(histograms.simulated)),
            "run": live.run,
            "section": section.number if section else None,
            "newest_orbit": live.newest_orbit,
            "seen_fraction": fraction if np.isfinite(fraction) else None,
            "runs": live.runs(),
            "models": models,
            **live.status(),
        }
    if view.name == "overview":
        recent = list(live.series)
        for key in ("time", "real_time_factor", "seen_fraction", "objects_per_orbit", "lag_s"):
            arrays[f"series/{key}"] = np.array([getattr(point, key) for point in recent], np.float64)
    return pack(head, arrays)


def _shown(known: StreamHistograms, view: View, section: Section | None) -> tuple[Counts, int]:
    """Return the histograms of a stream that a view shows, and the orbits that they are of."""
    names = [d.name for d in definitions(known.stream) if wanted(view.name, d)]
    if view.window == "last" and section is not None:
        return {name: known.sections[section][name] for name in names}, known.live.sections[section].orbits
    return known.run(names), known.orbits


def _of_scores(streams: Iterable[str]) -> list[str]:
    return [name for name in streams if stream_of(name) == "anomaly"]


def _with_trend(view: View, streams: Iterable[str]) -> list[str]:
    """Return the streams whose course by lumisection a view shows."""
    return {"history": list(streams), "anomaly": _of_scores(streams)}.get(view.name, [])


def _trend(stream: str, columns: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    return {f"trend/{stream}/{key}": column.astype(np.float64) for key, column in columns.items()}


def _models(live: LiveHistograms, view: View) -> list[dict[str, Any]]:
    """Describe the anomaly models, with their rates and top crossings; the guard is held."""
    rows = []
    for model in live.scores.models if live.scores else ():
        known = live.histograms.streams.get(model.stream)
        at, newest = live.newest_rates(model)
        rates = [
            {"newest": asdict(one), "run": asdict(all_)}
            for one, all_ in zip(newest, model.rates(known), strict=True)
        ]
        rows.append(
            model.described()
            | {"orbits": known.orbits if known else 0, "scored": live.scored_fraction(model)}
            | {"section": at.number if at else None, "rates": rates}
            | {"top": (model.top if view.window == "run" else model.newest_top).rows()}
        )
    made: list[dict[str, Any]] = _without_nan(rows)
    return made


def _without_nan(value: Any) -> Any:
    """Return what JSON has, None for NaN."""
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def saved_frame(live: LiveHistograms, name: str, view: View) -> bytes:
    """Make the message of a view of a saved run (InputError if there is none of this name)."""
    run = live.load(name)
    stream = chosen_stream(view, list(run.counts))
    arrays: dict[str, NDArray[Any]] = {}
    if stream:
        names = [d.name for d in definitions(stream) if wanted(view.name, d)]
        arrays = {f"{stream}/{n}": _compact(run.counts[stream][n]) for n in names}
    if view.name == "anomaly":
        for one in _of_scores(run.counts):
            arrays |= {f"{one}/{n}": _compact(run.counts[one][n]) for n in ("score", EXCEEDED)}
    for one in _with_trend(view, run.trend):
        arrays |= _trend(one, run.trend[one])
    orbits = run.orbits.get(stream, 0)
    head = _head(view, stream, orbits, list(run.counts), run.data)
    return pack({**head, "name": name, "runs": run.runs, "run": run.runs[0] if run.runs else None}, arrays)


def chosen_stream(view: View, streams: list[str]) -> str:
    """Return the stream that a view shows; empty if there is none."""
    if view.name == "menu":
        return "gt" if "gt" in streams else ""
    if view.name == "anomaly":
        return next(iter(_of_scores(streams)), "")
    if view.stream:
        return view.stream if view.stream in streams else ""
    return "muon" if "muon" in streams else next(iter(streams), "")


def _head(view: View, stream: str, orbits: int, streams: list[str], data: str) -> dict[str, Any]:
    return {
        "version": 1,
        "time": time.time(),
        "view": view.name,
        "window": view.window,
        "stream": stream,
        "streams": streams,
        "orbits": orbits,
        "data": data,
    }


def describe_stream(stream: str) -> dict[str, Any]:
    """Return titles, axes and units of a stream's histograms, for the page."""
    return {
        "stream": stream,
        "title": STREAMS[stream_of(stream)].title,
        "histograms": {
            d.name: {
                "title": d.title,
                "counts": d.counts,
                "axes": [
                    {"name": a.name, "label": a.label, "edges": a.edges.tolist(), "regular": a.is_regular}
                    for a in d.axes
                ],
            }
            for d in definitions(stream)
        },
    }


__all__ = ["CURRENT", "View", "describe_stream", "live_frame", "pack", "saved_frame", "unpack"]
