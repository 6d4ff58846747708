"""Account of a reading: what was left out and why, and whether the data can be trusted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, occurrence
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.files import checksum
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import MUONS
from l1scout.io.seen import (
    ContentSeen,
    EventsSeen,
    OrbitsSeen,
    Repetition,
    checksums,
    whole_orbits,
)

WARN_ABOVE = 0.05
"""Fraction of damaged data above which a result carries a warning."""
REFUSE_ABOVE = 0.5
"""Fraction of damaged data above which an analysis stops, unless damaged data are accepted."""
MIN_REPEATED = 5
"""Repeated orbits that are no accident: with two muons or more, two orbits never have the same content."""
_COUNTS = (
    *("files", "orbits", "duplicate_orbits", "duplicate_events", "overlapping_orbits", "flagged_orbits"),
    *("missing_orbits", "other_particles", "damaged_parts", "damaged_bytes", "repeated_orbits"),
)


@dataclass
class ReadQuality:
    """Account of the files that were read: one object for all files of an analysis.

    Parameters
    ----------
    skip_flagged : bool
        Leave out orbits in which a link was missing or disagreed; otherwise they are only counted.
    count_occupied : bool
        Of formats that do not report empty orbits, such as DMA packets of Run 2, give the number of orbits
        with a block as ``n_orbits``; otherwise it is not known.

    Attributes
    ----------
    files, orbits, rows : int
        Read and used. `orbits` counts those of formats that state them, empty ones too.
    duplicate_files : list of str
        Left out because an earlier file has the same bytes.
    duplicate_orbits, duplicate_events : int
        Left out because they were read before, in the same or in an earlier file.
    overlapping_orbits : int
        Orbits with the number of an earlier orbit but other muons, in data that do not state their run: used,
        as those of another run.
    flagged_orbits : int
        With a link that was missing or disagreed; left out if `skip_flagged`.
    other_particles : int
        Electrons of a file of leptons; left out.
    missing_orbits : int
        Announced by a file's header and not in the file.
    damaged_parts, damaged_bytes, bytes : int
        Stretches of the files that could not be read; all bytes.
    repeated_orbits : int
        Used, although their content is that of an earlier orbit: a source that sends the same data in a loop.
    bx_0 : int
        Crossings with BX 0, of data that count BX from 0.
    """

    skip_flagged: bool = False
    count_occupied: bool = False
    files: int = 0
    orbits: int = 0
    rows: int = 0
    duplicate_files: list[str] = field(default_factory=list)
    duplicate_orbits: int = 0
    duplicate_events: int = 0
    flagged_orbits: int = 0
    other_particles: int = 0
    missing_orbits: int = 0
    damaged_parts: int = 0
    damaged_bytes: int = 0
    bytes: int = 0
    marked_orbits: int = 0
    bx_0: int = 0
    _orbits: dict[int, OrbitsSeen] = field(default_factory=dict, repr=False)
    _content: ContentSeen = field(default_factory=ContentSeen, repr=False)
    _events: EventsSeen = field(default_factory=EventsSeen, repr=False)
    _repetition: Repetition = field(default_factory=Repetition, repr=False)
    _sizes: dict[int, list[Path]] = field(default_factory=dict, repr=False)
    _checksums: dict[Path, int] = field(default_factory=dict, repr=False)
    _of_sources: dict[int | None, "ReadQuality"] = field(default_factory=dict, repr=False)

    @property
    def overlapping_orbits(self) -> int:
        """Orbits with the number, but not the muons, of an earlier one, in data without run."""
        return self._content.overlapping

    @property
    def repeated_orbits(self) -> int:
        """Orbits with the content of an earlier one: found in the data, or marked by their board."""
        return max(self._repetition.repeated, self.marked_orbits)

    @property
    def repetition(self) -> float:
        """How often each orbit was seen, on average: 1 for independent crossings."""
        return 1.0 if self.independent else self.orbits / max(self.orbits - self.repeated_orbits, 1)

    @property
    def independent(self) -> bool:
        """Whether the crossings are independent: not the same data again and again."""
        return self.marked_orbits == 0 and self._repetition.repeated < MIN_REPEATED

    @property
    def damaged_fraction(self) -> float:
        """Fraction of the data that is damaged: the larger one of orbits and of bytes."""
        orbits = self.orbits + (self.flagged_orbits if self.skip_flagged else 0)
        flagged = self.flagged_orbits / orbits if orbits else 0.0
        return max(flagged, self.damaged_bytes / self.bytes if self.bytes else 0.0)

    def is_duplicate_file(self, path: Path) -> bool:
        """Return whether an earlier file has the same bytes, and count it."""
        size = path.stat().st_size
        same = self._sizes.setdefault(size, [])
        for other in same:
            if size and (other.samefile(path) or self._sum(other) == self._sum(path)):
                self.duplicate_files.append(str(path))
                return True
        same.append(path)
        return False

    def _sum(self, path: Path) -> int:
        if path not in self._checksums:
            self._checksums[path] = checksum(path)[1]
        return self._checksums[path]

    def new_orbits(
        self, run: int, orbits: NDArray[np.int64], source: int = MUONS.source_ids[0]
    ) -> NDArray[np.bool_]:
        """Return which orbits of a run were not read before from a source, and count the others.

        An orbit counts once, though several sources may have it: those of the first source are counted.
        """
        seen = self._orbits.setdefault(source, OrbitsSeen())
        new = seen.new(run, orbits)
        if source == next(iter(self._orbits)):
            self.duplicate_orbits += int(np.count_nonzero(~new))
        return new

    def of_source(self, source: int | None) -> "ReadQuality":
        """Return the account of one of several sources that are joined: of the first one, this account."""
        if source not in self._of_sources:
            other = ReadQuality(self.skip_flagged, self.count_occupied)
            self._of_sources[source] = other if self._of_sources else self
        return self._of_sources[source]

    def new_contents(self, orbits: NDArray[np.int64], contents: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which orbits (rising) of an unknown run were not read before, and count the others."""
        new = self._content.new(orbits, contents)
        self.duplicate_orbits += int(np.count_nonzero(~new))
        return new

    def flag(self, batch: OrbitBatch, flagged: NDArray[np.int64]) -> OrbitBatch:
        """Count flagged orbits of a batch, and leave them out if `skip_flagged`."""
        self.flagged_orbits += flagged.size
        if not (self.skip_flagged and flagged.size):
            return batch
        left = None if batch.n_orbits is None else max(batch.n_orbits - flagged.size, 0)
        kept = batch.take(np.flatnonzero(~np.isin(batch.orbit, flagged)), n_orbits=left)
        seen = batch.orbits_seen()
        return kept if seen is None else kept.with_orbits(np.setdiff1d(seen, flagged))

    def damage(self, parts: int, lost_bytes: int) -> None:
        """Count stretches that could not be read."""
        self.damaged_parts += parts
        self.damaged_bytes += lost_bytes

    def new_rows(self, batch: OrbitBatch) -> OrbitBatch:
        """Leave out the rows of orbits that were read before, in formats with one row per crossing.

        A stretch of rows with the same orbit and rising BX is an orbit; the batch has whole orbits.
        """
        known = len(batch) and batch.orbit.min() >= 0
        if not known:
            return batch
        changes = (np.diff(batch.orbit) != 0) | (np.diff(batch.run) != 0) | (np.diff(batch.bx) <= 0)
        starts = np.flatnonzero(np.r_[True, changes])
        orbits, runs = batch.orbit[starts], batch.run[starts]
        new = np.ones(starts.size, np.bool_)
        for run in np.unique(runs).tolist():
            at = np.flatnonzero(runs == run)
            if run:
                new[at] = self.new_orbits(run, orbits[at])
                continue
            sums = checksums(batch)
            contents = (sums[np.r_[starts[1:], len(batch)]] - sums[starts])[at]
            order = np.argsort(orbits[at], kind="stable")
            # the k-th stretch of an orbit is compared with the one before it
            repeats = np.zeros(at.size, np.int64)
            repeats[order] = occurrence(orbits[at][order])
            for k in range(int(repeats.max()) + 1):
                part = order[repeats[order] == k]
                new[at[part]] = self.new_contents(orbits[at][part], contents[part])
        if new.all():
            return batch
        rows = np.repeat(new, np.diff(np.r_[starts, len(batch)]))
        n = batch.n_orbits
        left = None if n is None else round(n * np.count_nonzero(new) / new.size)
        return batch.take(np.flatnonzero(rows), n_orbits=left)

    def new_only(self, chunks: Iterable[OrbitData], *, triggered: bool = False) -> Iterator[OrbitData]:
        """Yield the crossings of formats with one row per crossing, without those that were read before.

        Rows of triggered events are compared one by one, those of scouting data by orbit. Pairs of an L1
        and an offline muon, of which an event may have several, and rows without orbit are given as they are.
        """
        if triggered:
            yield from map(self.new_events, chunks)
            return
        first, chunks = _peek(chunks)
        if first is None or first.offline is not None or not first.main.columns or _lacks_orbits(first):
            yield from chunks
            return
        if len(first.streams) > 1 or first.selections is not None or first.main.orbits_seen() is not None:
            yield from map(self.new_streams, chunks)
            return
        for batch in whole_orbits(data.main for data in chunks):
            yield first.with_main(self.new_rows(batch))

    def new_streams(self, data: OrbitData) -> OrbitData:
        """Leave out orbits of each source that were read before, of data of whole orbits and a known run."""
        sources: dict[int, list[str]] = {}
        for number, name in enumerate(data.streams):
            ids = STREAMS[name].source_ids if name in STREAMS else ()
            sources.setdefault(ids[0] if ids else -1 - number, []).append(name)
        made, flags = dict(data.streams), data.selections
        for source, names in sources.items():
            batches = [data.streams[name] for name in names]
            runs = np.unique(np.concatenate([batch.run for batch in batches])).tolist()
            if len(runs) != 1 or not runs[0]:
                continue
            orbits = np.unique(np.concatenate([covered_orbits(batch) for batch in batches]))
            new = self.new_orbits(runs[0], orbits, source)
            if not new.all():
                made |= {name: _of_orbits(data.streams[name], orbits[new]) for name in names}
                flags = None if flags is None else _of_orbits(flags, orbits[new])
        return replace(data, streams=made, selections=flags)

    def new_events(self, events: OrbitData) -> OrbitData:
        """Leave out triggered events that were read before, and count them."""
        new = self._events.new(events.main)
        left_out = int(np.count_nonzero(~new))
        if not left_out:
            return events
        self.duplicate_events += left_out
        rows = np.flatnonzero(new)
        offline = None if events.offline is None else events.offline.take(rows)
        objects = events.main.take(rows, n_orbits=events.main.n_orbits)
        return replace(events.with_main(objects), offline=offline)

    def add(self, batch: OrbitBatch) -> None:
        """Count what is used, and look for repetition."""
        self.rows += len(batch)
        self.bx_0 += int(np.count_nonzero(batch.bx == 0))
        self.orbits += batch.n_orbits or 0
        if batch.n_orbits is not None or (len(batch) and batch.run[0] == 0 and batch.orbit.min() >= 0):
            self._repetition.add(batch)

    def as_dict(self) -> dict[str, Any]:
        """Return the account for JSON."""
        out: dict[str, Any] = {n: getattr(self, n) for n in _COUNTS}
        out["duplicate_files"] = list(self.duplicate_files)
        out["damaged_fraction"] = self.damaged_fraction
        out["independent_crossings"] = self.independent
        return out | {"warnings": self.warnings()}

    def summary(self) -> str:
        """Return what was read and what was left out, in a line."""
        left_out = {
            "duplicate files": len(self.duplicate_files),
            "duplicate orbits": self.duplicate_orbits,
            "duplicate events": self.duplicate_events,
            "flagged orbits": self.flagged_orbits if self.skip_flagged else 0,
            "electrons": self.other_particles,
            "damaged bytes": self.damaged_bytes,
        }
        names = ", ".join(f"{n:,} {name}" for name, n in left_out.items() if n) or "nothing"
        read = f"{self.orbits:,} orbits" if self.orbits else f"{self.rows:,} events"
        return f"{read} of {self.files} file{'s' * (self.files != 1)}; left out: {names}"

    def warnings(self) -> list[str]:
        """Return warnings for the reader of the result, one sentence each; empty if nothing was wrong."""
        return list(self._warnings())

    def _warnings(self) -> Iterator[str]:
        if not self.independent:
            yield (
                f"{self.repeated_orbits:,} of {self.orbits:,} orbits repeat the content of earlier ones "
                "(a source in a loop): crossings are not independent, uncertainties and significances do "
                "not hold"
            )
        if self.damaged_fraction > WARN_ABOVE:
            yield (
                f"{100 * self.damaged_fraction:.3g} % of the data are damaged: {self.flagged_orbits:,} "
                f"orbits with a missing or disagreeing link, {self.damaged_bytes:,} bytes that cannot be read"
            )
        if self.missing_orbits:
            yield (
                f"{self.missing_orbits:,} orbits that the headers of the files announce are missing: "
                "files were cut short; copy them again"
            )
        if self.duplicate_files:
            n, names = len(self.duplicate_files), ", ".join(self.duplicate_files[:3])
            yield f"{n} input file(s) left out, same bytes as an earlier one: {names}"
        if self.duplicate_orbits or self.duplicate_events:
            yield (
                f"{self.duplicate_orbits:,} orbits and {self.duplicate_events:,} events left out: "
                "they were read before (overlapping files or an orbit written twice)"
            )
        if self.bx_0:
            yield (
                f"{self.bx_0:,} crossings have BX 0: these data count BX from 0, one less than CMS; they "
                "are used as written, and BX 0 is no bunch"
            )
        if self.other_particles:
            yield f"{self.other_particles:,} particles left out: they are electrons"
        if self.overlapping_orbits:
            yield (
                f"{self.overlapping_orbits:,} orbits have the number of an earlier orbit but other muons, "
                "and the files do not state their run: used as data of another run"
            )

    def check(self, *, allow_damaged: bool = False) -> None:
        """Refuse data that cannot give a result.

        Parameters
        ----------
        allow_damaged : bool
            Accept mostly damaged data.

        Raises
        ------
        InputError
            If more than half of the data are damaged.
        """
        if self.damaged_fraction > REFUSE_ABOVE and not allow_damaged:
            warning = next(w for w in self._warnings() if "damaged" in w)
            msg = f"{warning}; use other data, or give --accept-damaged"
            raise InputError(msg)


def covered_orbits(batch: OrbitBatch) -> NDArray[np.int64]:
    """Return the orbits that a batch covers, as far as their numbers are known."""
    seen = batch.orbits_seen()
    return np.unique(batch.orbit) if seen is None else seen


def _of_orbits(batch: OrbitBatch, orbits: NDArray[np.int64]) -> OrbitBatch:
    """Return the rows of some of the orbits (rising) that a batch covers."""
    if batch.orbits_seen() is not None:
        return batch.of_orbits(orbits)
    covered, n = covered_orbits(batch), batch.n_orbits
    left = None if n is None else round(n * np.isin(covered, orbits).sum() / max(covered.size, 1))
    return batch.take(np.flatnonzero(np.isin(batch.orbit, orbits)), n_orbits=left)


def _lacks_orbits(data: OrbitData) -> bool:
    """Return whether a row has no orbit number."""
    return bool(np.any(data.main.orbit < 0))


def _peek(chunks: Iterable[OrbitData]) -> tuple[OrbitData | None, Iterable[OrbitData]]:
    """Return the first chunk, and all of them."""
    rest = iter(chunks)
    first = next(rest, None)
    return first, rest if first is None else chain([first], rest)
