"""Models made by hand, so that every answer is known."""

import dataclasses
import hashlib

import numpy as np

from l1scout.training.card import ONNX_FILE, Card, Scaled
from l1scout.training.export import Layer, to_onnx

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


def model_directory(path):
    """Write a model that subtracts a constant as a directory, and return its path."""
    card, onnx_bytes = model()
    path.mkdir()
    (path / ONNX_FILE).write_bytes(onnx_bytes)
    card.write(path)
    return path
