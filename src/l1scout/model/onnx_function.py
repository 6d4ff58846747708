"""A network that is an ONNX graph: what `l1scout import` makes of a network trained elsewhere."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from l1scout.errors import InputError
from l1scout.files import read_limited
from l1scout.model.network import Network
from l1scout.model.onnx_layers import read_layers

MAX_ONNX_BYTES = 1 << 29
"""Largest size of an ONNX file: trained networks have 20 kB, tree ensembles can have 100 MB."""


@dataclass(frozen=True)
class OnnxFunction:
    """A function of one muon's hardware values, evaluated by onnxruntime.

    Parameters
    ----------
    content : bytes
        The ONNX file: the trigger's integers as float32 in, L1 minus offline in rad, 1 and GeV out.
    """

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """Hash of `content`: the identity of the model."""
        return hashlib.sha256(self.content).hexdigest()

    def as_network(self, inputs: tuple[str, ...], name: str) -> Network:
        """Return the graph as dense layers.

        Raises
        ------
        InputError
            If it is not a chain of dense layers (`l1scout.model.onnx_layers`) with these inputs.
        """
        layers = read_layers(self.content, name)
        if len(layers[0].weights) != len(inputs):
            found = len(layers[0].weights)
            msg = f"{name}: the card names {len(inputs)} inputs, but the ONNX model has {found}"
            raise InputError(msg)
        return Network(inputs, tuple(layers))


def read_onnx(path: Path) -> OnnxFunction:
    """Read an ONNX file; InputError if it cannot be read or is too large."""
    return OnnxFunction(read_limited(path, MAX_ONNX_BYTES, "import a smaller network"))
