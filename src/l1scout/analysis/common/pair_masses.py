"""Masses of muon pairs: from the trigger's own values, recalibrated ones, and offline.

Pairs of a crossing are counted by mass, opposite and same sign apart; the reference paper's Fig. 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import vector
from hist import Hist, axis, storage
from numpy.typing import NDArray

from l1scout.analysis.common.kernels import pairs
from l1scout.analysis.common.lines import Line
from l1scout.analysis.common.mass_lines import CATEGORY, RANGES, known_lines, line_row, line_templates
from l1scout.analysis.common.muons import final, need
from l1scout.analysis.common.templates import Template
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import joint_origin
from l1scout.formats.streams.muon import BMTF_INDEX, ETA_VTX, MUON_MASS, PHI_VTX, PT
from l1scout.io.columns import charge_valid

SIGNS = ("opposite", "same")
MASS_ERRORS = (0.85, 1.0, 1.2)
"""Where categories of the predicted uncertainty of the mass begin, besides 0: over `typical_error`."""

Values = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
Recalibrate = Callable[[Mapping[str, NDArray[Any]]], Any]
"""`l1scout.deploy.recalibrate.Recalibrator`, or what answers as it does."""


def momenta(muons: Values) -> Any:
    """Return pT (GeV), eta and phi (rad) of muons as four-momenta of the library vector."""
    pt, eta, phi = (np.asarray(v, np.float64) for v in muons)
    return vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": np.full(pt.shape, MUON_MASS)})


def invariant_mass(first: Values, second: Values) -> NDArray[np.float64]:
    """Mass in GeV of two muons, each given as pT (GeV), eta and phi (rad)."""
    return np.asarray((momenta(first) + momenta(second)).mass)


def mass_error(first: Values, second: Values, errors: Values, others: Values) -> NDArray[np.float64]:
    """Return the uncertainty of the mass over the mass, of those of two muons taken as independent.

    Parameters
    ----------
    first, second : Values
        As for `invariant_mass`.
    errors, others : Values
        Uncertainties of the first and of the second: pT (GeV), eta, phi (rad).
    """
    square = np.zeros(np.size(first[0]))
    for (p, q), error in (((first, second), errors), ((second, first), others)):
        (pt, eta, phi), (pt2, eta2, phi2) = ([np.asarray(v, np.float64) for v in x] for x in (p, q))
        energy, energy2 = (np.sqrt((t * np.cosh(e)) ** 2 + MUON_MASS**2) for t, e in ((pt, eta), (pt2, eta2)))
        gain = energy2 / energy  # the mass squared is 2 (m^2 + E E2 - p p2)
        by_pt = gain * pt * np.cosh(eta) ** 2 - pt2 * (np.cos(phi - phi2) + np.sinh(eta) * np.sinh(eta2))
        by_eta = gain * pt**2 * np.cosh(eta) * np.sinh(eta) - pt * pt2 * np.cosh(eta) * np.sinh(eta2)
        by_phi = pt * pt2 * np.sin(phi - phi2)
        for slope, sigma in zip((by_pt, by_eta, by_phi), error, strict=True):
            square += (slope * np.asarray(sigma, np.float64)) ** 2
    return np.asarray(np.sqrt(square) / np.maximum(invariant_mass(first, second), 1e-9) ** 2)


def typical_error(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predicted uncertainty over the mass that half of the simulated pairs of a mass (GeV) are below.

    Measured with a default network (`docs/study.md`) on a continuum from 1 to 12 GeV, to 6 %. Light pairs
    have small opening angles, so theirs is larger: categories of the uncertainty itself would cut bumps out
    of any continuum. Those of its ratio to what is typical do so much less.
    """
    return np.asarray(np.hypot(0.09, 0.39 / np.maximum(mass, 0.1)))


def categories(mass: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.int64]:
    """Category of each pair by its predicted relative uncertainty: 0 is the best measured."""
    return np.searchsorted(MASS_ERRORS, error / typical_error(mass), side="right")


@dataclass(frozen=True)
class PairCuts:
    """Which pairs are taken; GeV.

    Parameters
    ----------
    min_pt : float
        Of each muon, by the trigger's own value.
    min_quality : int
        Smallest hwQual.
    max_eta : float
        Of each muon.
    min_pair_pt : float
        Of the pair, by the values that make the mass.
    barrel : bool
        Only muons of the barrel track finder: those that networks know.
    """

    min_pt: float = 0.0
    min_quality: int = 0
    max_eta: float = 0.83
    min_pair_pt: float = 0.0
    barrel: bool = True


def _spectra() -> dict[str, Hist]:
    """Return empty histograms of sign and mass, by range."""
    sign = axis.Boolean(name="same", label="same sign")
    return {
        name: Hist(
            sign,
            axis.Regular(edges.size - 1, edges[0], edges[-1], name="mass", label="mass [GeV]", flow=False),
            storage=storage.Int64(),
            label="pairs",
        )
        for name, edges in RANGES.items()
    }


@dataclass
class Masses:
    """State: add events, then ask for spectra.

    Parameters
    ----------
    models : mapping of str to callable
        Recalibrators by name; each adds a spectrum.
    cuts : PairCuts

    Attributes
    ----------
    spectra : dict
        By name (``raw``, the models', ``offline`` where there is any) and range (`RANGES`): histogram of sign
        and mass.
    without_charge : int
        L1 muons whose charge was not measured (hwChargeValid 0): they make no pairs.
    by_error : dict
        By name of the models that predict uncertainties: opposite-sign pairs of the low range in categories
        of `MASS_ERRORS`, ndarray of int64, shape (4, bins). Pairs with a muon that was not recalibrated have
        none.
    """

    models: Mapping[str, Recalibrate] = field(default_factory=dict)
    cuts: PairCuts = field(default_factory=PairCuts)

    def __post_init__(self) -> None:
        self.spectra: dict[str, dict[str, Hist]] = {}
        self.by_error: dict[str, NDArray[np.int64]] = {}
        self.rows = 0
        self.without_charge = 0
        self._origins: set[bool | None] = set()
        self._lines: dict[tuple[str, str], Line] | None = None
        self._templates: dict[str, dict[str, Template]] | None = None

    @property
    def simulated(self) -> bool | None:
        """Whether it is simulation: the muons, or what the trigger made of real ones."""
        return joint_origin(self._origins)

    def add(self, events: OrbitData | OrbitBatch) -> None:
        """Take in a chunk (InputError if muons lack columns)."""
        batch = events.muons if isinstance(events, OrbitData) else events
        offline = events.offline if isinstance(events, OrbitData) else None
        self.rows += len(batch)
        self._lines = None
        self._origins |= batch.origins
        for name, muons in self._muons(batch, offline).items():
            mass, same, sigma, _ = self._pairs(*muons)
            if sigma is not None:
                known = ~same & np.isfinite(sigma)
                category = categories(mass[known], sigma[known])
                bins = (np.arange(len(MASS_ERRORS) + 2) - 0.5, RANGES["low"])
                counts2 = np.histogram2d(category, mass[known], bins)[0].astype(np.int64)
                self.by_error[name] = self.by_error.get(name, 0) + counts2
            for histogram in self.spectra.setdefault(name, _spectra()).values():
                histogram.fill(same, mass)

    def merge(self, other: "Masses") -> None:
        """Add data that follow these."""
        self.rows += other.rows
        self.without_charge += other.without_charge
        self._origins |= other._origins
        self._lines = None
        for name, spectra in other.spectra.items():
            mine = self.spectra.setdefault(name, _spectra())
            self.spectra[name] = {span: mine[span] + spectra[span] for span in RANGES}
        for name, counts in other.by_error.items():
            self.by_error[name] = self.by_error.get(name, 0) + counts

    def __getstate__(self) -> dict[str, Any]:
        """Return the counts without the models, which may hold compiled code."""
        return vars(self) | {"models": {}, "_templates": None}

    @property
    def histograms(self) -> dict[str, Hist]:
        """Pairs by mass, by name, sign and range of the mass."""
        found: dict[str, Hist] = {}
        for name, spectra in self.spectra.items():
            plain = "".join(c if c.isalnum() else "_" for c in name)
            for span, histogram in spectra.items():
                for k, sign in enumerate(SIGNS):
                    pairs_of_sign = Hist(histogram.axes[1], storage=storage.Double(), label="pairs")
                    pairs_of_sign[...] = histogram.view()[k]  # ROOT knows no whole numbers of 64 bits
                    found[f"{plain}_{sign}_{span}"] = pairs_of_sign
        return found

    @property
    def counts(self) -> dict[str, dict[str, dict[str, NDArray[np.int64]]]]:
        """Pairs by mass: by name, sign and range."""
        return {
            name: {
                sign: {span: histogram.view()[k] for span, histogram in spectra.items()}
                for k, sign in enumerate(SIGNS)
            }
            for name, spectra in self.spectra.items()
        }

    def masses(self, events: OrbitData) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Masses of the opposite-sign pairs of a chunk, and their rows, by name: for studies."""
        found = {}
        for name, (values, charge, offsets, _) in self._muons(events.muons, events.offline).items():
            mass, same, _, first = self._pairs(values, charge, offsets, None)
            row = np.searchsorted(offsets, first, side="right") - 1
            found[name] = mass[~same], row[~same]
        return found

    def _muons(
        self, batch: OrbitBatch, offline: OrbitBatch | None
    ) -> dict[str, tuple[Values, NDArray[np.bool_], NDArray[np.int64], Values | None]]:
        """Values, negative or not, offsets and uncertainties (if predicted) of the muons of each kind."""
        found: dict[str, tuple[Values, NDArray[np.bool_], NDArray[np.int64], Values | None]] = {}
        if offline is not None:
            good = np.abs(offline["recoEta"]) < self.cuts.max_eta
            good &= offline["recoCharge"] != 0
            good &= offline.columns.get("recoId", np.ones(good.size, np.bool_)).astype(np.bool_)
            kept = offline.select(good, drop_empty=False)
            found["offline"] = (
                (kept["recoPt"], kept["recoEta"], kept["recoPhi"]),
                kept["recoCharge"] < 0,
                kept.offsets,
                None,
            )
        if not batch.n_objects:
            return found
        l1 = final(batch, 1, self.cuts.min_quality)
        need(l1, "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge")
        valid = charge_valid(l1.columns)
        self.without_charge += int(np.count_nonzero(~valid))
        keep = valid & (PT.to_physical(l1["hwPt"]) >= self.cuts.min_pt)
        keep &= np.abs(ETA_VTX.to_physical(l1["hwEtaAtVtx"])) < self.cuts.max_eta
        if self.cuts.barrel:
            need(l1, "tfMuonIndex")
            keep &= (l1["tfMuonIndex"] >= BMTF_INDEX.start) & (l1["tfMuonIndex"] < BMTF_INDEX.stop)
        kept = l1.select(keep, drop_empty=False)
        negative = kept["hwCharge"] == 1
        raw = tuple(f.to_physical(kept[f.name]) for f in (PT, ETA_VTX, PHI_VTX))
        found["raw"] = ((raw[0], raw[1], raw[2]), negative, kept.offsets, None)
        for name, model in self.models.items():
            answer = model(kept.columns)
            errors = None
            pt_error = getattr(answer, "pt_error", None)
            if pt_error is not None and np.isfinite(pt_error).any():
                errors = (pt_error, answer.eta_error, answer.phi_error)
            found[name] = ((answer.pt, answer.eta, answer.phi), negative, kept.offsets, errors)
        return found

    def _pairs(
        self,
        values: Values,
        negative: NDArray[np.bool_],
        offsets: NDArray[np.int64],
        errors: Values | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64] | None, NDArray[np.int64]]:
        """Return mass, same sign or not, relative uncertainty and first muon of each pair that passes."""
        i, j = pairs(offsets)
        pt, _, phi = values
        square = pt[i] ** 2 + pt[j] ** 2 + 2 * pt[i] * pt[j] * np.cos(phi[i] - phi[j])
        good = square >= self.cuts.min_pair_pt**2
        i, j = i[good], j[good]
        first, second = ((v[0][k], v[1][k], v[2][k]) for v, k in ((values, i), (values, j)))
        sigma = None
        if errors is not None:
            one, other = ((errors[0][k], errors[1][k], errors[2][k]) for k in (i, j))
            sigma = mass_error(first, second, one, other)
        return invariant_mass(first, second), negative[i] == negative[j], sigma, i

    def templates(self) -> dict[str, dict[str, Template]]:
        """Return the simulated shape of each line in each spectrum, by name of the spectrum and line."""
        if self._templates is None:
            self._templates = line_templates(lambda: Masses(self.models, self.cuts))
        return self._templates

    def opposite(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        """Return opposite-sign spectra by name and range; categories follow the spectrum of their model."""
        spectra: dict[str, dict[str, NDArray[np.int64]]] = {}
        for name, by in self.counts.items():
            spectra[name] = by["opposite"]
            for k, counts in enumerate(self.by_error.get(name, ())):
                spectra[f"{name}{CATEGORY}{k + 1} of {len(MASS_ERRORS) + 1}"] = {"low": counts}
        return spectra

    def lines(self) -> dict[tuple[str, str], Line]:
        """Look for each line in each opposite-sign spectrum that has pairs, by spectrum and line."""
        if self._lines is None:
            same = {name: by["same"] for name, by in self.counts.items()}
            self._lines = known_lines(self.opposite(), same, self.templates)
        return self._lines

    def peaks(self) -> list[dict[str, Any]]:
        """Return a row for each line that is a peak in a spectrum."""
        return [line_row(name, line, one) for (name, line), one in self.lines().items() if one.detected]

    def not_detected(self) -> list[dict[str, Any]]:
        """Return a row for each line that is no peak or was not fitted: status, reason and upper limit."""
        return [line_row(name, line, one) for (name, line), one in self.lines().items() if not one.detected]

    def result(self) -> dict[str, Any]:
        """Gather what is printed and written: spectra by name and sign."""
        return {
            "rows": self.rows,
            "l1_muons_without_charge": self.without_charge,
            "peaks": self.peaks(),
            "not_detected": self.not_detected(),
            "pairs": [
                {"muons": name, "sign": sign, "pairs": int(by["high"].sum())}
                for name, signs in self.counts.items()
                for sign, by in signs.items()
            ],
            "by_predicted_mass_error": {
                "edges": [0.0, *MASS_ERRORS, None],
                **{name: counts.tolist() for name, counts in self.by_error.items()},
            },
            "spectra": {
                name: {sign: {span: c.tolist() for span, c in by.items()} for sign, by in signs.items()}
                for name, signs in self.counts.items()
            },
            "edges_gev": {span: edges.tolist() for span, edges in RANGES.items()},
        }
