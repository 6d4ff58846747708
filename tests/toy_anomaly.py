"""A small anomaly model of muons, with weights that are drawn: for tests that need one, but no training."""

import json
from dataclasses import replace

import numpy as np

from l1scout.formats.streams.muon import FINDERS
from l1scout.model.anomaly_inputs import AnomalyInputs, ObjectInputs
from l1scout.model.card import Card, Scaled
from l1scout.model.checksums import write_sums
from l1scout.model.directory import Model, network_file
from l1scout.model.network import NETWORK_FILE, Layer, Network

INPUTS = AnomalyInputs(
    "muon", (ObjectInputs("muon", 2, ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx"), (0, 0, 288), (4, 7, 7)),)
)


def anomaly_model(inputs=INPUTS, hidden=6, latent=3):
    rng = np.random.default_rng(5)
    layers = (
        Layer(rng.normal(0, 0.3, (len(inputs.names), hidden)) / 4, rng.normal(0, 0.3, hidden), "relu"),
        Layer(rng.normal(0, 0.5, (hidden, latent)), np.zeros(latent), "linear"),
    )
    card = Card(
        name="anomaly-muon",
        inputs=tuple(Scaled(n, "1/4", 0.0, 4.0) for n in inputs.names),
        outputs=tuple(Scaled(f"mean{k}", "1", 0.0, 1.0) for k in range(latent)),
        domain=dict.fromkeys(inputs.names, (-128, 127)),
        finders=tuple(FINDERS),
        **{name: {} for name in ("recipe", "training", "scores", "onnx", "versions")},
        data={"simulated": True},
        anomaly=inputs,
    )
    network = Network(inputs.names, layers)
    return Model(replace(card, network=network_file(network)), network, "toy")


def write_anomaly_model(folder, toy=None, change=lambda _card: None):
    """Write a model directory, its card changed and summed up anew."""
    toy = toy or anomaly_model()
    folder.mkdir()
    (folder / NETWORK_FILE).write_bytes(toy.network.content)
    toy.card.write(folder)
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))
    write_sums(folder)
    return folder
