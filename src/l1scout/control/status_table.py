"""The table of a running chain."""

from collections.abc import Mapping

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from l1scout.control.chain_alarms import DISK_FULL_S, SPOOL_FULL_S
from l1scout.control.messages import Buffer, ChainStatus, ProcessRow
from l1scout.readout.object_counts import objects_line

_STATES = {"running": "green", "draining": "yellow", "error": "red", "refuses": "red", "dead": "red"}


def table(status: ChainStatus, hint: str = "") -> Group:
    """Draw a status; `hint` is a line below. 80 columns are enough."""
    state = status.state
    title = f"Run {status.run}: [{_STATES.get(state, 'bold')}]{state}[/], {status.seconds:,.0f} s"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0)
    drawn.add_column("")
    drawn.add_column("state")
    for name in ("x LHC", "MB/s\nin", "MB/s\nout", "buffer", "full\nin", "lag", "CPU\n%", "re-\nstarts"):
        drawn.add_column(name, justify="right")
    for name, row in status.processes.items():
        drawn.add_row(
            "\n".join(name.split(".", 1)),
            Text(row.state, _STATES.get(row.state, "dim")),
            _number(row.real_time_factor, ".2f"),
            _number(row.mb_in_per_s, ".1f"),
            _number(row.mb_out_per_s, ".1f"),
            _buffer(row.buffer),
            _full_in(row),
            "\n".join(filter(None, (_number(row.lag_s, ".1f s"), _number(row.lag_orbits, ",d orbits")))),
            _number(row.cpu_cores * 100, ".0f"),
            Text(str(row.restarts), "red" if row.restarts else ""),
        )
    orbits = _orbits(f"orbits: written {status.orbits:,}", status.lost)
    orbits.append(f", duplicate {status.duplicates:,}", "yellow" if status.duplicates else "")
    sources = {name: row.lost for name, row in status.processes.items() if any(row.lost.values())}
    losses = (
        [
            _orbits(f"{name}: written {status.processes[name].orbits:,}", lost)
            for name, lost in sources.items()
        ]
        if len(sources) > 1
        else []
    )
    lines = [
        Text(text, style)
        for text, style in (
            (f"{status.data} data; objects: {objects_line(status.objects) or 'none yet'}", ""),
            (status.waiting_for and f"waits for {status.waiting_for}", "yellow"),
            (status.error, "red"),
            *((text, "red") for text in status.alarms if text != status.error),
            *((text, "yellow") for text in status.warnings),
            (hint, "dim"),
        )
        if text
    ]
    return Group(drawn, orbits, *losses, *lines)


def _number(value: float | None, form: str) -> str:
    form, _, unit = form.partition(" ")
    return "" if value is None else f"{value:{form}} {unit}".strip()


def _buffer(buffer: Buffer) -> Text:
    holds, limit, unit = buffer.holds, buffer.limit, buffer.unit
    text = f"{holds:,.0f} / {limit:,.0f} {unit}" if limit else f"{holds:,.0f} {unit}"
    return Text(text, "red" if limit and holds > 0.8 * limit else "")


def _orbits(what: str, lost: Mapping[str, int]) -> Text:
    text = Text(what)
    for name, count in lost.items():
        text.append(f", {name} {count:,}", "red" if count else "")
    return text


def _full_in(row: ProcessRow) -> Text:
    """Format the time that a spool or a disk lasts: red with an alarm, yellow below ten times its limit."""
    left = row.full_in_s
    if left is None:
        return Text("")
    alarm = SPOOL_FULL_S if row.buffer.unit == "MB" else DISK_FULL_S
    text = f"{left:,.0f} s" if left < 600 else f"{left / 3600:,.1f} h" if left < 360_000 else "> 100 h"
    return Text(text, "red" if left < alarm else "yellow" if left < 10 * alarm else "")
