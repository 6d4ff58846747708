"""Recalibration of L1 muons with a trained model: the reference engine, on onnxruntime."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.muon import ETA_VTX, PHI_BINS, PHI_VTX, PT
from l1scout.training.card import ONNX_FILE, Card, read_card
from l1scout.training.models import OUTPUTS

BATCH = 8192
"""Muons a call: the layers of so many still fit into the processor's cache."""

COLUMNS = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "tfMuonIndex")
"""Columns that a recalibration needs."""

REASONS = (
    "no muon (hwPt 0)",
    "not a barrel muon",
    "invalid phi code",
    "pT outside the training range",
    "eta outside the training range",
    "invalid charge code",
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
    """

    pt: NDArray[np.float32]
    eta: NDArray[np.float32]
    phi: NDArray[np.float32]
    recalibrated: NDArray[np.bool_]
    reasons: dict[str, int]

    def branches(self) -> dict[str, NDArray[Any]]:
        """Columns as they are written into files, beside the L1 muons that they belong to."""
        return {
            "L1Mu_ptRecal": self.pt,
            "L1Mu_etaRecal": self.eta,
            "L1Mu_phiRecal": self.phi,
            "L1Mu_isRecal": self.recalibrated,
        }


class Recalibrator:
    """A model that answers for columns of hardware values.

    Parameters
    ----------
    card : Card
    onnx_bytes : bytes
        The ONNX model.
    name : str
        What to call it in messages.
    threads : int
        Processor threads used for one call.

    Raises
    ------
    InputError
        If it is not an ONNX model with the card's numbers of inputs and outputs.
    """

    def __init__(self, card: Card, onnx_bytes: bytes, *, name: str = "model", threads: int = 1) -> None:
        import onnxruntime

        unknown = {*card.domain, *(q.name for q in card.inputs)} - set(COLUMNS)
        if unknown or tuple(q.name for q in card.outputs) != OUTPUTS:
            outputs_found = [q.name for q in card.outputs]
            msg = f"{name}: the card asks for {sorted(unknown)} and answers {outputs_found}: not known here"
            raise InputError(msg)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
            (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
        except Exception as error:  # onnxruntime has a dozen kinds, none of them public
            msg = f"{name}: not a usable ONNX model ({str(error).splitlines()[0]})"
            raise InputError(msg) from error
        for what, port, n in (("inputs", inputs, len(card.inputs)), ("outputs", outputs, len(card.outputs))):
            if port.type != "tensor(float)" or len(port.shape) != 2 or port.shape[1] != n:
                msg = f"{name}: the card names {n} {what}, but the ONNX model has {port.type} {port.shape}"
                raise InputError(msg)
        self.card = card
        self._session = session
        self._batch = inputs.shape[0] if isinstance(inputs.shape[0], int) else None
        self._input, self._output = inputs.name, outputs.name

    @classmethod
    def load(cls, directory: str | Path, *, threads: int = 1) -> "Recalibrator":
        """Load a model directory.

        Raises
        ------
        InputError
            If it lacks a file, or card and ONNX model do not belong together.
        """
        card, path = read_card(directory), Path(directory) / ONNX_FILE
        try:
            onnx_bytes = path.read_bytes()
        except OSError as error:
            msg = f"{path}: cannot be read ({error.strerror})"
            raise InputError(msg) from error
        if hashlib.sha256(onnx_bytes).hexdigest() != card.onnx.get("sha256"):
            msg = f"{path}: not the file that its card describes (sha256 differs); train or copy it again"
            raise InputError(msg)
        return cls(card, onnx_bytes, name=str(path), threads=threads)

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> Recalibrated:
        """Recalibrate muons.

        Parameters
        ----------
        columns : mapping of str to ndarray of int, each of shape (muons,)
            `COLUMNS`; others are ignored.

        Raises
        ------
        InputError
            If a column is missing, not of integers, or of another length.
        """
        hw = _checked(columns)
        pt, eta, phi = (f.to_physical(hw[f.name]).astype(np.float32) for f in (PT, ETA_VTX, PHI_VTX))
        why = self._reason(hw)
        asked = np.flatnonzero(why < 0)
        correction = self.correct(np.stack([hw[q.name][asked] for q in self.card.inputs], axis=1))
        new_pt = pt[asked] - correction[:, 2]
        new_phi = _wrap(phi[asked] - correction[:, 0])
        new_eta = eta[asked] - correction[:, 1]
        good = (new_pt > 0) & np.isfinite(new_pt) & np.isfinite(new_eta) & (np.abs(new_phi) < np.pi)
        why[asked[~good]] = len(REASONS) - 1
        asked = asked[good]
        pt[asked], eta[asked], phi[asked] = new_pt[good], new_eta[good], new_phi[good]
        n = np.bincount(why[why >= 0], minlength=len(REASONS)).tolist()
        return Recalibrated(pt, eta, phi, why < 0, dict(zip(REASONS, n, strict=True)))

    def correct(self, hardware: NDArray[Any]) -> NDArray[np.float32]:
        """Corrections (L1 minus offline), shape (muons, 3): rad, 1, GeV.

        Parameters
        ----------
        hardware : ndarray of int, shape (muons, 4)
            The card's inputs in their order; no check of their domain.
        """
        out = np.empty((len(hardware), len(self.card.outputs)), np.float32)
        step = self._batch or BATCH
        for low in range(0, len(hardware), step):
            block = hardware[low : low + step].astype(np.float32)
            n = len(block)
            if self._batch and n < step:
                block = np.pad(block, ((0, step - n), (0, 0)))
            answer: Any = self._session.run([self._output], {self._input: block})[0]
            out[low : low + n] = answer[:n]
        return out

    def _reason(self, hw: Mapping[str, NDArray[Any]]) -> NDArray[np.int8]:
        """Index of the first reason that applies, or -1."""
        outside = {n: (hw[n] < low) | (hw[n] > high) for n, (low, high) in self.card.domain.items()}
        phi = hw["hwPhiAtVtx"]
        reasons = (
            hw["hwPt"] == 0,
            outside["tfMuonIndex"],
            (phi < 0) | (phi >= PHI_BINS) | outside["hwPhiAtVtx"],
            outside["hwPt"],
            outside["hwEtaAtVtx"],
            outside["hwCharge"],
        )
        why = np.full(hw["hwPt"].size, -1, np.int8)
        for k, applies in reversed(list(enumerate(reasons))):
            why[applies] = k
        return why


def _checked(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns that are needed, if they are what they should be."""
    missing = [n for n in COLUMNS if n not in columns]
    if missing:
        msg = f"muons lack {', '.join(missing)}, which the recalibration needs"
        raise InputError(msg)
    hw = {n: np.asarray(columns[n]) for n in COLUMNS}
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
