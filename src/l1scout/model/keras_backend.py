"""Import Keras with the backend that l1scout trains with."""

import os
import sys
from typing import Any


def load_keras() -> Any:
    """Import Keras and return it; its backend is JAX unless ``KERAS_BACKEND`` names another.

    Keras reads the variable once, when it is first imported. So nothing else in l1scout sets it.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    return keras
