"""Decisions of the Global Trigger (uGT): the 512 algorithm bits of a crossing, before prescales.

Source id 4. CMS has published neither a record nor an unpacker for this stream: `RECORD` is l1scout's own,
version 1. It holds what the uGT sends on its four scouting links (28 to 31, since version 1.22 of its
firmware): for each crossing the bits of the algorithms as they leave the logic, before masks of BX and before
prescales; hashes of the menu and of the firmware; and counters. They are of one board: a menu is spread over
up to six, and the bits of algorithms on others are 0; a record can hold several boards, and `combine_boards`
puts them together. `from_links` takes the words of the four links as a board's input, `to_links` is its
inverse.

Zero suppression: a crossing is kept if any bit is set, other than those of algorithms that are named as
ignored: a menu has some that are always true.

Columns: ``algo000`` has algorithms 0 to 31 (lowest bit first), ``algo032`` those from 32 on, up to
``algo480``; ``menuHash`` and ``firmwareHash``; ``bxUgt`` and ``bxMp7``, counters of the crossing in the uGT
and in its MP7 board, whose origins differ from that of the BX; ``orbitUgt``, its orbit counter of 48 bits.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.layout import Field, Layout
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.object_records import FoundObjects, ObjectTable, RecordForm, write_records
from l1scout.formats.object_stream import ObjectStream
from l1scout.formats.stream import STREAMS
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

SOURCE = 4
ALGORITHMS, MAX_BOARDS = 512, 6
WORDS = ALGORITHMS // 32
VERSION = 1
HEADER = Layout(
    "Header of a record of the Global Trigger",
    32,
    (Field("boards", 0, 8, note="objects that follow, 1 to 6"), Field("version", 8, 24, note="1")),
    "l1scout's own.",
)
COUNTERS = Layout(
    "Counters of the Global Trigger",
    32,
    (
        Field("bxUgt", 0, 12, note="link 31, word 0"),
        Field("bxMp7", 12, 12, note="link 31, word 1"),
    ),
    "l1scout's own.",
)
OBJECT = np.dtype(
    [
        ("algorithms", "<u4", (WORDS,)),
        *((name, "<u4") for name in ("menuHash", "firmwareHash", "counters", "orbitUgtHigh", "orbitUgtLow")),
    ]
)
RECORD = np.dtype([*((name, "<u4") for name in ("header", "bx", "orbit")), ("boards", OBJECT, (1,))])
ALGORITHM_COLUMNS = tuple(f"algo{32 * k:03}" for k in range(WORDS))
_SIZE = OBJECT.itemsize // 4
_FORM = RecordForm(MAX_BOARDS, count_mask=0xFF, object_words=_SIZE, head=VERSION << 8, head_mask=0xFFFFFF00)
LINKS, FRAMES = 4, 6
"""Scouting links of the uGT, 28 to 31, and 32-bit words of each per crossing.

In the order of links and words, 0 to 15 are the algorithms, 16 and 17 the hashes; then link 31 has bxUgt,
bxMp7, bxUgt again, the upper 16 and the lower 32 bits of the orbit, and 0.
"""
_HASHES, _BX_UGT, _BX_MP7, _ORBIT = WORDS, WORDS + 2, WORDS + 3, WORDS + 5


@kernel
def _take(payload: Any, ignored: Any, out: Any, bx: Any) -> Any:
    """Copy the words of crossings with an algorithm that is not ignored, (n, 24); the number of crossings."""
    n = 0
    for crossing in range(out.shape[0]):
        some = np.uint32(0)
        for k in range(WORDS):
            some |= payload[k // FRAMES, FRAMES * crossing + k % FRAMES] & ~ignored[k]
        if some != 0:
            for link in range(LINKS):
                for k in range(FRAMES):
                    out[n, FRAMES * link + k] = payload[link, FRAMES * crossing + k]
            bx[n] = crossing + 1
            n += 1
    return n


def from_links(payload: NDArray[np.uint32], orbit: int, ignored: Iterable[int] = ()) -> OrbitBatch:
    """Suppress zeros in what came on the four scouting links in an orbit.

    Parameters
    ----------
    payload : ndarray of uint32, shape (4, 21384 or more)
        Words of links 28 to 31, aligned: six per crossing, from BX 1 on, as `link.receive.LinkReceiver` has
        them.
    orbit : int
    ignored : iterable of int
        Algorithms (0..511) that do not make a crossing worth keeping; their bits are kept in those that are.
    """
    mask = np.zeros(WORDS, np.uint32)
    for algorithm in ignored:
        mask[algorithm // 32] |= np.uint32(1 << algorithm % 32)
    words, bx = np.empty((BX_PER_ORBIT, LINKS * FRAMES), np.uint32), np.empty(BX_PER_ORBIT, np.int64)
    n = int(_take(payload, mask, words, bx))
    words = words[:n]
    columns: dict[str, NDArray[Any]] = {name: words[:, k] for k, name in enumerate(ALGORITHM_COLUMNS)}
    columns |= {"menuHash": words[:, _HASHES], "firmwareHash": words[:, _HASHES + 1]}
    columns |= {
        name: (words[:, k] & 0xFFF).astype(np.int16) for name, k in (("bxUgt", _BX_UGT), ("bxMp7", _BX_MP7))
    }
    columns["orbitUgt"] = (words[:, _ORBIT].astype(np.int64) & 0xFFFF) << 32 | words[:, _ORBIT + 1]
    return OrbitBatch(np.full(n, orbit, np.int64), bx[:n], np.arange(n + 1), columns, n_orbits=1)


def to_links(objects: OrbitBatch) -> NDArray[np.uint32]:
    """Return the words that the four links carry in an orbit, shape (4, 21384): the inverse of `from_links`.

    Crossings without an object are all zeros.

    Raises
    ------
    ValueError
        If a crossing has the decisions of several boards, or a BX 0.
    """
    if objects.counts.max(initial=1) > 1 or objects.bx.min(initial=1) < 1:
        msg = "four links carry the decisions of one board, in BX 1 to 3564"
        raise ValueError(msg)
    objects = objects.select(np.ones(objects.n_objects, np.bool_))
    words = np.zeros((BX_PER_ORBIT, LINKS * FRAMES), np.uint32)
    orbit = objects["orbitUgt"]
    named = [*ALGORITHM_COLUMNS, "menuHash", "firmwareHash", "bxUgt", "bxMp7", "bxUgt"]
    made = [objects[name] for name in named] + [orbit >> 32, orbit & 0xFFFFFFFF]
    words[objects.bx - 1, : len(made)] = np.stack([column.astype(np.uint32) for column in made], axis=1)
    return np.ascontiguousarray(words.reshape(-1, LINKS, FRAMES).swapaxes(0, 1)).reshape(LINKS, -1)


def fired(columns: Mapping[str, NDArray[Any]], algorithm: int) -> NDArray[np.bool_]:
    """Return for each object whether an algorithm (0..511) has its bit set."""
    return np.asarray(
        columns[ALGORITHM_COLUMNS[algorithm // 32]] >> np.uint32(algorithm % 32) & np.uint32(1) != 0
    )


def combine_boards(objects: OrbitBatch) -> OrbitBatch:
    """Return one object per crossing, with the algorithms of all boards; the rest is the first board's."""
    objects = objects.select(np.ones(objects.n_objects, np.bool_))
    first = objects.offsets[:-1]
    columns = {name: column[first] for name, column in objects.columns.items()}
    if len(objects):
        columns |= {n: np.bitwise_or.reduceat(objects[n], first) for n in ALGORITHM_COLUMNS}
    return replace(objects, offsets=np.arange(len(objects) + 1), columns=columns)


class GlobalTriggerStream(ObjectStream):
    """Algorithm bits of the Global Trigger: an object per crossing and board."""

    name = "gt"
    title = "decisions of the Global Trigger"
    source_ids = (SOURCE,)
    layouts = {"l1scout's record, version 1": (HEADER, COUNTERS)}  # noqa: RUF012
    absent = ""
    forms = {SOURCE: _FORM}  # noqa: RUF012
    table = ObjectTable(keep_words=True)
    nano = NanoTable("L1GT", cms=False)
    records = {  # noqa: RUF012
        "Record of a crossing of the Global Trigger, l1scout's own, version 1": RECORD,
        "Decisions of a board of the Global Trigger in a record": OBJECT,
    }

    def objects(self, found: FoundObjects, names: Collection[str] | None = None) -> OrbitBatch:
        """Make columns of the words of boards."""
        words = found.words
        names_of_words = (*ALGORITHM_COLUMNS, "menuHash", "firmwareHash")
        columns: dict[str, NDArray[Any]] = dict(zip(names_of_words, words, strict=False))
        columns |= COUNTERS.decode(words[len(names_of_words)])
        columns["orbitUgt"] = words[-2].astype(np.int64) << 32 | words[-1]
        return found.batch({n: c for n, c in columns.items() if names is None or n in names})

    def encode(
        self, objects: OrbitBatch, source: int | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Write records of this version."""
        del source
        orbit = np.asarray(objects["orbitUgt"], np.int64)
        if orbit.min(initial=0) < 0 or orbit.max(initial=0) >> 48:
            msg = f"orbitUgt is outside 0..{(1 << 48) - 1}"
            raise ValueError(msg)
        words = [objects[name] for name in (*ALGORITHM_COLUMNS, "menuHash", "firmwareHash")]
        words += [COUNTERS.encode({f.name: objects[f.name] for f in COUNTERS.fields})]
        words += [orbit >> 32, orbit & 0xFFFFFFFF]
        return write_records(objects, _FORM, dict(enumerate(words)))


GLOBAL_TRIGGER: GlobalTriggerStream = STREAMS.register("gt")(GlobalTriggerStream())
