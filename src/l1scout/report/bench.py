"""The plot of `l1scout bench`."""

from matplotlib.figure import Figure

from l1scout.deploy.bench import PUBLISHED, Bench
from l1scout.report.figures import COLOURS, RAW_COLOUR, _svg, style


def bench_figure(found: Bench) -> str:
    """Throughput against batch for every engine, with the published rows and the requirement, as SVG."""
    with style():
        figure = Figure(figsize=(8, 5.5), layout="constrained")
        ax = figure.subplots()
        for k, name in enumerate(dict.fromkeys(r.engine for r in found.throughput)):
            rows = [r for r in found.throughput if r.engine == name]
            label = f"{name}, {rows[0].threads} thread{'s' * (rows[0].threads > 1)}"
            colour = COLOURS[k % len(COLOURS)]
            ax.plot([r.batch for r in rows], [r.best for r in rows], marker="o", color=colour, label=label)
        best = max(PUBLISHED, key=lambda p: p.millions)
        label = f"published: {best.device}, > {best.millions} M/s"
        ax.axhline(best.millions, color=RAW_COLOUR, linestyle="--", label=label)
        ax.axhline(1, color=RAW_COLOUR, linestyle=":", label="required: 1 M/s")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xlabel("muons a call", loc="right")
        ax.set_ylabel("million muons a second", loc="top")
        ax.set_title(r"$\bf{l1scout}$", loc="left")
        ax.legend(loc="best", frameon=False)
        return _svg(figure)
