"""Decide whether a spectrum has peaks at known lines, and set limits on those it does not have.

Lines that are close are fitted together, with the shapes that simulation gives them, over each of
eight smooth backgrounds. The backgrounds are profiled: each has its deviance plus one per parameter, and the
smallest counts, with a line and without it (discrete profiling; Dauncey et al., JINST 10 (2015) P04015).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.mass_backgrounds import MassBackground, backgrounds
from l1scout.analysis.common.peaks import SCALES, STRETCHES, LineFit, fit_lines
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
INSIDE = 0.3
"""Smallest part of a line that must be in the window."""
PRIORS = (0.15, 0.1)
"""What simulation may be wrong by: positions in widths, widths relatively; constraints of free shapes."""
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
    """A line, or several that are not separated, with one yield."""

    line: str
    template: Template
    others: tuple[str, ...] = ()
    alone: Template | None = None


@dataclass(frozen=True)
class _Physical:
    """The best fit over a background with yields of 0 or more, and the free yields of those put to 0."""

    fit: LineFit
    absent: tuple[int, ...]
    dips: Mapping[int, Measured]

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
        search = _Search(cut, counts[at], components, None if same_sign is None else same_sign[at])
        found |= search.lines()
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
        mixed = Template.mixture([templates[n] for n in names], [shares.get(n, 1.0) for n in names])
        found[-1] = _Component(last.line, mixed, (*last.others, line), templates[last.line])
    return found


def _physical(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    templates: Sequence[Template],
    background: MassBackground,
    absent: tuple[int, ...] = (),
    *,
    free: bool = False,
) -> _Physical:
    """Fit, with yields below 0 put to 0."""
    dips: dict[int, Measured] = {}
    priors = (PRIORS[0] * min(t.width / t.position for t in templates), PRIORS[1])
    while True:
        loose = free and len(absent) < len(templates)
        fit = fit_lines(edges, counts, templates, background, absent=absent, free=loose, priors=priors)
        below = {k: y for k, y in enumerate(fit.entries) if y.value < 0}
        if not below:
            return _Physical(fit, absent, dips)
        dips |= below
        absent = (*absent, *below)


def _adequate(fits: Sequence[_Physical]) -> list[_Physical]:
    return [f for f in fits if f.fit.valid and f.fit.p_value > ADEQUATE]


def _competing(fits: Sequence[_Physical]) -> list[_Physical]:
    """Return the fits that describe a spectrum almost as well as the best of them."""
    best = min(f.fit.penalised for f in fits)
    return [f for f in fits if f.fit.penalised < best + _WORTH]


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


class _Search:
    """The fits of neighbouring lines over all backgrounds."""

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

    def lines(self) -> dict[str, Line]:
        """Return the lines of all components, and those that are in them."""
        try:
            fits = [_physical(self.edges, self.counts, self.templates, b) for b in backgrounds()]
        except InputError as error:
            return self._not_fitted(str(error))
        described = _adequate(fits) or _adequate(self._free(fits))
        if not described:
            p = np.nan_to_num([f.fit.p_value for f in fits]).max()
            return self._not_fitted(
                f"no smooth background with the line describes the spectrum (p = {p:.1g})"
            )
        kept = _competing(described)
        valid, every = [f for f in fits if f.fit.valid], list(backgrounds())
        significances = [self._significance(k, valid, every) for k in range(len(self.templates))]
        if max(significances) >= DETECTED and (free := self._free(kept)):
            kept = _competing(free)
            strongest = int(np.argmax(significances))
            significances = [
                s if k == strongest else self._again(k, s, kept) for k, s in enumerate(significances)
            ]
        return self._judge(kept, significances)

    def _free(self, fits: Sequence[_Physical]) -> list[_Physical]:
        """Fit again, with free factors of positions and widths; return what converges."""
        at = (self.edges, self.counts, self.templates)
        free = [(f, _physical(*at, f.fit.background, f.absent, free=True)) for f in fits if f.fit.valid]
        return [_Physical(g.fit, g.absent, {**f.dips, **g.dips}) for f, g in free if g.fit.valid]

    def _significance(
        self, k: int, fits: Sequence[_Physical], tried: Sequence[MassBackground], *, free: bool = False
    ) -> float:
        """Return the standard deviations of a yield: of the best fit with it, and the best without it."""
        best = min(f.fit.penalised for f in fits)
        if all(k in f.absent for f in fits if f.fit.penalised < best + _WORTH):
            return 0.0  # a dip, whatever the background
        without = [_physical(self.edges, self.counts, self.templates, b, (k,), free=free).fit for b in tried]
        return float(np.sqrt(max(min(f.penalised for f in without) - best, 0.0)))

    def _again(self, k: int, significance: float, kept: Sequence[_Physical]) -> float:
        """Return the significance of a neighbour of a stronger peak, with a free shape of that peak."""
        if significance < DETECTED:
            return significance
        used = [f.fit.background for f in kept]
        return min(significance, self._significance(k, kept, used, free=True))

    def _not_fitted(self, reason: str) -> dict[str, Line]:
        return {
            line: Line(NOT_FITTED, reason, template=c.template)
            for c in self.components
            for line in (c.line, *c.others)
        }

    def _judge(self, kept: Sequence[_Physical], significances: Sequence[float]) -> dict[str, Line]:
        found = {}
        best = min(kept, key=lambda f: f.fit.penalised).fit
        penalised = [f.fit.penalised for f in kept]
        for k, (component, significance) in enumerate(zip(self.components, significances, strict=True)):
            yields = [f.entries(k) for f in kept]
            entries, systematic = envelope([y.value for y in yields], [y.error for y in yields], penalised)
            if component.alone:
                systematic = float(np.hypot(systematic, self._by_share(k, best)))
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
            found |= {line: self._joined(component) for line in component.others}
        return found

    def _by_share(self, k: int, best: LineFit) -> float:
        """Return by how much the yield changes if there are none of the lines that are not separated."""
        templates: list[Template] = [*self.templates]
        alone = self.components[k].alone
        assert alone is not None
        templates[k] = alone
        shape = (best.scale.value, best.stretch.value)
        one, other = (
            fit_lines(self.edges, self.counts, t, best.background, shape=shape).entries[k].value
            for t in (self.templates, templates)
        )
        return abs(one - other)

    @staticmethod
    def _joined(component: _Component) -> Line:
        template = component.template
        return Line(
            NOT_FITTED,
            f"not separated from {component.line}, in whose yield it is"
            f" (half-width {template.width:.2g} GeV)",
            template=template,
        )

    def _objection(self, k: int, best: LineFit, entries: Measured, error: float) -> str:
        """Return why a significant yield is no peak; empty if it is one."""
        template, position, width = self.templates[k], best.position(k), best.width(k)
        for what, factor, limits in (("position", best.scale, SCALES), ("width", best.stretch, STRETCHES)):
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
    """Merge bins to about half of the width: L1 values are quantised, which finer bins would show."""
    step = float(edges[1] - edges[0])
    wanted = max(int(width / 2 / step), 1)
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
