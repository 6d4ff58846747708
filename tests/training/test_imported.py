"""Networks from elsewhere: every engine that can run them answers what the file itself does."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from foreign_networks import correction, linear, mlp, named_ports, save, torch_like, trees
from l1scout.deploy.engine import available_engines, create_engine, engines_left_out
from l1scout.deploy.engines.table import TableEngine, build
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.errors import InputError
from l1scout.evaluate.verify import reference_of, verify
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.model.directory import load_model
from l1scout.model.quantities import INPUTS
from l1scout.training.imported import import_network, save_imported
from toy_muons import toy_dataset

NAMES = ["phi", "eta", "pt"]


@pytest.fixture(scope="module")
def data():
    """Toy muons of a small domain, so that tests can go through all of it."""
    toy = toy_dataset(8000)
    few = toy.select((np.abs(toy["hwEtaAtVtx"]) < 12) & (toy["hwPt"] < 26))
    return dataclasses.replace(few, about={**few.about, "era": "toy era"})


def some(model, n=500):
    """Inputs all over the domain of a model, by column."""
    rng = np.random.default_rng(0)
    hardware = model.domain.hardware(0, model.domain.entries)[:, rng.integers(0, model.domain.entries, n)]
    return hardware, dict(zip(model.domain.names, hardware.astype(np.int64), strict=True))


def original(path, *feeds):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {p.name: f for p, f in zip(session.get_inputs(), feeds, strict=True)})


@pytest.mark.parametrize("style", ["gemm", "matmul"])
def test_a_network_as_pytorch_writes_it(tmp_path, data, style):
    path = torch_like(tmp_path / "net.onnx", style=style)
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    hardware, hw = some(found.model)
    wanted = original(path, hardware.T.astype(np.float32))[0].T
    assert engines_left_out(found.model) == {}
    for name in ("onnx", "fused", "gpu", "fixed:Q12.12,variable"):
        limit = 0.02 if name.startswith("fixed") else 2e-5
        assert np.abs(create_engine(name, found.model).correct(hardware) - wanted).max() < limit
    np.testing.assert_allclose(wanted[1:], correction(hw).T[1:], atol=1e-5)
    assert found.validation.ratio.rms["pt"].value < 0.8  # toy muons have a bias in pT, which this takes off
    assert found.validation.ratio.rms["phi"].value == pytest.approx(1, abs=1e-6)


def test_a_forest_of_trees_runs_in_every_engine_that_needs_answers_only(tmp_path, data):
    path = trees(tmp_path / "forest.onnx")
    found = import_network(path, data, answers="subtract", inputs=["hwPt", "hwCharge"], outputs=NAMES)
    save_imported(found, tmp_path / "m")
    model = load_model(tmp_path / "m")
    assert [q.name for q in model.card.inputs] == ["hwPt", "hwCharge"]
    assert model.card.domain["hwPhiAtVtx"] == (0, 575)
    assert set(model.card.resolution.edges) == {"hwPt", "hwEtaAtVtx"}
    assert (tmp_path / "m" / "model.onnx").exists()
    hardware, hw = some(model)
    wanted = original(path, np.stack([hw["hwPt"], hw["hwCharge"]], axis=1).astype(np.float32))[0].T
    assert np.array_equal(create_engine("onnx", model).correct(hardware), wanted)
    build(model, tmp_path / "m" / "model.table")
    table = TableEngine(model, tmp_path / "m" / "model.table")
    assert np.array_equal(
        table.correct(hardware), np.rint(wanted / table.steps[:, None]) * table.steps[:, None]
    )
    assert available_engines(model) == ["onnx", "table"]
    why = r"not a network of dense layers \(node TreeEnsembleRegressor .*\); engines that run it: onnx, table"
    assert list(engines_left_out(model)) == ["fixed", "fused"]
    for name in ("fused", "fixed", "gpu"):
        with pytest.raises(InputError, match=why):
            create_engine(name, model)
    reference, what = reference_of(model)
    assert what == "onnxruntime (imported network)"
    result = verify(model, {n: create_engine(n, model) for n in available_engines(model)}, reference)
    assert result["table"].inexact == 0
    assert result["table"].close
    assert result["onnx"].deviations[0].worst == 0
    table.entries = table.entries.copy()
    table.entries[5, 1] += 1
    assert verify(model, {"t": table}, reference)["t"].inexact == 1
    assert found.validation.ratio.rms["phi"].value < 0.8
    assert found.validation.ratio.rms["eta"].value == pytest.approx(1)


def test_an_input_per_column_and_corrected_values(tmp_path, data):
    """The graph's own names say what is what; phi of 0 to 2 pi is a correction of 0, not of a turn."""
    path = named_ports(tmp_path / "values.onnx")
    found = import_network(path, data, answers="values")
    hardware, hw = some(found.model)
    names = ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx")
    values = dict(zip(("pt", "eta", "phi"), original(path, *(hw[n] for n in names)), strict=True))
    given = create_engine("onnx", found.model).correct(hardware)
    np.testing.assert_allclose(given[2], PT.to_physical(hw["hwPt"]) - values["pt"], atol=1e-5)
    np.testing.assert_allclose(given[1], ETA_VTX.to_physical(hw["hwEtaAtVtx"]) - values["eta"], atol=1e-6)
    assert np.abs(given[0]).max() < 1e-5
    answer = Recalibrator(found.model.card, create_engine("onnx", found.model))(data.columns)
    np.testing.assert_allclose(answer.pt, 1.22 * PT.to_physical(data["hwPt"]), rtol=1e-5)
    turns = (answer.phi - PHI_VTX.to_physical(data["hwPhiAtVtx"])) / (2 * np.pi)
    assert np.abs(turns - np.rint(turns)).max() < 1e-5
    assert found.model.card.imported["answers"].startswith("values: the corrected phi")


def test_the_sign_is_what_was_stated_or_refused(tmp_path, data):
    right = torch_like(tmp_path / "right.onnx")
    wrong = torch_like(tmp_path / "wrong.onnx", sign=-1.0)
    kept = {"inputs": INPUTS, "outputs": NAMES}
    one = import_network(right, data, answers="subtract", **kept)
    other = import_network(wrong, data, answers="add", **kept)
    hardware, _ = some(one.model)
    assert np.array_equal(
        create_engine("onnx", one.model).correct(hardware),
        create_engine("onnx", other.model).correct(hardware),
    )
    assert other.model.card.onnx["output"]["sign"].startswith("L1 minus offline: subtract")
    for path, answers, better in (
        (right, "add", "subtract"),
        (wrong, "subtract", "add"),
        (named_ports(tmp_path / "v.onnx"), "subtract", "values"),
    ):
        names = {} if better == "values" else kept
        with pytest.raises(InputError, match=f"choose --answers {better}"):
            import_network(path, data, answers=answers, **names)
    with pytest.raises(InputError, match="choose one of subtract, add, values"):
        import_network(right, data, answers="minus", **kept)


def test_other_units_are_refused(tmp_path, data):
    path = torch_like(tmp_path / "mev.onnx", unit=1000.0)
    with pytest.raises(
        InputError, match=r"typical residual of (eta|pt) becomes .* times .* rad, 1 and GeV\?"
    ):
        import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)


def test_a_wrong_order_of_inputs_or_outputs_is_refused_with_the_right_one(tmp_path, data):
    path = torch_like(tmp_path / "n.onnx")
    right = {"inputs": INPUTS, "outputs": NAMES}
    for wrong, hint in (
        (
            {"inputs": ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge")},
            "hwPt and hwPhiAtVtx exchanged in --inputs",
        ),
        ({"outputs": ("phi", "pt", "eta")}, "eta and pt exchanged in --outputs"),
    ):
        with pytest.raises(InputError, match=f"{hint}.*correct the order"):
            import_network(path, data, answers="subtract", **right | wrong)


def test_muons_of_no_track_finder_are_refused_and_the_card_knows_those_of_the_data(tmp_path, data):
    index = np.full(len(data), 108, np.int8)
    nowhere = dataclasses.replace(data, columns={**data.columns, "tfMuonIndex": index})
    path = torch_like(tmp_path / "n.onnx")
    with pytest.raises(InputError, match="tfMuonIndex from 108 to 108, which are of no track finder"):
        import_network(path, nowhere, answers="subtract", inputs=INPUTS, outputs=NAMES)
    endcap = dataclasses.replace(nowhere, columns={**data.columns, "tfMuonIndex": 0 * data["tfMuonIndex"]})
    known = import_network(path, endcap, answers="subtract", inputs=INPUTS, outputs=NAMES).model.card
    assert known.finders == ("emtf",)


def test_the_card_keeps_the_conditions_of_its_data(tmp_path, data):
    stated = {"era": "2018", "trigger": "BMTF", "tables": "official"}
    known = dataclasses.replace(data, about={**data.about, **stated})
    kept = import_network(
        torch_like(tmp_path / "n.onnx"), known, answers="subtract", inputs=INPUTS, outputs=NAMES
    ).model.card.data
    assert {name: kept[name] for name in stated} == stated


def test_any_order_of_inputs_and_outputs_that_are_ignored(tmp_path, data):
    order = ("hwCharge", "hwPt", "hwEtaAtVtx", "hwPhiAtVtx")
    path = torch_like(tmp_path / "n.onnx", order=(3, 2, 1, 0))
    found = import_network(path, data, answers="subtract", inputs=order, outputs=["-", "-", "pt"])
    hardware, hw = some(found.model)
    given = create_engine("onnx", found.model).correct(hardware)
    assert not given[:2].any()
    np.testing.assert_allclose(given[2], correction(hw)[:, 2], atol=1e-5)
    fused = create_engine("fused", found.model).correct(hardware)
    np.testing.assert_allclose(fused, given, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 64])
def test_a_network_that_was_exported_for_one_size_of_batch(tmp_path, data, batch):
    path = torch_like(tmp_path / "n.onnx", batch=batch)
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    assert found.model.card.onnx["batch"] is None  # any size, after all
    hardware, hw = some(found.model, 100)
    np.testing.assert_allclose(
        create_engine("onnx", found.model).correct(hardware).T[:, 1:], correction(hw)[:, 1:], atol=1e-5
    )


def test_a_graph_that_needs_its_batch_keeps_it(tmp_path, data):
    weights, bias = linear()
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),  # as a view(-1, ...) that was traced
        helper.make_node("Gemm", ["r", "w", "b"], ["y"]),
    ]
    ports = [("x", TensorProto.FLOAT, [16, 4])], [("y", TensorProto.FLOAT, [16, 3])]
    path = save(tmp_path / "n.onnx", nodes, *ports, [("shape", [16, 4]), ("w", weights), ("b", bias)])
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    assert found.model.card.onnx["batch"] == 16
    hardware, hw = some(found.model, 100)
    np.testing.assert_allclose(
        create_engine("onnx", found.model).correct(hardware).T[:, 1:], correction(hw)[:, 1:], atol=1e-5
    )


def test_any_activation_is_a_function_for_onnx_and_table(tmp_path, data):
    path = mlp(tmp_path / "n.onnx", activation="Tanh")
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES, name="mine")
    assert found.model.card.name == "mine"
    assert available_engines(found.model) == ["onnx"]
    assert "node Tanh is not one of" in engines_left_out(found.model)["fused"]


def _mixing(path):
    """A graph in which muons see each other: it takes off the mean of the batch."""
    weights, bias = linear()
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"]),
        helper.make_node("ReduceMean", ["g"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["g", "m"], ["y"]),
    ]
    ports = [("x", TensorProto.FLOAT, ["N", 4])], [("y", TensorProto.FLOAT, ["N", 3])]
    return save(path, nodes, *ports, [("w", weights), ("b", bias)], opset=13)


def _random(path):
    weights, bias = linear()
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"]),
        helper.make_node("RandomNormalLike", ["g"], ["r"], scale=0.1),
        helper.make_node("Add", ["g", "r"], ["y"]),
    ]
    ports = [("x", TensorProto.FLOAT, ["N", 4])], [("y", TensorProto.FLOAT, ["N", 3])]
    return save(path, nodes, *ports, [("w", weights), ("b", bias)])


@pytest.mark.parametrize("make_graph", [_mixing, _random])
def test_what_is_no_function_of_one_muon_is_refused(tmp_path, data, make_graph):
    with pytest.raises(
        InputError, match=r"not a function of one muon's inputs \(is it in training mode, or random"
    ):
        import_network(
            make_graph(tmp_path / "n.onnx"), data, answers="subtract", inputs=INPUTS, outputs=NAMES
        )


def test_ports_that_do_not_fit_are_told(tmp_path, data):
    path = torch_like(tmp_path / "n.onnx")
    told = r"takes input \(float, 4 columns\)"
    for options, message in (
        ({"outputs": NAMES}, told + r"; name their columns in order, as --inputs hwPhiAtVtx,"),
        (
            {"inputs": INPUTS},
            r"gives output \(float, 3 columns\); name its columns in order, as --outputs phi,eta,pt",
        ),
        (
            {"inputs": INPUTS[:3], "outputs": NAMES},
            told + ", but --inputs names 3: hwPhiAtVtx, hwEtaAtVtx, hwPt",
        ),
        (
            {"inputs": INPUTS, "outputs": ["phi"]},
            r"gives output \(float, 3 columns\), but --outputs names 1: phi",
        ),
        (
            {"inputs": [*INPUTS[:3], "pt"], "outputs": NAMES},
            "--inputs: pt is not possible; choose among hwPhiAtVtx",
        ),
        ({"inputs": ["hwPt"] * 4, "outputs": NAMES}, "--inputs: a column twice is not possible"),
        (
            {"inputs": INPUTS, "outputs": ["dphi", "eta", "pt"]},
            "--outputs: dphi is not possible; choose among phi",
        ),
        ({"inputs": INPUTS, "outputs": ["pt", "pt", "-"]}, "--outputs: a quantity twice is not possible"),
        ({"inputs": INPUTS, "outputs": ["-", "-", "-"]}, "--outputs: nothing is not possible"),
        ({"inputs": [*INPUTS[:3], "stubPhiB1"], "outputs": NAMES}, "no column stubPhiB1, which n.onnx takes"),
    ):
        with pytest.raises(InputError, match=message) as error:
            import_network(path, data, answers="subtract", **options)
        assert "\n" not in str(error.value)


def test_files_that_are_no_networks_are_refused(tmp_path, data):
    good = torch_like(tmp_path / "good.onnx").read_bytes()
    images = save(
        tmp_path / "images.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [("y", TensorProto.FLOAT, ["N", 3, 8, 8])],
    )
    huge = torch_like(tmp_path / "huge_batch.onnx", batch=1 << 30)
    large = torch_like(tmp_path / "large_batch.onnx", batch=1 << 17)
    apart = onnx.load_model(tmp_path / "good.onnx")
    onnx.save_model(
        apart, tmp_path / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    wide = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    ports = [("x", TensorProto.FLOAT, ["N", 4])], [("y", TensorProto.FLOAT, ["N", 4])]
    save(tmp_path / "bomb.onnx", wide, *ports, [("shape", [1 << 20, 1 << 18])])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    for_ever = [helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)]
    save(tmp_path / "loop.onnx", for_ever, *ports, [("times", 1 << 62), ("yes", True)])
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="w.bin")
    constant = helper.make_node("Constant", [], ["w"], value=weights)
    save(tmp_path / "constant.onnx", [constant, helper.make_node("MatMul", ["x", "w"], ["y"])], *ports)
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "cut.onnx").write_bytes(good[: len(good) // 2])
    for name, message in (
        ("absent.onnx", "cannot be read"),
        (".", "cannot be read"),
        ("text.onnx", "not an ONNX file|not a usable ONNX"),
        ("empty.onnx", "not an ONNX file|not a usable ONNX"),
        ("cut.onnx", "not an ONNX file|not a usable ONNX"),
        (images.name, r"input x is tensor\(float\) of shape .*, not of shape \(muons, columns\)"),
        (huge.name, "makes an array of 8589934592 values"),
        (large.name, "is made for 131072 muons at a time; export it for any number"),
        ("bomb.onnx", "makes an array of 274877906944 values"),
        ("apart.onnx", "its weights are in a separate file; save both as one"),
        ("constant.onnx", "its weights are in a separate file; save both as one"),
        ("loop.onnx", r"has a loop \(Loop\), of which nothing says when it ends"),
    ):
        with pytest.raises(InputError, match=message) as error:
            import_network(tmp_path / name, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
        assert "\n" not in str(error.value)


def test_an_output_whose_shape_is_not_stated(tmp_path, data):
    path = torch_like(tmp_path / "n.onnx")
    proto = onnx.load_model(path)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save_model(proto, path)
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    hardware, hw = some(found.model)
    np.testing.assert_allclose(
        create_engine("onnx", found.model).correct(hardware)[2], correction(hw)[:, 2], atol=1e-5
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path, data, monkeypatch):
    from l1scout.model import onnx_function

    path = torch_like(tmp_path / "n.onnx")
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    save_imported(found, tmp_path / "m")
    monkeypatch.setattr(onnx_function, "MAX_ONNX_BYTES", 100)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        load_model(tmp_path / "m")


def test_the_directory_says_everything(tmp_path, data):
    found = import_network(
        trees(tmp_path / "forest.onnx"), data, answers="subtract", inputs=["hwPt", "hwCharge"], outputs=NAMES
    )
    save_imported(found, tmp_path / "m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"card.json", "model.onnx", "SHA256SUMS"}
    card = load_model(tmp_path / "m").card
    assert card.imported["answers"] == "subtract: L1 minus offline, to be subtracted from the L1 value"
    assert card.imported["nodes"] == {"TreeEnsembleRegressor": 1}
    assert card.imported["inputs"] == ["hwPt", "hwCharge"]
    assert card.scores["part"] == "test"
    assert card.scores["muons"] == len(data.part("test"))
    assert card.data["era"] == "toy era"
    assert card.origin == "unknown muons (imported network, scored on simulated muons)"
    assert card.domain["hwPt"] == (data["hwPt"].min(), data["hwPt"].max())
    assert card.finders == ("bmtf",)
    assert set(card.resolution.values) == {"phi", "eta", "pt"}
    answer = Recalibrator.load(tmp_path / "m", errors=True)(data.part("test").columns)
    pull = (answer.pt - data.part("test")["recoPt"]) / answer.pt_error
    assert 0.5 < np.quantile(np.abs(pull[answer.recalibrated]), 0.68) < 2
    with pytest.raises(InputError, match="is not a model directory"):
        save_imported(found, tmp_path)


def test_an_imported_model_can_be_imported_again(tmp_path, data):
    path = torch_like(tmp_path / "n.onnx")
    found = import_network(path, data, answers="subtract", inputs=INPUTS, outputs=NAMES)
    save_imported(found, tmp_path / "m")
    again = import_network(
        tmp_path / "m" / "model.onnx", data, answers="subtract", inputs=INPUTS, outputs=NAMES
    )
    hardware, _ = some(found.model)
    assert np.array_equal(
        create_engine("onnx", again.model).correct(hardware),
        create_engine("onnx", found.model).correct(hardware),
    )
