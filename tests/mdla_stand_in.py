"""Stand-ins for the Micron DLA's SDK, written from the signatures and the order of calls in its sources.

Inside, onnxruntime answers for the ONNX file that the adapter compiled.
"""

from typing import ClassVar

import numpy as np
import onnx
import onnxruntime


def inputs_of(path):
    """Number of inputs of an ONNX file."""
    return onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value


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
        return self.session.run(None, {"hardware": image.reshape(1, -1)})[0]

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
        assert image == f"1x1x{inputs_of(modeldir)}"
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
        assert inshapes == f"1x{inputs_of(modelpath)}"
        self.flags["clusters"] = self.flags["nclusters"]
        self._compiled(modelpath, outfile)
        return ["l1_minus_offline"]

    def Init(self, infile, MDLA=None):  # noqa: N802
        self.calls.append("Init")

    def Run(self, images):  # noqa: N802
        return self._answer(images)
