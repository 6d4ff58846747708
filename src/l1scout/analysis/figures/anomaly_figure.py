"""The figure of anomaly scores: their spectrum, and rates above thresholds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from l1scout.analysis.figures.canvas import COLOURS, canvas, label, legend, titles


def anomaly(found: Mapping[str, Any], simulated: bool | None) -> Figure:
    """Draw the result of the analysis of anomaly scores."""
    with canvas((13, 5.5)) as figure:
        spectrum, rates = figure.subplots(1, 2)
        for k, model in enumerate(found["models"]):
            key, colour = (model["level"], model["model_id"]), COLOURS[k % len(COLOURS)]
            name = {"muon": "muons", "all": "all objects"}.get(model["level"], model["level"])
            text = f"{name}, model {model['model_id']:03x}"
            bins = [row for row in found["spectrum"] if (row["level"], row["model_id"]) == key]
            low = np.array([row["low"] for row in bins] + [bins[-1]["high"] + 1], np.float64)
            counts = np.array([row["crossings"] for row in bins], np.float64)
            spectrum.stairs(counts / np.diff(low), np.maximum(low, 0.5), color=colour, label=text)
            rows = [row for row in found["thresholds"] if (row["level"], row["model_id"]) == key]
            x = np.maximum([row["hw_score"] for row in rows], 0.5)
            rate, below, above = (
                np.array([row[n] for row in rows]) / 1e3 for n in ("rate_hz", "rate_low_hz", "rate_high_hz")
            )
            rates.errorbar(
                x, rate, [rate - below, above - rate], color=colour, marker="o", markersize=4, label=text
            )
        for ax, y in ((spectrum, "crossings per step of hwScore"), (rates, "rate at or above [kHz]")):
            ax.set_xscale("log")
            ax.set_yscale("log")
            titles(ax, "hwScore (0 is drawn at 0.5)", y)
            legend(ax)
        label([spectrum, rates], simulated, f"{found['orbits']:,} orbits")
        return figure
