"""Fewer neurons, before bits are counted."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.firmware.quantised import Inputs
from l1scout.model.network import LookUp, Network

_ONES = np.ones(3)


def pruned(
    network: Network, inputs: Inputs, columns: Any, neurons: int, costs: NDArray[np.float64] = _ONES
) -> Network:
    """Leave at most a given number of neurons in each hidden layer.

    One after the other goes whose loss hurts least, if the others stand in for it: what it gives is, as well
    as can be, a sum of what they give, which goes into their weights and into biases.

    Parameters
    ----------
    network : Network
        In units of the HGQ2 network.
    inputs : Inputs
        How that takes hardware values.
    columns : mapping of str to ndarray
        Hardware values of muons.
    neurons : int
    costs : ndarray, shape (3,)
        What a change of an answer by 1 hurts.
    """
    out, looked_up = list(network.layers), list(network.look_ups)
    x = inputs(columns).astype(np.float64)
    for k in range(len(out) - 1):
        y = x @ out[k].weights + out[k].bias
        for at in network.look_ups if k == 0 else ():
            y += at(columns[network.inputs[at.column]])
        y = np.maximum(y, 0)
        after = out[k + 1]
        keep, weights, bias = _fewer(y, after.weights, neurons, costs if k == len(out) - 2 else _ONES[:1])
        out[k] = replace(out[k], weights=out[k].weights[:, keep], bias=out[k].bias[keep])
        out[k + 1] = replace(after, weights=weights, bias=after.bias + bias)
        if k == 0:
            looked_up = [LookUp(at.column, at.low, at.vectors[:, keep]) for at in network.look_ups]
        x = y[:, keep]
    return replace(network, layers=tuple(out), look_ups=tuple(looked_up))


def _fewer(
    y: NDArray[np.float64], weights: NDArray[np.float64], neurons: int, costs: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Choose neurons of outputs `y`: their numbers, their weights after, and what is added to the bias."""
    keep, weights, bias = np.arange(y.shape[1]), weights.copy(), np.zeros(weights.shape[1])
    mean = y.mean(axis=0)
    spread = np.cov(y, rowvar=False) + 1e-9 * np.eye(y.shape[1])
    while keep.size > neurons:
        inverse = np.linalg.inv(spread[np.ix_(keep, keep)])
        n = int(np.argmin(((weights[keep] * costs) ** 2).sum(axis=1) / inverse.diagonal()))
        gone, others, instead = keep[n], np.delete(keep, n), -np.delete(inverse[n], n) / inverse[n, n]
        weights[others] += np.outer(instead, weights[gone])
        bias += (mean[gone] - instead @ mean[others]) * weights[gone]
        keep = others
    return keep, weights[keep], bias
