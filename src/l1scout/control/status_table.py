"""The table of a running chain."""

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from l1scout.control.messages import Buffer, ChainStatus
from l1scout.readout.object_counts import objects_line

_STATES = {"running": "green", "draining": "yellow", "error": "red", "refuses": "red", "dead": "red"}


def table(status: ChainStatus, hint: str = "") -> Group:
    """Draw a status; `hint` is a line below. 80 columns are enough."""
    state = status.state
    title = f"Run {status.run}: [{_STATES.get(state, 'bold')}]{state}[/], {status.seconds:,.0f} s"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0)
    drawn.add_column("")
    drawn.add_column("state")
    for name in ("x LHC", "MB/s\nin", "MB/s\nout", "buffer", "lag", "CPU\n%", "re-\nstarts"):
        drawn.add_column(name, justify="right")
    for name, row in status.processes.items():
        drawn.add_row(
            name,
            Text(row.state, _STATES.get(row.state, "dim")),
            _number(row.real_time_factor, ".2f"),
            _number(row.mb_in_per_s, ".1f"),
            _number(row.mb_out_per_s, ".1f"),
            _buffer(row.buffer),
            "\n".join(filter(None, (_number(row.lag_s, ".1f s"), _number(row.lag_orbits, ",d orbits")))),
            _number(row.cpu_cores * 100, ".0f"),
            Text(str(row.restarts), "red" if row.restarts else ""),
        )
    orbits = Text(f"orbits: written {status.orbits:,}")
    for name, count in status.lost.items():
        orbits.append(f", {name} {count:,}", "red" if count else "")
    lines = [
        Text(text, style)
        for text, style in (
            (f"{status.data} data; objects: {objects_line(status.objects) or 'none yet'}", ""),
            (status.error, "red"),
            *((text, "yellow") for text in status.warnings),
            (hint, "dim"),
        )
        if text
    ]
    return Group(drawn, orbits, *lines)


def _number(value: float | None, form: str) -> str:
    form, _, unit = form.partition(" ")
    return "" if value is None else f"{value:{form}} {unit}".strip()


def _buffer(buffer: Buffer) -> Text:
    holds, limit, unit = buffer.holds, buffer.limit, buffer.unit
    text = f"{holds:,.0f} / {limit:,.0f} {unit}" if limit else f"{holds:,.0f} {unit}"
    return Text(text, "red" if limit and holds > 0.8 * limit else "")
