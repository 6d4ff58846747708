"""The one way in which this package compiles hot loops."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import entrypoints
from numba.extending import intrinsic
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])


def leave_out_extensions() -> None:
    """Keep numba from importing, before its first kernel, what awkward and vector add to it: half a second.

    A command or process of the chain does without: kernels take plain arrays. Other programs keep it.
    """
    entrypoints._already_initialized = True


if not {"l1scout.cli", "l1scout.control.child"}.isdisjoint(sys.modules):
    leave_out_extensions()


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


def summing_kernel(function: F) -> F:
    """Compile as `float_kernel`, and let a sum over an array be taken in any order.

    Only so is it taken in vectors. The order is the same for each call on one processor. For functions that
    do nothing but sum: elsewhere, a compiler may take apart what was put together for its rounding.
    """
    options = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}
    return numba.njit(**options)(function)  # type: ignore[no-any-return]


def aligned(shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """Zeros that begin on a cache line; numpy's may not, and a vector then takes two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def bound_kernel(function: F) -> F:
    """Compile a function of the address of `bound`, for calls of less than a microsecond: the GIL is held."""
    return numba.njit(cache=True, error_model="numpy")(function)  # type: ignore[no-any-return]


def bound(function: Callable[[int], None], *arrays: NDArray[Any]) -> Callable[[], object]:
    """Return a function without arguments that calls a `bound_kernel` with C-contiguous arrays.

    It takes less than a tenth of a microsecond besides what the kernel does: neither types nor shapes are
    looked at again. The kernel finds the arrays by `array_at`.
    """
    rows = [(a.ctypes.data, *(1, *a.shape)[-2:]) for a in arrays]
    record = np.array(rows, np.int64)
    call = partial(function.compile((numba.int64,)), record.ctypes.data)  # type: ignore[attr-defined]
    call.keeps = record, arrays  # type: ignore[attr-defined] # as long as the function lives
    return call


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(_typing: Any, address: Any) -> Any:  # noqa: ARG001
    """Make a pointer of an address, inside a kernel."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return numba.types.voidptr(numba.types.int64), generate


@kernel
def array_at(address: int, number: int, dtype: Any) -> Any:
    """Return an array of `bound`, inside a kernel, with two dimensions: one row, if it has only one."""
    record = numba.carray(_pointer(address + 24 * number), 3, np.int64)
    return numba.carray(_pointer(record[0]), (record[1], record[2]), dtype)
