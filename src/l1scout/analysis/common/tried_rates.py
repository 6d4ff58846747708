"""Algorithms of one's own beside a menu: rates, what they add to it, and what they share with it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.menu_counts import ONE
from l1scout.analysis.common.menu_rates import RAW, MenuRates
from l1scout.analysis.common.menu_tables import poisson_interval, total_rates
from l1scout.core.orbit_batch import final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.trigger.decider import Decider
from l1scout.trigger.prescales import UNIT

RECALIBRATED_COLUMNS = {
    "ptRecal": "pt",
    "etaRecal": "eta",
    "phiRecal": "phi",
    "isRecal": "recalibrated",
    "ptRecalErr": "pt_error",
    "etaRecalErr": "eta_error",
    "phiRecalErr": "phi_error",
}
"""Columns of muons, and what of `Recalibrated` they hold."""
MOST_SHARED = 5


def try_algorithms(
    decider: Decider, chunks: Iterable[OrbitData], factors: Mapping[str, int] | None, model: Any = None
) -> dict[str, Any]:
    """Return what algorithms find in data, as a document for JSON.

    Parameters
    ----------
    decider : Decider
    chunks : iterable of OrbitData
        In order of time.
    factors : mapping of str to int, optional
        Prescales of the menu's algorithms in hundredths.
    model : Recalibrator, optional
        Whose answers muons get as columns.

    Raises
    ------
    InputError
        If no orbit was seen, or an algorithm in Python fails.
    """
    tried = len(decider.names) - decider.n_menu
    passes = [factors[name] if factors else UNIT for name in decider.names[: decider.n_menu]]
    probabilities = np.r_[[UNIT / f if f else 0.0 for f in passes], np.ones(tried)]
    state = MenuRates(decider, LiveTime(), probabilities)
    for data in chunks:
        state.add(with_recalibration(data, model) if model is not None else data)
    return _document(state, factors is not None)


def with_recalibration(data: OrbitData, model: Any) -> OrbitData:
    """Return data whose final muons have the columns of `RECALIBRATED_COLUMNS`."""
    if MUON not in data.streams:
        return data
    muons = final_muons(data.muons)
    answer = model({name: c for name, c in muons.columns.items() if c.dtype.kind in "iu"})
    values = {name: getattr(answer, of) for name, of in RECALIBRATED_COLUMNS.items()}
    return data.with_muons(muons.with_columns(**{n: v for n, v in values.items() if v is not None}))


def _document(state: MenuRates, prescaled: bool) -> dict[str, Any]:
    skipped = state.skipped()
    raw, decider = state.all_counts()[0][RAW], state.decider
    hz, n_menu = state.live.rate(1), state.decider.n_menu
    low, high = poisson_interval(raw.total)
    pure_low, pure_high = poisson_interval(raw.pure)
    rows = []
    for k in range(n_menu, len(state.names)):
        name, n = state.names[k], int(raw.total[k])
        if name in state.problems:
            continue
        shared = sorted(
            ((int(raw.overlap[k, m]), state.names[m]) for m in range(n_menu) if raw.overlap[k, m]),
            reverse=True,
        )
        row = {
            "algorithm": name,
            "crossings": n,
            "rate_hz": n * hz,
            "rate_low_hz": float(low[k]) * hz,
            "rate_high_hz": float(high[k]) * hz,
        }
        if decider.menu:
            row |= {
                "not_in_menu_hz": int(raw.pure[k]) * hz,
                "not_in_menu_low_hz": float(pure_low[k]) * hz,
                "not_in_menu_high_hz": float(pure_high[k]) * hz,
                "most_shared": [
                    {"algorithm": other, "crossings": both, "share": both / n}
                    for both, other in shared[:MOST_SHARED]
                ],
            }
        if prescaled:
            row["added_after_prescales_hz"] = int(raw.prescaled_pure[k]) / ONE * hz
        rows.append(row)
    menu: dict[str, Any] = {"name": decider.menu.name if decider.menu else None}
    if decider.menu:
        menu |= total_rates(state, {RAW: raw}, prescaled)
        menu["not_emulated"] = {n: p for n, p in sorted(state.problems.items()) if n in state.names[:n_menu]}
    return {
        "orbits": state.live.orbits,
        "live_s": state.live.seconds,
        "orbits_left_out": state.left_out,
        "skipped": skipped,
        "simulated": state.simulated,
        "menu": menu,
        "algorithms": rows,
        "not_evaluated": {n: p for n, p in sorted(state.problems.items()) if n in state.names[n_menu:]},
    }
