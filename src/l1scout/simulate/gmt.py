"""The Global Muon Trigger's extrapolation from the second station to the vertex.

Exactly as the hardware does it, from look-up tables in the form of the official files
``{B,O,E}{Phi,Eta}Extrapolation_*.txt``: verified on real muons of 2018 and 2024. The tables shipped
with the package were made by our own simulation, for the barrel only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.streams.muon import PHI_BINS, TRACK_FINDERS

PT_LIMIT = 128
"""hwPt from which there is no correction"""
ADDRESSES = 32 * PT_LIMIT
"""(|hwEta| >> 3) & 31 in the upper five bits, hwPt in the lower seven"""
PHI_SHIFT = 2
OWN = "BPhiExtrapolation", "BEtaExtrapolation"
"""Names of the tables shipped with the package"""
OFFICIAL_VERSION = "20170505"
_REGION = {name: "EOB"[("EMTF", "OMTF", "BMTF").index(name[:4])] for name in TRACK_FINDERS}


@dataclass(frozen=True)
class Extrapolation:
    """Corrections by region ("B", "O", "E") and address, each of shape (4096,), 4 bits.

    Parameters
    ----------
    phi, eta : mapping of str to ndarray of int16
        Phi in units of 4 hardware counts, eta in hardware counts.
    """

    phi: Mapping[str, NDArray[np.int16]]
    eta: Mapping[str, NDArray[np.int16]]

    @classmethod
    def load(cls, directory: Path | None = None) -> "Extrapolation":
        """Read tables: the official ones from a directory, or, without one, our own.

        Raises
        ------
        InputError
            If there is no complete barrel table, or a file is not a table.
        """
        if directory is None:
            own = files("l1scout.simulate") / "tables"
            phi, eta = (parse((own / f"{name}.txt").read_text(), name) for name in OWN)
            return cls({"B": phi}, {"B": eta})
        found: dict[str, dict[str, NDArray[np.int16]]] = {"Phi": {}, "Eta": {}}
        for kind, tables in found.items():
            for region in "BOE":
                paths = sorted(directory.glob(f"{region}{kind}Extrapolation_*.txt"))
                chosen = [p for p in paths if OFFICIAL_VERSION in p.name] or paths[-1:]
                if chosen:
                    try:
                        text = chosen[0].read_text(errors="replace")
                    except OSError as error:
                        msg = f"{chosen[0]}: cannot be read ({error.strerror})"
                        raise InputError(msg) from error
                    tables[region] = parse(text, str(chosen[0]))
        if "B" not in found["Phi"] or "B" not in found["Eta"]:
            msg = f"{directory}: no BPhiExtrapolation_*.txt and BEtaExtrapolation_*.txt there"
            raise InputError(msg)
        return cls(found["Phi"], found["Eta"])

    def to_vertex(self, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Return hwPhiAtVtx and hwEtaAtVtx of muons given by hwPt, hwPhi, hwEta, hwCharge, tfMuonIndex.

        Raises
        ------
        InputError
            If there is no table for the track finder of a muon.
        """
        phi, eta = columns["hwPhi"].astype(np.int16), columns["hwEta"].astype(np.int16)
        pt, index = columns["hwPt"].astype(np.int64), columns["tfMuonIndex"]
        address = ((np.abs(eta.astype(np.int64)) >> 3 & 31) << 7) | np.minimum(pt, PT_LIMIT - 1)
        corrected = (pt > 0) & (pt < PT_LIMIT)
        dphi, deta = np.zeros_like(phi), np.zeros_like(eta)
        for name, indices in TRACK_FINDERS.items():
            here = np.flatnonzero(corrected & (index >= indices.start) & (index < indices.stop))
            region = _REGION[name]
            if here.size and (region not in self.phi or region not in self.eta):
                msg = f"no GMT table for {name} muons: our own are for the barrel, give the official ones"
                raise InputError(msg)
            if here.size:
                dphi[here] = self.phi[region][address[here]] << PHI_SHIFT
                deta[here] = self.eta[region][address[here]]
        sign = np.where(columns["hwCharge"] == 1, -1, 1).astype(np.int16)
        return np.mod(phi + sign * dphi, PHI_BINS).astype(np.int16), (eta - np.sign(eta) * deta).astype(
            np.int16
        )


def parse(text: str, name: str) -> NDArray[np.int16]:
    """Read a table of lines ``address value`` (``#`` starts a comment), 12 bits in and 4 bits out.

    Raises
    ------
    InputError
        If a line is not two numbers, an address is missing or doubled, or a value is not 0..15.
    """
    lines = [line for line in (re.sub("#.*", "", raw).split() for raw in text.splitlines()) if line]
    try:
        rows = np.array(lines, np.int64)
    except (ValueError, OverflowError):
        rows = np.zeros((0, 0), np.int64)
    if rows.shape != (ADDRESSES, 2) or not np.array_equal(np.sort(rows[:, 0]), np.arange(ADDRESSES)):
        msg = f"{name}: {ADDRESSES} lines of address and value expected"
        raise InputError(msg)
    values = rows[np.argsort(rows[:, 0]), 1]
    if values.min() < 0 or values.max() > 15:
        msg = f"{name}: values must be 0..15, not {values.min()}..{values.max()}"
        raise InputError(msg)
    return np.asarray(values, np.int16)


def render(table: NDArray[np.int16], comment: str) -> str:
    """Write a table in the form of the official files."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "#<header> V1 12 4 </header>\n" + "".join(f"{a} {v}\n" for a, v in enumerate(table))
