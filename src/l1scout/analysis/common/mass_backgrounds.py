"""Smooth backgrounds below a line: three families of functions, each in several degrees.

exp(polynomial in the mass), power laws (exp(polynomial in the logarithm of the mass)) and Bernstein
polynomials with coefficients of 0 or more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAMILIES = {"exponential": (2, 3, 4), "power law": (2, 3), "Bernstein": (3, 4)}
"""Degrees that are tried, by family: lower ones do not describe the simulated continuum of L1 values."""


@dataclass(frozen=True)
class MassBackground:
    """A family and its degree."""

    family: str
    degree: int

    @property
    def parameters(self) -> int:
        """Number of free parameters."""
        return self.degree + 1

    @property
    def name(self) -> str:
        """Family and degree in words."""
        return f"{self.family}, degree {self.degree}"

    def basis(self, edges: NDArray[np.float64], window: tuple[float, float]) -> NDArray[np.float64]:
        """Return the functions that the terms multiply, at the middle of each bin: (degree + 1, bins)."""
        from scipy.special import comb

        low, high = window
        middle = (edges[1:] + edges[:-1]) / 2
        k = np.arange(self.degree + 1)[:, None]
        if self.family == "power law":
            ends = np.log(low), np.log(high)
            return np.asarray(((2 * np.log(middle) - sum(ends)) / (ends[1] - ends[0])) ** k)
        x = (middle - low) / (high - low)
        if self.family == "Bernstein":
            return np.asarray(comb(self.degree, k) * x**k * (1 - x) ** (self.degree - k))
        return np.asarray((2 * x - 1) ** k)

    def values(self, terms: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the entries of each bin."""
        if self.family == "Bernstein":
            return np.asarray(terms @ basis)
        return np.asarray(np.exp(np.clip(terms @ basis, -50, 50)))

    def slopes(self, values: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the entries by the terms, shape (degree + 1, bins)."""
        return basis if self.family == "Bernstein" else basis * values

    def start(self, counts: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return terms from which a fit may start."""
        if self.family == "Bernstein":
            from scipy.optimize import nnls

            least = 1e-3 * max(float(counts.mean()), 0.1)
            return np.asarray(np.maximum(nnls(basis.T, counts)[0], least))
        weight = np.sqrt(np.maximum(counts, 0.5))
        terms = np.linalg.lstsq(basis.T * weight[:, None], np.log(np.maximum(counts, 0.5)) * weight)[0]
        return np.asarray(terms)


def backgrounds() -> Iterator[MassBackground]:
    """Return every family in every degree."""
    for family, degrees in FAMILIES.items():
        for degree in degrees:
            yield MassBackground(family, degree)
