"""The one way in which this package compiles hot loops."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function of arrays and numbers: no GIL held, machine code kept between runs.

    Division by zero gives infinity or NaN, as in numpy.
    """
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)  # type: ignore[no-any-return]


def float_kernel(function: F) -> F:
    """Compile as `kernel`, and let a product and a sum become one instruction with one rounding.

    Twice the speed for a network; the last bit then depends on the processor.
    """
    options = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    return numba.njit(**options)(function)  # type: ignore[no-any-return]
