"""Counts of the crossings in which the algorithms of a menu fire: alone, together, by BX and by section."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import Section
from l1scout.lhc import BX_PER_ORBIT
from l1scout.trigger.crossing_bits import crossings_of
from l1scout.trigger.nearby_crossings import NearbyDecisions

Counts = NDArray[np.int64]
ONE = 1 << 32
"""Probabilities are summed as whole numbers of 1/ONE, so that the sum does not depend on its order."""


@dataclass
class MenuCounts:
    """Sums over crossings; what has no object near is added by `with_empty`.

    Parameters
    ----------
    names : tuple of str
        Algorithms, in order of the index.
    probabilities : ndarray of float64, shape (algorithms,)
        That a bit passes its prescaler: 1 over the prescale, 0 if it is off.
    n_menu : int
        Number of algorithms, the first ones, that belong to the menu. The others are tried beside it: they
        are pure where none of the menu fires, or passes its prescaler; and "any" is any of the menu.
    """

    names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    n_menu: int
    sections: dict[Section, Counts] = field(default_factory=dict)
    any_sections: dict[Section, int] = field(default_factory=dict)
    rows_sections: dict[Section, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.names)
        self.bx = np.zeros((n + 1, BX_PER_ORBIT + 1), np.int64)
        """By algorithm, and of any algorithm in the last row."""
        self.rows_bx = np.zeros(BX_PER_ORBIT + 1, np.int64)
        self.overlap = np.zeros((n, n), np.int64)
        self.pure = np.zeros(n, np.int64)
        self.prescaled_pure = np.zeros(n, np.int64)
        self.prescaled_any = self.prescaled_squares = 0

    def add(
        self, found: NearbyDecisions, rows: NDArray[np.bool_], sections: Sequence[tuple[Section, slice]]
    ) -> None:
        """Count decisions.

        Parameters
        ----------
        found : NearbyDecisions
        rows : ndarray of bool
            Rows that are to be counted.
        sections : sequence of (Section, slice)
            Sections, and the rows of each.
        """
        fired: dict[int, NDArray[np.int64]] = {}
        for k, name in enumerate(self.names):
            if name in found.words:
                at = crossings_of(found.words[name])
                fired[k] = at[rows[at]]
        bx = found.time % BX_PER_ORBIT + 1
        number = np.zeros(len(rows), np.int64)
        for k, at in fired.items():
            if k < self.n_menu:
                number[at] += 1
        some = np.flatnonzero(number)
        for section, part in sections:
            counts = self.sections.setdefault(section, np.zeros(len(self.names), np.int64))
            for k, at in fired.items():
                counts[k] += np.diff(np.searchsorted(at, (part.start, part.stop)))[0]
            some_here = int(np.count_nonzero(number[part]))
            self.any_sections[section] = self.any_sections.get(section, 0) + some_here
            rows_here = int(np.count_nonzero(rows[part]))
            self.rows_sections[section] = self.rows_sections.get(section, 0) + rows_here
        self.rows_bx += np.bincount(bx[rows], minlength=BX_PER_ORBIT + 1)
        for k, at in (*fired.items(), (len(self.names), some)):
            self.bx[k] += np.bincount(bx[at], minlength=BX_PER_ORBIT + 1)
        for k, at in fired.items():
            self.pure[k] += np.count_nonzero(number[at] == int(k < self.n_menu))
        self._overlaps(fired, len(rows))
        self._prescaled(fired, number)

    def _overlaps(self, fired: Mapping[int, NDArray[np.int64]], rows: int) -> None:
        seen = np.zeros(rows, np.bool_)
        for k, at in fired.items():
            seen[at] = True
            for m in fired:
                if m >= k:
                    both = int(np.count_nonzero(seen[fired[m]]))
                    self.overlap[k, m] += both
                    self.overlap[m, k] += both if m > k else 0
            seen[at] = False

    def _prescaled(self, fired: Mapping[int, NDArray[np.int64]], number: NDArray[np.int64]) -> None:
        """Add the probabilities that any algorithm passes its prescaler, and that only one does."""
        none, certain = np.ones(len(number)), np.zeros(len(number), np.int64)
        for k, at in fired.items():
            if k >= self.n_menu:
                continue
            if self.probabilities[k] == 1:
                certain[at] += 1
            else:
                none[at] *= 1 - self.probabilities[k]
        passes = np.where(certain > 0, 1.0, 1 - none)[number > 0]
        self.prescaled_any += int(np.rint(passes * ONE).astype(np.int64).sum())
        self.prescaled_squares += int(np.rint(passes**2 * ONE).astype(np.int64).sum())
        for k, at in fired.items():
            p = self.probabilities[k]
            if k >= self.n_menu:
                alone = np.where(certain[at] == 0, none[at], 0.0)
            elif p == 1:
                alone = np.where(certain[at] == 1, none[at], 0.0)
            else:
                alone = np.where(certain[at] == 0, none[at] / (1 - p) * p, 0.0)
            self.prescaled_pure[k] += np.rint(alone * ONE).astype(np.int64).sum()

    def merge(self, other: "MenuCounts") -> None:
        """Add the counts of other crossings."""
        for name in ("bx", "rows_bx", "overlap", "pure", "prescaled_pure"):
            getattr(self, name)[...] += getattr(other, name)
        self.prescaled_any += other.prescaled_any
        self.prescaled_squares += other.prescaled_squares
        for section, counts in other.sections.items():
            zeros = np.zeros(len(self.names), np.int64)
            self.sections[section] = self.sections.get(section, zeros) + counts
        for mine, theirs in (
            (self.any_sections, other.any_sections),
            (self.rows_sections, other.rows_sections),
        ):
            for section, n in theirs.items():
                mine[section] = mine.get(section, 0) + n

    def with_empty(self, fires: Mapping[str, bool], orbits: Mapping[Section, int]) -> "MenuCounts":
        """Return these counts and those of all crossings without an object near.

        Parameters
        ----------
        fires : mapping of str to bool
            Whether an algorithm fires there.
        orbits : mapping of Section to int
            Orbits that were seen.
        """
        out = MenuCounts(self.names, self.probabilities, self.n_menu)
        out.merge(self)
        chosen = np.array([fires.get(name, False) for name in self.names], np.bool_)
        if not chosen.any():
            return out
        of_menu = chosen & (np.arange(len(chosen)) < self.n_menu)
        for section, n in orbits.items():
            empty = n * BX_PER_ORBIT - self.rows_sections.get(section, 0)
            counts = out.sections.get(section, np.zeros(len(self.names), np.int64))
            out.sections[section] = counts + empty * chosen
            if of_menu.any():
                out.any_sections[section] = out.any_sections.get(section, 0) + empty
        empty_bx = np.r_[0, np.full(BX_PER_ORBIT, sum(orbits.values()))] - self.rows_bx
        out.bx[:-1][chosen] += empty_bx
        out.bx[-1] += empty_bx * of_menu.any()
        empty = int(empty_bx.sum())
        out.overlap[np.ix_(chosen, chosen)] += empty
        out.pure[of_menu] += empty if of_menu.sum() == 1 else 0
        out.pure[chosen & ~of_menu] += 0 if of_menu.any() else empty
        p = self.probabilities[of_menu]
        passes = 1 - float(np.prod(1 - p))
        out.prescaled_any += round(passes * empty * ONE)
        out.prescaled_squares += round(passes**2 * empty * ONE)
        for k in np.flatnonzero(chosen):
            others = float(np.prod([1 - self.probabilities[m] for m in np.flatnonzero(of_menu) if m != k]))
            own = self.probabilities[k] if of_menu[k] else 1.0
            out.prescaled_pure[k] += round(own * others * empty * ONE)
        return out

    @property
    def total(self) -> Counts:
        """Crossings in which each algorithm fires."""
        return np.asarray(self.bx[:-1].sum(axis=1))

    @property
    def any(self) -> int:
        """Crossings in which any algorithm fires."""
        return int(self.bx[-1].sum())
