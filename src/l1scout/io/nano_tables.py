"""Tables of L1 scouting nano files: objects of all streams, and flags of selections.

The streams say what their tables hold: see `l1scout.formats.nano_table`. Muons are read by `l1scout.io.nano`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.stream import STREAMS
from l1scout.io import root
from l1scout.io.input_file import InputFile
from l1scout.io.orbit_bitmaps import decode_orbits

MARK = "l1scout_nano"
"""Name of the string in files of our own making: a JSON object with ``simulated`` and ``streams``."""
ORBITS = "l1scout_orbits"
"""Name of the string with the orbits that streams have seen, in files of our own making."""
SELECTION = "SelBx_"
"""How the branches of flags begin."""
_MAX_ORBITS = 1 << 32


def mark_of(file: InputFile) -> dict[str, Any] | None:
    """Return what a nano file of our own making states of itself; None for others."""
    if MARK not in root.classes(file):
        return None
    try:
        found = json.loads(str(file.root[MARK]))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        msg = f"{file.path}: its {MARK} is not a JSON object: damaged"
        raise InputError(msg)
    simulated = found.get("simulated")
    return found | {"simulated": simulated if isinstance(simulated, bool) else None}


def stream_tables(named: Mapping[str, Any]) -> dict[str, NanoTable]:
    """Return the tables, by stream, of which a tree with these branches has any; muons are left out."""
    begun = {name.partition("_")[0] for name in named}
    tables = {name: stream.nano for name, stream in STREAMS.items() if name != MUON}
    return {name: table for name, table in tables.items() if table is not None and table.name in begun}


def read_streams(
    named: Mapping[str, Any], crossings: OrbitBatch, start: int, stop: int
) -> dict[str, OrbitBatch]:
    """Read the objects of all streams but for muons, with the rows of `crossings`.

    Raises
    ------
    InputError
        If branches of a table contradict each other, or hold values that are not the hardware's.
    """
    made = {}
    for name, table in stream_tables(named).items():
        types = {column: values.dtype for column, values in STREAMS[name].empty().columns.items()}
        wanted = {branch: f"{table.name}_{branch}" for branch in table.names(types)}
        offsets, found = root.objects(named, wanted, start, stop)
        try:
            offsets, columns = table.columns(offsets, found)
        except ValueError as error:
            msg = f"{table.name}: {error}"
            raise InputError(msg) from error
        cast = {column: as_type(f"{table.name}_{column}", v, types[column]) for column, v in columns.items()}
        made[name] = replace(crossings, offsets=offsets, columns=cast)
    return made


def as_type(name: str, values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Return values in another type of integers, exactly (InputError if one does not fit)."""
    with np.errstate(invalid="ignore"):
        made = values.astype(kind)
    if not np.array_equal(made, values):
        msg = f"{name} holds values that do not fit {kind} ({values.min()}..{values.max()})"
        raise InputError(msg)
    return made


def read_selections(
    named: Mapping[str, Any], crossings: OrbitBatch, start: int, stop: int
) -> OrbitBatch | None:
    """Read the flags of selections, an object per crossing; None if there are none."""
    names = [name for name in named if name.startswith(SELECTION)]
    if not names:
        return None
    columns = {name: root.scalar(named, name, start, stop) != 0 for name in names}
    return replace(crossings, offsets=np.arange(len(crossings) + 1), columns=columns)


def orbits_of_lumisections(file: InputFile, branch: str = "nOrbits") -> dict[tuple[int, int], int] | None:
    """Return the orbits of each run and lumisection of a scouting nano file; None if it does not tell."""
    named = root.tree_branches(file, "LuminosityBlocks")
    if branch not in named:
        return None
    entries = int(file.root["LuminosityBlocks"].num_entries)
    orbits = root.scalar(named, branch, 0, entries)
    if orbits.size and not (orbits.min() >= 0 and orbits.max() < _MAX_ORBITS):
        msg = f"{branch} of a lumisection is {orbits.min()}..{orbits.max()}: damaged"
        raise InputError(msg)
    ids = [root.scalar(named, name, 0, entries) for name in ("run", "luminosityBlock") if name in named]
    if len(ids) < 2:
        return {(0, 0): int(orbits.astype(np.int64).sum())}
    found: dict[tuple[int, int], int] = {}
    for run, block, n in zip(*(i.tolist() for i in ids), orbits.tolist(), strict=True):
        found[run, block] = found.get((run, block), 0) + n
    return found


def orbits_seen(file: InputFile) -> dict[str, dict[tuple[int, int], NDArray[np.int64]]]:
    """Return which orbits each stream has seen, by run and lumisection; {} for files of other making.

    Raises
    ------
    InputError
        If the list is damaged.
    """
    if ORBITS not in root.classes(file):
        return {}
    try:
        stated = json.loads(str(file.root[ORBITS]))
        found: dict[str, dict[tuple[int, int], NDArray[np.int64]]] = {}
        for name, rows in stated.items():
            found[str(name)] = {}
            for run, block, which in rows:
                seen = decode_orbits(which)
                if seen is None or type(run) is not int or type(block) is not int:
                    msg = "no orbits"
                    raise ValueError(msg)
                found[name][run, block] = seen
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{file.path}: its {ORBITS} are damaged ({error})"
        raise InputError(msg) from error
    return found


def orbits_by_stream(file: InputFile) -> dict[str, dict[tuple[int, int], int]]:
    """Return the orbits of streams that were seen in other orbits than ``nOrbits`` says."""
    tables = {name: stream.nano for name, stream in STREAMS.items() if stream.nano is not None}
    found = {name: orbits_of_lumisections(file, f"nOrbits_{table.name}") for name, table in tables.items()}
    return {name: orbits for name, orbits in found.items() if orbits is not None}


def take_rows(whole: OrbitData, rows: NDArray[np.int64]) -> OrbitData:
    """Return some rows of data, in which all streams have the same rows."""
    streams = {name: batch.take(rows) for name, batch in whole.streams.items()}
    offline, flags = (None if b is None else b.take(rows) for b in (whole.offline, whole.selections))
    return replace(whole, streams=streams, offline=offline, selections=flags)


def with_objects(data: OrbitData) -> OrbitData:
    """Return data whose streams but for muons have rows with objects only."""
    streams = {}
    for name, batch in data.streams.items():
        if name != MUON:
            seen = batch.orbits_seen()
            batch = batch.take(np.flatnonzero(batch.counts), n_orbits=batch.n_orbits)
            batch = batch if seen is None else batch.with_orbits(seen)
        streams[name] = batch
    return replace(data, streams=streams)
