"""The reference engine: onnxruntime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engine import checked
from l1scout.deploy.model import Model
from l1scout.errors import InputError

BATCH = 8192
"""Muons a call: the layers of so many still fit into the processor's cache."""


class OnnxEngine:
    """A model run by onnxruntime, batch by batch.

    Parameters
    ----------
    model : Model
    threads : int
        Processor threads used for one call.

    Raises
    ------
    InputError
        If it is not an ONNX model with the card's numbers of inputs and outputs.
    """

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        import onnxruntime

        card, name = model.card, model.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                model.onnx_bytes, options, providers=["CPUExecutionProvider"]
            )
            (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
        except Exception as error:  # onnxruntime has a dozen kinds, none of them public
            msg = f"{name}: not a usable ONNX model ({str(error).splitlines()[0]})"
            raise InputError(msg) from error
        for what, port, n in (("inputs", inputs, len(card.inputs)), ("outputs", outputs, len(card.outputs))):
            if port.type != "tensor(float)" or len(port.shape) != 2 or port.shape[1] != n:
                msg = f"{name}: the card names {n} {what}, but the ONNX model has {port.type} {port.shape}"
                raise InputError(msg)
        self._session = session
        self._shape = len(card.inputs), len(card.outputs)
        self._batch = inputs.shape[0] if isinstance(inputs.shape[0], int) else None
        self._input, self._output = inputs.name, outputs.name

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Corrections; see `Engine`."""
        hardware, out = checked(hardware, *self._shape, out)
        muons, step = hardware.shape[1], self._batch or BATCH
        for low in range(0, muons, step):
            block = np.ascontiguousarray(hardware[:, low : low + step].T, np.float32)
            n = len(block)
            if self._batch and n < step:
                block = np.pad(block, ((0, step - n), (0, 0)))
            answer: Any = self._session.run([self._output], {self._input: block})[0]
            out[:, low : low + n] = answer[:n].T
        return out
