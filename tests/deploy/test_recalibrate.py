"""Recalibration with models made by hand, so that every answer is known."""

import dataclasses

import numpy as np
import pytest

from hand_made import INPUTS, gain_network, model, model_directory
from l1scout.deploy.engines import onnx
from l1scout.deploy.engines.onnx import OnnxEngine
from l1scout.deploy.recalibrate import REASONS, Recalibrator
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.io import read_events
from l1scout.model.directory import Model, network_file
from l1scout.model.network import Layer, Network
from l1scout.model.onnx_export import to_onnx
from l1scout.model.onnx_function import OnnxFunction
from l1scout.model.resolution import Resolution


def muons(**columns):
    good = {"hwPt": 20, "hwEtaAtVtx": 10, "hwPhiAtVtx": 100, "hwCharge": 1, "tfMuonIndex": 50}
    n = max((len(c) for c in columns.values()), default=1)
    return {k: np.asarray(columns.get(k, np.full(n, v))) for k, v in good.items()}


def recalibrator(card, network):
    return Recalibrator(card, OnnxEngine(Model(card, network)))


@pytest.fixture
def constant():
    return recalibrator(*model())


def test_corrections_are_taken_off(constant):
    r = constant(muons())
    assert r.pt == pytest.approx([9.5 - 1.5])
    assert r.eta == pytest.approx([10 * 0.010875 - 0.02])
    assert r.phi == pytest.approx([100 * 2 * np.pi / 576 - 0.1])
    assert r.recalibrated.tolist() == [True]
    assert r.reasons == dict.fromkeys(REASONS, 0)
    assert {a.dtype for a in (r.pt, r.eta, r.phi)} == {np.dtype(np.float32)}
    assert list(r.branches()) == ["L1Mu_ptRecal", "L1Mu_etaRecal", "L1Mu_phiRecal", "L1Mu_isRecal"]


def test_uncertainties_are_given_where_asked_for():
    """By hand: bins of hwPt from 6 and 20 on, of |eta| from 0 and 30 on; pT's are relative to the new pT."""
    table = Resolution(
        {"hwPt": (6, 20), "hwEtaAtVtx": (0, 30)},
        {"phi": (0.1, 0.2, 0.3, 0.4), "eta": (0.01, 0.02, 0.03, 0.04), "pt": (0.5, 0.6, 0.7, 0.8)},
    )
    columns = muons(hwPt=[19, 20, 90, 20, 91], hwEtaAtVtx=[-30, 29, -31, -29, 0])
    card, network = model(resolution=table)
    plain = recalibrator(card, network)(columns)
    assert plain.pt_error is None
    r = Recalibrator(card, OnnxEngine(Model(card, network)), errors=True)(columns)
    nan = np.nan
    assert r.phi_error == pytest.approx([0.2, 0.3, 0.4, 0.3, nan], nan_ok=True)
    assert r.eta_error == pytest.approx([0.02, 0.03, 0.04, 0.03, nan], nan_ok=True)
    assert r.pt_error == pytest.approx([0.6 * 7.5, 0.7 * 8, 0.8 * 43, 0.7 * 8, nan], nan_ok=True)
    assert np.array_equal(r.pt, plain.pt)
    assert list(r.branches())[4:] == ["L1Mu_ptRecalErr", "L1Mu_etaRecalErr", "L1Mu_phiRecalErr"]
    assert {a.dtype for a in (r.pt_error, r.eta_error, r.phi_error)} == {np.dtype(np.float32)}
    old = dataclasses.replace(card, resolution=None)
    none = Recalibrator(old, OnnxEngine(Model(old, network)), errors=True)(columns)
    assert np.isnan([none.pt_error, none.eta_error, none.phi_error]).all()


def test_inputs_go_in_by_the_cards_order():
    weights = np.zeros((4, 3))
    weights[2, 2] = 0.01  # the third input is hwPt, the third output dpt
    r = recalibrator(*model(weights, (0, 0, 0)))(muons(hwPt=[10, 20]))
    assert r.pt == pytest.approx([4.5 - 0.1, 9.5 - 0.2])


@pytest.mark.parametrize("inputs", [("hwEtaAtVtx", "hwPt", "hwCharge"), ("hwEtaAtVtx", "hwPt")])
def test_phi_and_charge_need_not_be_inputs(inputs):
    """phi is corrected all the same, and its invalid codes count; a charge that nothing looks at does not."""
    m = gain_network(inputs=inputs, domain={"hwEtaAtVtx": (-80, 80), "hwPt": (6, 90), "hwCharge": (0, 1)})
    columns = muons(hwPhiAtVtx=[100, 576, 575, 0], hwCharge=[1, 1, 0, 0], hwPt=[20, 20, 90, 20])
    answer = m.network(np.stack([columns[n] for n in inputs]))
    r = Recalibrator(m.card, OnnxEngine(m))({**columns, "hwChargeValid": np.array([1, 1, 1, 0])})
    sees_charge = "hwCharge" in inputs
    assert r.reasons["invalid phi code"] == 1
    assert r.reasons["charge not valid (hwChargeValid 0)"] == sees_charge
    assert r.recalibrated.tolist() == [True, False, True, not sees_charge]
    off = PHI_VTX.to_physical(columns["hwPhiAtVtx"]) - answer[0] - r.phi
    turns = off[r.recalibrated] / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-6)
    pt = PT.to_physical(columns["hwPt"]) - answer[2]
    np.testing.assert_allclose(r.pt[r.recalibrated], pt[r.recalibrated], rtol=1e-5)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("hwPt", 0, "no muon (hwPt 0)"),
        ("tfMuonIndex", 35, "of a track finder that the model does not know"),
        ("tfMuonIndex", 72, "of a track finder that the model does not know"),
        ("hwPhiAtVtx", 576, "invalid phi code"),
        ("hwPhiAtVtx", -1, "invalid phi code"),
        ("hwPt", 5, "pT outside the training range"),
        ("hwPt", 91, "pT outside the training range"),
        ("hwEtaAtVtx", 81, "eta outside the training range"),
        ("hwEtaAtVtx", -81, "eta outside the training range"),
        ("hwCharge", 2, "invalid charge code"),
    ],
)
def test_outside_the_domain_the_triggers_values_stay_and_are_counted(constant, column, value, reason):
    columns = muons(**{column: [value, muons()[column][0]]})
    r = constant(columns)
    assert r.recalibrated.tolist() == [False, True]
    assert r.reasons == {**dict.fromkeys(REASONS, 0), reason: 1}
    for field, values in ((PT, r.pt), (ETA_VTX, r.eta), (PHI_VTX, r.phi)):
        raw = field.to_physical(columns[field.name][:1]).astype(np.float32)
        assert np.array_equal(values[:1], raw, equal_nan=True)


def test_muons_without_a_measured_charge_are_left_as_they_are(constant):
    columns = muons(hwCharge=[0, 1, 0]) | {"hwChargeValid": np.array([1, 0, 0])}
    r = constant(columns)
    assert r.recalibrated.tolist() == [True, False, False]
    assert r.reasons == {**dict.fromkeys(REASONS, 0), "charge not valid (hwChargeValid 0)": 2}


def test_the_first_reason_counts_and_every_muon_is_accounted_for(constant):
    rng = np.random.default_rng(0)
    n = 20_000
    columns = {
        "hwPt": rng.integers(0, 512, n),
        "hwEtaAtVtx": rng.integers(-256, 256, n),
        "hwPhiAtVtx": rng.integers(0, 1024, n),
        "hwCharge": rng.integers(0, 2, n),
        "tfMuonIndex": rng.integers(0, 128, n),
    }
    r = constant(columns)
    assert sum(r.reasons.values()) + np.count_nonzero(r.recalibrated) == n
    assert r.reasons["no muon (hwPt 0)"] == np.count_nonzero(columns["hwPt"] == 0)
    assert np.isnan(r.pt).sum() == np.count_nonzero(columns["hwPt"] == 0)
    assert np.all((r.phi >= np.float32(-np.pi)) & (r.phi < np.float32(np.pi)))
    nothing = {k: np.zeros(3, np.int64) for k in columns}
    assert constant(nothing).reasons["no muon (hwPt 0)"] == 3


@pytest.mark.parametrize(
    ("finders", "known"),
    [
        (("bmtf",), [*range(36, 72)]),
        (("omtf",), [*range(18, 36), *range(72, 90)]),
        (("emtf",), [*range(18), *range(90, 108)]),
        (("bmtf", "omtf", "emtf"), [*range(108)]),
    ],
)
def test_muons_of_the_models_track_finders_are_recalibrated_and_no_others(finders, known):
    r = recalibrator(*model(finders=finders))(muons(tfMuonIndex=np.arange(128)))
    assert np.flatnonzero(r.recalibrated).tolist() == known
    assert r.reasons["of a track finder that the model does not know"] == 128 - len(known)


def test_muons_of_a_real_file_are_those_of_the_models_track_finders(shared_data):
    path = shared_data / "real-cms" / "l1nano_run380963_2024_100ev.root"
    events = [e.muons for e in read_events(path)]
    found = {}
    for finders in (("bmtf",), ("omtf",), ("emtf",), ("bmtf", "omtf", "emtf")):
        domain = {"hwPhiAtVtx": (0, 575), "hwEtaAtVtx": (-256, 255), "hwPt": (1, 511), "hwCharge": (0, 1)}
        r = recalibrator(*model(bias=(0, 0, 0), finders=finders, domain=domain))
        found[finders] = sum(int(r(m.columns).recalibrated.sum()) for m in events)
    assert list(found.values()) == [75, 28, 124, 227]


def test_phi_stays_in_one_turn():
    codes = np.arange(576)
    for shift in (3.0, -3.0, np.pi, -np.pi, 1e-7, -1e-7):
        r = recalibrator(*model(bias=(shift, 0, 0)))(muons(hwPhiAtVtx=codes))
        phi = r.phi.astype(np.float64)
        assert r.recalibrated.all()
        assert phi.min() >= -np.pi
        assert phi.max() < np.pi
        expected = PHI_VTX.to_physical(codes) - shift
        assert np.abs((phi - expected + np.pi) % (2 * np.pi) - np.pi).max() < 1e-6


@pytest.mark.parametrize(
    "bias", [(0, 0, 9.5), (0, 0, 100), (0, 0, np.nan), (np.nan, 0, 0), (0, np.inf, 0), (50, 0, 0)]
)
def test_answers_that_cannot_be_are_not_used(bias):
    r = recalibrator(*model(bias=bias))(muons())
    assert r.recalibrated.tolist() == [False]
    assert r.reasons["no usable answer"] == 1
    assert r.pt.tolist() == [9.5]
    assert r.phi == pytest.approx([100 * 2 * np.pi / 576])


def test_batches_do_not_change_answers(monkeypatch):
    rng = np.random.default_rng(1)
    card, network = model(rng.normal(0, 1e-3, (4, 3)), (0, 0, 0))
    columns = muons(hwPt=rng.integers(6, 91, 1000), hwPhiAtVtx=rng.integers(0, 576, 1000))
    whole = recalibrator(card, network)(columns)
    monkeypatch.setattr(onnx, "BATCH", 7)
    pieces = recalibrator(card, network)(columns)
    assert np.allclose(whole.pt, pieces.pt, rtol=1e-6)
    fixed = recalibrator(*model(bias=(0, 0, -1), batch=16))(columns)
    assert fixed.pt == pytest.approx(PT.to_physical(columns["hwPt"]) + 1)


def test_no_muons_no_trouble(constant):
    r = constant({k: np.zeros(0, np.int16) for k in muons()})
    assert r.pt.shape == (0,)
    assert sum(r.reasons.values()) == 0


def test_small_and_unsigned_types_are_as_good(constant):
    columns = {k: c.astype(np.uint8) for k, c in muons(hwPt=[20, 90, 91]).items()}
    assert constant(columns).recalibrated.tolist() == [True, True, False]


def test_columns_that_do_not_fit_are_named(constant):
    with pytest.raises(InputError, match="muons lack hwCharge, tfMuonIndex"):
        constant({k: c for k, c in muons().items() if k not in ("hwCharge", "tfMuonIndex")})
    with pytest.raises(InputError, match=r"column hwEtaAtVtx is float64 of shape \(1,\), not 1 integers"):
        constant({**muons(), "hwEtaAtVtx": np.array([0.5])})
    with pytest.raises(InputError, match=r"column hwCharge is int64 of shape \(2,\), not 1 integers"):
        constant({**muons(), "hwCharge": np.array([0, 1])})


def test_a_directory_is_all_it_takes(tmp_path):
    path = model_directory(tmp_path / "m", *model())
    assert Recalibrator.load(path, threads=2)(muons()).pt == pytest.approx([8.0])


def test_mixed_up_and_broken_directories_are_one_line(tmp_path):
    card, network = model(batch=16)
    path = model_directory(tmp_path / "m", card, OnnxFunction(network.content[:-3]))
    with pytest.raises(InputError, match="not the network that its card describes"):
        Recalibrator.load(path)
    (path / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"model\.onnx: cannot be read"):
        Recalibrator.load(path)
    for content in (b"", b"hello", network.content[: len(network.content) // 2], b"\x00" * 1000):
        broken = OnnxFunction(content)
        model_directory(path, dataclasses.replace(card, network=network_file(broken)), broken)
        with pytest.raises(InputError, match="not a usable ONNX model") as error:
            Recalibrator.load(path)
        assert "\n" not in str(error.value)


def test_a_network_of_another_shape_is_refused():
    card, _ = model()
    for shape, message in (((3, 3), "the card names 4 inputs"), ((4, 2), "the card names 3 outputs")):
        made = Network(INPUTS[: shape[0]], (Layer(np.zeros(shape), np.zeros(shape[1]), "linear"),))
        with pytest.raises(InputError, match=message):
            OnnxEngine(Model(card, OnnxFunction(to_onnx(made).SerializeToString())))
        with pytest.raises(InputError, match=r"the card names inputs .* and 3 outputs, the network"):
            OnnxEngine(Model(card, made))


def test_corrections_from_the_second_station_see_nothing_of_the_extrapolation():
    """What the GMT makes of a muon may be anything; one of impossible hwPhi keeps the trigger's values."""
    card, network = model(reference="station 2")
    recalibrate = recalibrator(card, network)
    columns = muons(hwPhiAtVtx=[100, 300, 100])
    with pytest.raises(InputError, match="muons lack hwPhi, hwEta"):
        recalibrate(columns)
    found = recalibrate(columns | {"hwPhi": np.array([105, 105, 600]), "hwEta": np.array([12, 12, 12])})
    assert found.recalibrated.tolist() == [True, True, False]
    assert found.reasons["invalid phi code"] == 1
    step = 2 * np.pi / 576
    assert found.phi == pytest.approx([105 * step - 0.1, 105 * step - 0.1, 100 * step])
    assert found.eta == pytest.approx([12 * 0.010875 - 0.02, 12 * 0.010875 - 0.02, 10 * 0.010875])
