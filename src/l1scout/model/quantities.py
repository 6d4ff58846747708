"""Names of what enters a network and of what it corrects."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.io.parquet import STUBS

Residuals = Mapping[str, NDArray[np.float64]]
"""Residuals of ``phi``, ``eta`` and ``pt``, each of shape (muons,)."""
VARIABLES = ("phi", "eta", "pt")
"""What a network corrects, in this order: in rad, dimensionless and in GeV."""
INPUTS = ("hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge")
"""Columns that enter the networks of the reference paper, in this order."""
DEFAULT_INPUTS = ("hwEta", "hwPt", "hwCharge")
"""Columns that enter the default network: none is made by tables of the GMT. A detector that is symmetric in
phi corrects alike everywhere."""
MORE_INPUTS = ("hwQual", "hwEta", "hwPhi", *STUBS)
"""Columns that can enter besides."""
Reference = Literal["vertex", "station 2"]
REFERENCES: Mapping[Reference, tuple[str, str]] = {
    "vertex": ("hwPhiAtVtx", "hwEtaAtVtx"),
    "station 2": ("hwPhi", "hwEta"),
}
"""Columns of the L1 phi and eta from which corrections are subtracted: as the extrapolation tables of the GMT
give them at the vertex, or as the track finder measures them at the second muon station. L1 pT is hwPt."""
OUTPUTS = ("dphi", "deta", "dpt")
"""L1 minus offline, in this order: rad, 1, GeV."""
OUTPUT_UNITS = ("rad", "1", "GeV")


def model_inputs(more: Sequence[str] = (), inputs: Sequence[str] = INPUTS) -> tuple[str, ...]:
    """Return the inputs of a network: those of its recipe, then more columns.

    Raises
    ------
    InputError
        If one of them cannot be an input, is one already, or is named twice.
    """
    allowed = [n for n in (*INPUTS, *MORE_INPUTS) if n not in inputs]
    unknown = [n for n in more if n not in allowed]
    if unknown or len(set(more)) < len(more):
        msg = f"no input {', '.join(unknown) or 'twice'}: choose among {', '.join(allowed)}"
        raise InputError(msg)
    return (*inputs, *more)
