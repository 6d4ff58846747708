"""Find frames whose headers, which their checksums do not cover, are damaged: by what else states the same.

Four witnesses: the lumisection follows from the orbit; the records state their orbit, under the checksum;
orbits rise from frame to frame; flags do not change for a single frame. A witness that contradicts more than
a few of a source's frames is ignored: then the file was made by other rules. Nothing shows the number of an
empty orbit in the middle of a gap.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.marks import REPEATED
from l1scout.formats.records import HEADER_WORDS, ORBIT_MASK
from l1scout.formats.stream import streams_of_sources
from l1scout.lhc import ORBITS_PER_LUMISECTION

if TYPE_CHECKING:
    from l1scout.formats.raw import Frame

SECTIONS_PER_EPOCH = (ORBIT_MASK + 1) // ORBITS_PER_LUMISECTION
"""Lumisections until the orbit number begins again."""
_BESIDE = 8
"""Frames beside a first or last one that must follow on each other for a step to it to be damage."""
_HEAD = np.dtype(
    [("version", "<u2"), ("flags", "<u2"), *((n, "<u4") for n in ("run", "lumisection", "orbit")),
     *((n, "<u4") for n in ("payloadSize", "crc32c", "source"))]
)  # fmt: skip
FRAME_COLUMNS = np.dtype(
    [*((n, np.int64) for n in ("start", "source", "orbit", "flags", "bytes", "stated")),
     ("is_dated", np.bool_), ("is_filled", np.bool_)]
)  # fmt: skip
_FEW = 20
"""A witness is believed if it contradicts one frame in 20 at most, or a single one."""


def checked(parts: Sequence["Frame | memoryview"], before: dict[int, int]) -> Iterator["Frame | memoryview"]:
    """Yield frames and what lies between them, in order; frames whose headers are damaged as bytes.

    Parameters
    ----------
    parts : sequence of Frame or memoryview
    before : dict of int to int
        Last orbit of each source before these frames; is brought up to date.
    """
    frames, lost, at = list["Frame"](), list[int](), 0
    for part in parts:
        if isinstance(part, memoryview):
            lost.append(at)
            at += len(part)
        else:
            frames.append(part)
            at = part.stop
    bad = iter(find_damaged(frames, lost, before).tolist())
    for part in parts:
        if not isinstance(part, memoryview) and next(bad):
            yield memoryview(b"".join((part.head, part.records)))
        else:
            yield part


def find_damaged(frames: Sequence["Frame"], lost: Sequence[int], before: dict[int, int]) -> NDArray[np.bool_]:
    """Return which frames have damaged headers.

    Parameters
    ----------
    frames : sequence of Frame
        In the order of the file.
    lost : sequence of int
        Where stretches begin that are no frames.
    before : dict of int to int
        Last orbit of each source before these frames; is brought up to date.
    """
    return find_damaged_columns(_columns(frames), lost, before)


def find_damaged_columns(
    every: NDArray[Any], lost: Sequence[int], before: dict[int, int]
) -> NDArray[np.bool_]:
    """Do the same for frames of which what their headers state is given: of type `FRAME_COLUMNS`."""
    out = np.zeros(every.size, np.bool_)
    for source in np.unique(every["source"]).tolist():
        at = np.flatnonzero(every["source"] == source)
        own = every[at]
        if _are_plain(own, before.get(source)):
            before[source] = int(own["orbit"][-1])
            continue
        bad = _contradicted(own["is_dated"], np.ones(own.size, np.bool_))
        proven = own["is_filled"] & (own["stated"] == own["orbit"] & ORBIT_MASK)
        bad |= _contradicted(proven, own["is_filled"])
        bad |= _odd_flags(own["flags"])
        left = np.flatnonzero(~bad)
        gaps = np.sort(np.r_[np.asarray(lost, np.int64), own["start"][bad]])
        bad[left] |= _out_of_order(own[left], proven[left], gaps, before.get(source))
        good = np.flatnonzero(~bad)
        if good.size:
            before[source] = int(own["orbit"][good[-1]])
        out[at] = bad
    return out


def _are_plain(frames: NDArray[Any], before: int | None) -> bool:
    """Return whether all witnesses agree, no flag changes, and each orbit follows the one before it."""
    orbit = frames["orbit"]
    follow = np.all(orbit[1:] - orbit[:-1] == 1) and (before is None or orbit[0] - before == 1)
    return bool(
        follow
        and np.all(frames["is_dated"])
        and np.all(frames["flags"] == frames["flags"][0])
        and np.all((frames["stated"] == orbit & ORBIT_MASK) | ~frames["is_filled"])
    )


def are_dated(lumisections: NDArray[np.int64], orbits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which frames' lumisections are those of their orbits, in whichever epoch."""
    section = orbits // ORBITS_PER_LUMISECTION
    return np.asarray((lumisections > 0) & ((lumisections - 1 - section) % SECTIONS_PER_EPOCH == 0))


def _columns(frames: Sequence["Frame"]) -> NDArray[Any]:
    """Return what the headers of frames state, and the orbit number of their first record."""
    head = np.frombuffer(b"".join([f.head for f in frames]), _HEAD)
    columns = np.zeros(len(frames), FRAME_COLUMNS)
    columns["start"] = [f.start for f in frames]
    columns["orbit"] = [f.orbit for f in frames]
    columns["is_dated"] = are_dated(head["lumisection"].astype(np.int64), head["orbit"].astype(np.int64))
    columns["source"], columns["flags"] = head["source"], head["flags"]
    columns["bytes"] = head["payloadSize"] - 4
    for source in set(head["source"].tolist()):
        at = orbit_at(source)
        own = head["source"] == source
        columns["is_filled"] |= (filled := own & (columns["bytes"] >= at + 4))
        numbers = b"".join([frames[k].records[at : at + 4] for k in np.flatnonzero(filled).tolist()])
        columns["stated"][filled] = np.frombuffer(numbers, "<u4") & ORBIT_MASK
    return columns


@cache
def orbit_at(source: int) -> int:
    """Return the byte of a source's first record at which its orbit number begins."""
    words = (stream.orbit_word(source) for stream in streams_of_sources([source]))
    return 4 * next(words, HEADER_WORDS - 1)


def _contradicted(agrees: Any, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a witness does not agree among the frames `asked`, if it agrees with most."""
    bad = asked & ~np.asarray(agrees, np.bool_)
    return bad if 2 * np.count_nonzero(bad) < np.count_nonzero(asked) else np.zeros(bad.size, np.bool_)


def _few(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what is bad if it is the exception."""
    return bad if np.count_nonzero(bad) <= max(1, bad.size // _FEW) else np.zeros(bad.size, np.bool_)


def mended_marks(marks: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the marks of successive orbits; where one has an odd bit, those of the one beside it."""
    if marks.size < 3 or (marks == marks[0]).all():
        return marks
    place = np.arange(marks.size)
    return marks[np.where(_odd_flags(marks.astype(np.int64) << 13), np.where(place > 0, place - 1, 1), place)]


def _odd_flags(flags: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which frames have a bit of their flags that those on both sides, which agree, do not have.

    A difference in several bits was meant: then data are of another origin.
    """
    bad = np.zeros(flags.size, np.bool_)
    if flags.size < 3:
        return bad
    bad[1:-1] = _one_bit(flags[1:-1] ^ flags[:-2]) & (flags[:-2] == flags[2:])
    repeats = REPEATED << 13
    begins = flags[0] | repeats == flags[1]  # what repeats has a first orbit
    bad[0] = _one_bit(flags[0] ^ flags[1]) and flags[1] == flags[2] and not begins
    bad[-1] = _one_bit(flags[-1] ^ flags[-2]) and flags[-2] == flags[-3]
    return _few(bad)


def _one_bit(difference: Any) -> Any:
    return (difference != 0) & (difference & (difference - 1) == 0)


def _out_of_order(
    frames: NDArray[Any], proven: NDArray[np.bool_], gaps: NDArray[np.int64], before: int | None
) -> NDArray[np.bool_]:
    """Return which frames are not between the orbits of those beside them, or at an end leave a gap.

    Records prove the number of their orbit, but for its epoch: those frames may be in any order within one.
    Frames beside a gap in the file may leave one in the orbits.
    """
    orbit = frames["orbit"]
    known = orbit if before is None else np.r_[before, orbit]
    bad = np.zeros(known.size, np.bool_)
    if known.size < 3:
        return bad[known.size - orbit.size :]
    first, this, last = known[:-2], known[1:-1], known[2:]
    skip = known.size - orbit.size
    filled = np.r_[np.ones(skip, np.bool_), frames["bytes"] > 0]
    proven = np.r_[np.ones(skip, np.bool_), proven]
    # an empty orbit does not take the number of the next one, whose records prove it
    taken = (this == last) & ~filled[1:-1] & proven[2:]
    bad[1:-1] = (first < last) & ((this < first) | (this > last) | taken)
    # a number twice, and none for the orbit between
    bad[1:-1] |= (last - first == 2) & (this != first + 1)
    bad[1:-1] &= ~proven[1:-1] | (np.abs(this - first) >= ORBIT_MASK)
    steps, ends = np.diff(known), (0, min(1, orbit.size - 1), max(orbit.size - 2, 0), -1)
    at = np.searchsorted(gaps, frames["start"][list(ends)])
    if before is None and not bad[1] and at[0] == at[1]:
        bad[0] = _is_apart(known[0] ^ (known[1] - 1), steps[0], steps[1 : 1 + _BESIDE], proven=proven[0])
    if not bad[-2] and at[2] == at[3]:
        bad[-1] = _is_apart(
            known[-1] ^ (known[-2] + 1), steps[-1], steps[-1 - _BESIDE : -1], proven=proven[-1]
        )
    return _few(bad[skip:])


def _is_apart(changed: Any, step: Any, beside: NDArray[np.int64], *, proven: Any) -> bool:
    """Return whether a first or last frame does not belong to those beside it.

    A step of another length than 1 may be a gap; it is damage if a single bit is `changed` from the number
    without a gap, or if it is one of an epoch.
    """
    follow = beside.size > 0 and bool(np.all(beside == 1))
    if proven or abs(step) >= ORBIT_MASK:
        return follow and bool(abs(step) >= ORBIT_MASK)
    falls = beside.size > 0 and bool(np.all(beside > 0) and step < 0)
    return (follow and bool(_one_bit(changed))) or falls
