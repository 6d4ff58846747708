"""The canonical columns of `OrbitData`, however a file spells them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError
from l1scout.formats.streams.muon import FIELDS
from l1scout.lhc import BX_PER_ORBIT

UNKNOWN_ORBIT = -1
"""Orbit of rows whose file does not tell orbit and BX; their BX reads 1."""

NANO = {
    name: (f"hw{name[2:]}", f"{name[2].lower()}{name[3:]}")
    for name in ("hwPt", "hwEta", "hwPhi", "hwEtaAtVtx", "hwPhiAtVtx")
}
"""Column: its branch with the hardware value, and with the physics value, after ``L1Mu_``."""
NTUPLE = {
    "hwPt": ("muonIEt", "muonEt"),
    "hwEta": ("muonIEta", "muonEta"),
    "hwPhi": ("muonIPhi", "muonPhi"),
    "hwEtaAtVtx": ("muonIEtaAtVtx", "muonEtaAtVtx"),
    "hwPhiAtVtx": ("muonIPhiAtVtx", "muonPhiAtVtx"),
}


def integers(name: str, values: NDArray[Any]) -> NDArray[np.int16]:
    """Hardware values as int16, exactly (InputError if a value does not fit: the file is damaged)."""
    if values.size and not (values.min() >= -(1 << 15) and values.max() < 1 << 15):
        msg = f"{name} holds values outside 16 bits ({values.min()}..{values.max()})"
        raise InputError(msg)
    return values.astype(np.int16)


def hardware(read: Mapping[str, NDArray[Any]], *, signed_charge: bool) -> dict[str, NDArray[np.int16]]:
    """Return canonical hardware columns from columns as read.

    Parameters
    ----------
    read : mapping of str to ndarray, shape (muons,)
        Hardware columns under their canonical names, physics values under ``physical:<name>``: used
        where the hardware value is missing. They lie on the hardware's grid, so nothing is lost.
    signed_charge : bool
        ``hwCharge`` holds the sign (-1, 1; 0 = not valid) rather than the bit (1 = negative).

    Raises
    ------
    InputError
        If ``hwCharge`` holds a value that it cannot have.
    """
    out: dict[str, NDArray[np.int16]] = {}
    for name, values in read.items():
        if name.startswith("physical:"):
            column = name.removeprefix("physical:")
            if column not in read:
                out[column] = from_physical(column, values)
        else:
            out[name] = integers(name, values)
    if "hwCharge" in out and signed_charge:
        sign = out["hwCharge"]
        _within("hwCharge", sign, -1, 1, "a sign (-1, 1, or 0 = not valid)")
        known = out.get("hwChargeValid", np.int16(1)) != 0
        out["hwCharge"] = (sign < 0).astype(np.int16)
        out["hwChargeValid"] = (known & (sign != 0)).astype(np.int16)
    elif "hwCharge" in out:
        _within("hwCharge", out["hwCharge"], 0, 1, "the bit of the muon word (0, or 1 = negative)")
    return out


def _within(name: str, values: NDArray[np.int16], low: int, high: int, what: str) -> None:
    """Refuse values outside a range, which is described in words (InputError)."""
    if values.size and not (values.min() >= low and values.max() <= high):
        msg = f"{name} holds {values.min()}..{values.max()}, which is not {what}"
        raise InputError(msg)


def charge_valid(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return for each L1 muon whether its charge is known.

    It is not where ``hwChargeValid``, in files that have it, is 0 (the charge was not measured, whatever
    ``hwCharge`` says), and where ``hwCharge`` is neither 0 nor 1.
    """
    charge = columns["hwCharge"]
    known = (charge == 0) | (charge == 1)
    return np.asarray(known & (columns["hwChargeValid"] != 0) if "hwChargeValid" in columns else known)


def from_physical(name: str, values: NDArray[Any]) -> NDArray[np.int16]:
    """Hardware value of a physics value on the hardware's grid.

    Files store these numbers with a shortened mantissa: to the nearest step is right for them.
    """
    f = FIELDS[name]
    values = np.asarray(values, np.float64)
    if not f.floor:
        return f.to_hardware(values).astype(np.int16)
    hw = f.to_hardware(values + 0.25 * (f.scale or 0.0))
    return np.where(values >= 0, hw, 0).astype(np.int16)  # below 0, and NaN: no muon


def crossings(orbit: NDArray[Any], bx: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orbit and BX of triggered rows; rows whose BX is not in 1..3564 (simulation) become unknown."""
    known = (bx >= 1) & (bx <= BX_PER_ORBIT)
    return (
        np.where(known, orbit.astype(np.int64), UNKNOWN_ORBIT),
        np.where(known, bx.astype(np.int64), 1),
    )


def unknown_crossings(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orbit and BX for rows of a file that has neither."""
    return np.full(rows, UNKNOWN_ORBIT, np.int64), np.ones(rows, np.int64)


def offline(read: Mapping[str, NDArray[Any]], like: OrbitBatch, offsets: NDArray[np.int64]) -> OrbitBatch:
    """Offline muons in the rows of `like`: floats as float32, no propagation (-9999) as NaN."""
    columns: dict[str, NDArray[Any]] = {}
    for name, values in read.items():
        if name == "recoCharge":
            columns[name] = np.sign(values).astype(np.int8)
        elif name in ("recoId", "recoIsGlobal"):
            columns[name] = values.astype(np.bool_)
        else:
            columns[name] = values.astype(np.float32)
    for name in {"recoEtaSt2", "recoPhiSt2"} & set(columns):
        columns[name] = np.where(columns[name] < -999, np.float32(np.nan), columns[name])
    return OrbitBatch(
        like.orbit,
        like.bx,
        offsets,
        columns,
        run=like.run,
        lumisection=like.lumisection,
        simulated=like.simulated,
    )
