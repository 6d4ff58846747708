"""The one way in which this package compiles hot loops."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.extending import intrinsic

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


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_typing: Any, array: Any, place: Any) -> Any:
    """Ask for an element of an array, inside a kernel, without waiting for it.

    So as many are on their way from memory at a time as the processor can have; loads that are waited
    for are fewer. A place beyond the array's end does no harm.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        element = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        read, keep, of_data = number(0), number(3), number(1)
        builder.call(instruction, [element, read, keep, of_data])
        return context.get_dummy_value()

    return numba.types.void(array, place), generate
