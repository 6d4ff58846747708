"""Tables of the track finder and of the GMT: official files where given, else our own, from simulation."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.simulate.bmtf import BmtfTables
from l1scout.simulate.gmt import OWN, Extrapolation, render

_OWN_BMTF, _VARIANTS = "bmtf.npz", "variants.npz"
OFFICIAL_PAIRS = ("12", "13", "14", "23", "24", "34")
Tables = tuple[BmtfTables, Extrapolation]


def own_bmtf() -> BmtfTables:
    """Load the tables that were made by our own simulation and are shipped with the package."""
    return BmtfTables(**_arrays(_OWN_BMTF))


def own_variants() -> tuple[Tables, ...]:
    """Load all shipped tables of track finder and GMT: the nominal ones first, then plausible variants."""
    arrays = _arrays(_VARIANTS)
    phi, eta = arrays.pop("phi"), arrays.pop("eta")
    return (
        (own_bmtf(), Extrapolation.load()),
        *(
            (BmtfTables(**{name: a[k] for name, a in arrays.items()}), Extrapolation({"B": p}, {"B": e}))
            for k, (p, e) in enumerate(zip(phi, eta, strict=True))
        ),
    )


def write_own(variants: Sequence[Tables]) -> None:
    """Write derived tables, the nominal ones first, where the functions above look for them."""
    directory = Path(str(files("l1scout.simulate"))) / "tables"
    directory.mkdir(exist_ok=True)
    (bmtf, gmt), *others = variants
    np.savez_compressed(directory / _OWN_BMTF, **bmtf._asdict())
    for name, tables in zip(OWN, (gmt.phi, gmt.eta), strict=True):
        comment = f"{name}: made by l1scout's simulation (python -m l1scout.simulate.derive)"
        (directory / f"{name}.txt").write_text(render(tables["B"], comment))
    stacked: dict[str, Any] = {
        name: np.stack([getattr(b, name) for b, _ in others]) for name in BmtfTables._fields
    }
    stacked |= {name: np.stack([getattr(g, name)["B"] for _, g in others]) for name in ("phi", "eta")}
    np.savez_compressed(directory / _VARIANTS, **stacked)


def _arrays(name: str) -> dict[str, NDArray[np.int16]]:
    with (files("l1scout.simulate") / "tables" / name).open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def read_bmtf(directory: Path) -> BmtfTables:
    """Read the official files (``pta12h.lut``, ``ptb12h_Feb2016.lut``, ``ext12.lut``, ``phi12.lut``...).

    Raises
    ------
    InputError
        If a file is missing or does not hold the addresses that it must.
    """
    high = [_lut(directory / f"pta{p}h.lut", 2048, header=True) for p in OFFICIAL_PAIRS]
    low = [_lut(directory / f"pta{p}l.lut", 2048, header=True) for p in OFFICIAL_PAIRS]
    bend = [_lut(directory / f"ptb{p}h_Feb2016.lut", 512, header=True) for p in (*OFFICIAL_PAIRS, "21")]
    window = [_lut(directory / f"ext{p}.lut", 512) for p in OFFICIAL_PAIRS]
    to_second = [_lut(directory / f"phi{p}.lut", 512) for p in ("12", "42")]
    return BmtfTables(
        np.stack([v[:, 0] for _, v in high]),
        np.stack([v[:, 0] for _, v in low]),
        np.array([h for h, _ in high], np.int16),
        np.stack([v[:, 0] for _, v in bend]),
        np.stack([v for _, v in window]),
        np.stack([v[:, 0] for _, v in to_second]),
    )


def _lut(path: Path, half: int, *, header: bool = False) -> tuple[int, NDArray[np.int16]]:
    """Read lines of address and values; addresses -half..half-1 in order, after a limit if `header`."""
    try:
        lines = path.read_text().splitlines()
        limit = int(lines.pop(0)) if header else 0
        rows = np.array([line.split() for line in lines if line.strip()], np.int16)
    except (OSError, ValueError, IndexError, OverflowError) as error:
        msg = f"{path}: not a BMTF look-up table ({error})"
        raise InputError(msg) from None
    if rows.ndim != 2 or not np.array_equal(rows[:, 0], np.arange(-half, half)):
        msg = f"{path}: addresses {-half}..{half - 1} expected, one a line"
        raise InputError(msg)
    return limit, rows[:, 1:]
