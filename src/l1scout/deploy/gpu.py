"""The network on a GPU, batch by batch, through JAX; on the CPU where there is no GPU."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engine import checked
from l1scout.model.directory import Model

BATCH = 1 << 20
_SMALLEST = 1 << 10


class GpuEngine:
    """A network compiled by JAX for its default device; `device` says which that is.

    Batches are filled up to powers of two, so that only a few sizes are compiled.

    Parameters
    ----------
    model : Model

    Raises
    ------
    InputError
        If the ONNX model is no chain of ``Gemm`` and activations.
    """

    def __init__(self, model: Model) -> None:
        import jax
        import jax.numpy as jnp

        layers = [
            (jnp.asarray(v.weights, jnp.float32), jnp.asarray(v.bias, jnp.float32), v.activation)
            for v in model.layers
        ]

        def network(hardware: Any) -> Any:
            x = hardware.T.astype(jnp.float32)
            for weights, bias, activation in layers:
                # A GPU's default for float32 products is less precise than float32.
                x = jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST) + bias
                if activation == "relu":
                    x = jnp.maximum(x, 0)
                elif activation == "softmax":
                    x = jax.nn.softmax(x, axis=1)
            return x.T

        self._run = jax.jit(network)
        self._io = len(model.layers[0].weights), model.layers[-1].bias.size
        self.device = str(jax.devices()[0])

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Corrections; see `Engine`."""
        hardware, out = checked(hardware, *self._io, out)
        for start in range(0, hardware.shape[1], BATCH):
            piece = hardware[:, start : start + BATCH]
            n = piece.shape[1]
            size = max(_SMALLEST, 1 << (n - 1).bit_length())
            filled = np.zeros((len(piece), size), np.int16)
            filled[:, :n] = piece
            out[:, start : start + n] = np.asarray(self._run(filled))[:, :n]
        return out
