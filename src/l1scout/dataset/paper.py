"""The reference paper's selection: the part of a data set on which comparisons with its tables rest."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.streams.muon import Finder, of_finders
from l1scout.simulate.kinds import HARD

PAPER_HW_PT = range(6, 91)
"""2.5 <= pT < 45 GeV in hardware units."""
BARREL: tuple[Finder, ...] = ("bmtf",)
SELECTION = "the paper's selection (2.5 <= L1 pT < 45 GeV, barrel, no hard component)"
"""For messages and reports."""


def paper_part(columns: Mapping[str, NDArray[Any]], finders: Iterable[Finder] = BARREL) -> NDArray[np.bool_]:
    """Return which pairs of a data set the reference paper's tables are about, shape (pairs,).

    Those of the barrel, or of other track finders, with 2.5 <= L1 pT < 45 GeV, without the hard component of
    a simulation, whose share is a choice and not that of collisions.
    """
    hw_pt = columns["hwPt"]
    keep = (hw_pt >= PAPER_HW_PT.start) & (hw_pt < PAPER_HW_PT.stop)
    keep &= of_finders(columns["tfMuonIndex"], finders)
    return keep & (columns["simKind"] != HARD) if "simKind" in columns else keep
