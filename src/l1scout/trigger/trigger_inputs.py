"""What the Global Trigger gets: objects, sums and signals of consecutive crossings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import KINDS

SLOTS = {kind.stream: kind.slots for kind in KINDS.values()}


@dataclass(frozen=True)
class StreamObjects:
    """Objects of a stream, in order of their crossings and of their place in the crossing.

    Parameters
    ----------
    crossing : ndarray of int64, shape (rows,)
        Crossings that have objects, from 0, rising.
    offsets : ndarray of int64, shape (rows + 1,)
        Index of the first object of each; the last entry is the number of objects.
    columns : mapping of str to ndarray, each of shape (objects,)
        With the names of the stream. Places of a crossing behind its last object hold 0.
    """

    crossing: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of_slots(cls, columns: Mapping[str, NDArray[Any]]) -> "StreamObjects":
        """Take objects from columns of shape (crossings, slots); empty places hold 0 in all of them."""
        if not columns:
            return cls(np.zeros(0, np.int64), np.zeros(1, np.int64), {})
        present = np.logical_or.reduce([values != 0 for values in columns.values()])
        crossing = np.flatnonzero(present.any(axis=1))
        slots = present.shape[1]
        counts = slots - np.argmax(present[crossing, ::-1], axis=1)
        kept = np.arange(slots) < counts[:, None]
        flat = {name: values[crossing][kept] for name, values in columns.items()}
        return cls(crossing, np.r_[0, np.cumsum(counts)], flat)

    def at(self, crossing: int) -> dict[str, NDArray[Any]]:
        """Return the columns of the objects of one crossing; without objects, columns are empty."""
        row = int(np.searchsorted(self.crossing, crossing))
        found = row < len(self.crossing) and self.crossing[row] == crossing
        start, stop = self.offsets[row : row + 2] if found else (0, 0)
        return {name: values[start:stop] for name, values in self.columns.items()}

    def only(self, chosen: NDArray[np.int64]) -> "StreamObjects":
        """Return the objects of some crossings, in rising order, as those of crossings 0, 1, 2..."""
        place = np.searchsorted(chosen, self.crossing)
        rows = np.flatnonzero(np.append(chosen, -1)[place] == self.crossing)
        counts = np.diff(self.offsets)[rows]
        offsets = np.r_[0, np.cumsum(counts)]
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts)
        return StreamObjects(place[rows], offsets, {n: v[index] for n, v in self.columns.items()})

    def in_slots(self, name: str, crossings: int, slots: int) -> NDArray[Any]:
        """Return a column with all places of all crossings: shape (crossings, slots)."""
        counts = np.diff(self.offsets)
        slot = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], counts)
        out = np.zeros((crossings, slots), self.columns[name].dtype)
        out[np.repeat(self.crossing, counts), slot] = self.columns[name]
        return out


@dataclass(frozen=True)
class TriggerInputs:
    """Inputs of consecutive crossings.

    Parameters
    ----------
    crossings : int
    streams : mapping of str to StreamObjects
        Conditions on a stream, or a column, that is missing cannot be evaluated.
    external : ndarray of bool, shape (crossings, 256), optional
        External signals by their bit; conditions on them cannot be evaluated without.
    cicada : ndarray of int, shape (crossings,), optional
        Score of the calorimeter's anomaly trigger.
    wrap : bool
        Whether the crossing after the last is the first, as in test vectors of one orbit. Otherwise crossings
        before the first and after the last are taken as empty: algorithms that look at other crossings are
        not reliable in the first and last two.

    Raises
    ------
    ValueError
        If crossings of a stream do not rise or are outside, one has more objects than the trigger's links,
        or shapes do not agree.
    """

    crossings: int
    streams: Mapping[str, StreamObjects]
    external: NDArray[np.bool_] | None = None
    cicada: NDArray[Any] | None = None
    wrap: bool = False

    def __post_init__(self) -> None:
        for stream, objects in self.streams.items():
            at, counts = objects.crossing, np.diff(objects.offsets)
            rising = not at.size or (at[0] >= 0 and at[-1] < self.crossings and (at[1:] > at[:-1]).all())
            good = rising and len(counts) == len(at) and objects.offsets[0] == 0
            if not good or (at.size and not 0 <= counts.min() <= counts.max() <= SLOTS[stream]):
                msg = f"{stream}: crossings must rise within 0..{self.crossings - 1}, with at most "
                msg += f"{SLOTS[stream]} objects each"
                raise ValueError(msg)
            for name, values in objects.columns.items():
                if values.shape != (objects.offsets[-1],):
                    msg = f"column {name} of {stream} has shape {values.shape}, not ({objects.offsets[-1]},)"
                    raise ValueError(msg)
        for what, shape in (("external", (self.crossings, 256)), ("cicada", (self.crossings,))):
            given = getattr(self, what)
            if given is not None and given.shape != shape:
                msg = f"{what} has shape {given.shape}, not {shape}"
                raise ValueError(msg)

    def only(self, chosen: NDArray[np.int64]) -> "TriggerInputs":
        """Return some crossings, in rising order, as crossings that follow each other."""
        streams = {name: objects.only(chosen) for name, objects in self.streams.items()}
        external = None if self.external is None else self.external[chosen]
        cicada = None if self.cicada is None else self.cicada[chosen]
        return TriggerInputs(len(chosen), streams, external, cicada)

    def objects(self, stream: str, *columns: str) -> StreamObjects:
        """Return the objects of a stream.

        Raises
        ------
        UnsupportedError
            If there is no such stream, or it lacks one of the columns.
        """
        if stream not in self.streams:
            msg = f"the data have no {stream}"
            raise UnsupportedError(msg)
        for name in columns:
            if name not in self.streams[stream].columns:
                msg = f"the data have no column {name!r} of the stream {stream}"
                raise UnsupportedError(msg)
        return self.streams[stream]

    def seen_from(self, crossings: NDArray[np.int64], offset: int) -> NDArray[np.int64]:
        """Return the crossings that see these when they look `offset` crossings later; -1 for none."""
        at = crossings - offset
        if self.wrap:
            return np.asarray(at % self.crossings)
        return np.where((at >= 0) & (at < self.crossings), at, -1)

    def fired_at(self, crossings: NDArray[np.int64], offset: int) -> NDArray[np.int64]:
        """Return the crossings that see any of these when they look `offset` crossings later."""
        if not offset:
            return crossings
        at = self.seen_from(crossings, offset)
        return at[at >= 0]
