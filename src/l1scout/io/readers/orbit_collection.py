"""CMSSW files of OrbitCollections: one orbit an entry, objects of every stream by BX.

A collection is 3566 offsets by BX and the objects, each a row of 32-bit integers. CMSSW writes it
either split, a branch a member, or whole, a blob an orbit, which uproot cannot interpret
(member-wise serialisation): it is cut here, with the member names that the file itself states.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, concatenate
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.io import columns, root
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile, opened
from l1scout.io.nano import is_orbit_collection
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin
from l1scout.lhc import BX_PER_ORBIT

OBJECTS = {
    "muon": "Muon",
    "jet": "Jet",
    "egamma": "EGamma",
    "tau": "Tau",
    "etsum": "BxSums",
    "stub": "BMTFStub",
    "tower": "CaloTower",
}
"""Stream: the class of its objects in l1ScoutingRun3."""
_CALO = {"hwEt": "hwPt"}
_NAMES = {
    "muon": {"hwChrg": "hwCharge", "hwChrgv": "hwChargeValid", "tfIndex": "tfMuonIndex"},
    "jet": {**_CALO, "hwIso": "hwQual"},  # CMSSW keeps the quality of a jet in this member
    "egamma": _CALO,
    "tau": _CALO,
}
"""Members whose columns have another name, by stream."""
MAX_SORTED_ORBITS = 100_000
"""Orbits that are sorted in memory if the entries of a file are not in order of time."""
_BYTE_COUNT, _MEMBER_WISE = 0x40000000, 0x4000
_OFFSETS = BX_PER_ORBIT + 2


def kinds(named: Mapping[str, Any]) -> list[str]:
    """Return the streams (keys of `OBJECTS`) whose objects a tree holds."""
    return [kind for kind in OBJECTS if _branch(named, kind)]


def read_objects(
    path: str | Path | InputFile, kind: str = MUON, *, rows: int = 1000, quality: ReadQuality | None = None
) -> Iterator[OrbitBatch]:
    """Read the objects of one stream, orbits in order of time.

    Parameters
    ----------
    path : str, Path or InputFile
    kind : str
        One of `OBJECTS`.
    rows : int
        Orbits in a batch; all of them if the entries of the file are not in order.
    quality : ReadQuality, optional
        Counts orbits that were read before, in another file; they are left out.

    Yields
    ------
    OrbitBatch
        Columns of the stream; of sums only those that are not all 0, as `formats.streams.etsum` decodes them.
        The orbit is the entry's event number, as CMSSW's scouting source sets it.

    Raises
    ------
    InputError
        If the file does not hold such objects, is damaged, or holds an orbit twice.
    """
    if kind not in OBJECTS:
        msg = f"no objects are called {kind}; there are {', '.join(OBJECTS)}"
        raise InputError(msg)
    with opened(path) as file, guarded(file.path):
        named = root.tree_branches(file, "Events")
        if not _branch(named, kind):
            msg = f"{file.path}: holds no {kind}s; it has {', '.join(kinds(named)) or 'none'}"
            raise InputError(msg)
        for streams in _read_streams(file, named, [kind], rows, quality):
            yield streams[kind]


def _read_streams(
    file: InputFile, named: Mapping[str, Any], wanted: list[str], rows: int, quality: ReadQuality | None
) -> Iterator[dict[str, OrbitBatch]]:
    """Read the objects of some streams, some orbits at a time."""
    entries = int(file.root["Events"].num_entries)
    ids = file.once("identities", lambda: _identities(named["EventAuxiliary"], entries))
    order = _time_order(ids)
    for start, stop in root.chunks(entries, max(rows, 1) if order is None else max(entries, 1)):
        every = range(stop - start) if order is None else order
        kept = [n for n in every if quality is None or _is_new(quality, ids[start + n])]
        if not kept:
            continue
        made = {}
        for kind in wanted:
            name = _branch(named, kind)
            cut = _split if name + ".obj.bxOffsets_" in named else _whole
            read = list(cut(file.root, named, name, start, stop))
            made[kind] = concatenate([_orbit(kind, ids[start + n], *read[n]) for n in kept])
        yield made


class OrbitCollectionReader(FormatReader):
    """Reads CMSSW files of OrbitCollections: the objects of all streams that they hold."""

    name, title = "orbit-collection", "CMSSW OrbitCollection (EDM)"
    streams = tuple(OBJECTS)
    counts_orbits = True
    removes_duplicates = True

    def detect(self, file: InputFile) -> bool:
        """Return whether the file has collections by orbit."""
        return file.is_root and is_orbit_collection(root.tree_branches(file, "Events"))

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read all streams; `rows` crossings a chunk, taken as orbits' worth."""
        with guarded(file.path):
            named = root.tree_branches(file, "Events")
            found = kinds(named)
            if not found:
                msg = (
                    f"{file.path}: holds no collection of objects known here ({', '.join(OBJECTS.values())})"
                )
                raise InputError(msg)
            quality.bytes += file.size
            for streams in _read_streams(file, named, found, max(1, rows // 256), quality):
                yield OrbitData(streams, None, origin(file))

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the objects are, and the trees."""
        return super().describe(file) | {"trees": root.describe_trees(file)}


def _is_new(quality: ReadQuality, identity: tuple[int, int, int, bool]) -> bool:
    """Return whether the orbit of an entry was not read before."""
    run, _, orbit, _ = identity
    return bool(quality.new_orbits(run, np.array([orbit]))[0])


def _orbit(
    kind: str,
    identity: tuple[int, int, int, bool],
    offsets: NDArray[Any],
    read: Mapping[str, NDArray[Any]],
) -> OrbitBatch:
    """Make the batch of one entry."""
    run, lumisection, orbit, real = identity
    columns_read = {n: columns.integers(n, values) for n, values in _canonical(kind, read).items()}
    batch = OrbitBatch.from_dense(orbit, offsets, columns_read, simulated=not real)
    if kind == "etsum" and batch.columns:
        batch = batch.select(np.any(np.stack(list(batch.columns.values())), axis=0))
    of_rows = np.ones(len(batch), np.int64)
    return replace(batch, run=run * of_rows, lumisection=lumisection * of_rows, n_orbits=1, first_orbit=orbit)


def _time_order(ids: list[tuple[int, int, int, bool]]) -> list[int] | None:
    """Return the order of time of entries; None if they are in order.

    Raises
    ------
    InputError
        If an orbit is in two entries, or there are too many entries to sort.
    """
    keys = [(run, orbit) for run, _, orbit, _ in ids]
    if all(a < b for a, b in pairwise(keys)):
        return None
    order = sorted(range(len(keys)), key=keys.__getitem__)
    twice = next((keys[a] for a, b in pairwise(order) if keys[a] == keys[b]), None)
    if twice is not None:
        msg = (
            f"run {twice[0]}, orbit {twice[1]} is in more than one entry: the file holds the same data twice "
            "(was a file merged with itself?); make it again without the repetition"
        )
        raise InputError(msg)
    if len(keys) > MAX_SORTED_ORBITS:
        msg = (
            f"its {len(keys)} orbits are not in order, and more than {MAX_SORTED_ORBITS} are not sorted "
            "here: split the file, or write it in order"
        )
        raise InputError(msg)
    return order


def _branch(named: Mapping[str, Any], kind: str) -> str:
    tag = f"l1ScoutingRun3{OBJECTS[kind]}OrbitCollection_"
    found = sorted(name for name in named if name.startswith(tag) and ".obj" in name)
    return found[0].partition(".obj")[0] if found else ""


def _canonical(kind: str, read: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names = _NAMES.get(kind, {})
    plain = {name.removesuffix("_"): values for name, values in read.items()}
    return {names.get(name, name): values for name, values in plain.items()}


def _split(
    _: Any, named: Mapping[str, Any], name: str, start: int, stop: int
) -> Iterator[tuple[NDArray[Any], dict[str, NDArray[Any]]]]:
    """Offsets by BX and columns of each entry, from branches."""
    first, by_bx = root.objects(named, {"offsets": name + ".obj.bxOffsets_"}, start, stop)
    data = name + ".obj.data_."
    members = {n.removeprefix(data): n for n in named if n.startswith(data)}
    offsets, read = root.objects(named, members, start, stop)
    for k in range(stop - start):
        low, high = offsets[k], offsets[k + 1]
        yield by_bx["offsets"][first[k] : first[k + 1]], {n: values[low:high] for n, values in read.items()}


def _whole(
    file: Any, named: Mapping[str, Any], name: str, start: int, stop: int
) -> Iterator[tuple[NDArray[Any], dict[str, NDArray[Any]]]]:
    """Offsets by BX and columns of each entry, from blobs."""
    kind = next(k for k in OBJECTS if name.startswith(f"l1ScoutingRun3{OBJECTS[k]}OrbitCollection_"))
    members = _members(file, f"l1ScoutingRun3::{OBJECTS[kind]}")
    for blob in _blobs(named[name + ".obj"], start, stop):
        yield cut_collection(blob, members)


def _members(file: Any, name: str) -> list[str]:
    """Names of a class's members in order, from the file's own description."""
    versions = file.file.streamers.get(name)
    if not versions:
        msg = f"the file does not describe {name}"
        raise InputError(msg)
    members = []
    for element in versions[max(versions)].elements:
        if element.typename == "BASE":
            members += _members(file, element.name)
        elif element.typename == "int":
            members.append(element.name)
        else:
            msg = f"{name}::{element.name} is {element.typename}, not a 32-bit integer"
            raise InputError(msg)
    return members


def cut_collection(blob: bytes, members: list[str]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Cut an OrbitCollection that CMSSW wrote whole.

    Parameters
    ----------
    blob : bytes
        Header, vector of offsets, vector of objects written member by member; big-endian.
    members : list of str
        Names of the objects' members, all 32-bit integers.

    Returns
    -------
    offsets : ndarray of uint32, shape (3566,)
    columns : dict of str to ndarray of int32, shape (objects,)

    Raises
    ------
    InputError
        If the bytes are anything else.
    """
    at = 6
    if len(blob) < at + 10 + 4 * _OFFSETS + 12:
        msg = f"OrbitCollection of {len(blob)} bytes: too short for its {_OFFSETS} offsets"
        raise InputError(msg)
    _, _, n_offsets = struct.unpack_from(">IHI", blob, at)
    if n_offsets != _OFFSETS:
        msg = f"OrbitCollection with {n_offsets} offsets rather than {_OFFSETS}"
        raise InputError(msg)
    offsets = np.frombuffer(blob, ">u4", _OFFSETS, at + 10).astype(np.uint32)
    at += 10 + 4 * _OFFSETS
    count, version, element_version, n = struct.unpack_from(">IHHI", blob, at)
    if not count & _BYTE_COUNT or not version & _MEMBER_WISE or not element_version:
        msg = "OrbitCollection written object by object: ask for it split (splitLevel 99)"
        raise InputError(msg)
    at += 12
    if len(blob) - at != 4 * n * len(members):
        msg = f"OrbitCollection says {n} objects of {len(members)} members, its bytes do not agree"
        raise InputError(msg)
    values = np.frombuffer(blob, ">i4", offset=at).reshape(len(members), n).astype(np.int32)
    return offsets, dict(zip(members, values, strict=True))


def _blobs(branch: Any, start: int, stop: int) -> Iterator[bytes]:
    """Raw bytes of each entry of a branch."""
    first = 0
    for number in range(branch.num_baskets):
        basket = branch.basket(number)
        edges = basket.byte_offsets
        if edges is None:
            msg = f"branch {branch.name} has no offsets of its entries"
            raise InputError(msg)
        for k in range(max(0, start - first), min(len(edges) - 1, stop - first)):
            yield bytes(basket.data[edges[k] : edges[k + 1]])
        first += len(edges) - 1


def _identities(branch: Any, entries: int) -> list[tuple[int, int, int, bool]]:
    """Run, lumisection, orbit and whether it is real data, from edm::EventAuxiliary."""
    out = [_identity(blob) for blob in _blobs(branch, 0, entries)]
    if len(out) != entries:
        msg = f"EventAuxiliary has {len(out)} entries rather than {entries}"
        raise InputError(msg)
    return out


def _identity(blob: bytes) -> tuple[int, int, int, bool]:
    """Cut edm::EventAuxiliary: process hash, EventID, GUID, time stamp, lumisection, isRealData."""
    at = _skip(blob, 0)
    run, lumisection, event = struct.unpack_from(">IIQ", blob, at + 6)
    at = _skip(blob, _skip(blob, _skip(blob, at)))
    return run, lumisection, event, bool(blob[at + 4])


def _skip(blob: bytes, at: int) -> int:
    (count,) = struct.unpack_from(">I", blob, at)
    if not count & _BYTE_COUNT:
        msg = "EventAuxiliary is not laid out as in CMSSW_14"
        raise InputError(msg)
    return int(at + 4 + (count & ~_BYTE_COUNT))


READERS.register("orbit-collection")(OrbitCollectionReader())
