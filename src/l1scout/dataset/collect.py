"""From files of events, or the simulation, to a data set of matched muons."""

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.core.orbit_batch import joint_origin
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import KEY, current
from l1scout.dataset.cuts import CutFlow, Selection, select_pairs
from l1scout.dataset.matched import COLUMNS, STUB_COLUMNS
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.io.conditions import Conditions, of_runs
from l1scout.io.parquet import METADATA_KEY

_ROW_GROUP = 1 << 17
_BARREN_CHUNKS = 100  # of the simulation: about 1e7 muons without a pair are a wrong setting

KEPT = "kept, as many as asked for"
"""Last line of the cut flow."""

_KNOWN = (*COLUMNS, *STUB_COLUMNS)


def collect(
    chunks: Iterable[OrbitData],
    path: str | Path,
    *,
    selection: Selection | None = None,
    max_pairs: int | None = None,
    seed: int | None = None,
    conditions: Conditions | None = None,
    on_pairs: Callable[[int], object] | None = None,
) -> CutFlow:
    """Write the matched muons of chunks of events, one chunk in memory at a time.

    The file appears under its name when it is complete; before, it ends in ``.part``.

    Parameters
    ----------
    chunks : iterable of OrbitData
        Endless if `max_pairs` is given.
    path : str or Path
    selection : Selection
    max_pairs : int, optional
        Stop after so many.
    seed : int, optional
        Of the simulation, to be written into the file.
    conditions : Conditions, optional
        Era, trigger and look-up tables, to be written into the file; by default those that follow from the
        run numbers.
    on_pairs : callable, optional
        Told the number of pairs so far after every chunk.

    Returns
    -------
    CutFlow

    Raises
    ------
    InputError
        If events lack what the matching needs, or stubs that those before have, the file cannot be
        written, or nothing matches.
    """
    path, selection, flow = Path(path), selection or Selection(), CutFlow()
    sources: list[str] = []
    origins: set[bool | None] = set()
    runs: set[int] = set()
    pairs = barren = 0
    with complete_or_nothing(path) as part, contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        waiting: list[dict[str, NDArray[Any]]] = []
        for events in chunks:
            columns = select_pairs(events, selection, flow)
            if writer is None:
                fields = [(c.name, pa.type_for_alias(c.type)) for c in _KNOWN if c.name in columns]
                writer = stack.enter_context(pq.ParquetWriter(part, pa.schema(fields), compression="zstd"))
            missing = [n for n in writer.schema.names if n not in columns]
            if missing:
                msg = f"{events.source}: no column {', '.join(missing)}, which files before it have"
                raise InputError(msg)
            origins.add(events.muons.simulated)
            runs |= set(np.unique(events.muons.run).tolist())
            if events.source not in sources:
                sources.append(events.source)
            room = columns["hwPt"].size if max_pairs is None else max_pairs - pairs
            columns = {n: c[:room] for n, c in columns.items()}
            waiting.append(columns)
            pairs += columns["hwPt"].size
            if on_pairs:
                on_pairs(pairs)
            if sum(c["hwPt"].size for c in waiting) >= _ROW_GROUP:
                _write(writer, waiting)
            barren = 0 if columns["hwPt"].size else barren + 1
            if pairs == max_pairs or (seed is not None and barren > _BARREN_CHUNKS):
                break
        if writer is None or not pairs:
            msg = f"{', '.join(sources) or 'no events'}: no matched muons; {flow.end()}"
            raise InputError(msg)
        _write(writer, waiting)
        flow.count(KEPT, l1=pairs, offline=pairs)
        made = conditions or of_runs(runs, joint_origin(origins))
        about = {
            "content": "matched L1 and offline muons",
            "version": __version__,
            "simulated": joint_origin(origins),
            "source": sources,
            "era": made.era or "not stated",
            "trigger": made.trigger,
            "tables": made.tables,
            "seed": seed,
            "selection": selection.as_dict(),
            "cuts": flow.as_list(),
        }
        record = current(simulated=about["simulated"])
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(about).encode(), KEY: record.as_json()})
    return flow


def _write(writer: pq.ParquetWriter, waiting: list[dict[str, NDArray[Any]]]) -> None:
    """Write what waits as row groups, and forget it."""
    if waiting:
        types = {c.name: c.type for c in _KNOWN}
        names = writer.schema.names
        arrays = [np.concatenate([w[n] for w in waiting]).astype(types[n]) for n in names]
        writer.write_table(pa.table(arrays, schema=writer.schema), row_group_size=_ROW_GROUP)
        waiting.clear()
