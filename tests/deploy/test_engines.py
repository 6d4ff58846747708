"""Engines against a network in plain numpy, on every input of a small domain."""

import dataclasses
import gc
import sys
import types

import numpy as np
import pytest

from hand_made import TINY, evaluate, firmware_model, look_up_network, model, network
from l1scout.deploy.engine import (
    ENGINES,
    Engine,
    available_engines,
    create_engine,
    default_engine,
    engines_left_out,
)
from l1scout.deploy.engines._base import int16_columns
from l1scout.deploy.engines.fused import FusedEngine
from l1scout.deploy.engines.mdla import MdlaEngine
from l1scout.deploy.engines.table import TABLE_FILE, build
from l1scout.errors import InputError
from l1scout.model.directory import Model, load_model
from l1scout.model.domain import Domain
from l1scout.model.network import Layer, Network
from l1scout.model.onnx_export import to_onnx
from l1scout.model.onnx_function import OnnxFunction
from mdla_stand_in import New

TOLERANCE = {
    "onnx": 1e-5,
    "fused": 1e-5,
    "table": 1e-3,
    "fixed:Q8.16,variable": 1e-3,
    "gpu": 1e-4,
    "mdla": 1e-4,
}


@pytest.fixture(scope="module")
def random_model():
    return network()


@pytest.fixture(scope="module", params=list(TOLERANCE))
def engine(request, random_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "t"
    if request.param == "table":
        build(random_model, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "microndla", types.SimpleNamespace(MDLA=New))
        made = create_engine(request.param, random_model, table=path)
    made.tolerance = TOLERANCE[request.param]
    return made


def all_inputs(m):
    return m.domain.hardware(0, m.domain.entries)


def test_a_domain_is_a_line(random_model):
    domain = random_model.domain
    assert domain.entries == 41 * 17 * 15 * 2
    hardware = all_inputs(random_model)
    assert hardware.dtype == np.int16
    assert len(np.unique(hardware, axis=1).T) == domain.entries
    for row, name in zip(hardware, domain.names, strict=True):
        assert (row.min(), row.max()) == TINY[name]
    place = (hardware.T - np.array(domain.low)) @ np.array(domain.stride)
    assert np.array_equal(place, np.arange(domain.entries))
    pieces = np.concatenate([h for _, h in domain.chunks(1000)], axis=1)
    assert np.array_equal(pieces, hardware)
    assert domain.stride[2] == max(domain.stride)  # pT is slowest


def test_a_domain_beyond_15_bits_is_refused():
    card, _ = model(domain={**TINY, "hwPt": (0, 32767)})
    with pytest.raises(InputError, match="beyond 15-bit"):
        Domain.of(card)


def test_all_inputs_in_every_size_of_batch(engine, random_model):
    hardware = all_inputs(random_model)
    wanted = evaluate(random_model.layers, hardware)
    assert np.abs(engine.correct(hardware) - wanted).max() < engine.tolerance
    for n in (1, 2, 5, 8, 12, 13, 16, 17, 32, 33, 63, 256, 257, 1025):
        out = np.full((3, n), np.nan, np.float32)
        assert engine.correct(hardware[:, 100 : 100 + n].copy(), out) is out
        assert np.abs(out - wanted[:, 100 : 100 + n]).max() < engine.tolerance


def test_order_strides_and_types_do_not_matter(engine, random_model):
    rng = np.random.default_rng(1)
    hardware = rng.permutation(all_inputs(random_model), axis=1)
    wanted = engine.correct(hardware)
    rows = np.ascontiguousarray(hardware.T).T
    out = np.empty((2 * hardware.shape[1], 3), np.float32).T[:, ::2]
    for given in (rows, hardware[:, ::-1][:, ::-1], hardware.astype(np.int64), hardware.astype(">i4")):
        np.testing.assert_allclose(engine.correct(given, out), wanted, atol=1e-5)
    np.testing.assert_allclose(engine.correct(hardware[:, ::7]), wanted[:, ::7], atol=1e-5)


@pytest.mark.parametrize("n", [1, 8, 20, 40])
def test_a_bound_call_answers_for_what_is_in_its_array_at_that_time(engine, random_model, n):
    hardware = all_inputs(random_model)
    rows, gaps = np.empty((4, n), np.int16), np.empty((8, n), np.int16)[::2]
    for given, out in ((rows, np.empty((3, n), np.float32)), (gaps, np.empty((3, 2 * n), np.float32)[:, :n])):
        given[:] = hardware[:, :n]
        call = engine.bind(given, out)
        for start in (1000, 2000):
            given[:] = hardware[:, start : start + n]
            call()
            assert np.array_equal(out, engine.correct(given))
    inside = np.array([[10], [0], [10], [1]], np.int16)
    own = engine.bind(inside, one := np.zeros((3, 1), np.float32))
    wanted = engine.correct(inside)
    del inside
    gc.collect()
    _ = [np.full((4, 1), -7, np.int16) for _ in range(1000)]  # the array is kept: this is not its memory
    own()
    assert np.array_equal(one, wanted)


def test_arrays_that_do_not_fit_are_not_bound(engine):
    for shape, answers in (((3, 5), (3, 5)), ((4, 5), (3, 4)), ((4, 5), (2, 5))):
        with pytest.raises(InputError, match="not"):
            engine.bind(np.zeros(shape, np.int16), np.zeros(answers, np.float32))
    read_only = np.zeros((3, 1), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(InputError, match="out is not writeable"):
        engine.bind(np.zeros((4, 1), np.int16), read_only)


def test_no_muons(engine):
    assert engine.correct(np.zeros((4, 0), np.int16)).shape == (3, 0)


def test_answers_do_not_remember(engine, random_model):
    hardware = all_inputs(random_model)[:, :40]
    first = engine.correct(hardware)
    engine.correct(np.full((4, 300), 32767))
    assert np.array_equal(engine.correct(hardware), first)


def test_what_is_outside_the_domain_leaves_the_rest_alone(engine, random_model):
    inside = all_inputs(random_model)[:, ::37].astype(np.int64)
    wanted = engine.correct(inside)
    outside = np.array([-1, 41, 32767, -32768, 1 << 15, 1 << 16, -(1 << 40), 1 << 62, -(1 << 63)])
    mixed = np.repeat(inside, 2, axis=1)
    for k in range(mixed.shape[1] // 2):
        mixed[k % 4, 2 * k + 1] = outside[k % len(outside)]
    np.testing.assert_allclose(engine.correct(mixed)[:, ::2], wanted, atol=1e-5)
    few = engine.correct(mixed[:, :12])
    np.testing.assert_allclose(few[:, ::2], wanted[:, :6], atol=1e-5)


def test_a_million_muons(engine, random_model):
    if isinstance(engine, MdlaEngine):
        pytest.skip("one muon a call")
    hardware = all_inputs(random_model)
    many = np.tile(hardware, (1, -(-(1 << 20) // hardware.shape[1])))
    answer = engine.correct(many)
    assert answer.shape == (3, many.shape[1])
    for start in (0, many.shape[1] - hardware.shape[1]):
        piece = answer[:, start : start + hardware.shape[1]]
        np.testing.assert_allclose(piece, engine.correct(hardware), atol=1e-5)


def test_what_is_no_column_of_integers_is_refused(engine):
    with pytest.raises(InputError, match="integers, not float64"):
        engine.correct(np.zeros((4, 5)))
    for shape in ((4,), (3, 5), (5, 4), (4, 2, 2)):
        with pytest.raises(InputError, match=r"not \(4, muons\): one row per input"):
            engine.correct(np.zeros(shape, np.int16))
    for out in (np.zeros((3, 4), np.float32), np.zeros((3, 5))):
        with pytest.raises(InputError, match=r"not float32 \(3, 5\)"):
            engine.correct(np.zeros((4, 5), np.int16), out)


def test_int16_columns_never_wrap():
    big = np.array([[0, 1 << 16, -(1 << 16) + 5, 7, 1 << 40]])
    assert int16_columns(big).tolist() == [[0, 32767, -32768, 7, 32767]]
    assert int16_columns(big.astype(np.uint64)).tolist() == [[0, 32767, 32767, 7, 32767]]
    assert int16_columns(np.array([[200]], np.uint8)).tolist() == [[200]]


@pytest.mark.parametrize("hidden", ["relu", "softmax"])
@pytest.mark.parametrize("widths", [(), (5,), (8, 3), (17, 31, 2), (40, 64)])
def test_fused_takes_any_widths(hidden, widths):
    m = network(2, hidden, widths)
    hardware = all_inputs(m)
    wanted = evaluate(m.layers, hardware)
    for dtype, tolerance in ((np.float32, 2e-5), (np.float64, 1e-12)):
        fused = FusedEngine(m, dtype)
        scale = 1 + np.abs(wanted).max()
        assert np.abs(fused.exact(hardware) - wanted).max() < tolerance * scale
        assert np.abs(fused.exact(hardware[:, :9]) - wanted[:, :9]).max() < tolerance * scale


def test_a_network_without_scaling_is_the_same(random_model):
    card = random_model.card
    hardware = all_inputs(random_model)[:, :100]
    inside = [(h - q.offset) / q.scale for h, q in zip(hardware, card.inputs, strict=True)]
    answer = evaluate(random_model.layers.normalised(card), inside)
    answer = np.stack([q.offset + q.scale * a for a, q in zip(answer, card.outputs, strict=True)])
    np.testing.assert_allclose(answer, evaluate(random_model.layers, hardware), atol=1e-12)


def test_networks_of_another_kind_are_for_onnx_only():
    card, _ = model()
    for content in (b"", b"hello", b"\0" * 99):
        with pytest.raises(
            InputError, match=r"not a network of dense layers.*engines that run it: onnx"
        ) as error:
            create_engine("fused", Model(card, OnnxFunction(content)))
        assert "\n" not in str(error.value)
    small = to_onnx(Network(("a", "b", "c"), (Layer(np.zeros((3, 3)), np.zeros(3), "linear"),)))
    with pytest.raises(InputError, match="the card names 4 inputs, but the ONNX model has 3"):
        create_engine("fused", Model(card, OnnxFunction(small.SerializeToString())))


def test_which_engines_are_available(random_model, tmp_path):
    assert default_engine(random_model) == "onnx"
    assert available_engines(random_model) == ["onnx", "fixed", "fused"]
    assert available_engines(random_model, tmp_path / "t") == ["onnx", "fixed", "fused", "table"]
    softmax = dataclasses.replace(network(hidden="softmax"), directory=tmp_path)
    assert available_engines(softmax) == ["onnx", "fused"]
    assert engines_left_out(softmax) == {"fixed": "softmax has no exact integer form"}
    (tmp_path / TABLE_FILE).write_bytes(b"")
    assert available_engines(softmax) == ["onnx", "fused", "table"]


def test_engines_have_names(random_model):
    with pytest.raises(
        InputError, match="no 'tpu' among the engines: choose one of firmware, fixed, fused, "
    ):
        create_engine("tpu", random_model)
    with pytest.raises(InputError, match="fused takes no settings"):
        create_engine("fused:2", random_model)
    with pytest.raises(InputError, match="name the table's file"):
        create_engine("table", random_model)
    with pytest.raises(InputError, match=r"card\.json: cannot be read"):
        load_model("/nowhere")


@pytest.mark.parametrize("width", [20, 32])
def test_every_engine_looks_up(width, monkeypatch, tmp_path):
    """On all inputs, in every size of batch: the same as numpy."""
    m = look_up_network(width=width)
    monkeypatch.setitem(sys.modules, "microndla", types.SimpleNamespace(MDLA=New))
    build(m, tmp_path / "t")
    hardware = all_inputs(m)
    wanted = evaluate(m.layers, hardware)
    assert np.abs(m.layers(hardware) - wanted).max() < 1e-12
    assert np.abs(FusedEngine(m, np.float64).exact(hardware) - wanted).max() < 1e-12
    limits = {"onnx": 1e-5, "fused": 1e-5, "gpu": 1e-4, "fixed:Q8.16": 1e-3, "table": 1e-3, "mdla": 1e-2}
    for name, limit in limits.items():
        engine = create_engine(name, m, table=tmp_path / "t")
        some = slice(None, None, 50 if name == "mdla" else 1)
        assert np.abs(engine.correct(hardware[:, some]) - wanted[:, some]).max() < limit, name
        for n in (1, 8, 32, 33, 256, 700) if name != "mdla" else ():
            found = engine.correct(hardware[:, 55 : 55 + n].copy())
            assert np.abs(found - wanted[:, 55 : 55 + n]).max() < limit, name
    beyond = np.array([[0, 40], [-300, 300], [-5, 500], [0, 1]], np.int16)
    for name in ("onnx", "fused", "gpu", "fixed"):
        assert np.isfinite(
            create_engine(name, m).correct(beyond)
        ).all()  # outside the domain it means nothing


def test_an_engine_of_another_package_is_used_by_name(random_model, monkeypatch):
    """It needs no more than a constructor and `correct`."""

    class Halves(Engine):
        def __init__(self, model):
            self.layers = model.layers

        def correct(self, hardware, out=None):
            answer = (0.5 * self.layers(hardware)).astype(np.float32)
            if out is None:
                return answer
            out[:] = answer
            return out

    monkeypatch.setattr(ENGINES, "_parts", dict(ENGINES))
    ENGINES.register("halves")(Halves)
    hardware = all_inputs(random_model)[:, :100]
    engine = create_engine("halves", random_model)
    np.testing.assert_allclose(2 * engine.correct(hardware), random_model.layers(hardware), atol=1e-5)
    assert "halves" not in available_engines(random_model)
    with pytest.raises(InputError, match="takes no settings"):
        create_engine("halves:2", random_model)
    with pytest.raises(InputError, match=r"is a firmware model.*engines that run it: firmware"):
        create_engine("halves", firmware_model())
