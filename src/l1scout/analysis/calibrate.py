"""Calibrate: fit sigma_vis, which converts muon rates into luminosity, to a van der Meer scan."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from l1scout.analysis import ANALYSES, Analysis, Doc, Number, Option, Part, Result


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Options of the calibration."""

    scan: Annotated[
        Path,
        Option(
            'JSON: {"x": [[first orbit, last orbit, separation in mm], ...], "y": [...], '
            '"protons": [[protons per bunch of beam 1, uncertainty], [of beam 2, uncertainty]]}'
        ),
    ]


@dataclass(kw_only=True)
class CrossSection(Part):
    """The visible cross section in microbarn."""

    value: Number
    stat: Number
    syst: Annotated[Number, Doc("of the protons per bunch")]


@dataclass(kw_only=True)
class PlaneRow(Part):
    """The fit of a plane of the scan: a Gaussian and a constant."""

    plane: str
    peak_muons_per_colliding_crossing: Number
    width_mm: Number
    centre_mm: Number
    constant_muons_per_colliding_crossing: Number
    peak_muons_per_colliding_crossing_error: Number
    width_mm_error: Number
    centre_mm_error: Number
    constant_muons_per_colliding_crossing_error: Number
    deviance: Number
    dof: int
    p_value: Number


@dataclass(kw_only=True)
class CalibrateResult(Part):
    """The visible cross section."""

    warning: Annotated[str, Doc("given if the fits do not describe the scan")] = ""
    orbits: int
    sigma_vis_ub: CrossSection
    planes: list[PlaneRow]


@ANALYSES.register("calibrate")
class CalibrateAnalysis(Analysis[CalibrateOptions]):
    """Fit of a van der Meer scan."""

    Options = CalibrateOptions
    schema = CalibrateResult

    def start(self) -> Any:
        """Return an empty state, once the description of the scan was read (InputError)."""
        from l1scout.analysis.common.vdm import VdmScan, read_scan

        planes, self._protons = read_scan(self.options.scan)
        s = self.setup
        assert s.scheme is not None
        return VdmScan(s.scheme, planes, min_hw_pt=s.min_hw_pt, min_quality=s.min_quality)

    def result(self) -> Result:
        """Return cross section and fits, with a figure (InputError if a fit fails)."""
        found = self.state.result(self._protons)
        return Result(found, {"planes": found["planes"]}, partial(_draw, self.state))


def _draw(state: Any) -> Any:
    from l1scout.analysis.figures import rates

    return rates.calibrate(state)
