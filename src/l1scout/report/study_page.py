"""Tables, figures and page of a study."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from l1scout import __version__
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.published import PUBLISHED, SOURCE
from l1scout.model.quantities import VARIABLES
from l1scout.report.figures import COLOURS, RAW_COLOUR, SYMBOLS, _svg, origin, style
from l1scout.report.page import STYLE
from l1scout.report.result_tables import KIND_NAMES, VARIABLE_NAMES, text_table
from l1scout.statistics import Measured
from l1scout.training.study import HANDLES, handles
from l1scout.training.study_summary import Summary

_TEMPLATE = Template((Path(__file__).parent / "study.html").read_text("utf-8"))
_NAMES = [(k, v) for k in KINDS for v in VARIABLES]
MOST = 30
"""Networks that the page and the terminal show of a long search: the best."""


def rows(summary: Summary) -> list[tuple[str, bool, list[str]]]:
    """Name, whether published, and nine metrics: raw trigger, networks, each with its published row."""
    out = []
    ours = {"GMT": summary.raw, **{e.recipe.name: e.scores for e in summary.entries[:MOST]}}
    for name, scores in ours.items():
        out.append((name, False, _texts(scores)))
        if name in PUBLISHED:
            out.append(("published", True, _texts(PUBLISHED[name])))
    if summary.limit:
        out.append(("limit", False, _texts(summary.limit.reached)))
    return out


def rows_without_floor(summary: Summary) -> list[tuple[str, bool, list[str]]]:
    """Name, False, and the nine metrics without the muons of hwPt 6: raw trigger and networks."""
    ours = {
        "GMT": summary.raw_without_floor,
        **{e.recipe.name: e.without_floor for e in summary.entries[:MOST]},
    }
    return [(name, False, _texts(scores)) for name, scores in ours.items()]


def ratio_rows(summary: Summary) -> list[tuple[str, bool, list[str]]]:
    """Name, False, and nine ratios ours / limit."""
    if not summary.limit:
        return []
    best = summary.limit.reached

    def text(scores: Scores, name: tuple[str, str]) -> str:
        value = _at(best, *name).value
        return f"{_at(scores, *name).value / value:.3f}" if value else "-"

    return [(e.recipe.name, False, [text(e.scores, n) for n in _NAMES]) for e in summary.entries[:MOST]]


def seed_rows(summary: Summary) -> list[tuple[str, bool, list[str]]]:
    """Name, False, and the spread of nine metrics over seeds, if there was more than one."""
    if summary.study.plan.seeds < 2:
        return []
    return [
        (e.recipe.name, False, [_number(k, e.by_seed[k][v]) for k, v in _NAMES])
        for e in summary.entries[:MOST]
    ]


def as_text(rows: Sequence[tuple[str, bool, Sequence[str]]]) -> str:
    """Rows for the terminal."""
    short = {"rms": "RMS", "core": "core", "tail": "tail"}
    header = ["", *(f"{short[k]} {VARIABLE_NAMES[v]}" for k, v in _NAMES)]
    return text_table([header, *([f"  {n}" if p else n, *cells] for n, p, cells in rows)])


def _at(scores: Scores, kind: str, variable: str) -> Measured:
    found: Mapping[str, Measured] = getattr(scores, kind)
    return found[variable]


def _number(kind: str, value: float) -> str:
    return f"{value:.4f}" if kind == "rms" else f"{100 * value:.2f}"


def _texts(scores: Scores) -> list[str]:
    """Nine metrics with the spread in units of the last digit: 0.1213(8); shares in percent."""
    out = []
    for kind, _, m in scores:
        text = _number(kind, m.value)
        if m.error == m.error:
            text += f"({round(m.error * 1e4)})"  # both have four decimals, the shares before times 100
        elif kind == "rms":
            text = f"{m.value:.3f}"
        out.append(text)
    return out


def metric_figure(summary: Summary) -> str:
    """Nine panels: every network's mean and spread, published value and limit."""
    shown = summary.entries[:MOST]
    with style():
        figure = Figure(figsize=(14, 11), layout="constrained")
        grid = figure.subplots(3, 3, sharex=True)
        x = np.arange(len(shown))
        for (kind, variable), ax in zip(_NAMES, grid.flat, strict=True):
            factor = 1 if kind == "rms" else 100
            numbers = [_at(e.scores, kind, variable) for e in shown]
            y, error = (np.array([getattr(m, n) for m in numbers]) * factor for n in ("value", "error"))
            ax.errorbar(x, y, error, fmt="o", color=COLOURS[0], label="ours, spread over folds")
            known = [
                _at(PUBLISHED[e.recipe.name], kind, variable).value * factor
                if e.recipe.name in PUBLISHED
                else np.nan
                for e in shown
            ]
            if np.isfinite(known).any():
                ax.plot(x, known, "_", color=RAW_COLOUR, markersize=16, label="published (CMS data)")
            if summary.limit:
                best = _at(summary.limit.reached, kind, variable).value * factor
                ax.axhline(best, color=COLOURS[1], linewidth=1.2, label="limit")
            ax.set_ylabel(f"{KIND_NAMES[kind]} of {SYMBOLS[variable]}", loc="top")
            names = [e.recipe.name for e in shown]
            ax.set_xticks(x, names, rotation=90 if max(map(len, names)) > 3 else 0, fontsize=10)
            ax.tick_params(axis="x", which="minor", bottom=False, top=False)
            ax.set_xlim(-0.7, len(shown) - 0.3)
        grid[0][0].legend(loc="best", frameon=False, fontsize=10)
        grid[0][0].set_title(f"l1scout {origin(summary.study.data.simulated)}", loc="left")
        return _svg(figure, summary.study.data.simulated)


def parallel_figure(summary: Summary) -> str:
    """Parallel coordinates: one line a network through its handles to its objective."""
    entries = [e for e in summary.entries if e.recipe.targets == "unit"] or list(summary.entries)
    values = np.array([e.objective.value for e in entries])
    with style():
        figure = Figure(figsize=(14, 6), layout="constrained")
        ax = figure.subplots()
        axes = [*HANDLES, "objective"]
        choices = {
            h: list(dict.fromkeys([*HANDLES[h], *(handles(e.recipe)[h] for e in entries)])) for h in HANDLES
        }
        low, high = float(values.min()), float(np.quantile(values, 0.9)) if len(values) > 9 else values.max()
        span = (high - low) or 1.0
        colours = matplotlib.colormaps["viridis"]
        random = np.random.default_rng(0)
        for e in reversed(entries):
            how = handles(e.recipe)
            y = [
                (choices[h].index(how[h]) + 0.5 + random.uniform(-0.12, 0.12)) / len(choices[h])
                for h in HANDLES
            ]
            at = min((e.objective.value - low) / span, 1.0)
            ax.plot(range(len(axes)), [*y, 1 - at], color=colours(at), alpha=0.7, linewidth=1.4)
        for k, h in enumerate(HANDLES):
            ax.axvline(k, color="#999999", linewidth=0.8)
            for i, c in enumerate(choices[h]):
                ax.text(k + 0.02, (i + 0.5) / len(choices[h]), str(c), fontsize=11, va="center")
        ax.axvline(len(axes) - 1, color="#999999", linewidth=0.8)
        for at in (0.0, 0.5, 1.0):
            ax.text(len(axes) - 0.98, 1 - at, f"{low + at * span:.3f}", fontsize=11, va="center")
        ax.set_xticks(range(len(axes)), axes)
        ax.set_yticks([])
        ax.minorticks_off()
        ax.set_xlim(-0.1, len(axes) - 0.6)
        ax.set_ylim(-0.04, 1.04)
        ax.set_title(f"l1scout {origin(summary.study.data.simulated)}", loc="left")
        ax.set_title("objective: mean of the three RMS ratios to the raw trigger", loc="right")
        return _svg(figure, summary.study.data.simulated)


def page(summary: Summary, command: str) -> str:
    """Make the page; it is the same for the same study, however often that was stopped."""
    study = summary.study
    about = study.data.about
    facts = {
        "Data set": f"{study.data.name}, sha256 {study.data.sha256[:16]}…",
        "Era": str(about.get("era") or "not stated"),
        "Search": summary.search,
    }
    banner = {
        True: "<strong>Simulated muons.</strong> Only the grey rows are CMS data.",
        False: "<strong>Recorded muons.</strong>",
        None: "<strong>Muons of unstated origin.</strong>",
    }[study.data.simulated]
    seeds = study.plan.seeds
    spread = seed_rows(summary)
    return _TEMPLATE.substitute(
        style=STYLE,
        models=len(summary.entries),
        runs=study.plan.folds * seeds,
        folds=study.plan.folds,
        seeds=f"{seeds} seed" + "s" * (seeds > 1),
        muons=f"{len(study.data):,}",
        banner=banner,
        table=_table(rows(summary)),
        above=_table(rows_without_floor(summary)),
        ratios=_table(ratio_rows(summary)) if summary.limit else "<p>not asked for</p>",
        seedspread=f"<p>Spread over seeds in the same fold:</p>{_table(spread)}" if spread else "",
        metrics=_image(metric_figure(summary), "Every network's nine metrics"),
        parallel=_image(parallel_figure(summary), "Parallel coordinates of what was varied"),
        made=escape(command),
        data="".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()),
        version=escape(__version__),
        source=escape(SOURCE),
    )


def _table(rows: Sequence[tuple[str, bool, Sequence[str]]]) -> str:
    head = "".join(f'<th colspan="3" scope="colgroup">{escape(KIND_NAMES[k])}</th>' for k in KINDS)
    sub = "".join(f'<th scope="col">{escape(VARIABLE_NAMES[v])}</th>' for _, v in _NAMES)
    body = "".join(
        f'<tr{" class=published" if published else ""}><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{c}</td>" for c in cells)
        + "</tr>"
        for name, published, cells in rows
    )
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr><th rowspan="2"></th>{head}</tr>'
        f"<tr>{sub}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _image(text: str, what: str) -> str:
    data = base64.b64encode(text.encode()).decode()
    return f'<figure class="wide"><img alt="{escape(what)}" src="data:image/svg+xml;base64,{data}"></figure>'
