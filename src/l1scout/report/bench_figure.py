"""The plot of `l1scout bench`."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from l1scout.analysis.figures.canvas import COLOURS, RAW_COLOUR, heading, literal, style
from l1scout.evaluate.bench import PUBLISHED, Bench
from l1scout.report.figures import svg_text


def bench_figure(found: Bench, about: str, simulated: bool | None) -> str:
    """Throughput against batch, and times of one call, with the published rows, as SVG.

    Parameters
    ----------
    found : Bench
    about : str
        Which model and muons.
    simulated : bool or None
        Whether the muons are simulated; None where that is not known.
    """
    engines = list(dict.fromkeys(r.engine for r in found.throughput))
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(engines)}
    with style():
        figure = Figure(figsize=(13, 6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.set_title(heading(simulated), loc="left")
        right.set_title(literal(about), loc="right")
        _throughput(left, found, colours)
        _latency(right, found, colours)
        return svg_text(figure, simulated)


def _throughput(ax: Axes, found: Bench, colours: dict[str, str]) -> None:
    for name, colour in colours.items():
        rows = [r for r in found.throughput if r.engine == name]
        label = f"{literal(name)}, {rows[0].threads} thread{'s' * (rows[0].threads > 1)}"
        ax.plot([r.batch for r in rows], [r.best for r in rows], marker="o", color=colour, label=label)
    best = max(PUBLISHED, key=lambda p: p.millions)
    label = f"published: {best.device}, > {best.millions} M/s"
    ax.axhline(best.millions, color=RAW_COLOUR, linestyle="--", label=label)
    ax.axhline(1, color=RAW_COLOUR, linestyle=":", label="required: 1 M/s")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator([8**k for k in range(7)]))
    ax.xaxis.set_minor_locator(NullLocator())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    ax.set_xlabel("muons a call", loc="right")
    ax.set_ylabel("million muons a second", loc="top")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)


def _latency(ax: Axes, found: Bench, colours: dict[str, str]) -> None:
    names = []
    for k, t in enumerate(found.latency):
        how = ", bound" * (t.call == "bound")
        names.append(f"{literal(t.engine)}{how}, {t.muons} muon{'s' * (t.muons > 1)}")
        ax.plot([t.p50 / 1e3, t.p999 / 1e3], [k, k], color=colours[t.engine])
        for value, marker in ((t.p50, "o"), (t.p99, "D"), (t.p999, "|")):
            ax.plot(value / 1e3, k, marker=marker, markersize=8, color=colours[t.engine], linestyle="")
    for marker, label in (("o", "median"), ("D", "99 %"), ("|", "99.9 %")):
        ax.plot([], [], marker=marker, markersize=8, color=RAW_COLOUR, linestyle="", label=label)
    for p in PUBLISHED[:2]:
        label = f"published: {p.device}, 1 / throughput"
        style = "--" if p is PUBLISHED[1] else "-."
        ax.axvline(p.latency_ns / 1e3, color=RAW_COLOUR, linestyle=style, label=label)
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    ax.set_xlabel("one call, in process [µs]", loc="right")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
