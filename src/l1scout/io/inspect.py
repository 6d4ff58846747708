"""What a file is and what it holds, for people and for scripts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from l1scout.errors import InputError
from l1scout.formats import pattern
from l1scout.io import edm, ntuple, parquet, root, stored
from l1scout.io.dma_packets import describe_capture, describe_packets
from l1scout.io.kinds import Kind, detect
from l1scout.io.quality import ReadQuality
from l1scout.io.read import ROWS, read_events
from l1scout.io.summary import Ranges, summarize

_LARGEST_TABLE = 1 << 26


def describe(path: str | Path, *, flavour: str | None = None) -> dict[str, Any]:
    """Describe what a file is and what it holds.

    Parameters
    ----------
    path : str or Path
    flavour : {"dpg", "scouting"}, optional
        Kind of a nano file, if its content does not tell; see `l1scout.io.read_events`.

    Returns
    -------
    dict
        ``file``, ``bytes`` and ``format``, then what the format has: for files with muons the keys of
        `l1scout.io.summary.summarize`, for the others their trees, histograms, arrays or tables.
        None where the file does not tell.

    Raises
    ------
    InputError
        If the file is missing, unknown, truncated or damaged.
    """
    path = Path(path)
    kind = detect(path, flavour=flavour)
    head = {"file": path.name, "bytes": path.stat().st_size, "format": str(kind)}
    if kind in _ROOT_EVENTS:
        return head | _events(path, kind) | {"trees": _trees(path)}
    return head | _DESCRIBE.get(kind, _events)(path)


def _events(path: Path, kind: Kind | None = None) -> dict[str, Any]:
    quality = ReadQuality()
    out = summarize(read_events(path, kind=kind, intermediate=True, quality=quality), quality)
    names = ("duplicate_orbits", "duplicate_events", "repeated_orbits", "other_particles")
    counts = {n: getattr(quality, n) for n in names}
    if out["orbits"] is None:  # without orbit numbers nothing is compared: not known, rather than 0
        counts |= dict.fromkeys(names[:3])
    return out | counts


def _trees(path: Path) -> list[dict[str, Any]]:
    with root.opened(path) as file, root.guarded(path):
        trees = {name: kind for name, kind in file.classnames(recursive=True).items() if kind in root.TREES}
        return [
            {"name": name.split(";")[0], "type": kind, "entries": int(file[name].num_entries)}
            for name, kind in trees.items()
        ]


def _ntuple(path: Path) -> dict[str, Any]:
    out, trees = _events(path, Kind.L1NTUPLE), _trees(path)
    names = {tree["name"] for tree in trees}
    out["l1_muons_from"] = "hardware" if ntuple.UPGRADE in names else "emulator"
    if ntuple.EMULATED in names:
        out["emulated_l1_muons"] = sum(e.muons.n_objects for e in read_events(path, emulated=True))
    return out | {"trees": trees}


def _orbit_collection(path: Path) -> dict[str, Any]:
    with root.opened(path) as file, root.guarded(path):
        kinds = edm.kinds(root.branches(file["Events"]))
    out: dict[str, Any] = {"objects": dict.fromkeys(kinds, 0)}
    if "muons" in kinds:
        out |= _events(path)
    ranges = Ranges()
    for kind in kinds:
        for batch in edm.read_objects(path, kind):
            out["objects"][kind] += batch.n_objects
            if kind != "muons":
                ranges.add(kind, batch.columns.items())
    return out | {"columns": [*out.get("columns", []), *ranges.rows()], "trees": _trees(path)}


def _parquet(path: Path) -> dict[str, Any]:
    with root.guarded(path, "not a readable Parquet file"), pq.ParquetFile(path) as file:
        said = parquet.about(file)
        names = set(file.schema_arrow.names)
    out = _events(path)
    if "simulated" in said:
        out["data"] = "simulated" if said["simulated"] else "real"
    if said.get("era"):
        out["era"] = said["era"]
    out["said"] = {
        k: said[k]
        for k in ("content", "source", "trigger", "tables", "selection", "seed", "version")
        if k in said
    }
    if "archive" in said:
        return out | {"archive": {n: v for n, v in said["archive"].items() if n != "header"}}
    out["missing_columns"] = [n for n in (*parquet.HARDWARE, *parquet.OFFLINE[:4]) if n not in names]
    return out


def _pattern(path: Path) -> dict[str, Any]:
    found = pattern.read(path)
    busy = [link for k, link in enumerate(found.links) if found.data[:, k].any()]
    out: dict[str, Any] = {
        "board": found.board,
        "frames": len(found.data),
        "valid_frames": int(found.valid.any(axis=1).sum()),
        "crossings": len(found.crossings()),
        "links": len(found.links),
        "links_with_data": busy,
        "final_muon_links": "0-3" if found.final_muons() is not None else "none (a GMT's input?)",
    }
    return out | _events(path) if found.final_muons() is not None else out


def _histograms(path: Path) -> dict[str, Any]:
    rows = []
    with root.opened(path) as file, root.guarded(path):
        for name, kind in file.classnames(recursive=True).items():
            if kind.startswith("TH"):
                values = file[name].values(flow=False)
                rows.append(
                    {
                        "name": name,
                        "class": kind,
                        "bins": " x ".join(map(str, values.shape)),
                        "filled": int(np.count_nonzero(values)),
                        "low": float(values.min()) if values.size else None,
                        "high": float(values.max()) if values.size else None,
                    }
                )
    return {"histograms": rows}


def _table(path: Path) -> dict[str, Any]:
    """Look-up tables: rows of one to three integers, ``#`` before comments."""
    if path.stat().st_size > _LARGEST_TABLE:
        msg = f"{path}: {path.stat().st_size} bytes of numbers are no look-up table"
        raise InputError(msg)
    with root.guarded(path, "not a look-up table"):
        text = path.read_text("utf-8-sig", errors="replace")
        lines = [line.split("#")[0] for line in text.splitlines()]
        rows = [[int(word) for word in line.split()] for line in lines if line.strip()]
    if not rows:
        msg = f"{path}: a look-up table without a single entry"
        raise InputError(msg)
    width = max(map(len, rows))
    values = np.array([row for row in rows if len(row) == width], np.int64)
    header = re.search(r"^#\s*<header>(.*?)</header>", text, re.MULTILINE)
    comments = [line.strip("# \t") for line in text.splitlines() if line.startswith("#")]
    return {
        "comment": next((c for c in comments if c and "<header>" not in c), None),
        "header": header[1].strip() if header else None,
        "entries": len(values),
        "columns": [
            {
                "of": "entry",
                "name": f"column {k + 1}",
                "type": "integer",
                "low": int(c.min()),
                "high": int(c.max()),
            }
            for k, c in enumerate(values.T)
        ],
    }


def _histogram_csv(path: Path) -> dict[str, Any]:
    """Bins: low edge, high edge, entries."""
    if path.stat().st_size > _LARGEST_TABLE:
        msg = f"{path}: {path.stat().st_size} bytes are no histogram"
        raise InputError(msg)
    with root.guarded(path, "not a histogram"):
        lines = path.read_text("utf-8-sig").splitlines()
        bins = np.array([line.split(",") for line in lines[1:] if line], np.float64).reshape(-1, 3)
    return {
        "axis": lines[0].split(",")[0].replace("_lo", ""),
        "bins": len(bins),
        "low": float(bins[:, 0].min(initial=np.inf)),
        "high": float(bins[:, 1].max(initial=-np.inf)),
        "entries": float(bins[:, 2].sum()),
    }


def _npz(path: Path) -> dict[str, Any]:
    with root.guarded(path, "damaged numpy archive"), np.load(path, allow_pickle=False) as arrays:
        found = [(name, arrays[name]) for name in arrays.files]
    return {
        "arrays": [
            {"name": n, "type": str(a.dtype), "shape": " x ".join(map(str, a.shape))} for n, a in found
        ]
    }


def _stored(path: Path) -> dict[str, Any]:
    found, quality = stored.Found(), ReadQuality()
    chunks = stored.read_stored(path, ROWS, quality, found)
    return stored.describe_stored(summarize(chunks, quality), found, quality)


_ROOT_EVENTS = (Kind.DPG_NANO, Kind.SCOUTING_NANO, Kind.NANOAOD)
_DESCRIBE: dict[Kind, Callable[[Path], dict[str, Any]]] = {
    Kind.L1NTUPLE: _ntuple,
    Kind.ORBIT_COLLECTION: _orbit_collection,
    Kind.PARQUET: _parquet,
    Kind.PATTERN: _pattern,
    Kind.HISTOGRAMS: _histograms,
    Kind.HISTOGRAM_CSV: _histogram_csv,
    Kind.GMT_LUT: _table,
    Kind.BMTF_LUT: _table,
    Kind.LUT: _table,
    Kind.NPZ: _npz,
    Kind.LINK_CAPTURE: describe_capture,
    Kind.DMA_PACKETS: describe_packets,
    Kind.RAW: _stored,
    Kind.RECORDS: _stored,
}
