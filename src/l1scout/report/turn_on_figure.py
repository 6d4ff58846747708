"""Figure of the turn-on curves, as SVG text."""

import numpy as np
from matplotlib.figure import Figure

from l1scout.analysis.figures.canvas import COLOURS, RAW_COLOUR, literal, style
from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.turn_on import EDGES_GEV
from l1scout.report.figures import label_evaluation, svg_text

_TICKS = (2, 3, 5, 7, 10, 15, 20, 30, 45)


def turn_on_figure(evaluation: Evaluation) -> str:
    """Efficiency of each threshold against offline pT: the trigger's own values and every model."""
    edges = np.asarray(EDGES_GEV)
    centre = np.sqrt(edges[1:] * edges[:-1])
    width = np.stack([centre - edges[:-1], edges[1:] - centre])
    with style():
        figure = Figure(figsize=(14, 4.7), layout="constrained")
        axes = figure.subplots(1, len(evaluation.turn_on), sharey=True)
        for ax, curves in zip(axes, evaluation.turn_on, strict=True):
            for k, (name, curve) in enumerate(curves.curves.items()):
                colour = RAW_COLOUR if k == 0 else COLOURS[(k - 1) % len(COLOURS)]
                ax.errorbar(
                    centre,
                    curve.value,
                    [curve.value - curve.low, curve.high - curve.value],
                    width,
                    color=colour,
                    label=name if k == 0 else f"model {literal(name)}",
                    linestyle="none",
                    marker="o" if k == 0 else "s",
                    markersize=4,
                    markerfacecolor="white" if k == 0 else colour,
                )
            ax.axvline(curves.threshold_gev, color="#999999", linewidth=0.8, linestyle=":")
            ax.set_title(rf"L1 $p_T \geq$ {curves.threshold_gev:g} GeV", loc="center", y=1.06)
            ax.set_ylim(0, 1.05)
            ax.set_xscale("log")
            ax.set_xlim(edges[0], edges[-1])
            ax.set_xticks(_TICKS, [str(t) for t in _TICKS])
            ax.minorticks_off()
            ax.set_xlabel("offline $p_T$ [GeV]", loc="right")
        axes[0].set_ylabel("efficiency", loc="top")
        axes[-1].legend(loc="upper left", frameon=False)
        label_evaluation(axes, evaluation)
        return svg_text(figure, evaluation.data.simulated)
