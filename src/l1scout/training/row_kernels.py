"""Kernels on rows of muons: matrix products, sums, activations and losses of a training step.

An array of shape (rows, lanes) holds all values of a batch, one muon per lane: inputs, sums, activations and
gradients of each node are a row. So every loop runs over muons that lie side by side, in vectors. A batch may
have any number of muons up to the number of lanes; lanes beyond it are not looked at.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.base import BaseContext
from numba.extending import intrinsic
from numpy.typing import NDArray

from l1scout.formats.lanes import splat
from l1scout.jit import float_kernel, summing_kernel

Rows = NDArray[np.float32]
ROWS = 4
"""Rows that a matrix product makes at a time; layers begin at multiples of it."""
RELU, SOFTMAX = 1, 2
"""Activations; others are linear."""
LOGCOSH, MSLE = 1, 2
"""Losses; others are mean squared errors."""
_LANES = 16
_FLOAT, _LONG = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, _LANES)
_ZERO, _ONE, _TWO, _HALF = (np.float32(x) for x in (0, 1, 2, 0.5))
_INFINITY = np.float32(np.inf)
_LEAST = np.float32(1e-7)
"""Of targets and answers whose logarithms are compared, as in Keras."""


def _vectors() -> int:
    """Return the number of vectors of 16 that a product makes of each row at once, as registers allow."""
    features = config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return 2 if "+avx512f" in features.split(",") else 1


_VECTORS = _vectors()
WIDE = _VECTORS * _LANES
"""Lanes that a product makes at a time; arrays of rows have a multiple of it."""


@intrinsic  # type: ignore[untyped-decorator]
def _tile(
    typing: Any,
    weights: Any,
    at: Any,
    along: Any,
    across: Any,
    rows: Any,
    source: Any,
    inputs: Any,
    target: Any,
    first: Any,
) -> Any:
    """Set four rows from `target` on, lanes `first` to `first` + `WIDE` - 1, to sums of weights times rows.

    Row `target` + r is the sum over i of weight ``at + i along + r across`` times row `source` + i. Sums stay
    in registers; as plain loops, which the compiler vectorises, it takes 2.7 times longer. There is no check
    of bounds. Numbers are int64.
    """
    del typing, at, along, across, source, inputs, target, first

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        weights, rows = (context.make_array(signature.args[k])(context, builder, args[k]) for k in (0, 4))
        at, along, across, source, inputs, target, first = (args[k] for k in (1, 2, 3, 5, 6, 7, 8))
        lanes = cgutils.unpack_tuple(builder, rows.shape)[1]

        def vector(row: Any, v: int) -> Any:
            place = builder.add(builder.mul(row, lanes), builder.add(first, _LONG(v * _LANES)))
            return builder.bitcast(builder.gep(rows.data, [place]), _VECTOR.as_pointer())

        places = [(r, v) for r in range(ROWS) for v in range(_VECTORS)]
        sums = {place: cgutils.alloca_once(builder, _VECTOR) for place in places}
        for place in places:
            builder.store(ir.Constant(_VECTOR, [0.0] * _LANES), sums[place])
        with cgutils.for_range(builder, inputs) as loop:
            values = [
                builder.load(vector(builder.add(source, loop.index), v), align=4) for v in range(_VECTORS)
            ]
            begins = builder.add(at, builder.mul(loop.index, along))
            for r in range(ROWS):
                where = builder.add(begins, builder.mul(across, _LONG(r)))
                weight = splat(builder, builder.load(builder.gep(weights.data, [where])), _LANES)
                for v in range(_VECTORS):
                    product = builder.fmul(weight, values[v], flags=["contract"])
                    total = builder.fadd(builder.load(sums[r, v]), product, flags=["contract"])
                    builder.store(total, sums[r, v])
        for r, v in places:
            where = vector(builder.add(target, _LONG(r)), v)
            builder.store(builder.load(sums[r, v]), where).align = 4
        return context.get_dummy_value()

    long = types.int64
    return types.void(weights, long, long, long, rows, long, long, long, long), generate


@float_kernel
def multiply(
    weights: Rows,
    at: int,
    along: int,
    across: int,
    rows: Rows,
    source: int,
    inputs: int,
    target: int,
    outputs: int,
    muons: int,
) -> None:
    """Set `outputs` rows from `target` on to sums of weights times the `inputs` rows from `source` on.

    The weight of input i and output o is at ``at + i along + o across``. Outputs are filled up to a multiple
    of `ROWS`, and lanes to one of `WIDE`: rows, lanes and weights must reach that far, with any values.
    """
    for first in range(0, muons, WIDE):
        for o in range(0, outputs, ROWS):
            _tile(weights, at + o * across, along, across, rows, source, inputs, target + o, first)


@summing_kernel
def weight_gradients(
    rows: Rows, source: int, inputs: int, target: int, outputs: int, muons: int, gradients: Rows, at: int
) -> None:
    """Set the gradient of the weight of input i and output o, at ``at + i outputs + o``.

    It is the sum over muons of row `source` + i times row `target` + o. Two inputs take four outputs at a
    time; rows are filled up to multiples of that.
    """
    for i in range(0, inputs, 2):
        for o in range(0, outputs, 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = _ZERO
            s, t = source + i, target + o
            for m in range(muons):
                t0, t1, t2, t3 = rows[t, m], rows[t + 1, m], rows[t + 2, m], rows[t + 3, m]
                a, b = rows[s, m], rows[s + 1, m]
                a0 += a * t0
                a1 += a * t1
                a2 += a * t2
                a3 += a * t3
                b0 += b * t0
                b1 += b * t1
                b2 += b * t2
                b3 += b * t3
            left = outputs - o
            for k, sums in enumerate(((a0, a1, a2, a3), (b0, b1, b2, b3))):
                if i + k < inputs:
                    first = at + (i + k) * outputs + o
                    gradients[first] = sums[0]
                    if left > 1:
                        gradients[first + 1] = sums[1]
                    if left > 2:
                        gradients[first + 2] = sums[2]
                    if left > 3:
                        gradients[first + 3] = sums[3]


@summing_kernel
def total(rows: Rows, row: int, muons: int) -> np.float32:
    """Return the sum of a row."""
    found = _ZERO
    for m in range(muons):
        found += rows[row, m]
    return found


@summing_kernel
def total_and_product(rows: Rows, row: int, other: int, muons: int) -> tuple[np.float32, np.float32]:
    """Return the sum of a row, and that of its products with another (or itself)."""
    found = product = _ZERO
    for m in range(muons):
        found += rows[row, m]
        product += rows[row, m] * rows[other, m]
    return found, product


@summing_kernel
def sizes(values: Rows, begin: int, end: int) -> tuple[np.float32, np.float32]:
    """Return the sums of absolute values and of squares."""
    absolute = squares = _ZERO
    for k in range(begin, end):
        absolute += abs(values[k])
        squares += values[k] * values[k]
    return absolute, squares


@float_kernel
def combine(
    rows: Rows, row: int, a: np.float32, other: int, b: np.float32, c: np.float32, muons: int
) -> None:
    """Set a row to ``a row + b other + c``."""
    for m in range(muons):
        rows[row, m] = a * rows[row, m] + (b * rows[other, m] + c)


@float_kernel
def scale(rows: Rows, source: int, target: int, a: np.float32, c: np.float32, muons: int) -> None:
    """Set row `target` to ``a source + c``."""
    for m in range(muons):
        rows[target, m] = a * rows[source, m] + c


@float_kernel
def scale_relu(rows: Rows, source: int, target: int, a: np.float32, c: np.float32, muons: int) -> None:
    """Set row `target` to ``a source + c``, and to 0 where that is below."""
    for m in range(muons):
        value = a * rows[source, m] + c
        rows[target, m] = _ZERO if value < _ZERO else value


@float_kernel
def mask(rows: Rows, row: int, other: int, muons: int) -> None:
    """Set a row to 0 where another is 0 or below."""
    for m in range(muons):
        value = rows[row, m]
        rows[row, m] = value if rows[other, m] > _ZERO else _ZERO


@float_kernel
def exponential(x: np.float32) -> np.float32:
    """Return the exponential of a number up to 88, and that of -87 for those below.

    It is Cephes' polynomial, which vectorises, unlike the function of the C library. NaN gives NaN.
    """
    x = np.float32(-87) if x < np.float32(-87) else x
    shifted = x * np.float32(1.44269504) + np.float32(12582912)  # 1.5 * 2**23: the last bits are an integer
    k = shifted - np.float32(12582912)
    x = x - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * x + np.float32(1.3981999507e-3)
    y = y * x + np.float32(8.3334519073e-3)
    y = y * x + np.float32(4.1665795894e-2)
    y = y * x + np.float32(1.6666665459e-1)
    y = y * x + _HALF
    y = y * (x * x) + x + _ONE
    scale = np.int32((np.float32(shifted).view(np.int32) << 23) + (127 << 23))
    return y * np.int32(scale).view(np.float32)


@float_kernel
def logarithm(x: np.float32) -> np.float32:
    """Return the logarithm of a number above 1e-37; infinity and NaN are returned as they are.

    It is Cephes' polynomial, which vectorises.
    """
    bits = np.float32(x).view(np.int32)
    k = np.int32(np.int32(bits - 0x3F3504F3) >> 23)  # of the square root of a half
    f = np.int32(bits - (k << 23)).view(np.float32) - _ONE
    y = np.float32(7.0376836292e-2)
    y = y * f - np.float32(1.1514610310e-1)
    y = y * f + np.float32(1.1676998740e-1)
    y = y * f - np.float32(1.2420140846e-1)
    y = y * f + np.float32(1.4249322787e-1)
    y = y * f - np.float32(1.6668057665e-1)
    y = y * f + np.float32(2.0000714765e-1)
    y = y * f - np.float32(2.4999993993e-1)
    y = y * f + np.float32(3.3333331174e-1)
    y = y * f * (f * f)
    y = y - _HALF * (f * f) + f + np.float32(k) * np.float32(0.69314718)
    return y if x < _INFINITY else x


@float_kernel
def softmax(rows: Rows, first: int, width: int, spare: int, muons: int) -> None:
    """Take the softmax over `width` rows; `spare` and the row after it are used."""
    top, total = spare, spare + 1
    for m in range(muons):
        rows[top, m] = rows[first, m]
        rows[total, m] = _ZERO
    for row in range(first + 1, first + width):
        for m in range(muons):
            value, best = rows[row, m], rows[top, m]
            rows[top, m] = value if value > best else best
    for row in range(first, first + width):
        for m in range(muons):
            value = exponential(rows[row, m] - rows[top, m])
            rows[row, m] = value
            rows[total, m] += value
    for m in range(muons):
        rows[total, m] = _ONE / rows[total, m]
    for row in range(first, first + width):
        for m in range(muons):
            rows[row, m] *= rows[total, m]


@float_kernel
def through_softmax(rows: Rows, gradient: int, answer: int, width: int, spare: int, muons: int) -> None:
    """Turn gradients of a softmax' answers into those of what it was taken of."""
    for m in range(muons):
        rows[spare, m] = _ZERO
    for k in range(width):
        for m in range(muons):
            rows[spare, m] += rows[gradient + k, m] * rows[answer + k, m]
    for k in range(width):
        for m in range(muons):
            rows[gradient + k, m] = rows[answer + k, m] * (rows[gradient + k, m] - rows[spare, m])


@float_kernel
def losses(
    loss: int, rows: Rows, answer: int, wanted: int, gradient: int, spare: int, share: np.float32, muons: int
) -> None:
    """Set row `spare` to the losses of one output, and row `gradient` to their gradients times `share`."""
    if loss == LOGCOSH:
        for m in range(muons):
            x = rows[answer, m] - rows[wanted, m]
            size = abs(x)
            small = exponential(-_TWO * size)
            rows[spare, m] = size + logarithm(_ONE + small) - np.float32(0.69314718)
            steep = share * ((_ONE - small) / (_ONE + small))
            rows[gradient, m] = -steep if x < _ZERO else steep
    elif loss == MSLE:
        for m in range(muons):
            y, given = rows[wanted, m], rows[answer, m]
            y = _LEAST if y < _LEAST else y
            x = _LEAST if given < _LEAST else given
            apart = logarithm(x + _ONE) - logarithm(y + _ONE)
            rows[spare, m] = apart * apart
            rows[gradient, m] = _ZERO if given < _LEAST else share * (_TWO * apart / (x + _ONE))
    else:
        for m in range(muons):
            x = rows[answer, m] - rows[wanted, m]
            rows[spare, m] = x * x
            rows[gradient, m] = share * (_TWO * x)


@float_kernel
def transpose(values: Rows, first: int, rows: Rows, target: int, muons: int) -> None:
    """Write muons from `first` on, of values of shape (muons, columns), into rows from `target` on."""
    for m in range(muons):
        for k in range(values.shape[1]):
            rows[target + k, m] = values[first + m, k]
