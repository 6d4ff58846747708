"""The gains of a float network as integers, and the units in which the layers before them answer."""

import numpy as np
from numpy.typing import NDArray

from l1scout.firmware.quantised import OUTPUT_FRACTION
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS, IntegerGain, IntegerGains
from l1scout.model.network import Gain, Network

_LARGEST_FRACTION = 12
_TOLERANCE = 0.5
"""Steps by which the rounding of factors may change an answer of the usual size."""
_WIDEST = 31


def quantise_gains(
    network: Network, domain: Domain, hardware: NDArray[np.int16], answers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], IntegerGains | None]:
    """Return units of the layers' answers, and the gains as integers, None if the network has none.

    An answer of the layers in its unit, with `OUTPUT_FRACTION` bits below the point, times the integers is
    the answer in `STEPS`. A factor that is only a sign is -1, 0 or 1, whatever its size, which goes into the
    unit; factors of many sizes are divided by that power of two which is nearest to the usual one, and get as
    few bits below the point as leave the answers in place. The widths of the answers are as large as can be.

    Parameters
    ----------
    network : Network
    domain : Domain
    hardware : ndarray of int16, shape (inputs, muons)
        Muons that say what the usual sizes are.
    answers : ndarray, shape (outputs, muons)
        The layers' answers for them, before gains.
    """
    units = STEPS * 2.0**OUTPUT_FRACTION
    if not network.gains:
        return units, None
    usual = [_usual(gain, domain, hardware) for gain in network.gains]
    units = units / np.prod(usual, axis=0)
    steps = np.sqrt((answers**2).mean(axis=1)) / units * 2.0**OUTPUT_FRACTION
    gains, shift = [], np.zeros(STEPS.size, np.int64)
    for gain, size in zip(network.gains, usual, strict=True):
        factors = _factors(gain, domain) / size
        fraction = np.array([_fraction(f, s) for f, s in zip(factors.T, steps, strict=True)], np.int64)
        whole = np.rint(factors * np.exp2(fraction)).astype(np.int64)
        gains.append(IntegerGain(gain.column, domain.low[gain.column], whole))
        shift += fraction
    offset = network.offset if network.offset.size else np.zeros(STEPS.size)
    bias = np.rint(offset / STEPS * np.exp2(shift)) + np.where(shift > 0, np.exp2(shift - 1), 0)
    rounding = bias.astype(np.int64), shift, np.full(STEPS.size, _WIDEST)
    return units, IntegerGains(tuple(gains), *rounding)


def _factors(gain: Gain, domain: Domain) -> NDArray[np.float64]:
    """Return the factors of all values of the input, shape (values, outputs)."""
    return gain(np.arange(domain.low[gain.column], domain.high[gain.column] + 1))


def _usual(gain: Gain, domain: Domain, hardware: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the usual size of a gain's factors, shape (outputs,)."""
    sizes, of_muons = np.abs(_factors(gain, domain)), np.abs(gain(hardware[gain.column]))
    usual = np.ones(sizes.shape[1])
    for v, size in enumerate(sizes.T):
        largest = size.max()
        if not largest:
            continue
        if ((size == 0) | (size == largest)).all():
            usual[v] = largest
        else:
            there = of_muons[:, v][of_muons[:, v] > 0]
            usual[v] = 2.0 ** np.rint(np.log2(np.median(there) if there.size else largest))
    return usual


def _fraction(factors: NDArray[np.float64], steps: float) -> int:
    """Return how many bits below the point factors need, for an answer of `steps` at a factor of 1."""
    for fraction in range(_LARGEST_FRACTION):
        rounded = np.rint(factors * 2.0**fraction) / 2.0**fraction
        if np.abs(rounded - factors).max() * steps <= _TOLERANCE:
            return fraction
    return _LARGEST_FRACTION
