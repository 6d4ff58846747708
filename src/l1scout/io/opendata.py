"""CMS open data of dimuons: offline muons only, so rows hold not one L1 muon."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.io import columns, root, runs
from l1scout.orbits import Events, OrbitBatch

_PAIR = {"recoPt": "pt", "recoEta": "eta", "recoPhi": "phi", "recoCharge": "Q"}
_BYTES_A_ROW = 200


def _events(rows: int, offsets: NDArray[np.int64], reco: dict[str, NDArray[Any]], **rest: Any) -> Events:
    orbit, bx = columns.unknown_crossings(rows)
    like = OrbitBatch(orbit, bx, np.zeros(rows + 1, np.int64), {}, **rest)
    return Events(like, columns.offline(reco, like, offsets))


def read_csv(path: Path, rows: int) -> Iterator[Events]:
    """Read a dimuon CSV (``Run,Event,Type1,E1,px1,...``): two offline muons a row.

    ``recoIsGlobal`` tells global muons (type G) from tracker muons (T). Orbit and BX are unknown.

    Raises
    ------
    InputError
        If a column is missing or holds anything but numbers.
    """
    needed = ["Run", *(name + k for name in _PAIR.values() for k in "12")]
    types = {name: pa.int64() if name[0] in "RQ" else pa.float64() for name in needed}
    options = pc.ReadOptions(block_size=max(rows, 1) * _BYTES_A_ROW, use_threads=False)
    convert = pc.ConvertOptions(column_types=types)
    with root.guarded(path, "not a dimuon CSV"), pc.open_csv(path, options, convert_options=convert) as file:
        missing = [name for name in needed if name not in file.schema.names]
        if missing:
            msg = f"{path}: no column {', '.join(missing)}"
            raise InputError(msg)
        for block in file:
            read = {name: block[name].to_numpy(zero_copy_only=False) for name in needed}
            reco = {
                name: np.stack([read[column + "1"], read[column + "2"]], axis=1).ravel()
                for name, column in _PAIR.items()
            }
            if not all(np.isfinite(values).all() for values in reco.values()):
                msg = f"{path}: has empty cells or values that are not finite"
                raise InputError(msg)
            if {"Type1", "Type2"} <= set(file.schema.names):
                kinds = [np.asarray(block[name].to_pylist()) == "G" for name in ("Type1", "Type2")]
                reco["recoIsGlobal"] = np.stack(kinds, axis=1).ravel()
            n = block.num_rows
            run = read["Run"].astype(np.int64)
            offsets = np.arange(n + 1, dtype=np.int64) * 2
            events = _events(n, offsets, reco, run=run, simulated=runs.simulated(run))
            yield Events(events.l1, events.offline, str(path))
