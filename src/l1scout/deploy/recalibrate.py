"""Recalibration of L1 muons with a trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engine import Engine, create_engine, default_engine
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_VTX, FIELDS, PHI_BINS, PHI_VTX, PT, of_finders
from l1scout.io.columns import charge_valid
from l1scout.model.card import Card
from l1scout.model.directory import load_model
from l1scout.model.quantities import MORE_INPUTS, OUTPUTS, REFERENCES

COLUMNS = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "tfMuonIndex")
"""Columns that every recalibration needs, besides other inputs of its model."""

REASONS = (
    "no muon (hwPt 0)",
    "of a track finder that the model does not know",
    "invalid phi code",
    "pT outside the training range",
    "eta outside the training range",
    "invalid charge code",
    "charge not valid (hwChargeValid 0)",
    "another input outside the training range",
    "no usable answer",
)
"""Why a muon is left as it is. The first that applies counts."""


@dataclass(frozen=True)
class Recalibrated:
    """L1 muons in physics units at the vertex, corrected where the model may be asked.

    Parameters
    ----------
    pt, eta, phi : ndarray of float32, shape (muons,)
        GeV, 1, rad in [-pi, pi). The trigger's own values where not recalibrated; pT NaN where there
        is no muon.
    recalibrated : ndarray of bool, shape (muons,)
    reasons : dict of str to int
        Muons left as they are, by reason (`REASONS`); with the recalibrated they make up all muons.
    pt_error, eta_error, phi_error : ndarray of float32, shape (muons,), optional
        Predicted uncertainties if asked for: half of the central 68 %, in GeV, 1, rad. NaN where not
        recalibrated, and everywhere if the model has no table of them.
    """

    pt: NDArray[np.float32]
    eta: NDArray[np.float32]
    phi: NDArray[np.float32]
    recalibrated: NDArray[np.bool_]
    reasons: dict[str, int]
    pt_error: NDArray[np.float32] | None = None
    eta_error: NDArray[np.float32] | None = None
    phi_error: NDArray[np.float32] | None = None

    def branches(self) -> dict[str, NDArray[Any]]:
        """Columns as they are written into files, beside the L1 muons that they belong to."""
        columns = {
            "L1Mu_ptRecal": self.pt,
            "L1Mu_etaRecal": self.eta,
            "L1Mu_phiRecal": self.phi,
            "L1Mu_isRecal": self.recalibrated,
            "L1Mu_ptRecalErr": self.pt_error,
            "L1Mu_etaRecalErr": self.eta_error,
            "L1Mu_phiRecalErr": self.phi_error,
        }
        return {name: column for name, column in columns.items() if column is not None}


class Recalibrator:
    """A model that answers for columns of hardware values.

    The one place that knows where a model may be asked; engines only compute.

    Parameters
    ----------
    card : Card
    engine : Engine
        Of the card's model.
    errors : bool
        Give predicted uncertainties, too.
    """

    def __init__(self, card: Card, engine: Engine, *, errors: bool = False) -> None:
        names = [q.name for q in card.inputs]
        self._more = tuple(n for n in names if n not in COLUMNS)
        self._reference = REFERENCES[card.reference]
        unknown = {*card.domain, *self._more} - {*COLUMNS, *MORE_INPUTS}
        if unknown or tuple(q.name for q in card.outputs) != OUTPUTS:
            answers = [q.name for q in card.outputs]
            msg = f"model {card.name}: asks for {sorted(unknown)}, answers {answers}: not known here"
            raise InputError(msg)
        self.card = card
        self._engine = engine
        self._errors = errors

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        engine: str | None = None,
        threads: int = 1,
        table: str | Path | None = None,
        errors: bool = False,
    ) -> "Recalibrator":
        """Load a model directory and make an engine of it; see `l1scout.deploy.engine.create_engine`.

        By default the engine is the model's reference: `l1scout.deploy.engine.default_engine`.

        Raises
        ------
        InputError
            If it lacks a file, card and network do not belong together, or the engine cannot be made.
        """
        model = load_model(directory)
        made = create_engine(engine or default_engine(model), model, threads=threads, table=table)
        return cls(model.card, made, errors=errors)

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> Recalibrated:
        """Recalibrate muons.

        Parameters
        ----------
        columns : mapping of str to ndarray of int, each of shape (muons,)
            `COLUMNS`, the card's other inputs, the columns of its reference
            (`l1scout.model.quantities.REFERENCES`), and ``hwChargeValid`` where known; others are ignored.

        Raises
        ------
        InputError
            If a column is missing, not of integers, or of another length.
        """
        names = dict.fromkeys((*COLUMNS, *self._more, *self._reference))
        hw = _checked(columns, (*names, *({"hwChargeValid"} & set(columns))))
        pt, eta, phi = (f.to_physical(hw[f.name]).astype(np.float32) for f in (PT, ETA_VTX, PHI_VTX))
        why = self._reason(hw)
        asked = np.flatnonzero(why < 0)
        hardware = np.stack([hw[q.name][asked] for q in self.card.inputs])
        correction = self._engine.correct(hardware.astype(np.int16))  # fits, as it is in the domain
        new_pt = pt[asked] - correction[2]
        own_phi, own_eta = (FIELDS[n].to_physical(hw[n][asked]).astype(np.float32) for n in self._reference)
        new_phi = _wrap(own_phi - correction[0])
        new_eta = own_eta - correction[1]
        good = (new_pt > 0) & np.isfinite(new_pt) & np.isfinite(new_eta) & (np.abs(new_phi) < np.pi)
        why[asked[~good]] = len(REASONS) - 1
        asked = asked[good]
        pt[asked], eta[asked], phi[asked] = new_pt[good], new_eta[good], new_phi[good]
        n = np.bincount(why[why >= 0], minlength=len(REASONS)).tolist()
        errors = self._uncertainties(hw, asked, pt) if self._errors else ()
        return Recalibrated(pt, eta, phi, why < 0, dict(zip(REASONS, n, strict=True)), *errors)

    def _uncertainties(
        self, hw: Mapping[str, NDArray[Any]], at: NDArray[np.int64], pt: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], ...]:
        """Uncertainties of pT, eta and phi; NaN but for the muons `at`."""
        found = [np.full(pt.size, np.nan, np.float32) for _ in range(3)]
        if self.card.resolution:
            error = self.card.resolution({n: hw[n][at] for n in self.card.resolution.edges})
            values = (error["pt"] * pt[at], error["eta"], error["phi"])
            for column, value in zip(found, values, strict=True):
                column[at] = value
        return tuple(found)

    def _reason(self, hw: Mapping[str, NDArray[Any]]) -> NDArray[np.int8]:
        """Index of the first reason that applies, or -1."""
        outside = dict.fromkeys(COLUMNS, np.zeros(hw["hwPt"].size, np.bool_))
        outside |= {n: (hw[n] < low) | (hw[n] > high) for n, (low, high) in self.card.domain.items()}
        phis = "hwPhiAtVtx", self._reference[0]
        eta = {"hwEtaAtVtx", self._reference[1]} & set(outside)
        reasons = (
            hw["hwPt"] == 0,
            ~of_finders(hw["tfMuonIndex"], self.card.finders),
            np.any([(hw[n] < 0) | (hw[n] >= PHI_BINS) for n in phis], axis=0) | outside["hwPhiAtVtx"],
            outside["hwPt"],
            np.any([outside[n] for n in eta], axis=0),
            outside["hwCharge"],
            ~charge_valid(hw) & ("hwCharge" in self.card.domain),
            np.any([outside[n] for n in self._more], axis=0) if self._more else np.False_,
        )
        why = np.full(hw["hwPt"].size, -1, np.int8)
        for k, applies in reversed(list(enumerate(reasons))):
            why[applies] = k
        return why


def _checked(columns: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the columns that are needed, if they are what they should be."""
    missing = [n for n in names if n not in columns]
    if missing:
        msg = f"muons lack {', '.join(missing)}, which the recalibration needs"
        raise InputError(msg)
    hw = {n: np.asarray(columns[n]) for n in names}
    for name, column in hw.items():
        if column.dtype.kind not in "iu" or column.shape != (hw["hwPt"].size,):
            msg = f"column {name} is {column.dtype} of shape {column.shape}, not {hw['hwPt'].size} integers"
            raise InputError(msg)
    return hw


def _wrap(phi: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring angles of less than a turn outside into [-pi, pi); float32 has no pi, so below it."""
    two_pi = np.float32(2 * np.pi)
    phi = np.where(phi >= np.float32(np.pi), phi - two_pi, np.where(phi < -np.pi, phi + two_pi, phi))
    at_the_end = np.abs(phi) == np.float32(np.pi)
    return np.where(at_the_end, -np.nextafter(np.float32(np.pi), np.float32(0)), phi)
