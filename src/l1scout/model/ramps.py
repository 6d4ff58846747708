"""A network without look-ups, for accelerators that have only dense layers: the ReLU hinge basis.

Any function of an integer is a sum of hinges max(x - k, 0) at each of its values. So a layer of fixed hinges
in front gives the answers of the look-ups on all integers of the domain.
"""

from dataclasses import replace

import numpy as np

from l1scout.model.card import Card
from l1scout.model.network import Layer, Network

_STEPS = 2**11
"""Steps per unit of the first layer's sums. Inputs that are looked up are usually in units of 8 hardware
values, so that hinges have multiples of 2^-8: exact in Q8.8."""


def as_ramps(network: Network, card: Card) -> Network:
    """Return a network with a layer of hinges for its look-ups, between normalised inputs and outputs.

    Sums of hinges are small differences of large numbers. So vectors are rounded to multiples of a power of
    two, which float32 and fixed-point numbers add without an error, in whatever order. Gains and offset stay:
    no dense layer multiplies the answers.
    """
    network = network.normalised(card)
    if not network.look_ups:
        return network
    first, looked_up = network.layers[0], {at.column: at for at in network.look_ups}
    bias, hinges, vectors = first.bias.copy(), [], []
    # inputs without a look-up come last, as their products are not such multiples
    for k, q in sorted(enumerate(card.inputs), key=lambda kq: kq[0] not in looked_up):
        low, high = card.domain[q.name]
        values, centre = np.unique([low, high]), 0
        if k in looked_up:
            values, centre = np.arange(low, high + 1), int(np.clip(-low, 0, high - low))
        x = (values - q.offset) / q.scale  # as the network sees them
        sums = np.outer(x, first.weights[k])
        sums += looked_up[k](values) if k in looked_up else 0
        sums = np.rint(sums * _STEPS) / _STEPS
        bias += sums[centre]
        for side, sign in ((slice(centre, None), 1), (slice(centre, None, -1), -1)):  # no hinge is longer
            slope = np.diff(sums[side], axis=0) / np.abs(np.diff(x[side]))[:, np.newaxis]
            vectors.append(np.diff(slope, axis=0, prepend=0))
            hinges += [(k, sign, start) for start in x[side][:-1]]
    column, signs, start = (np.array(c) for c in zip(*hinges, strict=True))
    slopes = np.zeros((len(card.inputs), column.size))
    slopes[column, np.arange(column.size)] = signs
    bias = np.rint(bias * _STEPS) / _STEPS
    layers = (
        Layer(slopes, -signs * start, "relu"),
        Layer(np.concatenate(vectors), bias, first.activation),
        *network.layers[1:],
    )
    return replace(network, layers=layers, look_ups=())
