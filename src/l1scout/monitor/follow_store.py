"""Read a run in a store: what is there, and then each segment that comes."""

import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.io.quality import ReadQuality
from l1scout.store.catalogue import Catalogue, Stored

POLL_S = 0.5
_TRIES = 20
"""Looks at a segment that cannot be read, as it is just being compressed, before it is left out."""


class StoreFollower:
    """Follows a run in the folder of a store, all its sources.

    Parameters
    ----------
    folder : Path
    run : int
    take : callable
        Gets the data, in order of time; and as `can_wait` whether the run has ended.
    stopping : Event

    Attributes
    ----------
    skipped_segments : int
        Segments that could not be read to their end.
    corrupt : int
        Stretches that could not be read.
    sources : set of int
        Source ids of the run that have a segment in the store.
    ended : bool
        Whether all sources have sent their last segment.

    Raises
    ------
    InputError
        If there is no catalogue, or it does not have the run.
    """

    def __init__(self, folder: Path, run: int, take: Callable[..., None], stopping: threading.Event) -> None:
        self._folder, self._run, self._take, self._stopping = folder, run, take, stopping
        self.skipped_segments = self.skipped_bytes = self.corrupt = 0
        self.ended = False
        self._done: set[tuple[int, int, int]] = set()
        self._failed: dict[tuple[int, int, int], int] = {}
        if not self._segments():
            msg = f"{folder}: run {run} is not in this store (see `l1scout runs`)"
            raise InputError(msg)

    def run(self) -> None:
        """Read until stopped, or until the run has ended and all of it was read."""
        while not self._stopping.is_set():
            segments = self._segments()
            has_ended = self.sources == {s.segment.source for s in segments if s.segment.last}
            self._read(segments, has_ended)
            if has_ended and all(s.segment.key in self._done for s in segments):
                self.ended = True
                return
            self._stopping.wait(POLL_S)

    def _segments(self) -> list[Stored]:
        catalogue = Catalogue(self._folder)
        try:
            found = [s for s in catalogue.segments(self._run) if s.deleted is None]
        finally:
            catalogue.close()
        self.sources = {s.segment.source for s in found}
        return found

    def _read(self, segments: list[Stored], has_ended: bool) -> None:
        """Read the new segments of all sources side by side: the source that is furthest behind is next."""
        new: dict[int, list[Stored]] = {}
        for stored in segments:
            if stored.segment.key not in self._done:
                new.setdefault(stored.segment.source, []).append(stored)
        left = {source: chain.from_iterable(map(self._batches, own)) for source, own in new.items()}
        newest = dict.fromkeys(left, -1)
        while left and not self._stopping.is_set():
            source = min(left, key=newest.__getitem__)
            data = next(left[source], None)
            if data is None:
                del left[source]
                continue
            if len(data.main):
                newest[source] = int(data.main.orbit[-1])
            self._take(data, can_wait=has_ended)

    def _batches(self, stored: Stored) -> Iterator[OrbitData]:
        """Yield the data of a segment; what cannot be read yet is tried again."""
        key, quality, begun = stored.segment.key, ReadQuality(), False
        try:
            files = [self._folder / stored.file] if stored.segment.orbits else []
            for data in read_batches(files, quality=quality):
                begun = True
                yield data
        except (InputError, OSError):
            self._failed[key] = self._failed.get(key, 0) + 1
            if not begun and self._failed[key] < _TRIES:
                return
            self.skipped_segments += 1
        self._done.add(key)
        self.corrupt += quality.damaged_parts
