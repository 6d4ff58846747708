"""Filling schemes: read from files, parsed from the LHC's notation, and found in data."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError, printable
from l1scout.lhc import BX_PER_ORBIT, FILLING_SCHEMES, colliding

_NOTATION = re.compile(r"(\d{1,5})ns_(\d{1,5})b_(\d{1,5})_(\d{1,5})_(\d{1,5})_(\d{1,5})bpi_?(\d{1,5})inj")
_CERTAIN = np.log(1000.0)
"""A BX is undecided if one kind is less than a thousand times as likely as the other."""


class Notation(NamedTuple):
    """What the LHC's name of a filling scheme says: `25ns_2556b_2544_2215_2332_144bpi_20injV2`."""

    spacing_ns: int
    bunches: int
    ip1_and_5: int
    ip2: int
    ip8: int
    bunches_per_injection: int
    injections: int


def parse_notation(name: str) -> Notation | None:
    """Read the LHC's name of a scheme; None if it is not of that form."""
    match = _NOTATION.search(name)
    return Notation(*map(int, match.groups())) if match else None


@dataclass(frozen=True)
class Scheme:
    """Which BX collide at CMS.

    Parameters
    ----------
    name : str
    bx : ndarray of int64
        1..3564, rising; none for runs without beam.
    """

    name: str
    bx: NDArray[np.int64]

    def __post_init__(self) -> None:
        bx = self.bx
        if bx.size and (bx[0] < 1 or bx[-1] > BX_PER_ORBIT or np.any(np.diff(bx) < 1)):
            msg = f"filling scheme {self.name}: BX must be 1..{BX_PER_ORBIT}, each once"
            raise InputError(msg)
        told = parse_notation(self.name)
        if told and bx.size != told.ip1_and_5:
            msg = f"filling scheme {self.name}: {bx.size} BX collide, its name says {told.ip1_and_5}"
            raise InputError(msg)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Whether each BX collides; shape (3565,), the index is the BX."""
        mask = np.zeros(BX_PER_ORBIT + 1, np.bool_)
        mask[self.bx] = True
        return mask

    @property
    def first(self) -> NDArray[np.int64]:
        """First BX of each train."""
        return self.bx[~self.mask[_moved(self.bx, -1)]]

    @property
    def last(self) -> NDArray[np.int64]:
        """Last BX of each train."""
        return self.bx[~self.mask[_moved(self.bx, 1)]]

    def empty(self, before: int = 0, after: int = 0) -> NDArray[np.int64]:
        """Return BX with no collision in them, in the next `before` BX, or in the last `after` BX."""
        near = self.mask.copy()
        for k in (*range(-before, 0), *range(1, after + 1)):
            near[_moved(self.bx, k)] = True
        return np.flatnonzero(~near[1:]) + 1

    @property
    def classes(self) -> dict[str, NDArray[np.int64]]:
        """BX by their place in trains, and empty ones beside a train and elsewhere."""
        far = self.empty(before=1, after=1)
        return {
            "first of train": np.setdiff1d(self.first, self.last),
            "inner": np.setdiff1d(self.bx, np.r_[self.first, self.last]),
            "last of train": np.setdiff1d(self.last, self.first),
            "isolated": np.intersect1d(self.first, self.last),
            "empty beside one": np.setdiff1d(self.empty(), far),
            "empty": far,
        }

    @property
    def ranges(self) -> list[list[int]]:
        """First and last BX of each train within the orbit."""
        breaks = np.flatnonzero(np.diff(self.bx) > 1)
        if not self.bx.size:
            return []
        firsts, lasts = self.bx[np.r_[0, breaks + 1]].tolist(), self.bx[np.r_[breaks, -1]].tolist()
        return [[a, b] for a, b in zip(firsts, lasts, strict=True)]


def _moved(bx: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the BX that are `k` crossings later; after BX 3564 comes BX 1."""
    return (bx - 1 + k) % BX_PER_ORBIT + 1


def load_scheme(name: str) -> Scheme:
    """Load a scheme.

    Parameters
    ----------
    name : str
        One of `lhc.FILLING_SCHEMES`, or the LHC's name of one; ``none`` for no beam; or a JSON file:
        a list of BX or of [first, last], the same under ``bx`` or ``ranges``, beams as the LHC's
        programme writes them (``beam1`` and ``beam2``: 3564 times 0 or 1, or the intensity of each
        bunch, from BX 1), or several under ``schemes``, of which ``FILE#NAME`` picks one by its name
        or an unambiguous part of it.

    Raises
    ------
    InputError
        If there is no such file, or it is not a filling scheme.
    """
    if name == "none":
        return Scheme(name, np.zeros(0, np.int64))
    for year, told in FILLING_SCHEMES.items():
        if name in (year, told):
            return Scheme(told, colliding(year))
    path, _, wanted = name.partition("#")
    try:
        content = json.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        why, known = (error.strerror or "cannot be read").lower(), ", ".join(FILLING_SCHEMES)
        msg = f"{path}: {why}; a JSON file, none, or {known}"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not JSON ({error})"
        raise InputError(msg) from error
    title = Path(path).stem
    if isinstance(content, dict):
        title = printable(str(content.get("name", title)))
        if isinstance(content.get("schemes"), dict):
            picked = _pick(path, wanted, list(content["schemes"]))
            title, content = printable(picked), content["schemes"][picked]
    return Scheme(title, _read_bx(path, content))


def _pick(path: str, wanted: str, names: list[str]) -> str:
    """Return the one name that is, or else begins with, or else contains what is wanted (InputError)."""
    for fits in (str.__eq__, str.startswith, str.__contains__):
        fitting = [n for n in names if fits(n, wanted)]
        if len(fitting) == 1:
            return fitting[0]
    msg = f"{path}: pick one scheme with {path}#NAME: " + printable("; ".join(names), 1000)
    raise InputError(msg)


def _read_bx(path: str, content: Any) -> NDArray[np.int64]:
    """Return the colliding BX of a JSON file's content (InputError)."""
    if isinstance(content, dict):
        if "beam1" in content and "beam2" in content:
            both = [_numbers(path, content[k]) for k in ("beam1", "beam2")]
            if any(b.shape != (BX_PER_ORBIT,) or b.min() < 0 for b in both):
                msg = f"{path}: a beam has {BX_PER_ORBIT} places, each 0 or the intensity of a bunch"
                raise InputError(msg)
            return np.flatnonzero((both[0] > 0) & (both[1] > 0)) + 1
        content = content.get("bx", content.get("ranges"))
    numbers = _numbers(path, content)
    values = numbers.clip(-1e9, 1e9).astype(np.int64)
    if not np.array_equal(values, numbers):
        msg = f"{path}: a BX is a whole number from 1 to {BX_PER_ORBIT}"
        raise InputError(msg)
    if values.ndim == 1 or not values.size:
        return np.unique(values.reshape(-1))
    if values.ndim != 2 or values.shape[1] != 2 or values.min() < 1 or values.max() > BX_PER_ORBIT:
        raise _not_a_scheme(path)
    for first, last in values.tolist():
        if first > last:
            msg = f"{path}: the range [{first}, {last}] runs backwards; write [{last}, {first}]"
            raise InputError(msg)
    return np.unique(np.concatenate([np.arange(a, b + 1) for a, b in values]))


def _not_a_scheme(path: str) -> InputError:
    return InputError(
        f"{path}: not a filling scheme, which is a list of BX or of [first, last], beam1 and beam2, "
        "or several under schemes"
    )


def _numbers(path: str, content: Any) -> NDArray[np.float64]:
    """Return a JSON list as finite numbers (InputError)."""
    try:
        numbers = np.asarray(content, np.float64)
    except (ValueError, TypeError, OverflowError):
        numbers = np.array(np.nan)
    if not numbers.ndim or not np.all(np.isfinite(numbers)):
        raise _not_a_scheme(path)
    return numbers


@dataclass(frozen=True)
class FoundScheme:
    """A scheme as data show it.

    Parameters
    ----------
    scheme : Scheme
    undecided : ndarray of int64
        BX that could be of either kind: more data are needed.
    level : tuple of float
        Muons per crossing in empty and in colliding BX.
    known : str
        The known scheme that is most like it; empty if none is, or there is no collision.
    offset : int
        BX by which the data's numbers are larger than the known scheme's, -1781..1782.
    missing, extra : int
        BX that collide only there, only here.
    next_best : int
        BX that would differ with any other offset or scheme, at least.
    certain : ndarray of int8, shape (3565,)
        1 where a BX certainly collides, -1 where it certainly does not (a million times likelier), 0 where
        more data are needed; the index is the BX.
    """

    scheme: Scheme
    undecided: NDArray[np.int64]
    level: tuple[float, float]
    known: str = ""
    offset: int = 0
    missing: int = 0
    extra: int = 0
    next_best: int = 0
    certain: NDArray[np.int8] = field(default_factory=lambda: np.zeros(BX_PER_ORBIT + 1, np.int8))

    def against(self, scheme: Scheme) -> NDArray[np.int64]:
        """Return the BX that certainly are not what a scheme says."""
        return np.flatnonzero(self.certain == np.where(scheme.mask, -1, 1))


def find_scheme(counts: NDArray[np.int64], orbits: int) -> FoundScheme:
    """Find which BX collide, from muons by BX, and which known scheme that is.

    Two Poisson populations with the means of their members; each BX belongs to the likelier one. No
    collision is found if the counts scatter no more than those of one population would.

    Parameters
    ----------
    counts : ndarray of int64, shape (3565,)
        Muons by BX; index 0 is not used.
    orbits : int
        Orbits in which they were counted.
    """
    n = counts[1:].astype(np.float64)
    mean, spread = n.mean(), n.var()
    none = np.zeros(0, np.int64)
    orbits = max(orbits, 1)
    if spread <= mean * (1 + 8 * np.sqrt(2 / n.size)):
        return FoundScheme(Scheme("found", none), none, (mean / orbits, mean / orbits))
    high = n > (n.max() + n.min()) / 2
    for _ in range(100):
        low_mean, high_mean = max(n[~high].mean(), 0.5 / n.size), n[high].mean()
        score = n * np.log(high_mean / low_mean) - (high_mean - low_mean)
        if np.array_equal(score > 0, high):
            break
        high = score > 0
    found = Scheme("found", np.flatnonzero(high) + 1)
    undecided = np.flatnonzero(np.abs(score) < _CERTAIN) + 1
    certain = np.r_[0, np.where(np.abs(score) < 2 * _CERTAIN, 0, np.sign(score))].astype(np.int8)
    level = (float(low_mean / orbits), float(high_mean / orbits))
    wrong: list[tuple[int, str, int, int]] = []
    for known in FILLING_SCHEMES:
        other = Scheme(known, colliding(known)).mask[1:].astype(np.float64)
        spectrum = np.fft.rfft(high.astype(np.float64)) * np.conj(np.fft.rfft(other))
        common = np.rint(np.fft.irfft(spectrum, n.size)).astype(np.int64)
        both = int(other.sum()) + int(high.sum())
        wrong += [(both - 2 * c, known, d, c) for d, c in enumerate(common.tolist())]
    wrong.sort()
    differ, known, offset, common_bx = wrong[0]
    if differ > colliding(known).size / 2:
        return FoundScheme(found, undecided, level, certain=certain)
    missing = colliding(known).size - common_bx
    return FoundScheme(
        found,
        undecided,
        level,
        known,
        offset if offset <= n.size // 2 else offset - n.size,
        missing,
        differ - missing,
        wrong[1][0],
        certain,
    )
