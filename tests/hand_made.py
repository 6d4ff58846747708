"""Models made by hand, so that every answer is known."""

import dataclasses
import hashlib
from itertools import pairwise

import numpy as np

from l1scout.deploy.firmware import FirmwareEngine
from l1scout.model.card import ONNX_FILE, Card, Scaled
from l1scout.model.checksums import write_sums
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import NETWORK_FILE, STEPS, IntegerNetwork, LookUp, Neurons
from l1scout.model.integers import widths as widths_of
from l1scout.model.layers import Layer
from l1scout.model.onnx_export import to_onnx

INPUTS = ("hwPhiAtVtx", "hwEtaAtVtx", "hwPt", "hwCharge")


def model(weights=None, bias=(0.1, 0.02, 1.5), *, batch=None, **card):
    """Make a model that subtracts a constant, or what `weights` say: its card and its ONNX bytes."""
    weights = np.zeros((4, 3)) if weights is None else np.asarray(weights, float)
    onnx_bytes = to_onnx([Layer(weights, np.asarray(bias, float), "linear")], batch=batch).SerializeToString()
    scaled = [Scaled(n, "hardware", 0.0, 1.0) for n in INPUTS]
    answers = [Scaled(n, u, 0.0, 1.0) for n, u in (("dphi", "rad"), ("deta", "1"), ("dpt", "GeV"))]
    domain = {
        "hwPhiAtVtx": (0, 575),
        "hwEtaAtVtx": (-80, 80),
        "hwPt": (6, 90),
        "hwCharge": (0, 1),
        "tfMuonIndex": (36, 71),
    }
    about = {"sha256": hashlib.sha256(onnx_bytes).hexdigest()}
    made = Card("hand", scaled, answers, domain, {}, {}, {}, {}, about, {})
    return dataclasses.replace(made, **card), onnx_bytes


TINY = {
    "hwPhiAtVtx": (0, 40),
    "hwEtaAtVtx": (-9, 7),
    "hwPt": (6, 20),
    "hwCharge": (0, 1),
    "tfMuonIndex": (36, 71),
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
    onnx_bytes = to_onnx(layers).SerializeToString()
    card, _ = model(domain=dict(domain), onnx={"sha256": hashlib.sha256(onnx_bytes).hexdigest()})
    return Model(card, onnx_bytes, "random")


def ramps_network(seed=0, width=20, domain=TINY):
    """Make a model with a ramp for each code of eta and pT before its hidden layer; one node sees nothing."""
    rng = np.random.default_rng(seed)
    ramps = [(0, 1, domain["hwPhiAtVtx"][0]), (3, 1, 0), (3, 0, -1)]
    for k, name in ((1, "hwEtaAtVtx"), (2, "hwPt")):
        low, high = domain[name]
        middle = (low + high) // 2
        ramps += [(k, 1, at) for at in range(middle, high)] + [
            (k, -1, at) for at in range(low + 1, middle + 1)
        ]
    slopes, starts = np.zeros((4, len(ramps))), np.zeros(len(ramps))
    for node, (k, sign, at) in enumerate(ramps):
        slopes[k, node], starts[node] = sign, -sign * at
    layers = [
        Layer(slopes, starts, "relu"),
        Layer(rng.normal(0, 0.3, (len(ramps), width)), rng.normal(0, 0.3, width), "relu"),
        Layer(rng.normal(0, width**-0.5, (width, 3)), rng.normal(0, 0.3, 3), "linear"),
    ]
    onnx_bytes = to_onnx(layers).SerializeToString()
    card, _ = model(domain=dict(domain), onnx={"sha256": hashlib.sha256(onnx_bytes).hexdigest()})
    return Model(card, onnx_bytes, "ramps")


def scaled_network(seed=4):
    """Make a random network whose card normalises its inputs, as trained ones do."""
    m = network(seed)
    inputs = [Scaled(n, "hardware", float(a), float(b - a)) for n, (a, b) in list(TINY.items())[:4]]
    return dataclasses.replace(m, card=dataclasses.replace(m.card, inputs=inputs))


def evaluate(layers, hardware):
    """Evaluate a network in numpy, shape (inputs, muons) to (outputs, muons): the oracle of every engine."""
    x = np.asarray(hardware, float).T
    for layer in layers:
        x = x @ layer.weights + layer.bias
        if layer.activation == "relu":
            x = np.maximum(x, 0)
        elif layer.activation == "softmax":
            x = np.exp(x - x.max(axis=1, keepdims=True))
            x /= x.sum(axis=1, keepdims=True)
    return x.T


def integer_network(seed=0, domain=TINY, widths=(6, 5)):
    """Make a random integer network whose widths hold what the domain gives; of odd seeds it looks up."""
    rng = np.random.default_rng(seed)
    sizes = [4, *widths, 3]
    layers = []
    for m, n in pairwise(sizes):
        weights = rng.integers(-60, 61, (m, n)) * (rng.random((m, n)) < 0.8)
        layers.append(Neurons(weights, rng.integers(-900, 900, n), rng.integers(5, 8, n), np.full(n, 31)))
    wide = IntegerNetwork(INPUTS, tuple(layers), random_look_ups(rng, domain, sizes) if seed % 2 else ())
    low, high = FirmwareEngine(wide).ranges(firmware_domain(domain))
    return wide.with_bits(widths_of(wide, low, high))


def random_look_ups(rng, domain, sizes):
    """Make look-ups into the first and the last layer; one neuron has always the same."""
    made = []
    for layer, columns, neurons in ((0, (1,), sizes[1]), (0, (2,), sizes[1]), (2, (1,), 3), (2, (3, 2), 3)):
        ends = [domain[INPUTS[c]] for c in columns]
        values = rng.integers(-900, 900, [*(high - low + 1 for low, high in ends), neurons])
        values[..., 1] = 60
        made.append(LookUp(layer, columns, tuple(low for low, _ in ends), values))
    return tuple(made)


def firmware_domain(domain=TINY):
    """Make the domain of a hand-made integer network."""
    return Domain.between(INPUTS, *zip(*(domain[n] for n in INPUTS), strict=True))


def firmware_model(network=None, domain=TINY):
    """Make a firmware model of an integer network."""
    network = network or integer_network(domain=domain)
    answers = zip(("dphi", "deta", "dpt"), ("rad", "1", "GeV"), STEPS, strict=True)
    card, _ = model(
        name="hand firmware",
        domain=dict(domain),
        outputs=[Scaled(n, u, 0.0, float(s)) for n, u, s in answers],
        onnx={},
        firmware={"sha256": network.sha256},
    )
    return Model(card, b"", "firmware", None, network)


def firmware_directory(path, made=None):
    """Write a firmware model, but for its HGQ2 network, and return its path."""
    made = made or firmware_model()
    path.mkdir(exist_ok=True)
    (path / NETWORK_FILE).write_text(made.network.text(), "utf-8")
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
                codes = [np.clip(c, 0, n - 1) for c, n in zip(codes, at.values.shape, strict=False)]
                y = y + at.values[tuple(codes)].T
        y = (y if last else np.maximum(y, 0)) >> layer.shift[:, np.newaxis]
        turn = np.left_shift(1, layer.bits)[:, np.newaxis]
        low = -turn // 2 if last else 0
        x = (y - low) % turn + low
    return x


def model_directory(path, card=None, onnx_bytes=None):
    """Write a model, by default one that subtracts a constant, as a directory, and return its path."""
    if card is None:
        card, onnx_bytes = model()
    path.mkdir(exist_ok=True)
    (path / ONNX_FILE).write_bytes(onnx_bytes)
    card.write(path)
    write_sums(path)
    return path
