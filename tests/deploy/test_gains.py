"""Gains, offset and any number of inputs: every engine is the network in plain numpy."""

import types
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_made import VERTEX_INPUTS, evaluate, gain_network, model
from l1scout.deploy.engine import available_engines, create_engine
from l1scout.deploy.engines.fused import FusedEngine
from l1scout.deploy.engines.mdla import MdlaEngine
from l1scout.deploy.engines.table import TABLE_FILE, build
from l1scout.evaluate.verify import verify
from l1scout.model.card import Scaled
from l1scout.model.directory import Model, network_file
from l1scout.model.network import Gain, Layer, LookUp, Network
from l1scout.model.onnx_export import BEFORE_GAINS, export_onnx
from l1scout.model.quantities import INPUTS
from mdla_stand_in import New

NAMES = ("hwEtaAtVtx", "hwPt", "hwCharge", "hwPhiAtVtx", "hwQual", "hwEta")
OUTPUTS = (("dphi", "rad"), ("deta", "1"), ("dpt", "GeV"))
LIMITS = {"onnx": 1e-5, "fused": 1e-5, "table": 1e-4, "fixed:Q8.16": 1e-3}
"""Relative to the largest answer."""


@st.composite
def models(draw):
    """Random networks of 2 to 6 inputs; look-ups and gains have other ranges than the domain."""
    inputs = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=6, unique=True))
    ends = [(low, low + draw(st.integers(0, 6))) for low in (draw(st.integers(-9, 9)) for _ in inputs)]
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    widths = (len(inputs), *draw(st.sampled_from([(), (5,), (17, 4)])), 3)
    layers = [
        Layer(rng.normal(0, 0.2 / m, (m, n)), rng.normal(0, 0.2, n), "relu" if n != 3 else "linear")
        for m, n in pairwise(widths)
    ]

    def by_value(width):
        columns = draw(st.sets(st.integers(0, len(inputs) - 1)))
        return [
            (k, draw(st.integers(-12, 12)), rng.uniform(-1.5, 1.5, (draw(st.integers(1, 8)), width)))
            for k in sorted(columns)
        ]

    look_ups = tuple(LookUp(k, low, 0.3 * v) for k, low, v in by_value(widths[1]))
    gains = tuple(Gain(*g) for g in by_value(3))
    offset = rng.normal(0, 1, 3) if draw(st.booleans()) else np.zeros(0)
    network = Network(tuple(inputs), tuple(layers), look_ups, gains, offset)
    scale = draw(st.sampled_from([0.5, -2.0]))
    card, _ = model(
        inputs=[Scaled(n, "hardware", 1.0, 4.0) for n in inputs],
        outputs=[Scaled(n, u, 0.25, scale) for n, u in OUTPUTS],
        domain=dict(zip(inputs, ends, strict=True)),
        network=network_file(network),
    )
    return Model(card, network, "drawn")


def check(m, names, folder):
    hardware = m.domain.hardware(0, m.domain.entries)
    hardware = hardware[:, np.random.default_rng(0).permutation(hardware.shape[1])[:1500]]
    wanted = evaluate(m.network, hardware)
    assert np.abs(m.network(hardware) - wanted).max() < 1e-12
    size = 1 + np.abs(wanted).max()
    assert np.abs(FusedEngine(m, np.float64).exact(hardware) - wanted).max() < 1e-12 * size
    for name in names:
        if name == "table":
            build(m, folder / TABLE_FILE)
        engine = create_engine(name, m, table=folder / TABLE_FILE)
        for n in (hardware.shape[1], 1, 7, 40):
            off = engine.correct(hardware[:, :n].copy()) - wanted[:, :n]
            assert np.abs(off).max() < LIMITS.get(name, 1e-4) * size, (name, n)


@settings(max_examples=20)
@given(m=models())
def test_every_engine_is_the_network(m, tmp_path_factory):
    check(m, LIMITS, tmp_path_factory.mktemp("table"))


@pytest.mark.parametrize("inputs", [VERTEX_INPUTS, (*INPUTS, "hwQual")])
def test_a_gpu_and_an_accelerator_are_the_network(inputs, tmp_path):
    domain = dict(zip(NAMES, ((-9, 7), (6, 20), (0, 1), (0, 4), (0, 3)), strict=False))
    m = gain_network(inputs=inputs, domain=domain)
    check(m, ["gpu", *LIMITS], tmp_path)
    hardware = m.domain.hardware(0, m.domain.entries)[:, ::97]
    answer = MdlaEngine(m, sdk=types.SimpleNamespace(MDLA=New)).correct(hardware)
    assert np.abs(answer - evaluate(m.network, hardware)).max() < 1e-2  # vectors in steps of 2^-11


def test_an_accelerator_gets_the_dense_part_and_other_programs_the_whole_file():
    m = gain_network()
    hardware = m.domain.hardware(0, m.domain.entries)
    proto = onnx.load_from_string(export_onnx(m.network, m.card, ramps=True))
    assert [o.version for o in proto.opset_import] == [9]
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    rows = hardware.T.astype(np.float32)
    assert np.abs(session.run(None, {"hardware": rows})[0].T - evaluate(m.network, hardware)).max() < 0.02
    dense = [n for n in proto.graph.node if n.op_type in ("Gemm", "Relu")]
    assert dense[-1].output[0] == BEFORE_GAINS
    assert {n.op_type for n in proto.graph.node} == {
        "Gemm", "Relu", "Gather", "Sub", "Clip", "Cast", "Mul", "Add",
    }  # fmt: skip
    proto.graph.output[0].name = BEFORE_GAINS
    answers = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"hardware": rows})[0].T
    assert np.abs(answers - evaluate(m.network.before_gains, hardware)).max() < 0.01


def test_the_table_of_the_whole_detector_is_small_and_exact(tmp_path):
    """hwPt 1 to 511, |hwEtaAtVtx| up to 230, both charges."""
    m = gain_network(domain={"hwEtaAtVtx": (-230, 230), "hwPt": (1, 511), "hwCharge": (0, 1)}, width=4)
    path = tmp_path / TABLE_FILE
    build(m, path)
    assert path.stat().st_size < 4e6
    found = verify(m, {"table": create_engine("table", m, table=path)}, m.network)["table"]
    assert (found.inputs, found.inexact) == (461 * 511 * 2, 0)


def test_multiplications_and_additions_of_gains_and_offset_count():
    m = gain_network(width=20)
    assert m.network.before_gains.multiply_adds == 3 * 20 + 20 * 3 + 2 * 20
    assert m.network.multiply_adds == m.network.before_gains.multiply_adds + 3 * 3 + 3


def test_no_engine_is_left_out(tmp_path):
    m = gain_network()
    build(m, tmp_path / "t")
    assert available_engines(m, tmp_path / "t") == ["onnx", "fixed", "fused", "table"]
