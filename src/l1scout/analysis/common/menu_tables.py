"""Rates of a menu and their uncertainties, from counts of crossings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.menu_counts import ONE, Counts, MenuCounts
from l1scout.analysis.common.menu_rates import RAW, RECALIBRATED, MenuRates
from l1scout.analysis.common.response import Reference
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.trigger.prescales import UNIT

PILE_UP_BINS = 8


def poisson_interval(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the central interval of 68.3 % of the means of Poisson distributed counts (Garwood)."""
    from scipy.stats import chi2

    n = np.asarray(counts, np.float64)
    low = np.where(n > 0, chi2.ppf(0.1587, 2 * n) / 2, 0.0)
    return low, chi2.ppf(0.8413, 2 * (n + 1)) / 2


def algorithm_rows(
    state: MenuRates, found: Mapping[str, MenuCounts], both: Counts, factors: Mapping[str, int] | None
) -> list[dict[str, Any]]:
    """Return a row for each algorithm that was emulated, in order of the index."""
    raw, hz = found[RAW], state.live.rate(1)
    low, high = poisson_interval(raw.total)
    rows = []
    for k, algorithm in enumerate(state.menu.algorithms):
        if algorithm.name in state.problems:
            continue
        n = int(raw.total[k])
        row: dict[str, Any] = {
            "index": algorithm.index,
            "algorithm": algorithm.name,
            "crossings": n,
            "rate_hz": n * hz,
            "rate_low_hz": float(low[k]) * hz,
            "rate_high_hz": float(high[k]) * hz,
            "pure_rate_hz": int(raw.pure[k]) * hz,
            "pure_rate_stat_hz": float(np.sqrt(raw.pure[k])) * hz,
        }
        if factors is not None:
            factor = factors[algorithm.name]
            scale = UNIT / factor * hz if factor else 0.0
            row |= {
                "prescale": factor / UNIT,
                "prescaled_rate_hz": n * scale,
                "prescaled_rate_stat_hz": float(np.sqrt(n)) * scale,
                "prescaled_pure_rate_hz": int(raw.prescaled_pure[k]) / ONE * hz,
            }
        if RECALIBRATED in found:
            other = int(found[RECALIBRATED].total[k])
            row |= {
                "recalibrated_rate_hz": other * hz,
                "recalibrated_rate_stat_hz": float(np.sqrt(other)) * hz,
                "change_hz": (other - n) * hz,
                "change_stat_hz": float(np.sqrt(n + other - 2 * int(both[k]))) * hz,
            }
        rows.append(row)
    return rows


def total_rates(state: MenuRates, found: Mapping[str, MenuCounts], prescaled: bool) -> dict[str, Any]:
    """Return the rates of crossings in which any algorithm fires, each with value and error."""
    hz = state.live.rate(1)

    def value(n: float, variance: float) -> dict[str, float]:
        return {"value": n * hz, "error": float(np.sqrt(variance)) * hz}

    out = {"total_rate_hz": value(found[RAW].any, found[RAW].any)}
    if RECALIBRATED in found:
        out["recalibrated_total_rate_hz"] = value(found[RECALIBRATED].any, found[RECALIBRATED].any)
    if prescaled:
        raw = found[RAW]
        out["prescaled_total_rate_hz"] = value(raw.prescaled_any / ONE, raw.prescaled_squares / ONE)
    return out


def section_rows(state: MenuRates, raw: MenuCounts) -> list[dict[str, Any]]:
    """Return the rate of any algorithm, and the counts of each, by section."""
    rows = []
    for section, seen in sorted(state.live.sections.items()):
        n = raw.any_sections.get(section, 0)
        hz = ORBIT_FREQUENCY_HZ / seen.weight if seen.weight else float("nan")
        rows.append(
            {
                "run": section.run,
                "section": section.number,
                "orbits": seen.orbits,
                "crossings": n,
                "rate_hz": n * hz,
                "rate_stat_hz": float(np.sqrt(n)) * hz,
            }
        )
    return rows


def by_section(state: MenuRates, raw: MenuCounts) -> dict[str, list[int]]:
    """Return the crossings of each algorithm in the sections of `section_rows`."""
    zeros = np.zeros(len(state.names), np.int64)
    every = [raw.sections.get(section, zeros) for section in sorted(state.live.sections)]
    table = np.stack(every, axis=1) if every else np.zeros((len(state.names), 0), np.int64)
    return {name: table[k].tolist() for k, name in enumerate(state.names) if name not in state.problems}


def by_bx(state: MenuRates, raw: MenuCounts) -> dict[str, dict[str, list[int]]]:
    """Return the BX in which each algorithm fires, and in how many crossings; "any" for any of them."""
    names = {name: k for k, name in enumerate(state.names) if name not in state.problems}
    found = {}
    for name, k in {"any": len(state.names), **names}.items():
        bx = np.flatnonzero(raw.bx[k])
        found[name] = {"bx": bx.tolist(), "crossings": raw.bx[k, bx].tolist()}
    return found


def overlap(state: MenuRates, raw: MenuCounts) -> dict[str, Any]:
    """Return the crossings in which both of two algorithms fire."""
    kept = [k for k, name in enumerate(state.names) if name not in state.problems]
    return {
        "algorithms": [state.names[k] for k in kept],
        "crossings": raw.overlap[np.ix_(kept, kept)].tolist(),
    }


def pile_up_rows(state: MenuRates, raw: MenuCounts, reference: Reference) -> list[dict[str, Any]]:
    """Return rates per crossing in bins of pile-up, each with about as many crossings.

    Parameters
    ----------
    state : MenuRates
    raw : MenuCounts
    reference : Reference
        Pile-up of sections or of BX.
    """
    live = state.live
    counts: list[tuple[float, int, NDArray[np.int64]]] = []
    if reference.by == "bx":
        seen = live.orbits
        counts = [(mu, seen, raw.bx[:, bx]) for bx, mu in reference.values.items() if 1 <= bx <= BX_PER_ORBIT]
    else:
        zeros = np.zeros(len(state.names), np.int64)
        for section, of in live.sections.items():
            if section.number in reference.values:
                fired = np.r_[raw.sections.get(section, zeros), raw.any_sections.get(section, 0)]
                counts.append((reference.values[section.number], of.orbits * BX_PER_ORBIT, fired))
    counts = sorted((c for c in counts if c[1]), key=lambda c: c[0])
    edges = np.cumsum([n for _, n, _ in counts])
    place = (edges - 1) * PILE_UP_BINS // edges[-1] if counts else np.zeros(0, np.int64)
    rows = []
    for k in np.unique(place).tolist():
        part = [c for c, at in zip(counts, place.tolist(), strict=True) if at == k]
        crossings = sum(n for _, n, _ in part)
        fired = np.sum([c for _, _, c in part], axis=0)
        rows += _pile_up_bin(state, part, crossings, fired)
    return rows


def _pile_up_bin(
    state: MenuRates, part: Sequence[tuple[float, int, Any]], crossings: int, fired: NDArray[np.int64]
) -> list[dict[str, Any]]:
    mean = sum(mu * n for mu, n, _ in part) / crossings
    kept = [(name, fired[k]) for k, name in enumerate(state.names) if name not in state.problems]
    return [
        {
            "pile_up": mean,
            "pile_up_low": part[0][0],
            "pile_up_high": part[-1][0],
            "crossings": crossings,
            "algorithm": name,
            "fired": int(n),
            "per_crossing": int(n) / crossings,
            "per_crossing_stat": float(np.sqrt(n)) / crossings,
        }
        for name, n in [("any", fired[-1]), *kept]
    ]
