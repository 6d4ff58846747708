"""Recalibrated muons as the trigger would get them: values rounded to its scales."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB, PT_LSB
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.trigger_inputs import StreamObjects, TriggerInputs

_CODES = 512


def recalibrated_codes(
    columns: Mapping[str, NDArray[Any]],
    pt: NDArray[Any],
    eta: NDArray[Any],
    phi: NDArray[Any],
    recalibrated: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """Return ``hwPt``, ``hwEtaAtVtx`` and ``hwPhiAtVtx`` of muons whose values a network corrected.

    Parameters
    ----------
    columns : mapping of str to ndarray
        The muons' own.
    pt, eta, phi : ndarray, shape (muons,)
        In GeV, 1, rad.
    recalibrated : ndarray of bool, shape (muons,)
        Others keep their values.
    """
    changed = {
        "hwPt": np.clip(np.floor(pt / PT_LSB) + 1, 1, _CODES - 1),
        "hwEtaAtVtx": np.clip(np.rint(eta / ETA_LSB), -256, 255),
        "hwPhiAtVtx": np.rint(phi / PHI_LSB) % PHI_BINS,
    }
    return {
        name: np.where(recalibrated, np.nan_to_num(values), columns[name]).astype(columns[name].dtype)
        for name, values in changed.items()
    }


def with_recalibrated_muons(inputs: TriggerInputs) -> TriggerInputs:
    """Return inputs whose muons have the codes of ``ptRecal``, ``etaRecal`` and ``phiRecal``.

    Raises
    ------
    UnsupportedError
        If the muons were not recalibrated.
    """
    muons = inputs.objects("muon")
    if "isRecal" not in muons.columns:
        msg = "the muons are not recalibrated: give a model"
        raise UnsupportedError(msg)
    answer = (muons.columns[name] for name in ("ptRecal", "etaRecal", "phiRecal", "isRecal"))
    columns = {**muons.columns, **recalibrated_codes(muons.columns, *answer)}
    streams = {**inputs.streams, "muon": StreamObjects(muons.crossing, muons.offsets, columns)}
    return TriggerInputs(inputs.crossings, streams, inputs.external, inputs.cicada, inputs.wrap)
