"""The monitor process: it follows data, keeps histograms and serves the page."""

import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from l1scout.core.provenance import current, data_label
from l1scout.deploy.recalibration_stage import RecalibrationStage
from l1scout.errors import InputError
from l1scout.formats.stream import streams_of_sources
from l1scout.io.batches import read_batches
from l1scout.io.folder import expand
from l1scout.io.quality import ReadQuality
from l1scout.monitor.follow_spool import SpoolFollower
from l1scout.monitor.follow_store import StoreFollower
from l1scout.monitor.live_histograms import LiveHistograms
from l1scout.monitor.live_scores import LiveScores
from l1scout.monitor.page_server import TICK_S, PageServer
from l1scout.monitor.quality_alarms import QualityAlarms
from l1scout.quality.histogram_file import saved_file
from l1scout.readout.process_metrics import METRICS, exposition
from l1scout.readout.spool import default_folder
from l1scout.readout.status import ModelRate, MonitorStatus, ProcessState, ScoringModel
from l1scout.settings import Settings

MAX_RAISED = 20
"""Alarms of data quality in the status."""


class Follower(Protocol):
    """Reads data until they end or it is stopped."""

    skipped_segments: int
    skipped_bytes: int
    corrupt: int

    def run(self) -> None:
        """Read."""


class FileFollower:
    """Reads files once.

    Parameters
    ----------
    paths : iterable of Path
    take : callable
        Gets the data, and as `can_wait` that they do.
    stopping : Event
    """

    skipped_segments = skipped_bytes = 0

    def __init__(self, paths: Iterable[Path], take: Callable[..., None], stopping: threading.Event) -> None:
        self._paths, self._take, self._stopping = list(paths), take, stopping
        self.corrupt = 0

    def run(self) -> None:
        """Read all files."""
        quality = ReadQuality()
        for data in read_batches(self._paths, quality=quality):
            if self._stopping.is_set():
                return
            self._take(data, can_wait=True)
            self.corrupt = quality.damaged_parts


class Monitor:
    """Follows data in threads, and serves the page in the thread that calls `run`.

    Parameters
    ----------
    settings : Settings
    data : sequence of str
        A run of the store; or files and folders; nothing: the spool.
    log : callable
        ``log(event, **values)``.
    report : callable
        Gets its status with every tick.
    tick_s : float
        Between two frames.

    Attributes
    ----------
    address : str
        Of the page.

    Raises
    ------
    InputError
        If the data, a model, the reference or the address cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        data: list[str],
        log: Callable[..., None],
        report: Callable[[MonitorStatus], None] = lambda _: None,
        tick_s: float = TICK_S,
    ) -> None:
        self._log, self._report, self._began = log, report, time.monotonic()
        self._stopping = threading.Event()
        own = settings.monitor
        model = settings.recalibrate.model
        reference = saved_file(own.reference, own.folder) if own.reference else None
        self._scores = LiveScores(own.anomaly_models) if own.anomaly_models else None
        self.live = LiveHistograms(
            current(),
            folder=own.folder,
            recalibration=_recalibration(model, settings.recalibrate.engine) if model else None,
            scores=self._scores,
            run_folder=None if data else settings.run.folder,
            reference=reference,
        )
        self._quality = QualityAlarms(
            self.live,
            log,
            own.folder,
            own.false_alarms_per_day,
            self.live.load(reference.stem) if reference else None,
        )
        self.followers = self._followers(settings, data)
        self._state: ProcessState = "running"
        self._server = PageServer(
            self.live,
            own.listen,
            settings.access.access,
            on_tick=lambda: report(self.status()),
            metrics=self._metrics,
            tick_s=tick_s,
        )
        self.address = self._server.address

    def _followers(self, settings: Settings, data: list[str]) -> list[Follower]:
        take, stopping = self.live.take, self._stopping
        if len(data) == 1 and data[0].isdecimal():
            return [StoreFollower(settings.store.folder, int(data[0]), take, stopping)]
        if data:
            paths = [Path(name) for name in data]
            if missing := [path for path in paths if not path.exists()]:
                msg = f"{missing[0]}: no such file or folder; a run is named by its number"
                raise InputError(msg)
            files, skipped = expand(paths)
            for reason in skipped:
                self._log("skipped", why=reason)
            return [FileFollower(files, take, stopping)]
        readouts = [settings.of_source(name).readout for name in settings.sources or ("",)]
        if self._scores is not None:
            sources = [source for readout in readouts for source in readout.sources]
            streams = {stream.name for stream in streams_of_sources(sources)}
            self._scores.check(streams, f"the sources {', '.join(map(str, sources))} of the settings")
        return [
            SpoolFollower(readout.spool or default_folder(), source, take, stopping)
            for readout in readouts
            for source in readout.sources
        ]

    def run(self) -> None:
        """Work until `stop`."""
        followers = [threading.Thread(target=self._follow, args=(f,), daemon=True) for f in self.followers]
        scoring = self._scores.start(self.live.keep_scores, self.live.faults.append) if self._scores else []
        for thread in followers:
            thread.start()
        try:
            self._server.run()
        finally:
            self.stop()
            for thread in (*followers, *scoring):
                thread.join(5.0)
            self.live.save()
            self._state = "idle"
            self._report(self.status())

    def stop(self) -> None:
        """End; may be called from a signal handler."""
        self._stopping.set()
        if self._scores is not None:
            self._scores.stop()
        self._server.stop()

    def _metrics(self) -> tuple[bytes, str]:
        return exposition("monitor", METRICS["monitor"], self.status())

    def status(self) -> MonitorStatus:
        """Return the status of the process."""
        live, hub = self.live, self._server.hub
        with live.guard:
            shown = live.seen_fraction
            orbits, data = live.histograms.orbits, data_label(live.histograms.simulated)
            scoring = self._scoring()
        segments = sum(f.skipped_segments for f in self.followers)
        skipped_bytes = sum(f.skipped_bytes for f in self.followers)
        live.skipped = {"segments": segments, "bytes": skipped_bytes}
        return MonitorStatus(
            state=self._state,
            seconds=time.monotonic() - self._began,
            alarms=[*live.faults[-10:], *self._quality.raised[:MAX_RAISED]],
            run=live.run,
            data=data,
            orbits=orbits,
            shown=_number(shown),
            last_orbit=live.newest_orbit,
            skipped_segments=segments,
            skipped_bytes=skipped_bytes,
            corrupt=sum(f.corrupt for f in self.followers),
            anomaly=scoring,
            clients=hub.clients,
            sent_frames=hub.sent_frames,
            sent_bytes=hub.sent_bytes,
        )

    def _scoring(self) -> list[ScoringModel]:
        """Describe the anomaly models; the guard is held."""
        return [
            ScoringModel(
                model=model.name,
                scored=_number(self.live.scored_fraction(model)),
                rates=[
                    ModelRate(
                        hw_score=rate.hw_score,
                        fraction=rate.fraction,
                        trained_hz=_number(rate.trained_hz),
                        rate_hz=_number(rate.rate_hz),
                        error_hz=_number(rate.error_hz),
                    )
                    for rate in self.live.newest_rates(model)[1]
                ],
            )
            for model in (self._scores.models if self._scores else ())
        ]

    def _follow(self, follower: Follower) -> None:
        try:
            follower.run()
            if self._scores is not None and not self._stopping.is_set():
                self.live.faults += self._scores.finish()
        except InputError as error:
            self.live.faults.append(str(error))
            self._log("data cannot be read", level="error", why=str(error))
        except Exception as error:
            self.live.faults.append(f"reading data has ended ({type(error).__name__}); see the log")
            raise


def _number(value: float) -> float:
    """Return a number for a status file, 0 where it is not known yet."""
    return 0.0 if math.isnan(value) else value


def _recalibration(model: Path, engine: str) -> Any:
    from l1scout.deploy.recalibrate import Recalibrator

    return RecalibrationStage(Recalibrator.load(model, engine=engine))
