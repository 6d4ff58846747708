"""Analyses of scouting data: physics and detector quantities, each in one module that registers itself.

`ANALYSES` lists them by name, those of other packages too. An analysis takes data in order of time and in
constant memory, merges exactly with the piece that follows, and gives its result at any time: the same code
runs live, on a cluster, over files and in a notebook. What they share is in ``common``, their figures are in
``figures``.
"""

from l1scout.analysis._analysis import (
    ANALYSES,
    MUON_CUTS,
    TIME,
    Analysis,
    AnalysisState,
    Needs,
    NoOptions,
    Option,
    Result,
    Setup,
)
from l1scout.analysis._schema import Doc, Fraction, Number, Part, Value

__all__ = [
    "ANALYSES",
    "MUON_CUTS",
    "TIME",
    "Analysis",
    "AnalysisState",
    "Doc",
    "Fraction",
    "Needs",
    "NoOptions",
    "Number",
    "Option",
    "Part",
    "Result",
    "Setup",
    "Value",
]
