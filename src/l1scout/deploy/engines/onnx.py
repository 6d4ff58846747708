"""The reference engine: onnxruntime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays
from l1scout.errors import InputError
from l1scout.model.directory import Model

BATCH = 8192
"""Muons per call: their layers still fit into the processor's cache."""
MAX_BATCH = 1 << 16
"""Of a model that was made for one size of batch."""


def open_session(onnx_bytes: bytes, name: str, threads: int = 1) -> Any:
    """Make a session of onnxruntime.

    Raises
    ------
    InputError
        If it is not a usable ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen kinds, none of them public
        msg = f"{name}: not a usable ONNX model ({str(error).splitlines()[0]})"
        raise InputError(msg) from error


@ENGINES.register("onnx")
class OnnxEngine(Engine):
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

    reference = True
    unasked = True

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "OnnxEngine":
        """Make the engine."""
        return cls(model, threads=options.threads)

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        card, name = model.card, model.name
        session = open_session(model.onnx_bytes, name, threads)
        ports = session.get_inputs(), session.get_outputs()
        if [len(p) for p in ports] != [1, 1]:
            counts = f"{len(ports[0])} inputs and {len(ports[1])} outputs"
            msg = f"{name}: {counts}, not one of each; convert it with `l1scout import`"
            raise InputError(msg)
        (inputs,), (outputs,) = ports
        for what, port, n in (("inputs", inputs, len(card.inputs)), ("outputs", outputs, len(card.outputs))):
            if port.type != "tensor(float)" or len(port.shape) != 2 or port.shape[1] != n:
                msg = f"{name}: the card names {n} {what}, but the ONNX model has {port.type} {port.shape}"
                raise InputError(msg)
        if isinstance(inputs.shape[0], int) and not 0 < inputs.shape[0] <= MAX_BATCH:
            msg = (
                f"{name}: made for batches of {inputs.shape[0]} muons, not 1 to {MAX_BATCH}; export it "
                "with a free batch size"
            )
            raise InputError(msg)
        self._session, self._name = session, name
        self._shape = len(card.inputs), len(card.outputs)
        self._batch = inputs.shape[0] if isinstance(inputs.shape[0], int) else None
        self._input, self._output = inputs.name, outputs.name

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        hardware, out = check_arrays(hardware, *self._shape, out)
        muons, step = hardware.shape[1], self._batch or BATCH
        for low in range(0, muons, step):
            block = np.ascontiguousarray(hardware[:, low : low + step].T, np.float32)
            n = len(block)
            if self._batch and n < step:
                block = np.pad(block, ((0, step - n), (0, 0)))
            try:
                answer: Any = self._session.run([self._output], {self._input: block})[0]
            except Exception as error:  # see `open_session`
                msg = f"{self._name}: cannot be evaluated ({str(error).splitlines()[0]})"
                raise InputError(msg) from error
            if answer.shape != (len(block), len(out)):
                msg = f"{self._name}: {len(block)} muons have answers of shape {answer.shape}"
                raise InputError(msg)
            out[:, low : low + n] = answer[:n].T
        return out
