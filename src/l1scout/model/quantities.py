"""Names of what enters a network and of what it corrects."""

from collections.abc import Mapping, Sequence

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
DEFAULT_INPUTS = ("hwEtaAtVtx", "hwPt", "hwCharge")
"""Columns that enter the default network: a detector that is symmetric in phi corrects alike everywhere."""
MORE_INPUTS = ("hwQual", "hwEta", "hwPhi", *STUBS)
"""Columns that can enter besides."""
OUTPUTS = ("dphi", "deta", "dpt")
"""L1 minus offline, in this order: rad, 1, GeV."""
OUTPUT_UNITS = ("rad", "1", "GeV")


def model_inputs(more: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the inputs of a network: `INPUTS`, then more columns.

    Raises
    ------
    InputError
        If one of them is none of `MORE_INPUTS`, or is named twice.
    """
    unknown = [n for n in more if n not in MORE_INPUTS]
    if unknown or len(set(more)) < len(more):
        msg = f"no input {', '.join(unknown) or 'twice'}: choose among {', '.join(MORE_INPUTS)}"
        raise InputError(msg)
    return (*INPUTS, *more)
