"""The Micron DLA's adapter against stand-ins with the SDK's two signatures, and JAX on what there is.

The stand-ins are written from the signatures and the order of calls that the SDK's sources document;
inside, onnxruntime answers for the ONNX file that the adapter compiled.
"""

import sys
import types
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest

from hand_made import evaluate, network, scaled_network
from l1scout.deploy.engine import make
from l1scout.deploy.gpu import GpuEngine
from l1scout.deploy.mdla import MdlaEngine
from l1scout.errors import InputError


class Board:
    """What both generations share: calls are noted, and must come in the documented order."""

    made: ClassVar

    def __init__(self):
        self.calls, self.flags = [], {}
        type(self).made.append(self)

    def _compiled(self, path, outfile):
        self.calls.append("Compile")
        proto = onnx.load(path)
        assert proto.ir_version <= 4
        assert proto.opset_import[0].version <= 9
        assert {n.op_type for n in proto.graph.node} <= {"Gemm", "Relu"}
        assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
        self.session = onnxruntime.InferenceSession(path)
        with open(outfile, "wb") as file:  # noqa: PTH123
            file.write(b"compiled")

    def _answer(self, image):
        assert self.calls[:3] == ["SetFlag", "Compile", "Init"]
        assert image.dtype == np.float32
        return self.session.run(None, {"hardware": image.reshape(1, 4)})[0]

    def Free(self):  # noqa: N802
        self.calls.append("Free")


class Old(Board):
    """2020.1."""

    made: ClassVar = []

    def SetFlag(self, name, value):  # noqa: N802
        assert isinstance(name, str)
        assert isinstance(value, str)
        self.calls.append("SetFlag")
        self.flags[name] = value

    def Compile(self, image, modeldir, outfile, numcard=1, numclus=1, nlayers=-1):  # noqa: N802
        assert image == "1x1x4"
        self.flags["clusters"] = numclus
        self._compiled(modeldir, outfile)
        return 1

    def Init(self, infile, bitfile, cmem=None):  # noqa: N802
        self.calls.append("Init")
        return 1

    def Run(self, images, result):  # noqa: N802
        assert result.dtype == np.float32
        result[:] = self._answer(images)[0]


class New(Board):
    """2021.1 to 2022.1."""

    made: ClassVar = []

    def SetFlag(self, name, value=""):  # noqa: N802
        self.calls.append("SetFlag")
        self.flags |= name if isinstance(name, dict) else {name: value}

    def Compile(self, modelpath, inshapes=None, samples=None, MDLA=None, outfile=None, simplify=False):  # noqa: N802
        assert inshapes == "1x4"
        self.flags["clusters"] = self.flags["nclusters"]
        self._compiled(modelpath, outfile)
        return ["correction"]

    def Init(self, infile, MDLA=None):  # noqa: N802
        self.calls.append("Init")

    def Run(self, images):  # noqa: N802
        return self._answer(images)


@pytest.mark.parametrize("board", [Old, New])
def test_both_generations(board):
    m = scaled_network()
    hardware = m.domain.hardware(0, m.domain.entries)[:, ::501]
    engine = MdlaEngine(m, clusters=2, sdk=types.SimpleNamespace(MDLA=board))
    answer = engine.correct(hardware)
    assert np.abs(answer - evaluate(m.layers, hardware)).max() < 1e-4
    device = board.made[-1]
    assert device.flags["clusters"] == 2
    assert str(device.flags["hwlinear"]) == "1"
    engine.close()
    assert device.calls == ["SetFlag", "Compile", "Init", "Free"]


def test_another_interface_is_refused():
    class Newer:
        def Compile(self, graph):  # noqa: N802
            pass

    with pytest.raises(InputError, match=r"unknown Compile\(graph\)"):
        MdlaEngine(scaled_network(), sdk=types.SimpleNamespace(MDLA=Newer))
    with pytest.raises(InputError, match="do not know Softmax"):
        MdlaEngine(network(hidden="softmax"), sdk=types.SimpleNamespace(MDLA=New))


def test_without_the_sdk_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "microndla", None)
    with pytest.raises(InputError, match="`microndla` cannot be loaded") as error:
        make("mdla", scaled_network())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("hidden", ["relu", "softmax"])
def test_jax_answers_on_any_device(hidden, monkeypatch):
    monkeypatch.setattr("l1scout.deploy.gpu.BATCH", 4096)
    m = network(hidden=hidden)
    engine = GpuEngine(m)
    hardware = m.domain.hardware(0, m.domain.entries)
    wanted = evaluate(m.layers, hardware)
    assert engine.device
    assert np.abs(engine.correct(hardware) - wanted).max() < 1e-4
    out = np.empty((3, 5), np.float32)
    assert engine.correct(hardware[:, :5], out) is out
    assert np.abs(out - wanted[:, :5]).max() < 1e-4
    assert make("gpu", m).correct(hardware[:, :0]).shape == (3, 0)
