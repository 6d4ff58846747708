"""Anomaly scores, each model's in a thread of its own: histograms do not wait, and what is late has none."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from l1scout.analysis.common.live_time import Section
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError, printable
from l1scout.lhc import lumisection
from l1scout.monitor.model_scores import Complete, ModelScores, Scored

MAX_WAITING_ORBITS = 8192
"""Largest number of orbits that wait to be scored: 0.7 s at the LHC's rate."""
MAX_WAITING_BYTES = 128 << 20
_LOOK_S = 0.2
_END_S = 5.0
"""A run that has ended is scored to its end within this time, or what is left has no scores."""
Keep = Callable[[int | None, ModelScores, Sequence[Scored]], None]
Fault = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Offered:
    """Complete orbits of a run; None for its end."""

    run: int | None
    complete: Complete | None = None
    section: Section | None = None


class ScoreQueue:
    """Orbits that wait to be scored with one model, and the thread that does it.

    Parameters
    ----------
    model : ModelScores

    Attributes
    ----------
    model
        As given.
    """

    def __init__(self, model: ModelScores) -> None:
        self.model = model
        self._changed = threading.Condition()
        self._waiting = deque[_Offered]()
        self._ended = set[int | None]()
        self._run: int | None = None
        self._serves = False
        self._fault: Fault = lambda _: None

    def offer(self, run: int | None, data: OrbitData, section: Section | None, *, wait: bool) -> None:
        """Take in data; see `LiveScores.offer`."""
        if self.model.wanted.isdisjoint(data.streams):
            return
        with self._changed:
            if not self._serves or run in self._ended:
                return
            if run != self._run:
                self._run = run
                self.model.begin()
            for complete in self._complete(data):
                while wait and self._is_full() and self._serves:
                    self._changed.wait(_LOOK_S)
                if self._serves and not self._is_full():
                    self._waiting.append(_Offered(run, complete, section))
                    self._changed.notify_all()

    def _complete(self, data: OrbitData) -> list[Complete]:
        """Return the orbits that can be scored with these data; score no more if they cannot be joined."""
        try:
            return self.model.complete(data)
        except InputError as error:
            self._refuse(error)
            return []

    def _refuse(self, error: InputError) -> None:
        self.stop()
        self._fault(f"no scores of {self.model.name}: {printable(str(error), 200)}")

    def _is_full(self) -> bool:
        held = [one.complete for one in self._waiting if one.complete is not None]
        return bool(held) and (
            sum(c.orbits for c in held) >= MAX_WAITING_ORBITS
            or sum(c.bytes for c in held) >= MAX_WAITING_BYTES
        )

    @property
    def oldest(self) -> Section | None:
        """Lumisection of the oldest orbits that wait; None if none do."""
        with self._changed:
            return next((one.section for one in self._waiting if one.section), None)

    def begin(self, fault: Fault) -> None:
        """Take in data from now on: `serve` is about to be called."""
        self._serves, self._fault = True, fault

    def serve(self, keep: Keep) -> None:
        """Score until `stop`, or until the data lack what the model takes; see `LiveScores.start`."""
        try:
            while self._serves:
                with self._changed:
                    if not self._waiting:
                        self._changed.wait(_LOOK_S)
                        continue
                    one = self._waiting[0]
                if one.complete is not None:
                    keep(one.run, self.model, [self.model.score(one.complete)])
                with self._changed:
                    if self._serves:  # else nothing waits any more
                        self._waiting.popleft()
                    self._changed.notify_all()
        except InputError as error:
            self._refuse(error)
        except Exception as error:
            self._fault(f"no more scores of {self.model.name} ({type(error).__name__}); see the log")
            raise
        finally:
            self.stop()

    def flush(self) -> None:
        """Score also the orbits that wait for other sources: nothing more comes."""
        with self._changed:
            if self._serves:
                self._waiting += [_Offered(self._run, complete) for complete in self.model.finish()]
                self._changed.notify_all()

    def end(self, run: int | None) -> None:
        """Wait until all of a run that was taken in is scored; nothing more of it is taken in."""
        with self._changed:
            if self._serves and run == self._run:
                self.flush()
                last = _Offered(run)
                self._waiting.append(last)
                self._changed.notify_all()
                self._changed.wait_for(lambda: last not in self._waiting, _END_S)
                while len(self._waiting) > 1:  # too late; the first is being scored
                    self._waiting.pop()
            self._ended.add(run)

    def stop(self) -> None:
        """End; what waits has no scores."""
        with self._changed:
            self._serves = False
            self._waiting.clear()
            self._changed.notify_all()


class LiveScores:
    """Scores the orbits that are offered, with each of some models.

    Parameters
    ----------
    folders : sequence of Path
        Of the models.

    Attributes
    ----------
    models : list of ModelScores
    queues : list of ScoreQueue
        In the same order.

    Raises
    ------
    InputError
        If one is not an anomaly model, or two have the same name or network.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.models = [ModelScores(folder) for folder in folders]
        names = [model.name for model in self.models]
        hashes = [model.scorer.model.sha256 for model in self.models]
        if len(set(names)) < len(names) or len(set(hashes)) < len(hashes):
            msg = f"monitor.anomaly_models: {', '.join(map(str, folders))}: give each model once, and each "
            msg += "folder a name of its own"
            raise InputError(msg)
        self.queues = [ScoreQueue(model) for model in self.models]

    def check(self, streams: set[str], read: str) -> None:
        """Refuse models that take streams other than those that are read (InputError)."""
        for model in self.models:
            if missing := sorted(model.wanted - streams):
                msg = (
                    f"anomaly model {model.name} takes {', '.join(missing)}, which {read} do not have; leave "
                    "the model out, or follow the sources of these streams, too"
                )
                raise InputError(msg)

    def finish(self) -> list[str]:
        """Score what waits for other sources, as all data were read; name the models that lack a stream."""
        for queue in self.queues:
            queue.flush()
        return [
            f"no scores of {model.name}: it takes {', '.join(model.missing)}, which the data do not have"
            for model in self.models
            if model.missing
        ]

    def offer(self, run: int | None, data: OrbitData, *, wait: bool) -> None:
        """Take in data to be scored.

        Parameters
        ----------
        run : int, optional
        data : OrbitData
            Whole orbits, of each source in order of time.
        wait : bool
            Whether to wait while too many orbits wait; without, more of them have no scores then.
        """
        main = data.main
        section = None
        if len(main):
            number = int(main.lumisection[0]) or int(lumisection(int(main.orbit[0])))
            section = Section(run or 0, number)
        for queue in self.queues:
            queue.offer(run, data, section, wait=wait)

    @property
    def oldest(self) -> Section | None:
        """Lumisection of the oldest orbits that wait; None if none do."""
        return min((s for queue in self.queues if (s := queue.oldest) is not None), default=None)

    def start(self, keep: Keep, fault: Fault) -> list[threading.Thread]:
        """Start a thread per model, and return them.

        Parameters
        ----------
        keep : callable
            Gets run, model and its scores.
        fault : callable
            Gets a message if a model cannot score the data; it then scores no more.
        """
        threads = [threading.Thread(target=q.serve, args=(keep,), daemon=True) for q in self.queues]
        for queue, thread in zip(self.queues, threads, strict=True):
            queue.begin(fault)
            thread.start()
        return threads

    def end(self, run: int | None) -> None:
        """Wait until all of a run that was taken in is scored; nothing more of it is taken in."""
        for queue in self.queues:
            queue.end(run)

    def stop(self) -> None:
        """End; what waits has no scores."""
        for queue in self.queues:
            queue.stop()
