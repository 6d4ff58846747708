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
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import KEY, current, joint_origin
from l1scout.dataset.cuts import CutFlow, MuonSelection, select_pairs
from l1scout.dataset.matched import COLUMNS, OPTIONAL_COLUMNS
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.io.conditions import Conditions, of_runs
from l1scout.io.parquet import METADATA_KEY

_ROW_GROUP = 1 << 17
_BARREN_CHUNKS = 100  # of the simulation: about 1e7 muons without a pair are a wrong setting

KEPT = "kept, as many as asked for"
"""Last line of the cut flow."""

_KNOWN = (*COLUMNS, *OPTIONAL_COLUMNS)


def collect(
    chunks: Iterable[OrbitData],
    path: str | Path,
    *,
    selection: MuonSelection | None = None,
    max_pairs: int | None = None,
    seed: int | None = None,
    conditions: Conditions | None = None,
    hard: float = 0.0,
    on_pairs: Callable[[int], object] | None = None,
) -> CutFlow:
    """Write the matched muons of chunks of events, one chunk in memory at a time.

    The file appears under its name when it is complete; before, it ends in ``.part``.

    Parameters
    ----------
    chunks : iterable of OrbitData
        Endless if `max_pairs` is given.
    path : str or Path
    selection : MuonSelection
    max_pairs : int, optional
        Stop after this number.
    seed : int, optional
        Of the simulation, to be written into the file.
    conditions : Conditions, optional
        Era, trigger and look-up tables, to be written into the file; by default those that follow from the
        run numbers.
    hard : float
        Share of the simulation's hard component, to be written into the file.
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
    path, selection, flow = Path(path), selection or MuonSelection(), CutFlow()
    with complete_or_nothing(path) as part, contextlib.ExitStack() as stack:
        pairs = _Pairs(part, stack, max_pairs)
        barren = 0
        for events in chunks:
            added = pairs.add(events, select_pairs(events, selection, flow))
            if on_pairs:
                on_pairs(pairs.number)
            barren = 0 if added else barren + 1
            if pairs.number == max_pairs or (seed is not None and barren > _BARREN_CHUNKS):
                break
        if not pairs.number:
            msg = f"{', '.join(pairs.sources) or 'no events'}: no matched muons; {flow.end()}"
            raise InputError(msg)
        flow.count(KEPT, l1=pairs.number, offline=pairs.number)
        pairs.finish(conditions, seed, hard, selection, flow)
    return flow


class _Pairs:
    """Matched muons on their way into a file, and where they come from."""

    def __init__(self, path: Path, stack: contextlib.ExitStack, most: int | None) -> None:
        self._path, self._stack, self._most = path, stack, most
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[dict[str, NDArray[Any]]] = []
        self._origins: set[bool | None] = set()
        self._runs: set[int] = set()
        self.sources: list[str] = []
        self.number = 0

    def add(self, events: OrbitData, columns: dict[str, NDArray[Any]]) -> int:
        """Add the pairs of a chunk, as long as there is room, and return their number."""
        if self._writer is None:
            fields = [(c.name, pa.type_for_alias(c.type)) for c in _KNOWN if c.name in columns]
            made = pq.ParquetWriter(self._path, pa.schema(fields), compression="zstd")
            self._writer = self._stack.enter_context(made)
        missing = [n for n in self._writer.schema.names if n not in columns]
        if missing:
            msg = f"{events.source}: no column {', '.join(missing)}, which files before it have"
            raise InputError(msg)
        self._origins |= events.muons.origins
        self._runs |= set(np.unique(events.muons.run).tolist())
        if events.source not in self.sources:
            self.sources.append(events.source)
        room = columns["hwPt"].size if self._most is None else self._most - self.number
        columns = {n: c[:room] for n, c in columns.items()}
        self._waiting.append(columns)
        self.number += columns["hwPt"].size
        if sum(c["hwPt"].size for c in self._waiting) >= _ROW_GROUP:
            _write(self._writer, self._waiting)
        return int(columns["hwPt"].size)

    def finish(
        self,
        conditions: Conditions | None,
        seed: int | None,
        hard: float,
        selection: MuonSelection,
        flow: CutFlow,
    ) -> None:
        """Write what waits, and the record of the data set."""
        assert self._writer
        _write(self._writer, self._waiting)
        simulated = joint_origin(self._origins)
        made = conditions or of_runs(self._runs, simulated)
        about = {
            "content": "matched L1 and offline muons",
            "version": __version__,
            "simulated": simulated,
            "source": self.sources,
            "era": made.era or "not stated",
            "trigger": made.trigger,
            "tables": made.tables,
            "randomised": made.randomised,
            "seed": seed,
            "hard": None if seed is None else hard,
            "selection": selection.as_dict(),
            "cuts": flow.as_list(),
        }
        record = current(simulated=simulated)
        metadata = {METADATA_KEY: json.dumps(about).encode(), KEY: record.as_json()}
        self._writer.add_key_value_metadata(metadata)


def _write(writer: pq.ParquetWriter, waiting: list[dict[str, NDArray[Any]]]) -> None:
    """Write what waits as row groups, and forget it."""
    if waiting:
        types = {c.name: c.type for c in _KNOWN}
        names = writer.schema.names
        arrays = [np.concatenate([w[n] for w in waiting]).astype(types[n]) for n in names]
        writer.write_table(pa.table(arrays, schema=writer.schema), row_group_size=_ROW_GROUP)
        waiting.clear()
