"""Plausibility of a data set: units, signs and pairing, checked before it is used.

All statistics are robust (medians, circular means, rank correlations), so that no tail of a real sample fails
them. Each check knows what a common mistake looks like, and names it. They see the whole sample, each of its
parts (training, validation, test) and contiguous pieces of the file, as one bad file among good ones makes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.dataset import split
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_VTX, PHI, PHI_VTX, PT, Finder, describe_finders, of_finders
from l1scout.io.parquet import HARDWARE, OFFLINE
from l1scout.statistics import wrap

Columns = Mapping[str, NDArray[Any]]

SAMPLE = 1 << 21
"""Largest number of muons checked."""
_FEWEST = 10
"""Fewest muons of a sample, or of a part of one, that are checked."""
_FOR_SCALE, _FOR_ORDER = 30, 50
"""Fewest muons above the floor to check the scale of pT, and the correlation of L1 and offline pT."""
_PIECES, _PIECE = 20, 200
"""Number of contiguous pieces of a file, and fewest muons per piece."""
_FLOOR = 6
"""Muons at the smallest hwPt of the trigger's tables can have any larger pT."""
_REPEATED = 0.01
"""Share of rows that may repeat another."""
_IDENTITY = (*HARDWARE, *OFFLINE[:4])
_NEEDED = tuple(n for n in _IDENTITY if n not in ("hwEta", "hwQual", "tfMuonIndex"))


def check(columns: Columns, name: str) -> None:
    """Refuse a sample with implausible units, signs or pairing.

    Parameters
    ----------
    columns : mapping of str to ndarray, each of shape (muons,)
        Of a data set (`l1scout.dataset.matched.COLUMNS`), in the order of its file.
    name : str
        Name of the file, for the message.

    Raises
    ------
    InputError
        If units, signs or scales are not those of a data set, L1 and offline muons do not belong together, or
        rows are repeated. The message says which part of the sample shows it, and what to look for.
    """
    size = columns["hwPt"].size
    step = -(-size // SAMPLE)
    u = split.fraction({n: columns[n] for n in _IDENTITY})
    whole = _problem(columns, slice(None, None, step), _TESTS)
    found: list[tuple[str, str]] = []
    for part, (low, high) in split.PARTS.items():
        problem = _problem(columns, np.flatnonzero((u >= low) & (u < high))[::step], _TESTS)
        found += [(f"{part} part", problem)] if problem else []
    if whole and len(found) != 1:  # a part that is bad by itself is worth naming
        found = [("all muons", whole)]
    rows = max(-(-size // _PIECES), _PIECE)
    for start in range(0, 0 if found else size, rows):
        problem = _problem(columns, slice(start, start + rows, step), _TESTS_OF_PIECES)
        found += [(f"rows {start} to {min(start + rows, size) - 1}", problem)] if problem else []
    if found:
        msg = f"{name}, {found[0][0]}: {found[0][1]}"
        raise InputError(msg)
    refuse_repeated(keys(columns), name)


def _problem(columns: Columns, chosen: Any, tests: Sequence[Callable[[Columns], str]]) -> str:
    """Return the first problem of the chosen muons; empty if there is none."""
    part = {n: columns[n][chosen] for n in _NEEDED}
    if part["hwPt"].size < _FEWEST:
        return ""
    return next((problem for test in tests if (problem := test(part))), "")


def _ratio(part: Columns) -> NDArray[np.float64]:
    """Return offline over L1 pT of the muons above the trigger's floor; of all muons if those are few."""
    above = part["hwPt"] > _FLOOR
    used = above if np.count_nonzero(above) >= _FEWEST else np.ones(above.size, np.bool_)
    return np.asarray(part["recoPt"][used] / np.maximum(PT.to_physical(part["hwPt"][used]), 0.25))


def _pt_units(part: Columns) -> str:
    """Find grossly wrong units of pT, of most muons or of a few."""
    ratio = _ratio(part)
    found = f"median recoPt / L1 pT = {np.median(ratio):.3g}, where about 1 is usual"
    if np.median(ratio) > 100:
        return f"{found}: is recoPt in MeV? It must be in GeV"
    if np.median(ratio) < 0.01:
        return f"{found}: is recoPt in TeV, or hwPt in MeV? recoPt must be in GeV, hwPt in steps of 0.5 GeV"
    if not 0.2 < np.median(ratio) < 5:
        return f"{found}: recoPt must be in GeV, and L1 pT is 0.5 GeV (hwPt - 1)"
    wild = int(np.count_nonzero((ratio > 100) | (ratio < 0.01)))
    if wild > max(2, 0.01 * ratio.size):
        return (
            f"{wild} of {ratio.size} muons have recoPt / L1 pT above 100 or below 0.01: do some of the files "
            "that it was made of have recoPt in MeV?"
        )
    return ""


def _pt_scale(part: Columns) -> str:
    """Find hwPt in other steps; too strict for pieces of a file, which may be sorted by pT."""
    ratio = float(np.median(_ratio(part)))
    if np.count_nonzero(part["hwPt"] > _FLOOR) < _FOR_SCALE or 0.5 < ratio < 1.5:
        return ""
    found = f"median recoPt / L1 pT = {ratio:.3g}, where about 1 is usual"
    if ratio > 1:
        return f"{found}: is hwPt in GeV? It must be the trigger's integer, in steps of 0.5 GeV, plus 1"
    return f"{found}: is hwPt in steps of less than 0.5 GeV, or recoPt scaled?"


def _pt_order(part: Columns) -> str:
    """Find offline pT that belongs to other muons."""
    from scipy.stats import rankdata

    above = part["hwPt"] > _FLOOR
    hw, reco = part["hwPt"][above].astype(np.float64), part["recoPt"][above].astype(np.float64)
    if hw.size < _FOR_ORDER or min(_spread(np.log(hw)), _spread(np.log(reco))) < 0.25:
        return ""  # nothing that could be correlated
    correlation = float(np.corrcoef(rankdata(hw), rankdata(reco))[0, 1])
    if correlation + 2.5 / np.sqrt(hw.size) < 0.25:
        return (
            f"hwPt and recoPt are not correlated (rank correlation {correlation:.2f}): is each row an L1 "
            "muon and its own offline muon?"
        )
    return ""


def _phi(part: Columns) -> str:
    """Find phi of other muons, in other units, rotated, flipped or not at the vertex."""
    l1, reco = PHI_VTX.to_physical(part["hwPhiAtVtx"]), part["recoPhi"].astype(np.float64)
    mean = _direction(l1 - reco)
    turn = float(np.angle(mean))
    if abs(mean) < 0.7 or abs(turn) > 0.35:
        for hint, angles in (
            ("is the sign of recoPhi flipped?", l1 + reco),
            (
                "is hwPhiAtVtx in degrees? It must be in steps of 2 pi / 576",
                np.radians(part["hwPhiAtVtx"]) - reco,
            ),
            ("is recoPhi in units of pi? It must be in rad", l1 - np.pi * reco),
            ("is recoPhi in turns? It must be in rad", l1 - 2 * np.pi * reco),
        ):
            fit = _direction(angles)
            if abs(fit) > 0.9 and abs(np.angle(fit)) < 0.35:
                return f"hwPhiAtVtx and recoPhi do not agree: {hint}"
    if abs(mean) < 0.7:
        return (
            f"L1 and offline phi do not belong together (mean of exp(i dphi) is {abs(mean):.2f} long, where "
            "0.98 is usual): is each row an L1 muon and its own offline muon? Are hwPhiAtVtx in steps of "
            "2 pi / 576 and recoPhi in rad?"
        )
    if abs(turn) > 0.35:
        half = " (half a turn)" if abs(turn) > 3 else ""
        return f"L1 phi is off from recoPhi by {turn:.2f} rad{half} on average: is one of them rotated?"
    here, station = (float(np.median(np.abs(wrap(x - reco)))) for x in (l1, PHI.to_physical(part["hwPhi"])))
    if here > 0.05 and here > 2 * station:
        return (
            f"recoPhi is closer to hwPhi ({station:.2g} rad) than to hwPhiAtVtx ({here:.2g} rad): is it phi "
            "at the second muon station, or are the two L1 columns swapped? It must be phi at the vertex"
        )
    return ""


def _eta(part: Columns) -> str:
    """Find eta that belongs to other muons, is flipped or has other units."""
    l1, reco = ETA_VTX.to_physical(part["hwEtaAtVtx"]), part["recoEta"].astype(np.float64)
    off, flipped = (float(np.median(np.abs(x))) for x in (l1 - reco, l1 + reco))
    if off > 0.05 and flipped < 0.5 * off:
        return "L1 eta agrees with -recoEta: is the sign of recoEta flipped?"
    wide = np.abs(l1) > 0.2
    if np.count_nonzero(wide) >= _FEWEST:
        slope = float(np.median(reco[wide] / l1[wide]))
        if off > 0.05 and not 0.7 < slope < 1.4 and _spread(reco[wide] / l1[wide]) < 0.5:
            return f"recoEta is {slope:.2g} times L1 eta: is hwEtaAtVtx in steps of 0.010875?"
    if off > 0.15:
        return (
            f"L1 and offline eta do not belong together (median distance {off:.2f}, where 0.02 is usual): is "
            "each row an L1 muon and its own offline muon?"
        )
    return ""


def _charge(part: Columns) -> str:
    """Find charges that are swapped or belong to other muons."""
    agree = float(np.mean((part["hwCharge"] == 1) == (part["recoCharge"] < 0)))
    if agree + 3 * np.sqrt(0.25 / part["hwCharge"].size) >= 0.85:
        return ""
    found = f"L1 and offline charge agree for {100 * agree:.0f} % of the muons, where 99 % is usual"
    if agree < 0.15:
        return f"{found}: is one of them swapped? hwCharge is 1 for negative muons, recoCharge -1"
    return f"{found}: is each row an L1 muon and its own offline muon?"


def refuse_outside(
    columns: Columns, domain: Mapping[str, tuple[int, int]], finders: Sequence[Finder], name: str, model: str
) -> None:
    """Refuse (InputError) a sample of which no muon is in a model's domain.

    Parameters
    ----------
    columns : mapping of str to ndarray, each of shape (muons,)
    domain : mapping of str to (int, int)
        Smallest and largest value of each column: `l1scout.model.card.Card.domain`.
    finders : sequence of str
        Track finders of the model.
    name, model : str
        Names of the file and of the model, for the message.
    """
    if columns["tfMuonIndex"].size and not of_finders(columns["tfMuonIndex"], finders).any():
        msg = f"{name}: none of its muons has {describe_finders(finders)}, for which model {model} is"
        raise InputError(msg)
    known = {n: ends for n, ends in domain.items() if n in columns}
    inside = {n: (columns[n] >= low) & (columns[n] <= high) for n, (low, high) in known.items()}
    all_inside = np.all(list(inside.values()), axis=0)
    if inside and all_inside.size and not all_inside.any():
        worst = min(inside, key=lambda n: np.count_nonzero(inside[n]))
        low, high = known[worst]
        values = columns[worst]
        msg = (
            f"{name}: none of its {values.size} muons is in the domain of model {model}: {worst} is "
            f"{values.min()}..{values.max()} here, {low}..{high} in the domain"
        )
        raise InputError(msg)


def keys(columns: Columns) -> NDArray[np.float64]:
    """Return a number in [0, 1) per muon: equal for copies, also where the last digits of reco differ."""
    rounded = {n: columns[n] for n in _IDENTITY if n.startswith("hw")}
    for n in ("recoEta", "recoPhi"):
        rounded[n] = np.rint(1000 * columns[n].astype(np.float64)).astype(np.int64)
    rounded["recoPt"] = np.rint(1000 * np.log(columns["recoPt"].astype(np.float64))).astype(np.int64)
    return split.fraction(rounded)


def refuse_repeated(numbers: NDArray[np.float64], name: str) -> None:
    """Refuse (InputError) a sample that holds muons twice; `numbers` are their `keys`."""
    numbers = numbers[numbers < SAMPLE / numbers.size]
    repeated = numbers.size - np.unique(numbers).size
    if repeated > max(2, _REPEATED * numbers.size):
        share = 100 * repeated / numbers.size
        msg = (
            f"{name}: {share:.0f} % of its rows repeat another one: remove them (was a file used twice?), "
            "or uncertainties will be too small"
        )
        raise InputError(msg)


def _direction(angles: NDArray[np.float64]) -> complex:
    return complex(np.exp(1j * angles).mean())


def _spread(x: NDArray[np.float64]) -> float:
    """Return half of the central 68 %."""
    low, high = np.quantile(x, (0.16, 0.84))
    return float(high - low) / 2


_TESTS_OF_PIECES = (_pt_units, _phi, _eta, _charge)
_TESTS = (*_TESTS_OF_PIECES, _pt_scale, _pt_order)
