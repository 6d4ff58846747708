"""ROOT files behind one guard: whatever a broken file does to the reader becomes one line of text."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.io.guard import guarded

if TYPE_CHECKING:
    import awkward as ak

    from l1scout.io.input_file import InputFile


@cache
def _shipped_classes() -> dict[str, tuple[Any, dict[int, Any] | None]]:
    """Return uproot's classes and their versions, as they are before the first file is read."""
    import uproot

    with_versions = uproot.model.DispatchByVersion
    return {
        name: (c, dict(c.known_versions) if issubclass(c, with_versions) else None)
        for name, c in uproot.classes.items()
    }


def _own_classes() -> dict[str, Any]:
    """Return uproot's classes for one file.

    What a file describes is added to the table of classes. In the table that all files of a process share, a
    damaged file can so replace the class of TBranch itself, and every file after it is unreadable.
    """
    return {
        name: c if versions is None else type(c.__name__, (c,), {"known_versions": dict(versions)})
        for name, (c, versions) in _shipped_classes().items()
    }


@contextmanager
def open_root(path: Path, stream: Any, size: int, head: bytes) -> Iterator[Any]:
    """Open a ROOT file for reading.

    Parameters
    ----------
    path : Path
        For messages.
    stream : binary file
    size : int
        Bytes that the file has.
    head : bytes
        Its first ones.

    Raises
    ------
    InputError
        If it is no ROOT file, truncated or damaged.
    """
    import uproot

    _check_length(path, size, head)
    with guarded(path, "cannot be opened as ROOT"):
        # entries are read once: a cache of arrays would only hold memory
        file = uproot.open(stream, custom_classes=_own_classes(), array_cache=None)
    with file:
        yield file


def _check_length(path: Path, size: int, head: bytes) -> None:
    """Compare a ROOT file's own idea of its length with its size: cut files say so at once."""
    if not head.startswith(b"root"):
        msg = f"{path}: not a ROOT file"
        raise InputError(msg)
    if len(head) < 64:
        msg = f"{path}: truncated ROOT header"
        raise InputError(msg)
    version, _ = struct.unpack(">ii", head[4:12])
    big = version >= 1_000_000
    (end,) = struct.unpack(">q" if big else ">i", head[12 : 20 if big else 16])
    if size < end:
        msg = f"{path}: truncated: its header says {end} bytes, it has {size}; copy it again"
        raise InputError(msg)


TREES = ("TTree", "ROOT::RNTuple")
"""Classes that hold entries."""
_ROWS = 1 << 20
_RECORDS = ("L1Mu", "L1Muon", "Muon", "TrigObj")
"""Collections that may be one RNTuple field of records rather than one field for each member."""


def classes(file: "InputFile") -> dict[str, str]:
    """Return the class of each object of a ROOT file by its name, those of folders included."""
    with guarded(file.path):
        return file.once("classes", lambda: _classes(file.root))


def _classes(root: Any) -> dict[str, str]:
    return {name.split(";")[0]: kind for name, kind in root.classnames(recursive=True).items()}


def tree_branches(file: "InputFile", name: str) -> dict[str, Any]:
    """Return the branches of a tree of a file by name; {} if there is no such tree. See `branches`."""
    if classes(file).get(name) not in TREES:
        return {}
    with guarded(file.path):
        return file.once(f"branches of {name}", lambda: branches(file.root[name]))


def describe_trees(file: "InputFile") -> list[dict[str, Any]]:
    """Describe the trees of a file: their names, types and numbers of entries."""
    with guarded(file.path):
        return [
            {"name": name, "type": kind, "entries": int(file.root[name].num_entries)}
            for name, kind in classes(file).items()
            if kind in TREES
        ]


def distinct(file: "InputFile", tree: str, name: str) -> NDArray[np.int64]:
    """Return the different values of a branch with one integer an entry."""
    with guarded(file.path):
        named, entries = tree_branches(file, tree), int(file.root[tree].num_entries)
        parts = [np.unique(scalar(named, name, *piece)) for piece in chunks(entries, _ROWS)]
        return np.unique(np.concatenate(parts)).astype(np.int64)


def is_rntuple(tree: Any) -> bool:
    """Return whether entries are stored as an RNTuple rather than as a TTree."""
    from uproot.behaviors.RNTuple import RNTuple

    return isinstance(tree, RNTuple)


def branches(tree: Any) -> dict[str, Any]:
    """Return the branches of a TTree, or the fields of an RNTuple, by name.

    Branches inside split objects are included. A field of records ``L1Mu`` with a member ``pt`` gives
    ``L1Mu_pt``, as a TTree calls it. Fields below the top are looked up only where they are needed: uproot
    searches all fields for the members of each.
    """
    if not is_rntuple(tree):
        return {branch.name: branch for branch in tree.itervalues(recursive=True)}
    _check_page_lists(tree)
    fields = {field.name: field for field in tree.fields}
    for group in _RECORDS:
        if group in fields:
            fields |= {f"{group}_{member.name}": member for member in fields[group].fields}
    return fields


def _check_page_lists(rntuple: Any) -> None:
    """Compare the lists of pages of an RNTuple with their checksums, which uproot does not.

    They say how much is to be read: a damaged one would ask for any amount of memory.
    """
    for group in rntuple.footer.cluster_group_records:
        link = group.page_list_link
        chunk, _ = rntuple.read_locator(link.locator, link.env_uncomp_size)
        raw = bytes(chunk.raw_data)
        if int.from_bytes(raw[-8:], "little") != xxhash.xxh3_64_intdigest(raw[:-8]):
            msg = "the list of pages of an RNTuple does not match its checksum; copy the file again"
            raise InputError(msg)


def chunks(entries: int, rows: int) -> Iterator[tuple[int, int]]:
    """Entry ranges of at most `rows` entries; an empty tree has one empty range."""
    if rows < 1:
        msg = f"rows must be 1 or more, not {rows}"
        raise InputError(msg)
    for start in range(0, max(entries, 1), rows):
        yield start, min(start + rows, entries)


def flat(name: str, jagged: "ak.Array") -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Take a jagged array apart: offsets, shape (rows + 1,), and content, one value an object."""
    import awkward as ak

    layout = ak.to_layout(ak.to_packed(jagged))
    if isinstance(layout, ak.contents.RegularArray):
        layout = layout.to_ListOffsetArray64(True)
    if not isinstance(layout, ak.contents.ListOffsetArray) or not layout.content.is_numpy:
        msg = f"{name} is {jagged.type}, not a list of numbers a row"
        raise InputError(msg)
    content = np.asarray(layout.content.data)
    if content.ndim != 1:
        msg = f"{name} is {jagged.type}, not a list of numbers a row"
        raise InputError(msg)
    return np.asarray(layout.offsets.data, np.int64), content


def same_objects(jagged: "Mapping[str, ak.Array]") -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Take apart jagged arrays that describe the same objects: their offsets, and columns.

    Raises
    ------
    InputError
        If they do not agree on the number of objects in each row.
    """
    offsets, first, columns = np.zeros(1, np.int64), "", {}
    for name, array in jagged.items():
        these, columns[name] = flat(name, array)
        offsets, first = (offsets, first) if first else (these, name)
        if not np.array_equal(offsets, these):
            msg = f"{first} and {name} disagree on the number of objects"
            raise InputError(msg)
    return offsets, columns


def objects(
    named: Mapping[str, Any], names: Mapping[str, str], start: int, stop: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Read jagged branches that describe the same objects.

    Parameters
    ----------
    named : mapping of str to branch
        As `branches` gives.
    names : mapping of str to str
        Wanted column to branch; branches that the tree does not have are left out.
    start, stop : int
        Entries.

    Raises
    ------
    InputError
        If the branches do not agree on the number of objects, or none is there.
    """
    jagged = {
        column: named[name].array(entry_start=start, entry_stop=stop, library="ak")
        for column, name in names.items()
        if name in named
    }
    if not jagged:
        msg = f"none of the branches {', '.join(names.values())} is there"
        raise InputError(msg)
    short = [column for column, array in jagged.items() if len(array) != stop - start]
    if short:
        msg = f"{short[0]} has {len(jagged[short[0]])} rows where {stop - start} were asked for"
        raise InputError(msg)
    return same_objects(jagged)


def scalar(named: Mapping[str, Any], name: str, start: int, stop: int) -> NDArray[Any]:
    """Read a branch with one number an entry (InputError if it is missing or something else)."""
    if name not in named:
        msg = f"branch {name} is missing"
        raise InputError(msg)
    values = named[name].array(entry_start=start, entry_stop=stop, library="np")
    if values.shape != (stop - start,) or values.dtype.kind not in "iufb":
        msg = f"branch {name} is {named[name].typename}, not one number an entry"
        raise InputError(msg)
    return np.asarray(values)
