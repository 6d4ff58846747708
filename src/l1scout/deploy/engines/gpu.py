"""The network on a GPU, batch by batch, through JAX; on the CPU where there is no GPU."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, check_arrays
from l1scout.model.directory import Model

BATCH = 1 << 20
_SMALLEST = 1 << 10


@ENGINES.register("gpu")
class GpuEngine(Engine):
    """A network compiled by JAX for its default device; `device` says which that is.

    Batches are filled up to powers of two, so that only a few sizes are compiled.

    Parameters
    ----------
    model : Model

    Raises
    ------
    InputError
        If the model has no layers.
    """

    @classmethod
    def refusal(cls, model: Model) -> str:
        """Explain why the model has no layers; empty if it has."""
        return model.no_layers

    def __init__(self, model: Model) -> None:
        import jax
        import jax.numpy as jnp

        layers = [
            (jnp.asarray(v.weights, jnp.float32), jnp.asarray(v.bias, jnp.float32), v.activation)
            for v in model.layers.layers
        ]
        look_ups = [
            (at.column, at.low, len(at.vectors) - 1, jnp.asarray(at.vectors, jnp.float32))
            for at in model.layers.look_ups
        ]

        gains = [
            (at.column, at.low, len(at.factors) - 1, jnp.asarray(at.factors, jnp.float32))
            for at in model.layers.gains
        ]
        offset = jnp.asarray(model.layers.offset, jnp.float32)

        def network(hardware: Any) -> Any:
            x = hardware.T.astype(jnp.float32)
            for k, (weights, bias, activation) in enumerate(layers):
                # A GPU's default for float32 products is less precise than float32.
                x = jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST) + bias
                for column, low, last, vectors in look_ups if k == 0 else ():
                    x += vectors[jnp.clip(hardware[column].astype(jnp.int32) - low, 0, last)]
                if activation == "relu":
                    x = jnp.maximum(x, 0)
                elif activation == "softmax":
                    x = jax.nn.softmax(x, axis=1)
            for column, low, last, factors in gains:
                x *= factors[jnp.clip(hardware[column].astype(jnp.int32) - low, 0, last)]
            return (x + offset if offset.size else x).T

        self._run = jax.jit(network)
        self._io = len(model.layers.inputs), model.layers.layers[-1].bias.size
        self.device = str(jax.devices()[0])

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`."""
        hardware, out = check_arrays(hardware, *self._io, out)
        for start in range(0, hardware.shape[1], BATCH):
            piece = hardware[:, start : start + BATCH]
            n = piece.shape[1]
            size = max(_SMALLEST, 1 << (n - 1).bit_length())
            filled = np.zeros((len(piece), size), np.int16)
            filled[:, :n] = piece
            out[:, start : start + n] = np.asarray(self._run(filled))[:, :n]
        return out
