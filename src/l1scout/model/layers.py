"""Dense layers of a network, with everything that was folded into them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layer:
    """``activation(x @ weights + bias)``: weights of shape (inputs, outputs), float64."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    activation: str
