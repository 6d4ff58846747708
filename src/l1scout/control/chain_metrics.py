"""Metrics of run control: of the run as a whole, and of each process as run control sees it."""

import math
from collections.abc import Iterator
from typing import Any

from l1scout.control.messages import ChainStatus
from l1scout.control.states import State
from l1scout.readout.process_metrics import BUILD_INFO, METRICS, Metric, Values, gauge

_CAUSES = ("missed", "corrupt", "dropped", "unsent")


def _by_process(name: str, about: str, field: str) -> Metric:
    def values(status: ChainStatus) -> Values:
        found = {n: getattr(row, field) for n, row in status.processes.items()}
        return {n: math.nan if value is None else float(value) for n, value in found.items()}

    return Metric(f"l1scout_{name}", "gauge", about, values, "process")


def _up(status: ChainStatus) -> Values:
    return {name: float(row.state in ("running", "draining")) for name, row in status.processes.items()}


def _metrics() -> Iterator[Metric]:
    yield gauge("run_current_number", "Number of the run.", lambda s: s.run)
    yield Metric(
        "l1scout_run_state",
        "gauge",
        "1 for the state in which run control is.",
        lambda s: {s.state.value: 1.0},
        "state",
        lambda: [state.value for state in State],
    )
    yield gauge("run_started_seconds", "Time since the start of the run.", lambda s: s.seconds)
    yield gauge("run_written_orbits", "Orbits of the run that were written.", lambda s: s.orbits)
    yield Metric(
        "l1scout_run_lost_orbits",
        "gauge",
        "Orbits of the run that were not written, by cause.",
        lambda s: {name: float(n) for name, n in s.lost.items()},
        "cause",
        lambda: _CAUSES,
    )
    yield gauge("run_duplicated_orbits", "Orbits that came twice or late.", lambda s: s.duplicates)
    yield gauge("run_alarms_raised", "Alarms of the run that are up.", lambda s: len(s.alarms))
    yield Metric("l1scout_process_up", "gauge", "1 if the process runs.", _up, "process")
    yield _by_process("process_restarted_times", "Starts again of a process in the run.", "restarts")
    yield _by_process("process_lagging_seconds", "How far a process is behind the one before.", "lag_s")
    yield _by_process("process_used_cores", "Processor time used per second.", "cpu_cores")
    yield _by_process("process_speed_ratio", "Orbits per second, in units of the LHC's.", "real_time_factor")
    yield _by_process("process_filling_seconds", "Time until its spool or disk is full.", "full_in_s")


CHAIN_METRICS = tuple(_metrics())
ALL_METRICS = {**METRICS, "control": CHAIN_METRICS}
"""By the kind of process; ``control`` is `l1scout run`."""


_INTRODUCTION = """# Metrics

For Prometheus, at `/metrics`; with `/healthz` (200, or 503 and what is wrong) beside it.

| process | where |
|---|---|
| board, readout | `[board] metrics`, `[readout] metrics`: an address; unset, none is served |
| run control (`l1scout run`) | `[run] metrics` |
| store, monitor | at `[store] listen` and `[monitor] listen` |

They need the extra `monitor` (prometheus-client). Access is that of
[other listeners](running.md#two-machines): loopback, or TLS and a token. The folder `monitoring` has a
configuration of Prometheus, alert rules with tests (`promtool test rules monitoring/alerts_test.yml`) and
a Grafana dashboard. Counters count since the start of their process. Every series is there from the start,
at 0. This page is made from the source (`make docs`).
"""


def reference() -> str:
    """Return the reference of all metrics, as Markdown."""
    rows: dict[str, tuple[Metric, list[str]]] = {}
    for process, metrics in ALL_METRICS.items():
        for metric in metrics:
            rows.setdefault(metric.name, (metric, []))[1].append(process)
    lines = [_INTRODUCTION, "| metric | type | label | of | meaning |", "|---|---|---|---|---|"]
    lines.append(f"| `{BUILD_INFO[0]}` | gauge | process, version | all | {BUILD_INFO[1]} |")
    for name, (metric, processes) in sorted(rows.items()):
        about: list[Any] = [
            f"`{name}`",
            metric.kind,
            metric.label.replace(",", ", "),
            ", ".join(processes),
            metric.help,
        ]
        lines.append(f"| {' | '.join(about)} |")
    return "\n".join(lines) + "\n"
