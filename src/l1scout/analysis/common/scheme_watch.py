"""Choose the filling scheme that data show, and refuse data that contradict the scheme of an analysis."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.schemes import FoundScheme, Scheme, find_scheme
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, FILLING_SCHEMES, colliding

MAX_DIFFERENCES = 5
"""BX that may differ from a scheme: dead or weak bunches. With more, it is another scheme."""
_FEWEST = 0.5
"""Muons per colliding BX before a known scheme is chosen by its likeness."""
_BESIDE = 0.2
"""Largest density of muons in empty BX, relative to colliding ones, for a scheme to explain data."""
_UNEQUAL = 0.1
"""Variance of the relative luminosity of bunches that is still taken for one scheme."""
_FAR_LIKELIER = np.log(1e6)
_FOUND = "found in the data: "
"""Begins the names of schemes that are not known ones."""
_FLAT_MUONS = 2 * BX_PER_ORBIT
"""Muons that must be spread evenly over the orbit before it is said that there are no collisions."""
_SURE = 3.0
"""Standard deviations."""
_PART_ENOUGH = 8_000
"""Muons of a run of a file that show its scheme, while it is still sought."""
_FIRST_TRY, _LIKENESS_FROM, _MOST_HELD = 2_000, 64_000, 1_000_000
"""Muons after which the scheme is sought first, may be chosen by likeness, and must be known."""


@dataclass
class BxCounts:
    """Final muons by BX, without any cut; rows whose orbit is unknown are left out."""

    muons: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BX_PER_ORBIT + 1, np.int64))
    orbits: int = 0

    def add(self, batch: OrbitBatch) -> None:
        """Count the muons of a batch."""
        keep = (batch.orbit >= 0)[batch.row]
        for name in ("intermediate", "bxInEvent"):
            if name in batch.columns:
                keep &= batch[name] == 0
        self.muons += np.bincount(batch.bx[batch.row[keep]], minlength=BX_PER_ORBIT + 1)
        self.orbits += batch.n_orbits or 0

    @property
    def total(self) -> int:
        """All muons."""
        return int(self.muons.sum())

    def find(self) -> FoundScheme:
        """Find which BX collide."""
        return find_scheme(self.muons, self.orbits)


def choose_scheme(counts: BxCounts, *, by_likeness: bool = True) -> Scheme | None:
    """Return the filling scheme that data show; None if they are too few to tell.

    Parameters
    ----------
    counts : BxCounts
    by_likeness : bool
        Whether a known scheme, at any offset in BX, may be chosen because it is by far the likeliest, though
        single BX are not yet certain. Without it, all but a few BX must be certain.
    """
    found = counts.find()
    if found.scheme.bx.size and found.undecided.size <= MAX_DIFFERENCES:
        if found.known and not found.missing and not found.extra:
            return _shifted(found.known, found.offset)
        return Scheme(_describe(found), found.scheme.bx)
    likeliest = _likeliest(counts) if by_likeness else None
    if likeliest is None and not found.scheme.bx.size and counts.total >= _FLAT_MUONS:
        return Scheme("none", found.scheme.bx)
    return likeliest


def _likeliest(counts: BxCounts) -> Scheme | None:
    """Return the known scheme at the offset that is by far the likeliest, if it explains the counts."""
    n = counts.muons[1:].astype(np.float64)
    fits: list[tuple[float, str, int]] = []
    for known in FILLING_SCHEMES:
        bx = colliding(known)
        mask = np.zeros(n.size)
        mask[bx - 1] = 1.0
        spectrum = np.fft.rfft(n) * np.conj(np.fft.rfft(mask))
        inside = np.rint(np.fft.irfft(spectrum, n.size)).clip(0, n.sum())
        outside = n.sum() - inside
        with np.errstate(all="ignore"):
            likelihood = np.nan_to_num(inside * np.log(inside / bx.size)) + np.nan_to_num(
                outside * np.log(outside / (n.size - bx.size))
            )
        best = np.argsort(likelihood)[-2:]
        fits += [(float(likelihood[d]), known, int(d)) for d in best]
    (second, *_), (best_fit, known, offset) = sorted(fits)[-2:]
    scheme = _shifted(known, offset)
    in_bx, out_bx = n[scheme.mask[1:]], n[~scheme.mask[1:]]
    level, scatter = in_bx.mean(), in_bx.var()
    silent = in_bx.size * np.exp(-level + 0.2 * _UNEQUAL * level**2)  # BX without a muon
    explained = (
        level >= _FEWEST
        and np.count_nonzero(in_bx == 0) < silent + 5 * np.sqrt(silent) + MAX_DIFFERENCES
        and out_bx.mean() < _BESIDE * level
        and scatter < level * (1 + 8 * np.sqrt(2 / in_bx.size) + _UNEQUAL * level)
    )
    return scheme if explained and best_fit - second > _FAR_LIKELIER else None


def _log_likelihood(counts: BxCounts, scheme: Scheme) -> float:
    """Return the logarithm of the Poisson likelihood of one level in a scheme's BX and one outside them."""
    inside, size = int(counts.muons[scheme.bx].sum()), scheme.bx.size
    levels = ((inside, size), (counts.total - inside, BX_PER_ORBIT - size))
    return float(sum(n * np.log(n / bx) for n, bx in levels if n))


def _shifted(known: str, offset: int) -> Scheme:
    offset = (offset + BX_PER_ORBIT // 2 - 1) % BX_PER_ORBIT - BX_PER_ORBIT // 2 + 1
    bx = np.sort((colliding(known) - 1 + offset) % BX_PER_ORBIT + 1)
    return Scheme(FILLING_SCHEMES[known] + (f", {offset:+d} BX" if offset else ""), bx)


def _describe(found: FoundScheme) -> str:
    if not found.known:
        return f"{_FOUND}{found.scheme.bx.size} colliding BX, not a known scheme"
    shift = f", {found.offset:+d} BX" if found.offset else ""
    return f"{_FOUND}{found.known}{shift}, but {found.missing} BX missing and {found.extra} extra"


def check_scheme(
    counts: BxCounts,
    scheme: Scheme,
    where: str,
    *,
    found: bool = False,
    part: bool = False,
    several: bool = True,
) -> int:
    """Refuse data that contradict a filling scheme.

    Parameters
    ----------
    counts : BxCounts
    scheme : Scheme
    where : str
        The data's name, for the message.
    found : bool
        Whether the scheme was found in earlier data, rather than given by the user.
    part : bool
        Whether these are a part of the data, in which collisions may be absent (beams apart in a scan).
    several : bool
        Whether there are other parts, which may agree.

    Returns
    -------
    int
        BX that differ, at most `MAX_DIFFERENCES`.

    Raises
    ------
    InputError
        If more differ.
    """
    seen, better = counts.find(), choose_scheme(counts)
    wrong = seen.against(scheme)
    if wrong.size <= MAX_DIFFERENCES and better and better.bx.size:
        differ = np.setxor1d(better.bx, scheme.bx)  # no BX is certain alone, but all together may be
        if _log_likelihood(counts, better) - _log_likelihood(counts, scheme) > _FAR_LIKELIER:
            wrong = max(wrong, differ, key=np.size)
    if wrong.size <= MAX_DIFFERENCES:
        if seen.scheme.bx.size:
            return int(wrong.size)
        if part or not scheme.bx.size or not _evenly_spread(counts, scheme):
            return 0
    shown = (
        f"shows {better.name.removeprefix(_FOUND)}"
        if better
        else f"shows about {seen.scheme.bx.size} colliding BX"
    )
    if better and not better.bx.size:
        shown = f"shows no collisions: {counts.total:,} muons, spread evenly over the orbit"
    separate = "analyse data of different schemes separately (by files or --runs)"
    if found:
        msg = f"{where}: {shown}, but earlier data {scheme.name}; {separate}"
    else:
        names = {long: short for short, long in FILLING_SCHEMES.items()}
        name = names.get(better.name, better.name if not better.bx.size else "auto") if better else "auto"
        msg = f"{where}: {shown}, not the given filling scheme {scheme.name} ({wrong.size} BX differ)"
        msg += f"; give --scheme {name}" + (f", and {separate}" if several else "")
    raise InputError(msg)


def _evenly_spread(counts: BxCounts, scheme: Scheme) -> bool:
    """Say whether muons outside the scheme's BX are certainly more than half as dense as in them."""
    inside = int(counts.muons[scheme.bx].sum())
    outside, empty = counts.total - inside, BX_PER_ORBIT - scheme.bx.size
    if not empty or not inside:
        return False
    ratio = (outside / empty) / (inside / scheme.bx.size)
    error = ratio * np.sqrt(1 / max(outside, 1) + 1 / inside)
    return bool(ratio - _SURE * error > 0.5)


class SchemeWatch:
    """Finds the filling scheme in the first data, or takes a given one, and compares all data with it.

    Batches are held back until the scheme is known. Each run of each file is compared for itself, and all
    data together.

    Parameters
    ----------
    scheme : Scheme, optional
        None: find it.
    needed : bool
        Whether it is an error if the data are too few to find it.
    repetition : callable
        Returns how often each orbit was seen so far, on average: a source in a loop shows no more of the
        scheme than its first pass does.

    Attributes
    ----------
    scheme : Scheme or None
    found : bool
        Whether it was found in the data.
    differing_bx : int
        BX that differ from it in all data.
    """

    def __init__(
        self, scheme: Scheme | None, *, needed: bool = True, repetition: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._repetition = repetition
        self.scheme, self.found, self._needed = scheme, scheme is None, needed
        self.differing_bx = 0
        self._held: list[OrbitData] = []
        self._all, self._part = BxCounts(), BxCounts()
        self._at: tuple[str, int] | None = None
        self._several = False
        self._likely: Scheme | None = None
        self._next = _FIRST_TRY

    def step(self, events: OrbitData) -> list[OrbitData]:
        """Take a batch; return the batches that may be analysed now (InputError if they contradict)."""
        batch = events.main
        at = (events.source, int(batch.run[0])) if len(batch) else self._at
        if at != self._at:
            self._check_part()
            self._part, self._several = BxCounts(), self._at is not None
            self._at = at
        self._part.add(batch)
        self._all.add(batch)
        if self._all.total >= self._next:
            self._next = 2 * self._all.total
            if self.scheme is None:
                self.scheme = choose_scheme(
                    self._once(self._all), by_likeness=self._all.total >= _LIKENESS_FROM
                )
            else:
                self._check_part()
        self._held.append(events)
        if self.scheme is None and self._all.total < _MOST_HELD:
            return []
        if self.scheme is None:
            self._refuse()
        ready, self._held = self._held, []
        return ready

    def finish(self) -> list[OrbitData]:
        """Return what was held back, once all data were added (InputError if they contradict)."""
        self._check_part()
        if self.scheme is None:
            self.scheme = choose_scheme(self._once(self._all)) or choose_scheme(self._all)
        if self.scheme is None and self._needed:
            self._refuse()
        if self.scheme is not None:
            self._check_part()
            where = "all data together" if self._several else self._where
            self.differing_bx = check_scheme(
                self._once(self._all), self.scheme, where, found=self.found, several=self._several
            )
        ready, self._held = self._held, []
        return ready

    def _once(self, counts: BxCounts) -> BxCounts:
        times = self._repetition()
        return BxCounts(np.rint(counts.muons / times).astype(np.int64), round(counts.orbits / times))

    def _refuse(self) -> None:
        msg = (
            f"the filling scheme cannot be found in {self._all.total:,} muons of {self._all.orbits:,} "
            f"orbits: give --scheme ({', '.join(FILLING_SCHEMES)}, none, or a JSON file)"
        )
        if not self._all.orbits:
            msg = "these data do not say how many orbits were seen: no rate can be made of them"
        raise InputError(msg)

    @property
    def _where(self) -> str:
        source, run = self._at or ("data", 0)
        return f"{source}, run {run}" if run else source

    def _check_part(self) -> None:
        """Compare the present run of the present file with the scheme, or with that of those before it."""
        if self.scheme is None and self._part.total >= _PART_ENOUGH:
            shown = choose_scheme(self._once(self._part))
            if shown and self._likely and not np.array_equal(shown.bx, self._likely.bx):
                check_scheme(self._once(self._part), self._likely, self._where, found=True, part=True)
            self._likely = self._likely or shown
        if self.scheme is not None and self._part.total:
            check_scheme(
                self._once(self._part),
                self.scheme,
                self._where,
                found=self.found,
                part=True,
                several=self._several,
            )
