"""Decide whether a spectrum has peaks at known lines, and set limits on those it does not have.

Lines that are close are fitted together, with the shapes that simulation gives them, constrained to what
simulation may be wrong by, over each of seven smooth backgrounds. The backgrounds are profiled: each has its
deviance plus one per parameter, and the smallest counts, with a line and without it (discrete profiling;
Dauncey et al., JINST 10 (2015) P04015). A background with a bump where a line is pays for it as a line would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.mass_backgrounds import MassBackground, backgrounds
from l1scout.analysis.common.peaks import LIMITS, Limits, LineFit, fit_lines
from l1scout.analysis.common.templates import FEWEST, PAIRS, Template
from l1scout.errors import InputError
from l1scout.statistics import Measured

DETECTED = 5.0
"""Standard deviations from which on a peak is reported."""
ADEQUATE = 1e-4
"""Smallest p-value of an acceptable fit."""
NEAR = 0.6
"""Largest distance of a peak from where simulation has it, in widths."""
SEPARATED = 1.0
"""Distance in widths from which on two lines have yields of their own."""
WIDEST = 0.25
"""Largest half-width of a line over its mass: the continuum itself changes within so much of its mass."""
PER_WIDTH = 4
"""Bins in the half-width of a line, at most."""
INSIDE = 0.3
"""Smallest part of a line that must be in the window."""
PRIORS = (0.15, 0.1)
"""What simulation may be wrong by: positions in widths, widths relatively; constraints of free shapes."""
MOVED = 3.0
"""Standard deviations of these constraints up to which neighbours may differ in a fit without a line: they
would otherwise take its place, however much that costs them."""
BESIDE, CHANCE = 2.0, 1.0
"""Widths on both sides of a line between which a background is to have no bump, and standard deviations
that chance allows; the square of what is above is added to the deviance, as that of a line would be."""
_WORTH = 4.0
"""Penalised deviance above the smallest up to which a background is kept."""

PEAK, NO_PEAK, NOT_FITTED = "peak", "no peak", "not fitted"


@dataclass(frozen=True)
class Line:
    """The result of the search for a line in a spectrum.

    Parameters
    ----------
    status : str
        ``peak``, ``no peak`` or ``not fitted``.
    reason : str
        Why it is no peak or was not fitted; of a peak, what to know of it.
    fit : LineFit, optional
        Of the best background; None if it was not fitted. Positions and widths are free if any line of the
        fit is a peak, otherwise those of simulation.
    index : int
        Of the line's template in the fit.
    template : Template, optional
        Its shape in simulation.
    significance : float
        Standard deviations of the yield: position and width are those of simulation, so there is one trial.
    entries : Measured
        Yield of 0 or more, with its statistical uncertainty.
    systematic : float
        Uncertainty of the yield by the choice of the background, and of the share of lines that are not
        separated from this one.
    limit : float
        Upper limit on the yield at 95 % confidence (CLs in the asymptotic approximation, both uncertainties
        in quadrature).
    others : tuple of str
        Lines that are not separated from this one, and in its yield.
    """

    status: str
    reason: str
    fit: LineFit | None = None
    index: int = 0
    template: Template | None = None
    significance: float = float("nan")
    entries: Measured = field(default_factory=lambda: Measured(float("nan"), float("nan")))
    systematic: float = float("nan")
    limit: float = float("nan")
    others: tuple[str, ...] = ()

    @property
    def detected(self) -> bool:
        """Whether it is a peak."""
        return self.status == PEAK


@dataclass(frozen=True)
class _Component:
    """A line, or several that are not separated, with one yield.

    Parameters
    ----------
    line : str
        The first one.
    template : Template
        Of all of them.
    others : tuple of str
    spread : (float, float)
        What the template may be wrong by: position in widths, width relatively.
    """

    line: str
    template: Template
    others: tuple[str, ...] = ()
    spread: tuple[float, float] = PRIORS


@dataclass(frozen=True)
class _Physical:
    """The best fit over a background with yields of 0 or more, and the free yields of those put to 0."""

    fit: LineFit
    absent: tuple[int, ...]
    dips: Mapping[int, Measured]
    penalised: float

    def entries(self, k: int) -> Measured:
        """Return the yield before it was put to 0."""
        return self.dips.get(k, self.fit.entries[k])


def find_lines(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    window: tuple[float, float],
    templates: Mapping[str, Template],
    shares: Mapping[str, float] | None = None,
    *,
    same_sign: NDArray[np.int64] | None = None,
) -> dict[str, Line]:
    """Look for neighbouring lines.

    Parameters
    ----------
    edges, counts : ndarray, shape (n + 1,), (n,)
        Spectrum of opposite-sign pairs, in bins of one width.
    window : tuple of float
        GeV that are fitted.
    templates : mapping of str to Template
        By line, rising in mass.
    shares : mapping of str to float, optional
        Entries of the lines relative to each other, for those that are not separated; without it equal.
    same_sign : ndarray, shape (n,), optional
        Spectrum of pairs of the same sign: a bump that both have is no resonance.
    """
    found: dict[str, Line] = {}
    usable = {}
    for line, template in templates.items():
        if template.entries < FEWEST:
            few = f"{template.entries:.0f} of {PAIRS:,} simulated pairs pass the cuts: too few for a template"
            found[line] = Line(NOT_FITTED, few, template=template)
        else:
            usable[line] = template
    if not usable:
        return found
    if wide := [
        t for t in usable.values() if t.width > WIDEST * t.position
    ]:  # their neighbours would take them
        reason = f"{wide[0].width:.2g} GeV wide at {wide[0].position:.4g} GeV: not told from a background"
        return found | {line: Line(NOT_FITTED, reason, template=t) for line, t in usable.items()}
    width = min(t.width for t in usable.values())
    edges, counts, same_sign = _rebin(edges, counts, same_sign, width)
    inside = _occupied(edges, counts, window)
    at = np.flatnonzero((edges[:-1] >= inside[0] - 1e-9) & (edges[1:] <= inside[1] + 1e-9))
    cut = edges[at[0] : at[-1] + 2] if at.size else edges[:1]
    for line, template in list(usable.items()):
        if template.share(cut).sum() < INSIDE:
            ends = f"{inside[0]:g} to {inside[1]:g} GeV" if at.size else "no bin"
            found[line] = Line(NOT_FITTED, f"outside the spectrum ({ends})", template=usable.pop(line))
    components = _components(usable, shares or {})
    if components:
        same = None if same_sign is None else same_sign[at]
        found |= _Search(cut, counts[at], components, same).lines()
    return {line: found[line] for line in templates}


def _components(templates: Mapping[str, Template], shares: Mapping[str, float]) -> list[_Component]:
    """Put lines together that are not separated."""
    found: list[_Component] = []
    for line, template in templates.items():
        last = found[-1] if found else None
        if last is None or template.position - last.template.position > SEPARATED * template.width:
            found.append(_Component(line, template))
            continue
        names = (last.line, *last.others, line)
        parts = [templates[n] for n in names]
        usual = [shares.get(n, 1.0) for n in names]
        first, mixed, alike = (
            Template.mixture(parts, w) for w in ([1.0] + [0.0] * (len(names) - 1), usual, [1.0] * len(names))
        )
        shift = max(abs(t.position - mixed.position) for t in (first, alike)) / mixed.width
        stretch = max(abs(t.width / mixed.width - 1) for t in (first, alike))
        spread = float(np.hypot(PRIORS[0], shift)), float(np.hypot(PRIORS[1], stretch))
        found[-1] = _Component(last.line, mixed, (*last.others, line), spread)
    return found


def _competing(fits: Sequence[_Physical]) -> list[_Physical]:
    """Return the fits that describe a spectrum almost as well as the best of them."""
    best = min(f.penalised for f in fits)
    return [f for f in fits if f.penalised < best + _WORTH]


def envelope(
    values: Sequence[float], errors: Sequence[float], penalised: Sequence[float]
) -> tuple[Measured, float]:
    """Return a value with its statistical uncertainty, and that by the choice of the background.

    Where the smallest of the parabolas of all backgrounds is less than 1 above its smallest value.
    """
    v, e, d = (np.asarray(x, np.float64) for x in (values, errors, penalised))
    best = int(d.argmin())
    reach = e * np.sqrt(np.clip(1 - (d - d[best]), 0, None))
    near = d - d[best] < 1
    half = (float((v + reach)[near].max()) - float((v - reach)[near].min())) / 2
    return Measured(float(v[best]), float(e[best])), float(np.sqrt(max(half**2 - e[best] ** 2, 0)))


def upper_limit(value: float, error: float) -> float:
    """Return the limit at 95 % confidence on a yield of 0 or more whose estimate is Gaussian (CLs)."""
    from scipy.special import ndtr, ndtri

    return float(value - error * ndtri(0.05 * ndtr(value / error))) if error > 0 else float("nan")


def _bump(fit: LineFit, component: _Component) -> float:
    """Return by how many standard deviations the background rises above its chord below a line, or 0."""
    at, width = component.template.position, component.template.width
    low, high = (float(np.clip(at + k * width, *fit.window)) for k in (-BESIDE, BESIDE))
    edges = np.linspace(low, high, 41)
    smooth = fit.smooth(edges)
    above = (smooth - np.linspace(smooth[0], smooth[-1], smooth.size)).sum()
    return max(float(above / np.sqrt(max(smooth.sum(), 1.0))) - CHANCE, 0.0)


class _Search:
    """The fits of neighbouring lines over all backgrounds; shapes are constrained to those of simulation."""

    def __init__(
        self,
        edges: NDArray[np.float64],
        counts: NDArray[np.int64],
        components: Sequence[_Component],
        same_sign: NDArray[np.int64] | None,
    ) -> None:
        self.edges, self.counts, self.components = edges, counts, components
        self.templates = [c.template for c in components]
        self.same_sign = same_sign
        self.priors = (
            min(c.spread[0] * c.template.width / c.template.position for c in components),
            max(c.spread[1] for c in components),
        )

    def lines(self) -> dict[str, Line]:
        """Return the lines of all components, and those that are in them."""
        try:
            fits = self._fits()
        except InputError as error:
            return self._not_fitted(str(error))
        described = [f for f in fits if f.fit.p_value > ADEQUATE]
        if not described:
            p = np.nan_to_num([f.fit.p_value for f in fits]).max(initial=0)
            return self._not_fitted(
                f"no smooth background with the line describes the spectrum (p = {p:.1g})"
            )
        kept = _competing(described)
        return self._judge(kept, [self._significance(k, kept) for k in range(len(self.components))])

    def _fits(self, absent: tuple[int, ...] = (), limits: Limits = LIMITS) -> list[_Physical]:
        """Return the fits over all backgrounds that converge."""
        fits = [self._physical(background, absent, limits) for background in backgrounds()]
        return [f for f in fits if f.fit.valid]

    def _physical(self, background: MassBackground, absent: tuple[int, ...], limits: Limits) -> _Physical:
        """Fit, with yields below 0 put to 0."""
        dips: dict[int, Measured] = {}
        while True:
            free = any(k not in absent for k in range(len(self.components)))
            at = (self.edges, self.counts, self.templates, background)
            fit = fit_lines(*at, absent=absent, free=free, priors=self.priors, limits=limits)
            below = {k: y for k, y in enumerate(fit.entries) if y.value < 0}
            if not below:
                bumps = [_bump(fit, c) for c in self.components]
                return _Physical(fit, absent, dips, fit.penalised + max(bumps) ** 2)
            dips |= below
            absent = (*absent, *below)

    def _significance(self, k: int, kept: Sequence[_Physical]) -> float:
        """Return the standard deviations of a yield: of the best fit with it, and the best without it."""
        if all(k in f.absent for f in kept):
            return 0.0  # a dip, whatever the background
        best = min(kept, key=lambda f: f.penalised)
        limits = best.fit.limits([MOVED * prior for prior in self.priors])
        without = min((f.penalised for f in self._fits((k,), limits)), default=np.inf)
        return float(np.sqrt(max(without - best.penalised, 0.0)))

    def _not_fitted(self, reason: str) -> dict[str, Line]:
        return {
            line: Line(NOT_FITTED, reason, template=c.template)
            for c in self.components
            for line in (c.line, *c.others)
        }

    def _judge(self, kept: Sequence[_Physical], significances: Sequence[float]) -> dict[str, Line]:
        found = {}
        best = min(kept, key=lambda f: f.penalised).fit
        penalised = [f.penalised for f in kept]
        for k, (component, significance) in enumerate(zip(self.components, significances, strict=True)):
            yields = [f.entries(k) for f in kept]
            entries, systematic = envelope([y.value for y in yields], [y.error for y in yields], penalised)
            error = float(np.hypot(entries.error, systematic))
            limit = min(upper_limit(entries.value, error), best.counted + 1.645 * best.counted**0.5)
            reason = f"significance {significance:.2f}, below {DETECTED:g}"
            if significance >= DETECTED:
                reason = self._objection(k, best, entries, error)
            entries = Measured(max(entries.value, 0.0), entries.error)
            holds = f"with {', '.join(component.others)}: not separated" if component.others else ""
            found[component.line] = Line(
                NO_PEAK if reason else PEAK,
                "; ".join(text for text in (reason, holds) if text),
                best, k, component.template, significance, entries, systematic, limit, component.others,
            )  # fmt: skip
            within = f"not separated from {component.line}, in whose yield it is"
            within += f" (half-width {component.template.width:.2g} GeV)"
            found |= {n: Line(NOT_FITTED, within, template=component.template) for n in component.others}
        return found

    def _objection(self, k: int, best: LineFit, entries: Measured, error: float) -> str:
        """Return why a significant yield is no peak; empty if it is one."""
        template, position, width = self.templates[k], best.position(k), best.width(k)
        factors = (best.scale, best.stretch)
        for what, factor, limits in zip(("position", "width"), factors, LIMITS, strict=True):
            if min(factor.value - limits[0], limits[1] - factor.value) < 1e-3:
                return f"the fitted {what} is at its limit"
            if not np.isfinite(factor.error):
                return "the fit gives no uncertainty"
        if abs(position.value - template.position) > NEAR * template.width:
            return (
                f"the fitted peak is at {position.value:.4g} GeV, not at {template.position:.4g} as simulated"
            )
        if not 0.5 < best.stretch.value < 2:
            return f"the fitted width is {width.value:.2g} GeV, that of simulation {template.width:.2g}"
        if entries.value < 1.5 * error:
            return f"{entries.value:.0f} entries, uncertain by {error:.0f}"
        return self._same_sign_objection(k, best, entries)

    def _same_sign_objection(self, k: int, best: LineFit, entries: Measured) -> str:
        if self.same_sign is None:
            return ""
        shape = (best.scale.value, best.stretch.value)
        try:
            other = fit_lines(self.edges, self.same_sign, [self.templates[k]], best.background, shape=shape)
        except InputError:
            return ""
        same = other.entries[0]
        if other.valid and entries.value - same.value < 3 * float(np.hypot(entries.error, same.error)):
            return f"pairs of the same sign have it as well ({same.value:.0f} entries)"
        return ""


def _rebin(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    same_sign: NDArray[np.int64] | None,
    width: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Merge bins to `PER_WIDTH` in a half-width: L1 values are quantised, which finer bins would show."""
    step = float(edges[1] - edges[0])
    wanted = max(int(width / PER_WIDTH / step), 1)
    n = next(k for k in range(wanted, 0, -1) if not counts.size % k)
    same = None if same_sign is None else same_sign.reshape(-1, n).sum(axis=1)
    return edges[::n], counts.reshape(-1, n).sum(axis=1), same


def _occupied(
    edges: NDArray[np.float64], counts: NDArray[np.int64], window: tuple[float, float]
) -> tuple[float, float]:
    """Leave out the ends of a window at which the spectrum was cut off, with the bins in which it was."""
    inside = np.flatnonzero((edges[:-1] >= window[0] - 1e-9) & (edges[1:] <= window[1] + 1e-9))
    n = counts[inside]
    usual = float(np.median(n[n > 0])) if n.any() else 0.0
    filled = np.flatnonzero(n > 0.2 * usual) if usual >= 5 else np.zeros(0, np.int64)
    if not filled.size:
        return window
    first, last = filled[0], filled[-1]
    low = window[0] if first == 0 else float(edges[inside[first] + 1])
    high = window[1] if last == n.size - 1 else float(edges[inside[last]])
    return low, high
