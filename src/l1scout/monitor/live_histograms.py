"""What the page shows: histograms of the run as it is taken, what the chain reports, and recent rates."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1scout.analysis.common.live_time import Section
from l1scout.control.local import command
from l1scout.control.messages import ChainStatus
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.deploy.recalibration_stage import RecalibrationStage
from l1scout.errors import InputError, ScoutingError, printable
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.monitor.live_scores import LiveScores
from l1scout.monitor.model_scores import ModelScores, Scored, ThresholdRate
from l1scout.quality.accumulators import RunHistograms
from l1scout.quality.histogram_file import SavedHistograms, read_histograms, saved, write_histograms

KEEP_SECTIONS = 32
"""Lumisections whose histograms are kept apart."""
SERIES = 600
"""Points of recent rates: five minutes, two a second."""
MAX_RUNS = 1000
"""Saved runs that are listed, the newest ones."""
MAX_CACHED = 4
CURRENT = "current"


@dataclass(frozen=True)
class Recent:
    """What was seen between two ticks.

    Parameters
    ----------
    time : float
        Seconds since 1970.
    real_time_factor : float
        Orbits read per second, in units of the LHC's.
    seen_fraction : float
        Of the orbits that passed, those that were read; NaN if none passed.
    objects_per_orbit : float
        Of the main stream.
    lag_s : float
        Of the readout behind its board, as run control says; NaN where it is not known.
    """

    time: float
    real_time_factor: float
    seen_fraction: float
    objects_per_orbit: float
    lag_s: float


class LiveHistograms:
    """Takes data of one run after the other.

    Parameters
    ----------
    folder : Path, optional
        Where the histograms of each run are saved, as ``run000042.root``; None saves nothing.
    recalibration : RecalibrationStage, optional
    scores : LiveScores, optional
        Anomaly models that score the crossings.
    run_folder : Path, optional
        Of the run control whose status is shown.
    reference : Path, optional
        File of histograms to compare with.
    provenance : Provenance

    Attributes
    ----------
    guard : Lock
        Held while histograms change.
    oldest_orbit, newest_orbit : int
        First and last orbit of the run that was read; -1 before the first.
    faults : list of str
        What went wrong, for the page.
    alarms : list of mapping
        For the page: each has ``text`` and, if there is a plot to look at, ``link``, an address of the page
        such as ``?view=maps``.
    skipped : mapping of str to int
        Segments and bytes that were left out, for the page.
    watchers : list of callable
        Each is called once for every lumisection that is complete, ``watcher(histograms, section)``, while
        nothing changes.
    """

    def __init__(
        self,
        provenance: Provenance,
        *,
        folder: Path | None = None,
        recalibration: RecalibrationStage | None = None,
        scores: LiveScores | None = None,
        run_folder: Path | None = None,
        reference: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provenance, self._folder, self._run_folder = provenance, folder, run_folder
        self._recalibration, self.scores, self._clock = recalibration, scores, clock
        self.guard, self._taking, self._saving = (threading.Lock() for _ in range(3))
        self.histograms = RunHistograms(KEEP_SECTIONS)
        self.run: int | None = None
        self.oldest_orbit = self.newest_orbit = -1
        self.faults = list[str]()
        self._ended: set[int | None] = set()
        self.skipped = {"segments": 0, "bytes": 0}
        self.alarms: list[Mapping[str, str]] = []
        self.watchers: list[Callable[[RunHistograms, Section], None]] = []
        self.chain: ChainStatus | None = None
        self.series: deque[Recent] = deque(maxlen=SERIES)
        self._before: tuple[float, int, int, int] | None = None
        self._completed: Section | None = None
        self._references = {reference.stem: reference} if reference else {}
        self._cache: dict[tuple[Path, int], SavedHistograms] = {}
        if reference:
            self.load(reference.stem)

    def take(self, data: OrbitData, *, can_wait: bool = False) -> None:
        """Take in data in order of time; another run begins anew, late data of an earlier one are ignored.

        Parameters
        ----------
        data : OrbitData
        can_wait : bool
            Whether all of them are to be scored, and reading waits for it; else some are left out if scoring
            is slow.
        """
        with self._taking:  # each source has a thread of its own
            if self._recalibration is not None:
                try:
                    (data,) = self._recalibration.step(data)
                except InputError as error:
                    self._recalibration = None
                    self.faults.append(f"no recalibration: {printable(str(error), 200)}")
            main = data.main
            run = int(main.run[0]) if len(main) else self.run
            if run in self._ended:  # of a source that is late
                return
            if run != self.run and self.run is not None:
                if self.scores is not None:
                    self.scores.end(self.run)
                self.save()
                self._ended.add(self.run)
            with self.guard:
                if run != self.run:
                    self.histograms, self.run = RunHistograms(KEEP_SECTIONS), run
                    self._before, self._completed = None, None
                    self.oldest_orbit = self.newest_orbit = -1
                self.histograms.add(data)
                if len(main):
                    first, last = int(main.orbit[0]), int(main.orbit[-1])
                    self.oldest_orbit = first if self.oldest_orbit < 0 else min(first, self.oldest_orbit)
                    self.newest_orbit = last
        if self.scores is not None:
            self.scores.offer(run, data, wait=can_wait)

    def keep_scores(self, run: int | None, model: ModelScores, made: Sequence[Scored]) -> None:
        """Take in scores of the run; those of an earlier one are ignored."""
        with self.guard:
            for scored in made if run == self.run else ():
                model.keep(scored)
                self.histograms.add(OrbitData({model.stream: scored.scores}))

    def scored_fraction(self, model: ModelScores) -> float:
        """Orbits of the run that a model has scored, over those read; NaN if none was. The guard is held."""
        known = self.histograms.streams.get(model.stream)
        return _fraction(known.orbits if known else 0, self.histograms.orbits)

    def newest_rates(self, model: ModelScores) -> tuple[Section | None, list[ThresholdRate]]:
        """Return the rates of a model in its newest complete lumisection, or the first. The guard is held."""
        known = self.histograms.streams.get(model.stream)
        kept = sorted(known.sections) if known else []
        at = kept[max(len(kept) - 2, 0)] if kept else None
        return at, model.rates(known if at else None, at)

    @property
    def seen_fraction(self) -> float:
        """Orbits of the run that were read, over those from the first to the newest; NaN if unknown."""
        read = self.histograms.orbits
        return _fraction(read, self.newest_orbit - self.oldest_orbit + 1 if read else 0)

    def tick(self) -> None:
        """Ask run control how the chain is, note the rates since the last tick; save once a lumisection."""
        if self._run_folder is not None:
            try:
                self.chain = command(self._run_folder, do="status")
            except ScoutingError:
                self.chain = None
        now = self._clock()
        waiting = self.scores.oldest if self.scores is not None else None
        with self.guard:
            orbits, newest = self.histograms.orbits, self.newest_orbit
            objects = sum(self._objects(name) for name in list(self.histograms.streams)[:1])
            complete = [s for s in self.histograms.completed() if waiting is None or s < waiting]
            new = [s for s in complete if self._completed is None or s > self._completed]
            for section in new:
                self._completed = section
                for watch in self.watchers:
                    watch(self.histograms, section)
        if self._before is not None and now > self._before[0]:
            passed, read = now - self._before[0], max(orbits - self._before[1], 0)
            gone = newest - self._before[3] if self._before[3] >= 0 else read
            self.series.append(
                Recent(
                    now,
                    read / passed / ORBIT_FREQUENCY_HZ,
                    _fraction(read, gone),
                    max(objects - self._before[2], 0) / read if read else float("nan"),
                    self._lag_s(),
                )
            )
        self._before = now, orbits, objects, newest
        if new and self._folder is not None:  # frames do not wait for it
            threading.Thread(target=self.save, name="save", daemon=True).start()

    def _objects(self, stream: str) -> int:
        known = self.histograms.streams[stream]
        parts = (known.total, *known.sections.values())
        return sum(int(counts["bx"].sum()) for counts in parts)

    def _lag_s(self) -> float:
        rows = self.chain.processes.values() if self.chain else ()
        return max((row.lag_s for row in rows if row.lag_s is not None), default=float("nan"))

    def save(self) -> None:
        """Write the histograms of the run to a file, if a folder was given."""
        if self._folder is None:
            return
        with self._saving:
            with self.guard:
                run, copied = self.run, deepcopy(self.histograms)
            if run is None or not copied.streams:
                return
            path = self._folder / f"run{run:06d}.root"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_histograms(path, copied, self._provenance)
            except OSError as error:
                fault = f"{path}: histograms cannot be saved ({error.strerror or error})"
                if fault not in self.faults:
                    self.faults.append(fault)

    def runs(self) -> list[str]:
        """Return the names of saved runs, the newest first, and of the reference."""
        return [*self._references, *(name for name in self._saved() if name not in self._references)]

    def _saved(self) -> dict[str, Path]:
        files = sorted(self._folder.glob("run*.root"), reverse=True) if self._folder else []
        return {path.stem: path for path in files[:MAX_RUNS]}

    def load(self, name: str) -> SavedHistograms:
        """Return the histograms of a saved run, or of the current one.

        Raises
        ------
        InputError
            If no listed run has this name, or its file is damaged.
        """
        if name == CURRENT:
            with self.guard:
                return saved(self.histograms)
        path = {**self._saved(), **self._references}.get(name)
        if path is None:
            msg = "no saved run of this name"
            raise InputError(msg)
        try:
            key = path, path.stat().st_mtime_ns
        except OSError as error:
            msg = "this saved run is gone"
            raise InputError(msg) from error
        if key not in self._cache:
            while len(self._cache) >= MAX_CACHED:
                self._cache.pop(next(iter(self._cache)), None)
            self._cache[key] = read_histograms(path)
        return self._cache[key]

    @property
    def provenance(self) -> Provenance:
        """Where what is shown comes from."""
        return self._provenance

    def status(self) -> dict[str, Any]:
        """Return the chain's status and what went wrong here, for the page."""
        chain = self.chain.model_dump(mode="json", exclude={"folder", "pid"}) if self.chain else None
        return {
            "skipped": self.skipped,
            "chain": chain,
            "faults": self.faults[-10:],
            "alarms": [dict(a) for a in self.alarms[-50:]],
        }


def _fraction(read: int, passed: int) -> float:
    return min(read / passed, 1.0) if passed > 0 else float("nan")
