"""Models made by hand, so that every answer is known."""

import dataclasses
import math
from itertools import pairwise

import numpy as np

from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.model.card import Card, Scaled
from l1scout.model.checksums import write_sums
from l1scout.model.directory import Model, network_file
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS, IntegerGain, IntegerGains, IntegerLookUp, IntegerNetwork, Neurons
from l1scout.model.integers import widths as widths_of
from l1scout.model.network import NETWORK_FILE, Gain, Layer, LookUp, Network
from l1scout.model.onnx_export import to_onnx
from l1scout.model.onnx_function import OnnxFunction

INPUTS = ("hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge")
VERTEX_INPUTS = ("hwEtaAtVtx", "hwPt", "hwCharge")


def model(weights=None, bias=(0.1, 0.02, 1.5), *, batch=None, **card):
    """Make a model that subtracts a constant, or what `weights` say: its card and its network.

    With a size of batch it is an ONNX graph for exactly that number of muons.
    """
    weights = np.zeros((4, 3)) if weights is None else np.asarray(weights, float)
    made = Network(INPUTS, (Layer(weights, np.asarray(bias, float), "linear"),))
    network = OnnxFunction(to_onnx(made, batch=batch).SerializeToString()) if batch else made
    scaled = [Scaled(n, "hardware", 0.0, 1.0) for n in INPUTS]
    answers = [Scaled(n, u, 0.0, 1.0) for n, u in (("dphi", "rad"), ("deta", "1"), ("dpt", "GeV"))]
    domain = {
        "hwPhiAtVtx": (0, 575),
        "hwEtaAtVtx": (-80, 80),
        "hwPt": (6, 90),
        "hwCharge": (0, 1),
    }
    made = Card(
        "hand", scaled, answers, domain, ("bmtf",), {}, {}, {}, {}, {}, {}, network=network_file(network)
    )
    return dataclasses.replace(made, **card), network


TINY = {
    "hwPhiAtVtx": (0, 40),
    "hwEtaAtVtx": (-9, 7),
    "hwPt": (6, 20),
    "hwCharge": (0, 1),
}


def network(seed=0, hidden="relu", widths=(32, 32, 32), domain=TINY):
    """Make a model with a random network on a small domain, so that tests can go through all of it."""
    rng = np.random.default_rng(seed)
    sizes = [4, *widths, 3]
    layers = [
        Layer(rng.normal(0, m**-0.5, (m, n)), rng.normal(0, 0.3, n), hidden if k < len(widths) else "linear")
        for k, (m, n) in enumerate(pairwise(sizes))
    ]
    layers[0].weights[:] *= np.array([0.02, 0.1, 0.05, 1])[:, np.newaxis]
    layers[-1].weights[:] *= np.array([0.3, 0.02, 2])
    made = Network(INPUTS, tuple(layers))
    card, _ = model(domain=dict(domain), network=network_file(made))
    return Model(card, made, "random")


def look_up_network(seed=0, width=20, domain=TINY):
    """Make a model with a random vector for each value of eta and pT; inputs are scaled as trained ones."""
    rng = np.random.default_rng(seed)
    look_ups = []
    for k, name in ((1, "hwEtaAtVtx"), (2, "hwPt")):
        low, high = domain[name]
        look_ups.append(LookUp(k, low, rng.normal(0, 0.3, (high - low + 1, width))))
    weights = rng.normal(0, 0.3, (4, width)) * np.array([[1 / 256], [0], [0], [1]])
    layers = (
        Layer(weights, rng.normal(0, 0.3, width), "relu"),
        Layer(rng.normal(0, width**-0.5, (width, 3)), rng.normal(0, 0.3, 3), "linear"),
    )
    made = Network(INPUTS, layers, tuple(look_ups))
    scales = zip(INPUTS, (288.0, 0.0, 10.0, 0.5), (256.0, 8.0, 8.0, 1.0), strict=True)
    inputs = [Scaled(n, "hardware", offset, scale) for n, offset, scale in scales]
    card, _ = model(domain=dict(domain), inputs=inputs, network=network_file(made))
    return Model(card, made, "look-ups")


def gain_model(seed=0, width=12, domain=TINY):
    """Make a model as the default is: no phi, signs of charge and eta and sizes of pT in gains, an offset.

    Its answers are about what toy muons need, and change a little with eta and pT.
    """
    rng = np.random.default_rng(seed)
    inputs = ("hwEtaAtVtx", "hwPt", "hwCharge")
    (eta_low, eta_high), (low, high) = domain["hwEtaAtVtx"], domain["hwPt"]
    eta, code = np.arange(eta_low, eta_high + 1), np.arange(low, high + 1)
    pt = 0.5 * (code - 1)
    look_ups = (
        LookUp(0, eta_low, np.abs(eta)[:, np.newaxis] / 80 * rng.normal(0, 1, width)),
        LookUp(1, low, np.log(code)[:, np.newaxis] / 4 * rng.normal(0, 1, width)),
    )
    bias = [0.48, 0.005, -0.25]
    layers = (
        Layer(np.zeros((3, width)), rng.normal(0, 0.3, width), "relu"),
        Layer(rng.normal(0, 0.4 / width, (width, 3)) * [0.3, 0.03, 0.2], np.array(bias), "linear"),
    )
    guard = np.minimum(1, np.round(code / 8, 1))
    ones, signs = np.ones_like(eta), np.sign(eta)
    gains = (
        Gain(0, eta_low, np.stack([ones, signs, ones], axis=1)),
        Gain(1, low, np.stack([1 / np.maximum(pt, 0.5), np.ones_like(pt), guard * pt], axis=1)),
        Gain(2, 0, [[1, 1, 1], [-1, 1, 1]]),
    )
    made = Network(inputs, layers, look_ups, gains, np.array([np.pi / 576, 0.0, 0.1]))
    card, _ = model(
        name="gains",
        inputs=[Scaled(n, "hardware", 0.0, 1.0) for n in inputs],
        domain={n: r for n, r in domain.items() if n != "hwPhiAtVtx"},
        network=network_file(made),
    )
    return Model(card, made, "gains")


def gain_network(seed=0, inputs=VERTEX_INPUTS, width=20, domain=TINY):
    """Make a model like the default one: look-ups of eta and pT, gains of all its inputs, and an offset.

    Its outputs are scaled, with an offset; one look-up and one gain are of fewer values than the domain has.
    """
    rng = np.random.default_rng(seed)
    ends = {n: domain[n] for n in inputs}
    look_ups = [
        LookUp(k, low + (n == "hwPt"), rng.normal(0, 0.3, (high - low + 1 - 2 * (n == "hwPt"), width)))
        for k, (n, (low, high)) in enumerate(ends.items())
        if n in ("hwEtaAtVtx", "hwPt")
    ]
    gains = [
        Gain(k, low + (k == 0), rng.normal(0, 1, (max(high - low + 1 - 2 * (k == 0), 1), 3)))
        for k, (low, high) in enumerate(ends.values())
    ]
    layers = (
        Layer(np.zeros((len(inputs), width)), rng.normal(0, 0.3, width), "relu"),
        Layer(rng.normal(0, width**-0.5, (width, 3)), rng.normal(0, 0.3, 3), "linear"),
    )
    made = Network(tuple(inputs), layers, tuple(look_ups), tuple(gains), np.array([0.005, 0.0, -0.2]))
    card, _ = model(
        inputs=[Scaled(n, "hardware", 1.0, 8.0) for n in inputs],
        outputs=[Scaled(n, u, 0.1, 0.5) for n, u in (("dphi", "rad"), ("deta", "1"), ("dpt", "GeV"))],
        domain=ends,
        network=network_file(made),
    )
    return Model(card, made, "gains")


def scaled_network(seed=4):
    """Make a random network whose card normalises its inputs, as trained ones do."""
    m = network(seed)
    inputs = [Scaled(n, "hardware", float(a), float(b - a)) for n, (a, b) in list(TINY.items())[:4]]
    return dataclasses.replace(m, card=dataclasses.replace(m.card, inputs=inputs))


def evaluate(network, hardware):
    """Evaluate a network in numpy, shape (inputs, muons) to (outputs, muons): the oracle of every engine."""
    x = np.asarray(hardware, float).T
    for k, layer in enumerate(network.layers):
        x = x @ layer.weights + layer.bias
        for at in network.look_ups if k == 0 else ():
            x += looked_up(at.vectors, at.low, hardware[at.column])
        if layer.activation == "relu":
            x = np.maximum(x, 0)
        elif layer.activation == "softmax":
            x = np.exp(x - x.max(axis=1, keepdims=True))
            x /= x.sum(axis=1, keepdims=True)
    for at in network.gains:
        x = x * looked_up(at.factors, at.low, hardware[at.column])
    return (x + network.offset if network.offset.size else x).T


def looked_up(rows, low, values):
    """Take the row of each value; smaller values have the first, larger ones the last."""
    return np.array([rows[min(max(v - low, 0), len(rows) - 1)] for v in np.asarray(values).tolist()])


def integer_network(seed=0, domain=TINY, widths=(6, 5)):
    """Make a random integer network whose widths hold what the domain gives; of odd seeds it looks up."""
    rng = np.random.default_rng(seed)
    sizes = [4, *widths, 3]
    layers = []
    for m, n in pairwise(sizes):
        weights = rng.integers(-60, 61, (m, n)) * (rng.random((m, n)) < 0.8)
        layers.append(Neurons(weights, rng.integers(-900, 900, n), rng.integers(5, 8, n), np.full(n, 31)))
    wide = IntegerNetwork(INPUTS, tuple(layers), random_look_ups(rng, domain, sizes) if seed % 2 else ())
    if seed % 4 > 1:
        wide = dataclasses.replace(wide, gains=random_gains(rng, domain))
    return with_widths(wide, domain)


def with_widths(network, domain):
    """Give an integer network widths that hold what the domain gives."""
    low, high = FirmwareEngine(network).ranges(firmware_domain(domain, network.inputs))
    return network.with_bits(widths_of(network, low, high))


def random_gains(rng, domain):
    """Make gains: signs by charge and by the sign of eta, sizes by pT."""
    eta_low, eta_high = domain["hwEtaAtVtx"]
    low, high = domain["hwPt"]
    pt, eta = np.arange(low, high + 1), np.arange(eta_low, eta_high + 1)
    ones, signs = np.ones_like(eta), np.where(eta < 0, -1, 1)
    sizes = np.stack([120 // pt, rng.integers(0, 2, pt.size), pt - 1], axis=1)
    gains = (
        IntegerGain(3, 0, [[1, 1, 1], [-1, 1, 1]]),
        IntegerGain(1, eta_low, np.stack([ones, signs, ones], axis=1)),
        IntegerGain(2, low, sizes),
    )
    return IntegerGains(gains, rng.integers(-99, 99, 3), np.array([4, 0, 3]), np.full(3, 31))


def random_look_ups(rng, domain, sizes):
    """Make look-ups into the first and the last layer; one neuron has always the same."""
    made = []
    for layer, columns, neurons in ((0, (1,), sizes[1]), (0, (2,), sizes[1]), (2, (1,), 3), (2, (3, 2), 3)):
        ends = [domain[INPUTS[c]] for c in columns]
        counts = tuple(high - low + 1 for low, high in ends)
        values = rng.integers(-900, 900, [math.prod(counts), neurons])
        values[:, 1] = 60
        made.append(IntegerLookUp(layer, columns, tuple(low for low, _ in ends), counts, values))
    return tuple(made)


def firmware_domain(domain=TINY, inputs=INPUTS):
    """Make the domain of a hand-made integer network."""
    return Domain.between(inputs, *zip(*(domain[n] for n in inputs), strict=True))


def firmware_model(network=None, domain=TINY):
    """Make a firmware model of an integer network."""
    network = network or integer_network(domain=domain)
    answers = zip(("dphi", "deta", "dpt"), ("rad", "1", "GeV"), STEPS, strict=True)
    card, _ = model(
        name="hand firmware",
        domain=dict(domain),
        outputs=[Scaled(n, u, 0.0, float(s)) for n, u, s in answers],
        firmware={},
        network=network_file(network),
    )
    return Model(card, network, "firmware")


def at_station(made):
    """Make a firmware model that corrects phi and eta at the second station of one at the vertex."""
    at = {"hwPhiAtVtx": "hwPhi", "hwEtaAtVtx": "hwEta"}
    network = dataclasses.replace(made.network, inputs=tuple(at.get(n, n) for n in made.network.inputs))
    card = dataclasses.replace(
        made.card,
        inputs=tuple(dataclasses.replace(q, name=at.get(q.name, q.name)) for q in made.card.inputs),
        domain={at.get(n, n): ends for n, ends in made.card.domain.items()},
        reference="station 2",
        network=network_file(network),
    )
    return Model(card, network, "station 2")


def firmware_directory(path, made=None):
    """Write a firmware model, but for its HGQ2 network, and return its path."""
    made = made or firmware_model()
    path.mkdir(exist_ok=True)
    (path / NETWORK_FILE).write_bytes(made.network.content)
    made.card.write(path)
    write_sums(path)
    return path


def evaluate_integers(network, hardware):
    """Evaluate an integer network in numpy's integers: the oracle of the firmware engine."""
    x = np.asarray(hardware, np.int64)
    for k, layer in enumerate(network.layers):
        last = k == len(network.layers) - 1
        y = layer.weights.T @ x + layer.bias[:, np.newaxis]
        for at in network.look_ups:
            if at.layer == k:
                codes = [
                    np.asarray(hardware[c], np.int64) - low for c, low in zip(at.columns, at.low, strict=True)
                ]
                codes = [np.clip(c, 0, n - 1) for c, n in zip(codes, at.counts, strict=True)]
                y = y + at.values.reshape(*at.counts, -1)[tuple(codes)].T
        y = (y if last else np.maximum(y, 0)) >> layer.shift[:, np.newaxis]
        turn = np.left_shift(1, layer.bits)[:, np.newaxis]
        low = -turn // 2 if last else 0
        x = (y - low) % turn + low
    return multiply_integers(network.gains, x, hardware) if network.gains else x


def multiply_integers(gains, answers, hardware):
    """Multiply answers by integer gains, muon by muon, in Python's own integers."""
    out = np.zeros_like(answers)
    for j, m in np.ndindex(*answers.shape):
        y = int(answers[j, m])
        for gain in gains.gains:
            row = min(max(int(hardware[gain.column, m]) - gain.low, 0), len(gain.factors) - 1)
            y *= int(gain.factors[row, j])
        y = (y + int(gains.bias[j])) >> int(gains.shift[j])
        half = 1 << int(gains.bits[j]) - 1
        out[j, m] = (y + half) % (2 * half) - half
    return out


def model_directory(path, card=None, network=None):
    """Write a model, by default one that subtracts a constant, as a directory, and return its path."""
    if card is None:
        card, network = model()
    path.mkdir(exist_ok=True)
    (path / card.network.file).write_bytes(network.content)
    card.write(path)
    write_sums(path)
    return path
