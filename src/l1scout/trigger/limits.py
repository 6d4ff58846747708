"""Limits of cuts in physics units, as the menu's XML has them, as hardware integers."""

import math

from l1scout.errors import printable
from l1scout.trigger.menu import LegCut, PairCut
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import ObjectKind, end_bin

DELTA, MASS = 10**3, 10
"""Steps of a limit in eta, phi or distance squared, and of half a mass squared: 0.001 and 0.1 GeV^2."""
MASK_BITS = {"QLTY": 16, "ISO": 4, "IP": 4, "DISP": 2}
"""Cuts that are a list of values, and the number of values."""
_CHARGE = {"positive": 1, "negative": 2}
_CHARGE_CORRELATION = {"ls": 0, "os": 1}
_LARGEST = 1e12


def leg_cut(type_: str, name: str, low: float, high: float, data: str, kind: ObjectKind | None) -> LegCut:
    """Return a cut on one object.

    Parameters
    ----------
    type_, name : str
        Type in the menu, such as ETA or CSCORE, and name.
    low, high : float
        Limits in physics units; of INDEX and SLICE numbers.
    data : str
        Of QLTY, ISO, IP and DISP the values that pass, with commas; of CHG positive or negative.
    kind : ObjectKind, optional
        None for signals.

    Raises
    ------
    UnsupportedError
        If the type is not known or a limit cannot be exact.
    """
    if type_ in MASK_BITS:
        return LegCut(type_, name, mask=_mask(data, MASK_BITS[type_], name))
    if type_ == "CHG":
        if data not in _CHARGE:
            msg = f"{printable(name)}: charge {printable(data, 20)!r}"
            raise UnsupportedError(msg)
        return LegCut(type_, name, mask=_CHARGE[data])
    if type_ == "CSCORE":
        return LegCut("SCORE", name, low=_whole(low * 256, name))
    if type_ in ("INDEX", "SLICE"):
        return LegCut(type_, name, _whole(low, name), _whole(high, name))
    if type_ == "UPT":
        return LegCut(type_, name, end_bin(low) + 1, end_bin(high, upper=True) + 1)
    if type_ == "ETA" and kind and kind.eta:
        return LegCut(type_, name, *kind.eta_to_hardware(low, high))
    if type_ == "PHI" and kind and kind.phi:
        return LegCut(type_, name, *kind.phi_to_hardware(low, high))
    msg = f"cut {printable(name, 60)} of type {printable(type_, 20)} is not emulated"
    raise UnsupportedError(msg)


def pair_cut(type_: str, name: str, low: float, high: float, data: str) -> PairCut:
    """Return a cut on several objects: minima rounded down, maxima up, as the firmware's limits are.

    Raises
    ------
    UnsupportedError
        If the type is not known or a limit is absurd.
    """
    if type_ == "CHGCOR":
        if data not in _CHARGE_CORRELATION:
            msg = f"{printable(name)}: charge correlation {printable(data, 20)!r}"
            raise UnsupportedError(msg)
        return PairCut(type_, name, _CHARGE_CORRELATION[data], _CHARGE_CORRELATION[data])
    if not 0 <= low <= high < _LARGEST:
        msg = f"{printable(name)}: limits {low:g} and {high:g} are not 0 or more and rising"
        raise UnsupportedError(msg)
    if type_ in ("DETA", "DPHI", "ORMDETA", "ORMDPHI"):
        scaled = low * DELTA, high * DELTA
    elif type_ in ("DR", "ORMDR"):
        scaled = low**2 * DELTA, high**2 * DELTA
    elif type_ in ("MASS", "MASSUPT"):
        scaled = low**2 / 2 * MASS, high**2 / 2 * MASS
    else:
        msg = f"cut {printable(name, 60)} of type {printable(type_, 20)} is not emulated"
        raise UnsupportedError(msg)
    # a product such as 0.3 x 0.3 x 1000 is whole but for the last digits of floating point
    return PairCut(type_, name, math.floor(round(scaled[0], 4)), math.ceil(round(scaled[1], 4)))


def pair_cut_to_physics(cut: PairCut) -> tuple[float, float]:
    """Return the limits of a cut: angles and distances as they are, masses in GeV."""
    if cut.type in ("DR", "ORMDR"):
        return math.sqrt(cut.low / DELTA), math.sqrt(cut.high / DELTA)
    if cut.type in ("MASS", "MASSUPT"):
        return math.sqrt(2 * cut.low / MASS), math.sqrt(2 * cut.high / MASS)
    return cut.low / DELTA, cut.high / DELTA


def _mask(data: str, bits: int, name: str) -> int:
    mask = 0
    for value in data.split(","):
        if not value.strip().isdecimal() or len(value) > 4 or int(value) >= bits:
            msg = f"{printable(name)}: value {printable(value, 20)!r} is not one of 0..{bits - 1}"
            raise UnsupportedError(msg)
        mask |= 1 << int(value)
    return mask


def _whole(value: float, name: str) -> int:
    if not 0 <= value < 1 << 20 or value != int(value):
        msg = f"{printable(name)}: limit {value:g} is not a whole number"
        raise UnsupportedError(msg)
    return int(value)
