"""Options of commands that simulate a run: what to plant in it, and which faults the links have."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.simulate.faults import FaultRates
    from l1scout.simulate.run import Running

FAULT_NAMES = (
    "flips",
    "k_flips",
    "lost_words",
    "doubled_words",
    "stuck",
    "bad_crc",
    "dead",
    "skew_jumps",
    "dead_orbits",
)
"""Fields of `FaultRates`, named here so that a help need not import the simulation."""
FAULTS = (
    f"Fault and its probability, such as flips=1e-6; may be given several times. {', '.join(FAULT_NAMES)}"
)

CONDITION_HELP = escape(
    "What to plant: NAME=JSON, such as cosmics=0.5 or 'noise=[[3,0.5]]'; may be given several times. "
    "`l1scout simulate conditions` lists all."
)


def running(scheme: str, occupancy: float, conditions: Sequence[str] = ()) -> "Running":
    """Return the conditions of a simulation (InputError if they are not possible)."""
    from l1scout.simulate.run import Running

    asked: dict[str, Any] = {"scheme": scheme, "occupancy": occupancy}
    for text in conditions:
        name, _, value = text.partition("=")
        try:
            asked[name] = _tuples(json.loads(value))
        except ValueError:
            msg = f"--condition {text}: name=value expected, the value as JSON"
            raise InputError(msg) from None
    try:
        return Running(**asked)
    except KeyError:
        msg = f"--scheme {scheme}: 2018 and 2024 are known"
        raise InputError(msg) from None
    except ValueError as error:
        msg = f"--occupancy, --condition: {error}"
        raise InputError(msg) from None
    except TypeError:
        msg = (
            f"--condition {' '.join(conditions)}: unknown name, or a value of the wrong form; "
            "`l1scout simulate conditions` lists all with examples"
        )
        raise InputError(msg) from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def fault_rates(given: list[str]) -> "FaultRates":
    """Return the faults asked for as name=probability (InputError if they cannot be)."""
    from l1scout.simulate.faults import FaultRates

    rates: dict[str, float | int] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            rates[name] = int(value) if name == "dead_orbits" else float(value)
        except ValueError:
            rates[name] = -1
    try:
        return FaultRates(**rates)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        msg = f"--fault {' '.join(given)}: name=probability expected, of {', '.join(FAULT_NAMES)}"
        raise InputError(msg) from None


def one_of(option: str, name: str, known: dict[str, object]) -> None:
    """Refuse a name that is not known (InputError)."""
    if name not in known:
        msg = f"{option} {name}: not one of {', '.join(known)}"
        raise InputError(msg)
