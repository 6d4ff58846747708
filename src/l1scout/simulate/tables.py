"""Tables of the track finder and of the GMT: official files where given, else our own, from simulation."""

from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.simulate.bmtf import BmtfTables
from l1scout.simulate.gmt import OWN, Extrapolation, render

_OWN_BMTF = "bmtf.npz"
OFFICIAL_PAIRS = ("12", "13", "14", "23", "24", "34")


def own_bmtf() -> BmtfTables:
    """Load the tables that were made by our own simulation and are shipped with the package."""
    with (files("l1scout.simulate") / "tables" / _OWN_BMTF).open("rb") as file, np.load(file) as arrays:
        return BmtfTables(**arrays)


def own_variants() -> tuple[tuple[BmtfTables, Extrapolation], ...]:
    """Load all shipped tables of track finder and GMT: the nominal ones first, then plausible variants."""
    return ((own_bmtf(), Extrapolation.load()),)


def write_own(bmtf: BmtfTables, gmt: Extrapolation) -> None:
    """Write derived tables where `own_bmtf` and `Extrapolation.load` look for them."""
    directory = Path(str(files("l1scout.simulate"))) / "tables"
    directory.mkdir(exist_ok=True)
    np.savez_compressed(directory / _OWN_BMTF, **bmtf._asdict())
    for name, tables in zip(OWN, (gmt.phi, gmt.eta), strict=True):
        comment = f"{name}: made by l1scout's simulation (python -m l1scout.simulate.derive)"
        (directory / f"{name}.txt").write_text(render(tables["B"], comment))


def read_bmtf(directory: Path) -> BmtfTables:
    """Read the official files (``pta12h.lut``, ``ptb12h_Feb2016.lut``, ``ext12.lut``, ``phi12.lut``...).

    Raises
    ------
    InputError
        If a file is missing or does not hold the addresses that it must.
    """
    high = [_lut(directory / f"pta{p}h.lut", 2048, header=True) for p in OFFICIAL_PAIRS]
    low = [_lut(directory / f"pta{p}l.lut", 2048, header=True) for p in OFFICIAL_PAIRS]
    bend = [_lut(directory / f"ptb{p}h_Feb2016.lut", 512, header=True) for p in OFFICIAL_PAIRS]
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
