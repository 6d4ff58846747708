"""Metrics of the chain's processes for Prometheus: data, made from what the processes report of themselves.

Names are ``l1scout_<noun>_<verb>_<unit>``. Every series exists from the start, at 0.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from l1scout import __version__
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import INTERMEDIATE
from l1scout.readout.status import BoardStatus, MonitorStatus, ReadoutStatus, StoreStatus

Values = Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """A metric of one kind of process.

    Parameters
    ----------
    name : str
    kind : {"counter", "gauge"}
    help : str
    value : callable
        Returns the value of a status, or values by label (of several labels, with commas between).
    label : str
        Name of the label, or names with commas between; empty for a single series.
    labels : callable
        Returns the values of the label that exist from the start.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: Callable[[Any], float | Values]
    label: str = ""
    labels: Callable[[], Iterable[str]] = tuple

    def series(self, status: Any) -> Values:
        """Return the values by label (one that is empty for a single series); zeros without a status."""
        values = dict.fromkeys(self.labels() if self.label else ("",), 0.0)
        if status is not None:
            found = self.value(status)
            values |= {"": float(found)} if not isinstance(found, Mapping) else found
        return values


def count(name: str, about: str, field: str) -> Metric:
    """Return a counter of a field of a status."""
    return Metric(f"l1scout_{name}_total", "counter", about, lambda s: getattr(s, field))


def gauge(name: str, about: str, value: Callable[[Any], float]) -> Metric:
    """Return a gauge."""
    return Metric(f"l1scout_{name}", "gauge", about, value)


COMMON = (
    gauge("process_alarms_raised", "Alarms of the process that are up.", lambda s: len(s.alarms)),
    gauge("process_threads_died", "Threads that an error has ended.", lambda s: len(s.dead_threads)),
    gauge("process_started_seconds", "Time since the start of the process.", lambda s: s.seconds),
    count("process_cpu_seconds", "Processor time of the process.", "cpu_s"),
)
_LOST = ("corrupt", "missed", "dropped")


def _kinds() -> Iterable[str]:
    return (*STREAMS, INTERMEDIATE)


def _lost(s: ReadoutStatus) -> Values:
    return {name: float(getattr(s, name)) for name in _LOST}


def _board() -> Iterator[Metric]:
    yield count("orbits_sent", "Orbits sent to the readout.", "delivered")
    yield count("orbits_dropped", "Orbits dropped by the board, as the readout was slow.", "dropped")
    yield count("orbits_abandoned", "Orbits given up when the board was stopped.", "unsent")
    yield count("packets_sent", "Packets sent to the readout.", "packets")
    yield count("packets_sent_bytes", "Bytes sent to the readout.", "bytes")
    yield gauge("packets_buffered", "Packets in the board's buffer.", lambda s: s.waiting)
    yield gauge("packets_buffered_limit", "Packets that the board's buffer can hold.", lambda s: s.buffer)
    yield gauge(
        "readout_connected", "1 if the board is connected to its readout.", lambda s: s.readout == "connected"
    )


def _readout() -> Iterator[Metric]:
    yield count("packets_received", "Packets received from boards.", "packets")
    yield count("packets_received_bytes", "Bytes received from boards.", "bytes_in")
    yield count("orbits_written", "Orbits written into segments.", "orbits")
    yield Metric(
        "l1scout_orbits_lost_total",
        "counter",
        "Orbits that were not written, by cause.",
        _lost,
        "cause",
        lambda: _LOST,
    )
    yield count("orbits_duplicated", "Orbits that came twice or late, and were left out.", "duplicate")
    yield count("orbits_flagged", "Orbits written without the data of some link.", "flagged")
    yield Metric(
        "l1scout_objects_written_total",
        "counter",
        "Objects written, by kind.",
        lambda s: {k: float(v) for k, v in s.objects.items()},
        "kind",
        _kinds,
    )
    yield count("segments_written_bytes", "Bytes of the segments written.", "bytes_out")
    yield count("segments_sent", "Segments that the store has acknowledged.", "sent")
    yield count("segments_sent_bytes", "Bytes of the segments that the store has acknowledged.", "sent_bytes")
    yield count("segments_refused", "Segments that the store refuses.", "refused")
    yield gauge("spool_waiting_segments", "Segments in the spool.", lambda s: s.spool_segments)
    yield gauge("spool_used_bytes", "Bytes in the spool.", lambda s: s.spool_bytes)
    yield gauge("spool_limit_bytes", "Bytes that the spool may hold; 0: no limit.", lambda s: s.spool_limit)
    yield gauge(
        "spool_filling_seconds",
        "Time until the spool is full, at the present rate; infinite: it does not fill.",
        lambda s: float("inf") if s.spool_seconds_left is None else s.spool_seconds_left,
    )
    yield count("spool_waited_seconds", "Time spent waiting for space in the spool.", "waited_s")
    yield gauge("store_connected", "1 if the readout is connected to a store.", lambda s: s.store_connected)
    yield gauge("orbit_newest_number", "Newest orbit written; -1 before the first.", lambda s: s.last_orbit)


def _store() -> Iterator[Metric]:
    yield count("segments_stored", "Segments stored.", "segments")
    yield count("segments_stored_bytes", "Bytes of the segments received.", "bytes_in")
    yield count("segments_repeated", "Segments that were offered again.", "again")
    yield count("segments_compressed", "Segments compressed.", "compressed")
    yield gauge("segments_uncompressed", "Segments that wait to be compressed.", lambda s: s.uncompressed)
    yield count("compression_read_bytes", "Bytes of compressed segments, before.", "compressed_in")
    yield count("compression_written_bytes", "Bytes of compressed segments, after.", "compressed_out")
    yield count("segments_damaged", "Stored segments that were found to have changed.", "damaged")
    yield gauge("disk_free_bytes", "Bytes free on the disk of the store.", lambda s: s.disk_free)


def _anomaly(name: str, about: str, field: str) -> Metric:
    """Return a gauge by anomaly model and by the fraction of crossings for which a threshold was set."""

    def values(s: MonitorStatus) -> Values:
        return {f"{m.model},{r.fraction:g}": getattr(r, field) for m in s.anomaly for r in m.rates}

    return Metric(f"l1scout_anomaly_{name}", "gauge", about, values, "model,fraction")


def _monitor() -> Iterator[Metric]:
    yield gauge("orbits_shown", "Orbits of the run in the histograms.", lambda s: s.orbits)
    yield gauge("orbits_shown_ratio", "Of the run's orbits since the first that was read.", lambda s: s.shown)
    yield count("segments_skipped", "Segments left out, as the monitor was slow or late.", "skipped_segments")
    yield count("segments_skipped_bytes", "Bytes left out of segments that were read.", "skipped_bytes")
    yield count("stretches_corrupted", "Stretches of files that could not be read.", "corrupt")
    yield _anomaly(
        "rate_hertz", "Rate of crossings above a threshold in the newest complete lumisection.", "rate_hz"
    )
    yield _anomaly("rate_error_hertz", "Statistical uncertainty of the rate above a threshold.", "error_hz")
    yield _anomaly("rate_trained_hertz", "Rate above a threshold when the model was trained.", "trained_hz")
    yield Metric(
        "l1scout_anomaly_scored_ratio",
        "gauge",
        "Of the orbits read, those that the anomaly model has scored.",
        lambda s: {m.model: m.scored for m in s.anomaly},
        "model",
    )
    yield gauge("pages_connected", "Pages that are connected.", lambda s: s.clients)
    yield count("frames_sent", "Frames sent to pages.", "sent_frames")
    yield count("frames_sent_bytes", "Bytes of the frames sent to pages.", "sent_bytes")


METRICS: Mapping[str, tuple[Metric, ...]] = {
    "board": (*COMMON, *_board()),
    "readout": (*COMMON, *_readout()),
    "store": (*COMMON, *_store()),
    "monitor": (*COMMON, *_monitor()),
}
"""By the name of the process."""
Status = BoardStatus | ReadoutStatus | StoreStatus | MonitorStatus


def exposition(process: str, metrics: Iterable[Metric], status: Any) -> tuple[bytes, str]:
    """Return the answer to ``/metrics``, and its type.

    Parameters
    ----------
    process : str
        Kind of the process, for the series ``l1scout_build_info``.
    metrics : iterable of Metric
    status : ProcessStatus, optional
        The newest one; None before the first.

    Raises
    ------
    InputError
        If prometheus-client is not installed.
    """
    try:
        from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as KIND
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        from prometheus_client.registry import Collector
    except ImportError as error:
        msg = "metrics need prometheus-client: install l1scout[monitor]"
        raise InputError(msg) from error

    class StatusCollector(Collector):
        def collect(self) -> Iterator[Any]:
            build = GaugeMetricFamily(BUILD_INFO[0], BUILD_INFO[1], labels=["process", "version"])
            build.add_metric([process, __version__], 1)
            yield build
            for metric in metrics:
                labels = metric.label.split(",") if metric.label else []
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = kind(metric.name, metric.help, labels=labels)
                for label, value in metric.series(status).items():
                    family.add_metric(label.split(",", len(labels) - 1) if labels else [], value)
                yield family

    registry = CollectorRegistry()
    registry.register(StatusCollector())
    return generate_latest(registry), KIND


BUILD_INFO = ("l1scout_build_info", "Kind of the process and version of l1scout; always 1.")
