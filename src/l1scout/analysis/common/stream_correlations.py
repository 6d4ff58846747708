"""The state of the analysis `correlations`: coincidences of kinds of objects by their distance in BX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common import angle_counts
from l1scout.analysis.common.chosen_objects import ChosenObjects
from l1scout.analysis.common.coincidence_counts import add_window, expected, no_counts
from l1scout.analysis.common.muons import OfOrigin
from l1scout.analysis.common.orbit_windows import OrbitWindow, SeenObjects, WindowedState, seen_objects
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError

MAX_KINDS = 12
MIN_MIXED = 100
"""Mixed pairs for angles: with less, nothing is said."""


@dataclass
class _PairSums:
    """Sums over windows; see `coincidence_counts.no_counts` and `angle_counts.no_angles`."""

    coincidences: NDArray[np.int64]
    angles: NDArray[np.int64]

    def add(self, other: "_PairSums") -> None:
        self.coincidences += other.coincidences
        self.angles += other.angles


@dataclass
class StreamCorrelations(WindowedState, OfOrigin):
    """State: add data, then ask for rows.

    Parameters
    ----------
    kinds : tuple of ChosenObjects
        Those between which all pairs are counted, each kind with itself, too; all streams of the first data
        if there are none.
    reach : int
        Largest distance in BX.
    angles : bool
        Also fill histograms of angles between the leading objects.
    """

    kinds: tuple[ChosenObjects, ...] = ()
    reach: int = 5
    angles: bool = False
    orbits: int = 0
    crossings: dict[str, int] = field(default_factory=dict)
    _sums: _PairSums | None = None

    def __post_init__(self) -> None:
        self._named = bool(self.kinds)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Places of the kinds of each pair."""
        return list(combinations_with_replacement(range(len(self.kinds)), 2))

    @property
    def sums(self) -> _PairSums:
        """Sums of the windows that were closed."""
        if self._sums is None:
            n = len(self.pairs)
            angles = angle_counts.no_angles(n if self.angles else 0, self.reach)
            self._sums = _PairSums(no_counts(n, self.reach), angles)
        return self._sums

    def add(self, data: OrbitData, prescale: float = 1.0) -> None:
        """Take in data (InputError if they lack a kind, or do not count their orbits)."""
        if prescale != 1:
            msg = "correlations of neighbouring crossings need all crossings: give no --prescale"
            raise InputError(msg)
        if not self.kinds:
            self.kinds = tuple(ChosenObjects(name, name) for name in sorted(data.streams))
        if len(self.kinds) > MAX_KINDS:
            msg = f"{len(self.kinds)} kinds of objects: at most {MAX_KINDS}; name those that are wanted"
            raise InputError(msg)
        self.origins |= data.origins
        self.orbits += data.main.n_orbits or 0
        found: dict[str, SeenObjects] = {}
        for kind in self.kinds:
            if not self._named and kind.stream not in data.streams:
                continue
            batch, keep, values = kind.choose(data.streams)
            columns: dict[str, Any] = {}
            if self.angles:
                values |= kind.physics(batch)
                keep = angle_counts.leading(batch, keep, values)
                columns = {n: values[n] for n in angle_counts.ANGLES if n in values}
            else:
                keep = _one_each(batch, keep)
            found[kind.text] = seen_objects(batch, keep, columns)
            self.crossings[kind.text] = self.crossings.get(kind.text, 0) + found[kind.text].time.size
        self.take(found)

    def close(self, window: OrbitWindow, sums: _PairSums) -> None:
        """Add what a window has."""
        names = [kind.text for kind in self.kinds]
        pairs = np.array(self.pairs, np.int64)
        add_window(window, names, pairs, self.reach, sums.coincidences)
        if self.angles:
            angle_counts.add_angles(window, names, pairs, self.reach, sums.angles)

    def merge(self, other: "StreamCorrelations") -> None:
        """Add data that follow these (InputError if they are of other streams)."""
        if not other.kinds:
            return
        if not self.kinds:
            self.kinds = other.kinds
        if self.kinds != other.kinds:
            msg = "pieces of other streams cannot be merged: name the kinds of objects"
            raise InputError(msg)
        self.origins |= other.origins
        self.orbits += other.orbits
        for name, n in other.crossings.items():
            self.crossings[name] = self.crossings.get(name, 0) + n
        if other._sums is not None:
            self.sums.add(other._sums)
        self.follow(other)

    def all_sums(self) -> _PairSums:
        """Return the sums with those of the windows that are open."""
        own = self.sums
        total = _PairSums(own.coincidences.copy(), own.angles.copy())
        self.close_open(total)
        return total

    def rows(self, total: _PairSums) -> list[dict[str, Any]]:
        """Return a row for each pair of kinds and offset."""
        both, mean, variance = expected(total.coincidences)
        rows = []
        for p, (a, b) in enumerate(self.pairs):
            for d in range(-self.reach if a != b else 1, self.reach + 1):
                n, m, v = (float(x[p, d + self.reach]) for x in (both, mean, variance))
                ratio, error, sigma = _ratio(n, m, v)
                rows.append(
                    {
                        "first": self.kinds[a].text,
                        "second": self.kinds[b].text,
                        "offset_bx": d,
                        "observed": int(n),
                        "expected": m,
                        "expected_spread": float(np.sqrt(v)),
                        "ratio": ratio,
                        "ratio_stat": error,
                        "sigma": sigma,
                    }
                )
        return rows

    def angle_rows(self, total: _PairSums) -> list[dict[str, Any]]:
        """Return a row for each bin of angles between the leading objects."""
        rows: list[dict[str, Any]] = []
        _, mean, _ = expected(total.coincidences)
        for p, (a, b) in enumerate(self.pairs if self.angles else []):
            for d in range(-self.reach if a != b else 1, self.reach + 1):
                for angle, edges in enumerate((angle_counts.PHI_EDGES, angle_counts.ETA_EDGES)):
                    observed, mixed = total.angles[:, p, d + self.reach, angle]
                    if mixed.sum() < MIN_MIXED:
                        continue
                    # phi has every pair, eta only those within its edges
                    every = total.angles[angle_counts.MIXED, p, d + self.reach].sum(axis=1).max()
                    scale = float(mean[p, d + self.reach] / every)
                    head = {
                        "first": self.kinds[a].text,
                        "second": self.kinds[b].text,
                        "offset_bx": d,
                        "angle": angle_counts.ANGLES[angle],
                    }
                    rows += [
                        {**head, "low": low, "high": high, "observed": n, "expected": scale * m}
                        | {"expected_stat": scale * float(np.sqrt(m))}
                        for low, high, n, m in zip(
                            edges[:-1].tolist(),
                            edges[1:].tolist(),
                            observed.tolist(),
                            mixed.tolist(),
                            strict=True,
                        )
                    ]
        return rows


def _one_each(batch: OrbitBatch, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the first object that is kept of each row."""
    out = np.zeros(keep.size, np.bool_)
    if keep.all():
        out[batch.offsets[:-1][batch.counts > 0]] = True
        return out
    chosen = np.flatnonzero(keep)
    out[chosen[np.diff(batch.row[chosen], prepend=-1) != 0]] = True
    return out


def _ratio(observed: float, mean: float, variance: float) -> tuple[float | None, float | None, float | None]:
    """Return observed over expected, its uncertainty, and how far it is from 1 in standard deviations.

    The uncertainty is that of uncorrelated sources, or of the observed coincidences where these are more.
    """
    if mean <= 0:
        return None, None, None
    ratio = observed / mean
    error = float(np.sqrt(variance * max(ratio, 1.0))) / mean
    sigma = (observed - mean) / float(np.sqrt(variance)) if variance > 0 else None
    return ratio, error or None, sigma


def parse_kinds(texts: Sequence[str]) -> tuple[ChosenObjects, ...]:
    """Read the kinds of objects that a user names (InputError if one is none, or occurs twice)."""
    kinds = tuple(map(ChosenObjects.parse, texts))
    names: Mapping[str, ChosenObjects] = {kind.text: kind for kind in kinds}
    if len(names) < len(kinds):
        msg = f"a kind of objects is named twice: {', '.join(kind.text for kind in kinds)}"
        raise InputError(msg)
    return kinds
