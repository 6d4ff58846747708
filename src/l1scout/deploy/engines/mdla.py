"""The Micron Deep Learning Accelerator, through its SDK's Python module, where that is installed.

The SDK comes from the vendor on request and is not part of this package. Its two generations differ:

| | 2020.1 (the reference paper's time) | 2021.1 to 2022.1 |
|---|---|---|
| `Compile` | `(image, modeldir, outfile, numcard, numclus)` | `(modelpath, inshapes, samples, ...)` |
| input size | "1x1x4" | "1x4" |
| `Init` | `(infile, bitfile, cmem)` | not needed after `Compile` without an output file |
| `Run` | `(images, result)`, result filled in | `(images)`, result returned |
| clusters | argument `numclus` | flag `nclusters` |

They are told apart by the parameters of ``MDLA.Compile``. Nothing here has ever run on a board: the
tests drive it with stand-ins that have these signatures, as the SDK's sources state them.
"""

import importlib
import inspect
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays
from l1scout.errors import InputError
from l1scout.model.directory import Model
from l1scout.model.onnx_export import ACCELERATOR_OPSET, to_onnx
from l1scout.model.ramps import as_ramps


@ENGINES.register("mdla")
class MdlaEngine(Engine):
    """A model on the accelerator, one muon a call.

    The network runs between normalised inputs and outputs, as its 16-bit fixed point (Q8.8) needs; the
    card's scaling is done here, and so are gains and offset. It is written as ONNX that the SDK's reader
    takes: opset 9, IR 4, ``Gemm`` and ``Relu``, batch 1; look-ups become a layer of ReLU hinges.

    Parameters
    ----------
    model : Model
    clusters : int
        Compute clusters to use.
    bitfile : str
        Of the FPGA (2020.1); empty keeps the loaded one.
    sdk : module, optional
        What has the class ``MDLA``; by default ``microndla`` is imported.

    Raises
    ------
    InputError
        If the SDK is not installed or its interface is none of the two known.
    """

    settings = "number of clusters"

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "MdlaEngine":
        """Make the engine."""
        text = options.settings
        if text and not (text.isdecimal() and 0 < int(text) < 1000):
            msg = f"engine mdla:{text}: its setting is a number of clusters"
            raise InputError(msg)
        return cls(model, clusters=int(text or 1))

    @classmethod
    def refusal(cls, model: Model) -> str:
        """Explain why the accelerator cannot run the model; empty if it can."""
        if not model.no_layers and any(layer.activation == "softmax" for layer in model.layers.layers):
            return "the accelerator's readers since 2020 do not know Softmax; use a ReLU model"
        return model.no_layers

    def __init__(self, model: Model, *, clusters: int = 1, bitfile: str = "", sdk: Any = None) -> None:
        card = model.card
        self._in = [np.array([[getattr(q, n)] for q in card.inputs]) for n in ("offset", "scale")]
        self._out = [np.array([[getattr(q, n)] for q in card.outputs]) for n in ("offset", "scale")]
        why = self.refusal(model)
        if why:
            msg = f"{model.name}: {why}"
            raise InputError(msg)
        proto = to_onnx(as_ramps(model.layers.before_gains, card), batch=1, opset=ACCELERATOR_OPSET)
        self._network = model.layers
        device = (sdk or _import()).MDLA()
        compile_names = list(inspect.signature(device.Compile).parameters)
        self._returns = "modelpath" in compile_names
        if not self._returns and compile_names[:3] != ["image", "modeldir", "outfile"]:
            msg = (
                f"microndla: unknown Compile({', '.join(compile_names)}); known are 2020.1 and 2021.1-2022.1"
            )
            raise InputError(msg)
        self._device = device
        with tempfile.TemporaryDirectory() as folder:
            path, binary = Path(folder) / "model.onnx", Path(folder) / "model.bin"
            path.write_bytes(proto.SerializeToString())
            if self._returns:
                device.SetFlag({"nclusters": clusters, "hwlinear": 1})
                device.Compile(str(path), inshapes=f"1x{len(card.inputs)}", outfile=str(binary))
                device.Init(str(binary))
            else:
                device.SetFlag("hwlinear", "1")  # its default is stated in two ways
                device.Compile(f"1x1x{len(card.inputs)}", str(path), str(binary), numclus=clusters)
                device.Init(str(binary), bitfile)

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        hardware, out = check_arrays(hardware, len(self._in[0]), len(self._out[0]), out)
        images = np.ascontiguousarray(((hardware - self._in[0]) / self._in[1]).T, np.float32)
        result = np.zeros(len(out), np.float32)
        for m, image in enumerate(images):
            if self._returns:
                answer = self._device.Run(image[np.newaxis])
                result = np.ravel(answer[0] if isinstance(answer, list) else answer)
            else:
                self._device.Run(image, result)
            out[:, m] = self._out[0][:, 0] + self._out[1][:, 0] * result
        out[:] = self._network.finish(hardware, out)
        return out

    def close(self) -> None:
        """Give the device back."""
        self._device.Free()


def _import() -> Any:
    try:
        return importlib.import_module("microndla")
    except (ImportError, OSError) as error:  # OSError: the module is there, its library is not
        msg = (
            f"engine mdla: the Micron DLA SDK's module `microndla` cannot be loaded ({error}); "
            "it comes from the vendor: install it with its library, or choose another engine"
        )
        raise InputError(msg) from error
