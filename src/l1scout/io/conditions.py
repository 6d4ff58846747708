"""Conditions under which L1 muons were made: era, trigger and its look-up tables, simulated or real.

A network learns what one trigger does to muons. Where another trigger, or the same with other tables, made
the muons of a file, its corrections and its uncertainties do not hold: `differences` says so.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1scout.io import runs

BMTF, KALMAN = "BMTF", "Kalman BMTF"
OWN, OFFICIAL, HARDWARE = "l1scout's own", "official", "hardware"
SIMULATED_ERA = "2017/18 trigger, simulated"
"""What l1scout's own simulation describes by default."""
RUN3_ERA = "Run-3 trigger, simulated"

_TRIGGERS = {**dict.fromkeys((2016, 2017, 2018), BMTF), **dict.fromkeys(range(2022, 2027), KALMAN)}
"""Barrel track finder by year of data taking."""
_YEARS = re.compile(r"\b(20\d\d)(?:/(\d\d))?\b")
_UNSTATED = ("not stated", "unknown")


@dataclass(frozen=True)
class Conditions:
    """Conditions of some L1 muons; None where they are not known.

    Parameters
    ----------
    simulated : bool or None
    era : str or None
        Years of data taking, or a file's own description of them.
    trigger : str or None
        Barrel track finder: `BMTF` up to 2018, `KALMAN` in Run 3.
    tables : str or None
        Look-up tables of the trigger: `OWN`, `OFFICIAL` (both simulated) or `HARDWARE`.
    randomised : str or None
        What the simulation drew anew for each block of muons, and from which ranges
        (`l1scout.simulate.randomisation`); None if nothing.
    """

    simulated: bool | None = None
    era: str | None = None
    trigger: str | None = None
    tables: str | None = None
    randomised: str | None = None

    def __str__(self) -> str:
        """Describe them in one line."""
        origin = {True: "simulated muons", False: "real muons", None: "muons of unstated origin"}
        parts = [origin[self.simulated]]
        parts += [f"era {self.era}"] if self.era else []
        parts += [f"trigger {self.trigger}"] if self.trigger else []
        parts += [f"{self.tables} tables"] if self.tables else []
        parts += [f"randomised {self.randomised}"] if self.randomised else []
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and metadata."""
        return {n: getattr(self, n) for n in ("simulated", "era", "trigger", "tables", "randomised")}


def years(era: str | None) -> set[int]:
    """Return the years named in a text: "2024", "2017/18"."""
    found: set[int] = set()
    for year, second in _YEARS.findall(era or ""):
        found |= {int(year)} | ({int(year[:2] + second)} if second else set())
    return found


def of_runs(numbers: Iterable[int], simulated: bool | None) -> Conditions:
    """Return the conditions that follow from run numbers, for real data only."""
    stated = runs.era(numbers) if simulated is not True else None
    return _completed(Conditions(simulated, _stated(stated)))


def of_metadata(metadata: Mapping[str, Any]) -> Conditions:
    """Return the conditions stated by a file or a model card."""
    simulated = metadata.get("simulated")
    texts = {n: _stated(metadata.get(n)) for n in ("era", "trigger", "tables", "randomised")}
    return _completed(Conditions(simulated if isinstance(simulated, bool) else None, **texts))


def states_era(metadata: Mapping[str, Any]) -> bool:
    """Return whether a file states its era."""
    return _stated(metadata.get("era")) is not None


def simulation(
    bmtf_luts: Path | None = None,
    gmt_luts: Path | None = None,
    trigger: str = "bmtf",
    kalman_gains: Path | None = None,
    randomised: str | None = None,
) -> Conditions:
    """Return the conditions of l1scout's own simulation with the track finder and tables in use."""
    kalman = trigger == "kbmtf"
    finder = OFFICIAL if (kalman_gains if kalman else bmtf_luts) else OWN
    global_trigger = OFFICIAL if gmt_luts else OWN
    tables = finder if finder == global_trigger else f"BMTF {finder}, GMT {global_trigger}"
    era, found = (RUN3_ERA, KALMAN) if kalman else (SIMULATED_ERA, BMTF)
    return Conditions(True, era, found, tables, randomised)


def differences(muons: Conditions, model: Conditions, source: str, name: str) -> list[str]:
    """Describe how the muons of a file differ from those that a model was trained on.

    Parameters
    ----------
    muons, model : Conditions
    source : str
        Name of the file or run, for the messages.
    name : str
        Of the model.

    Returns
    -------
    list of str
        One line per difference, and one for conditions that are unknown; empty if all agree.
    """
    lines, unknown = [], []
    origin = {True: "simulated", False: "real"}
    pairs = {
        "origin": (origin.get(muons.simulated), origin.get(model.simulated)),  # type: ignore[arg-type]
        "era": (muons.era, model.era),
        "trigger": (muons.trigger, model.trigger),
        "look-up tables": (muons.tables, model.tables),
    }
    for what, (here, there) in pairs.items():
        if here is None or there is None:
            unknown.append(what)
        elif not _compatible(what, here, there):
            if what == "origin":
                lines.append(f"{source}: {here} muons, but model {name} was trained on {there} muons")
            else:
                lines.append(f"{source}: {what} {here}, but model {name} was trained on {there}")
    if unknown:
        lines.append(
            f"{source}: cannot compare {', '.join(unknown)}: the file holds {muons}; model {name} was "
            f"trained on {model}"
        )
    return lines


def _compatible(what: str, here: str, there: str) -> bool:
    if what == "era" and years(here) and years(there):
        return years(here) <= years(there)
    return here == there


def _stated(value: Any) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return text if text and not text.lower().startswith(_UNSTATED) else None


def _completed(found: Conditions) -> Conditions:
    """Add what follows for real data: the hardware's tables, and the track finder of the year."""
    if found.simulated is not False:
        return found
    triggers = {_TRIGGERS.get(year) for year in years(found.era)}
    known = ", ".join(sorted(t for t in triggers if t)) if triggers and None not in triggers else None
    return Conditions(False, found.era, found.trigger or known, found.tables or HARDWARE)
