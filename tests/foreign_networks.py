"""ONNX files as other programs write them, made by hand: PyTorch, tree libraries, one output per quantity."""

from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT

# Toy muons (`toy_muons`): L1 pT is 0.8 of the offline pT, phi is off by 0.6 charge / pT, eta by 2 %.
PHI_SLOPE, PT_SHARE, ETA_SHARE = 0.5, 0.22, 0.02


def correction(hw):
    """L1 minus offline of toy muons, near enough: columns of hardware values to an array (muons, 3)."""
    pt = PT.to_physical(hw["hwPt"])
    charge = 1 - 2 * hw["hwCharge"]
    return np.stack(
        [PHI_SLOPE * charge / pt, ETA_SHARE * ETA_VTX.to_physical(hw["hwEtaAtVtx"]), -PT_SHARE * pt], axis=1
    )


def save(path, nodes, inputs, outputs, constants=(), *, opset=17, ml=False, ir=8):
    """Write a graph; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info(*p) for p in inputs],
        [helper.make_tensor_value_info(*p) for p in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants],
    )
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid("ai.onnx.ml", 3)] * ml
    model = helper.make_model(graph, opset_imports=opsets, producer_name="pytorch", ir_version=ir)
    onnx.save_model(model, path)
    return path


def linear(more=()):
    """Weights (columns, 3) and bias of a straight correction of hwPhiAtVtx, hwEtaAtVtx, hwPt, hwCharge."""
    weights = np.zeros((4 + len(more), 3), np.float32)
    weights[1, 1] = ETA_SHARE * ETA_VTX.to_physical(1)
    weights[2, 2] = -PT_SHARE * 0.5
    return weights, np.array([0, 0, PT_SHARE * 0.5], np.float32)


def torch_like(path, *, style="gemm", batch=None, sign=1.0, unit=1.0, activation="Relu", order=(0, 1, 2, 3)):
    """Write what PyTorch exports of ``nn.Linear`` and an activation: the same function in several spellings.

    A hidden layer of pairs x and -x passes everything on; weights of others are random.
    """
    straight, bias = linear()
    straight, bias = sign * unit * straight[list(order)], sign * unit * bias
    first = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)  # (8 outputs, 4 inputs)
    last = np.concatenate([straight, -straight]).T.copy()  # (3, 8)
    constants = [("fc1.bias", np.zeros(8, np.float32)), ("fc2.bias", bias)]
    if style == "gemm":
        nodes = [
            helper.make_node(
                "Gemm", ["input", "fc1.weight", "fc1.bias"], ["h"], alpha=2.0, beta=1.0, transB=1
            ),
            helper.make_node(activation, ["h"], ["a"]),
            helper.make_node(
                "Gemm", ["a", "fc2.weight", "fc2.bias"], ["output"], alpha=0.5, beta=1.0, transB=1
            ),
        ]
        constants += [("fc1.weight", first), ("fc2.weight", last)]
    else:
        nodes = [
            helper.make_node("MatMul", ["input", "onnx::MatMul_7"], ["m"]),
            helper.make_node("Add", ["fc1.bias", "m"], ["h"]),
            helper.make_node(activation, ["h"], ["a"]),
            helper.make_node("MatMul", ["a", "onnx::MatMul_8"], ["n"]),
            helper.make_node("Add", ["n", "fc2.bias"], ["output"]),
        ]
        constants += [("onnx::MatMul_7", first.T.copy()), ("onnx::MatMul_8", last.T.copy())]
    rows = batch or "batch"
    ports = [("input", TensorProto.FLOAT, [rows, 4])], [("output", TensorProto.FLOAT, [rows, 3])]
    return save(path, nodes, *ports, constants)


def trees(path, *, columns=("hwPt", "hwCharge"), depth_at=(6.5, 8.5, 12.5, 20.5, 40.5)):
    """Write a forest as skl2onnx writes it: one tree per charge for phi and one for pT, steps in hwPt.

    Each tree is a chain: hwPt <= threshold gives a leaf, else the next node.
    """
    pts = [6, 8, 11, 17, 30, 60]
    attributes = {n: [] for n in ("treeids", "nodeids", "featureids", "values", "modes", "true", "false")}
    leaves = {n: [] for n in ("treeids", "nodeids", "ids", "weights")}

    def node(tree, at, feature, value, mode, yes=0, no=0):
        row = (tree, at, feature, float(value), mode, yes, no)
        for name, entry in zip(attributes, row, strict=True):
            attributes[name].append(entry)

    def leaf(tree, at, values):
        node(tree, at, 0, 0, "LEAF")
        for target, value in enumerate(values):
            for name, entry in zip(leaves, (tree, at, target, float(value)), strict=True):
                leaves[name].append(entry)

    # root: charge; below each side a chain in hwPt
    at, tree = 1, 0
    starts = {}
    for negative in (0, 1):
        starts[negative] = at
        for k, pt in enumerate(pts):
            value = PT.to_physical(pt)
            answer = ((1 - 2 * negative) * PHI_SLOPE / value, 0.0, -PT_SHARE * value)
            if k < len(depth_at):
                node(tree, at, columns.index("hwPt"), depth_at[k], "BRANCH_LEQ", at + 1, at + 2)
                leaf(tree, at + 1, answer)
                at += 2
            else:
                leaf(tree, at, answer)
                at += 1
    node(tree, 0, columns.index("hwCharge"), 0.5, "BRANCH_LEQ", starts[0], starts[1])
    order = np.argsort(attributes["nodeids"])
    attributes = {n: [v[i] for i in order] for n, v in attributes.items()}
    forest = helper.make_node(
        "TreeEnsembleRegressor",
        ["X"],
        ["variable"],
        domain="ai.onnx.ml",
        n_targets=3,
        nodes_treeids=attributes["treeids"],
        nodes_nodeids=attributes["nodeids"],
        nodes_featureids=attributes["featureids"],
        nodes_values=attributes["values"],
        nodes_modes=attributes["modes"],
        nodes_truenodeids=attributes["true"],
        nodes_falsenodeids=attributes["false"],
        nodes_hitrates=[1.0] * len(order),
        target_treeids=leaves["treeids"],
        target_nodeids=leaves["nodeids"],
        target_ids=leaves["ids"],
        target_weights=leaves["weights"],
        post_transform="NONE",
    )
    inputs = [("X", TensorProto.FLOAT, [None, len(columns)])]
    return save(path, [forest], inputs, [("variable", TensorProto.FLOAT, [None, 3])], ml=True)


def named_ports(path, kind=TensorProto.DOUBLE):
    """Write a function with an input per column, and corrected values in an output per quantity."""
    f = lambda n, v: (n, np.asarray(v, np.float64))  # noqa: E731
    node = helper.make_node
    nodes = [
        node("Cast", ["hwPt"], ["pt_hw"], to=TensorProto.DOUBLE),
        node("Sub", ["pt_hw", "one"], ["p"]),
        node("Mul", ["p", "scale"], ["pt"]),  # 0.5 * (1 + share)
        node("Cast", ["hwEtaAtVtx"], ["e"], to=TensorProto.DOUBLE),
        node("Mul", ["e", "eta_scale"], ["eta"]),
        node("Cast", ["hwPhiAtVtx"], ["f"], to=TensorProto.DOUBLE),
        node("Mul", ["f", "phi_scale"], ["phi"]),  # in [0, 2 pi)
    ]
    constants = [
        f("one", 1.0),
        f("scale", 0.5 * (1 + PT_SHARE)),
        f("eta_scale", ETA_VTX.to_physical(1) * (1 - ETA_SHARE)),
        f("phi_scale", PHI_VTX.to_physical(1)),
    ]
    inputs = [(n, TensorProto.INT64, ["N"]) for n in ("hwPt", "hwEtaAtVtx", "hwPhiAtVtx")]
    outputs = [(n, kind, ["N"]) for n in ("pt", "eta", "phi")]
    return save(path, nodes, inputs, outputs, constants)


def mlp(path, widths=(4, 6, 5, 3), activation="Tanh", seed=0):
    """Write a random network with any activation."""
    rng = np.random.default_rng(seed)
    nodes, constants, at = [], [], "x"
    for k, (m, n) in enumerate(pairwise(widths)):
        weights = rng.normal(0, 0.01, (n, m)).astype(np.float32)
        constants += [(f"w{k}", weights), (f"b{k}", np.zeros(n, np.float32))]
        last = k == len(widths) - 2
        nodes.append(helper.make_node("Gemm", [at, f"w{k}", f"b{k}"], ["y" if last else f"g{k}"], transB=1))
        if not last:
            nodes.append(helper.make_node(activation, [f"g{k}"], [f"a{k}"]))
            at = f"a{k}"
    ports = [("x", TensorProto.FLOAT, ["N", widths[0]])], [("y", TensorProto.FLOAT, ["N", widths[-1]])]
    return save(path, nodes, *ports, constants)
