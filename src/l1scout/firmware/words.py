"""What the streaming core answers, in Python: muon words in, recalibrated words out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.formats.recalibrated import ETA, ETA_STEPS, PHI, PHI_STEPS, PT, PT_STEPS, RECALIBRATED
from l1scout.formats.streams.muon import MUON_2018, PHI_BINS, of_finders
from l1scout.model.card import Card
from l1scout.model.quantities import REFERENCES

COPIED = ("hwQual", "hwIso", "hwCharge", "hwChargeValid", "tfMuonIndex")
"""Fields that a recalibrated muon has unchanged."""


def recalibrate_words(
    muons: NDArray[np.uint64], engine: FirmwareEngine, card: Card, hw_eta: NDArray[Any] | None = None
) -> NDArray[np.uint64]:
    """Recalibrated words (`l1scout.formats.recalibrated`) of 64-bit GMT muons of either layout.

    A muon outside the card's domain, of another track finder, with a phi that does not exist, whose charge is
    needed and was not measured (``hwChargeValid`` 0), or whose corrected pT would not be positive, keeps the
    trigger's own values at the vertex and has ``isRecal`` 0. A corrected pT beyond the field is the field's
    largest, as the GMT gives its own.

    Parameters
    ----------
    muons : ndarray of uint64, shape (muons,)
    engine : FirmwareEngine
    card : Card
    hw_eta : ndarray of int, shape (muons,), optional
        hwEta, at the second muon station, -256 to 255. By default that of the words of 2017/18; words of
        Run 3 have none: there it comes from the record's third word.
    """
    hw = {n: c.astype(np.int64) for n, c in MUON_2018.decode(muons).items()}
    if hw_eta is not None:
        hw["hwEta"] = np.asarray(hw_eta, np.int64)
    phi, eta = REFERENCES[card.reference]
    inside = (hw["hwPt"] != 0) & (hw[phi] < PHI_BINS)
    inside &= (hw["hwChargeValid"] != 0) | ("hwCharge" not in card.domain)
    inside &= of_finders(hw["tfMuonIndex"], card.finders)
    for name, (low, high) in card.domain.items():
        inside &= (hw[name] >= low) & (hw[name] <= high)
    asked = np.flatnonzero(inside)
    own = np.stack([hw["hwPhiAtVtx"] * PHI_STEPS, hw["hwEtaAtVtx"] * ETA_STEPS, hw["hwPt"] * PT_STEPS])
    hardware: NDArray[Any] = np.stack([hw[q.name][asked] for q in card.inputs])
    given = np.stack([hw[phi] * PHI_STEPS, hw[eta] * ETA_STEPS, own[2]])
    new = given[:, asked] - engine.integers(hardware)
    new[0] %= PHI.period or 1
    usable = (new[2] > PT_STEPS) & (new[1] >= ETA.low) & (new[1] <= ETA.high)
    new[2] = np.minimum(new[2], PT.high)
    own[:, asked[usable]] = new[:, usable]
    recalibrated = np.zeros(muons.size, np.int64)
    recalibrated[asked[usable]] = 1
    columns = {"phiRecal": own[0], "etaRecal": own[1], "ptRecal": own[2], "isRecal": recalibrated}
    return RECALIBRATED.encode({**columns, **{n: hw[n] for n in COPIED}})
