"""The known lines, where they are fitted, and what is written of them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.lines import NOT_FITTED, Line, find_lines
from l1scout.analysis.common.templates import Template, simulated_line
from l1scout.simulate.dimuons import DEFAULT_SHARES

LINES = {
    "φ": 1.01946, "J/ψ": 3.0969, "ψ(2S)": 3.6861,
    "Υ": 9.4604, "Υ(2S)": 10.0234, "Υ(3S)": 10.3551, "Z": 91.188,
}  # fmt: skip
"""Known lines in GeV (PDG); Υ is the 1S state."""
KINDS_OF_LINES = {
    "φ": "phi", "J/ψ": "J/psi", "ψ(2S)": "psi(2S)",
    "Υ": "Upsilon(1S)", "Υ(2S)": "Upsilon(2S)", "Υ(3S)": "Upsilon(3S)", "Z": "Z",
}  # fmt: skip
"""What simulation calls them."""
RANGES = {"low": np.linspace(0, 20, 2001), "high": np.linspace(0, 240, 961)}
"""Edges of the bins, GeV."""
GROUPS = (("φ",), ("J/ψ", "ψ(2S)"), ("Υ", "Υ(2S)", "Υ(3S)"), ("Z",))
"""Lines that are fitted together."""
WINDOWS = {
    "offline": ((0.85, 1.2), (2.7, 4.1), (8.5, 11.3), (70.0, 112.0)),
    "L1": (None, (1.4, 7.0), (6.0, 20.0), (40.0, 220.0)),
}
"""Where each group is fitted, GeV: offline, and in raw or recalibrated L1 values."""
REST = 0.84
"""Part of the pairs of every lighter line that is below the window: the tail of a phi in L1 values."""
SELECTED = 0.9
"""Part of the offline pairs within an L1 line from which on they were selected by mass."""
NO_PHI = "the muons of a phi are closer to each other than L1 measures; L1 spectra turn on at its mass"
CATEGORY = ", category "
"""In names of spectra of a part of the pairs of a model."""

Spectra = Mapping[str, Mapping[str, NDArray[np.int64]]]
"""Counts by name and range."""
Templates = dict[str, dict[str, Template]]
"""By name of the spectrum and line."""


def line_templates(fresh: Callable[[], Any]) -> Templates:
    """Simulate each line and return its shape in each spectrum.

    Parameters
    ----------
    fresh : callable
        Returns an empty `l1scout.analysis.common.pair_masses.Masses`, with models and cuts of the data.
    """
    found: Templates = {}
    for line, kind in KINDS_OF_LINES.items():
        span, alone = _span(line), fresh()
        for events in simulated_line(kind):
            alone.add(events)
        for name, by in alone.opposite().items():
            if span in by:
                found.setdefault(name, {})[line] = Template.of_counts(RANGES[span], by[span])
    return found


def known_lines(
    opposite: Spectra, same: Spectra, templates: Callable[[], Templates]
) -> dict[tuple[str, str], Line]:
    """Look for each group of lines in each spectrum, by name of the spectrum and line."""
    found: dict[tuple[str, str], Line] = {}
    for name, spectrum in opposite.items():
        windows = WINDOWS["offline" if name == "offline" else "L1"]
        for group, window in zip(GROUPS, windows, strict=True):
            if (span := _span(group[0])) not in spectrum:
                continue
            counts, same_sign = spectrum[span], same.get(name, {}).get(span)
            lines = _group(name, group, window, counts, same_sign, templates)
            if name != "offline" and "offline" in opposite:
                lines = {n: _with_sidebands(one, opposite["offline"], span) for n, one in lines.items()}
            if CATEGORY in name:  # what is said of the model's own spectrum is not repeated
                lines = {line: one for line, one in lines.items() if one.status != NOT_FITTED}
            found |= {(name, line): one for line, one in lines.items()}
    return found


def _group(
    name: str,
    group: tuple[str, ...],
    window: tuple[float, float] | None,
    counts: NDArray[np.int64],
    same_sign: NDArray[np.int64] | None,
    templates: Callable[[], Templates],
) -> dict[str, Line]:
    if window is None:
        return {line: Line(NOT_FITTED, NO_PHI) for line in group}
    if not counts.any():
        return {line: Line(NOT_FITTED, "the spectrum is empty") for line in group}
    shapes = templates().get(name, {})
    if not set(group) <= set(shapes):
        return {line: Line(NOT_FITTED, "no simulated pair passes the cuts") for line in group}
    shares = {line: DEFAULT_SHARES[KINDS_OF_LINES[line]] for line in group}
    known = {line: shapes[line] for line in group}
    span = _span(group[0])
    lighter = [shape.quantile(REST) for line, shape in shapes.items() if LINES[line] < LINES[group[0]]]
    window = max([window[0], *lighter]), window[1]
    return find_lines(RANGES[span], counts, window, known, shares, same_sign=same_sign)


def _with_sidebands(found: Line, offline: Mapping[str, NDArray[np.int64]], span: str) -> Line:
    """Return a line; not fitted if offline pairs were selected in a range of mass as narrow as the line."""
    if found.fit is None or found.template is None:
        return found
    at, width, edges = found.template.position, found.template.width, RANGES[span]
    inside = (edges[:-1] > at - width) & (edges[1:] < at + width)
    share = offline[span][inside].sum() / max(int(offline["high"].sum()), 1)
    if share < SELECTED:
        return found
    reason = f"{100 * share:.0f} % of the offline pairs are within {at - width:.3g} to {at + width:.3g} GeV"
    return Line(NOT_FITTED, f"{reason}: L1 values make a peak of any such pairs", template=found.template)


def _span(line: str) -> str:
    """Return the range of the mass in which a line is fitted."""
    return "high" if LINES[line] > RANGES["low"][-1] else "low"


def line_row(name: str, line: str, found: Line) -> dict[str, Any]:
    """Return what is written of a line."""
    fit, template = found.fit, found.template
    row: dict[str, Any] = {"muons": name, "line": line, "status": found.status, "note": found.reason}
    row |= {"entries": found.entries.value, "entries_stat": found.entries.error}
    row |= {"entries_syst": found.systematic, "entries_below_95": found.limit}
    row |= {"significance": found.significance}
    for what in ("position", "width"):
        number = getattr(fit, what)(found.index) if fit and found.detected else None
        row |= {f"{what}_gev": number and number.value, f"{what}_error_gev": number and number.error}
        row |= {f"simulated_{what}_gev": getattr(template, what) if template else None}
    row |= {"window_gev": list(fit.window) if fit else None}
    row |= {"background": fit.background.name if fit else ""}
    row |= {"valid": bool(fit and fit.valid)}
    return row | {"goodness": fit and fit.goodness, "p_value": fit and fit.p_value}
