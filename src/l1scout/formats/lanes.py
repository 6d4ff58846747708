"""Vector and bit operations that numba does not give.

A row of a BX block has a word for each of the eight links. Written as loops, the tests below run
at half the speed: the compiler does not find the vector instructions by itself.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.core.base import BaseContext
from numba.extending import intrinsic

from l1scout.jit import kernel

SPAN = 64
"""Words that `paddings` and `others` look at: as many as a result has bits."""
SOME = 16
"""Words that are copied or cut at once."""
_AHEAD = 8192
"""bytes; measured: two thirds of the time without, and no worse than 2048, 4096 or 16384"""
_BIT, _BYTE, _WORD, _LONG = (ir.IntType(n) for n in (1, 8, 32, 64))
_ROW = ir.VectorType(_WORD, 8)
_VECTOR = ir.VectorType(_WORD, SOME)


def splat(builder: Any, value: Any, lanes: int = 8) -> Any:
    """Generate a vector whose lanes all hold a value."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_WORD, lanes), [0] * lanes))


def _pointer(context: BaseContext, builder: Any, signature: Any, args: Any, k: int = 0) -> Any:
    """Return the address of element ``args[k + 1]`` of array ``args[k]``."""
    return builder.gep(context.make_array(signature.args[k])(context, builder, args[k]).data, [args[k + 1]])


@intrinsic  # type: ignore[untyped-decorator]
def differing(typing: Any, words: Any, at: Any, value: Any, mask: Any) -> Any:  # noqa: ARG001
    """Bit l is set where ``(words[at + l] ^ value) & mask`` is not 0, l = 0..7.

    There is no check of bounds: the caller makes sure of ``at + 8 <= words.size``. ``words`` is a
    contiguous row of uint32, ``at`` uint64, the others uint32.
    """

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        where = _pointer(context, builder, signature, args)
        row = builder.load(builder.bitcast(where, _ROW.as_pointer()))
        row.align = 4
        apart = builder.and_(builder.xor(row, splat(builder, args[2])), splat(builder, args[3]))
        bits = builder.icmp_unsigned("!=", apart, ir.Constant(_ROW, [0] * 8))
        return builder.zext(builder.bitcast(bits, _BYTE), _WORD)

    return types.uint32(words, types.uint64, types.uint32, types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """Return the position of the lowest set bit of a uint32 or uint64 that is not 0."""

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        found = builder.cttz(args[0], ir.Constant(_BIT, 1))  # 1: zero is undefined
        return found if found.type.width == _LONG.width else builder.zext(found, _LONG)

    return types.uint64(bits), generate


@intrinsic  # type: ignore[untyped-decorator]
def ones(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """Count the set bits of a uint32 or uint64."""

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(args[0])

    return bits(bits), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_some(typing: Any, source: Any, at: Any, target: Any, to: Any, mask: Any) -> Any:  # noqa: ARG001
    """Copy `SOME` words of uint32; bit l of the result is set where word l has any bit of `mask`.

    There is no check of bounds, as for `differing`.
    """

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        where = [
            builder.bitcast(_pointer(context, builder, signature, args, k), _VECTOR.as_pointer())
            for k in (0, 2)
        ]
        row = builder.load(where[0])
        row.align = 4
        builder.store(row, where[1]).align = 4
        masked = builder.and_(row, splat(builder, args[4], SOME))
        there = builder.icmp_unsigned("!=", masked, ir.Constant(_VECTOR, [0] * SOME))
        return builder.zext(builder.bitcast(there, ir.IntType(SOME)), _WORD)

    return types.uint32(source, types.uint64, target, types.uint64, types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def transpose_8(
    typing: Any,
    words: Any,
    places: Any,
    k: Any,
    first: Any,
    out: Any,
    to: Any,
    stride: Any,
    size: Any,
    mask: Any,
) -> Any:
    """Write word w of the eight objects at ``places[k + l] + first`` to ``out[w * stride + to + l]``.

    w is 0 to 7. Bit l of the result is set where any of the first `size` words of object l has a bit of
    `mask`. There is no check of bounds, as for `differing`; `places` is a row of int64, `size` and `mask` are
    uint32.
    """
    del typing, k, first, to, stride, size, mask

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        pointers = [context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 1, 4)]
        rows = []
        for lane in range(8):
            place = builder.load(builder.gep(pointers[1], [builder.add(args[2], _LONG(lane))]))
            where = builder.gep(pointers[0], [builder.add(place, args[3])])
            rows.append(builder.load(builder.bitcast(where, _ROW.as_pointer())))
            rows[-1].align = 4
        for s in (4, 2, 1):  # blocks of s x s words change places
            for r in (r for r in range(8) if not r & s):
                a, b = rows[r], rows[r | s]
                lanes = (
                    [c if not c & s else 8 + (c ^ s) for c in range(8)],
                    [c | s if not c & s else 8 + c for c in range(8)],
                )
                kind = ir.VectorType(_WORD, 8)
                rows[r], rows[r | s] = (builder.shuffle_vector(a, b, ir.Constant(kind, own)) for own in lanes)
        some: Any = ir.Constant(_ROW, [0] * 8)
        for w, row in enumerate(rows):
            target = builder.gep(pointers[2], [builder.add(builder.mul(args[6], _LONG(w)), args[5])])
            builder.store(row, builder.bitcast(target, _ROW.as_pointer())).align = 4
            counts = builder.icmp_unsigned("<", _WORD(w), args[7])
            some = builder.or_(some, builder.select(counts, row, ir.Constant(_ROW, [0] * 8)))
        masked = builder.and_(some, splat(builder, args[8]))
        there = builder.icmp_unsigned("!=", masked, ir.Constant(_ROW, [0] * 8))
        return builder.zext(builder.bitcast(there, _BYTE), _WORD)

    long, word = types.uint64, types.uint32
    return word(words, places, long, long, out, long, long, word, word), generate


def _cut(words: Any, out: Any, shift: str) -> Any:
    """Return how a field is cut from `SOME` words: shifted left and then right, plus a number."""
    word, narrow = types.uint32, ir.VectorType(ir.IntType(16), SOME)

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        where = builder.bitcast(_pointer(context, builder, signature, args), _VECTOR.as_pointer())
        row = builder.load(where)
        row.align = 4
        left, right, add = (splat(builder, args[k], SOME) for k in (2, 3, 4))
        value = builder.add(getattr(builder, shift)(builder.shl(row, left), right), add)
        target = builder.bitcast(_pointer(context, builder, signature, args, 5), narrow.as_pointer())
        builder.store(builder.trunc(value, narrow), target).align = 2
        return context.get_dummy_value()

    return types.none(words, types.uint64, word, word, word, out, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def cut_unsigned(typing: Any, words: Any, at: Any, left: Any, right: Any, add: Any, out: Any, to: Any) -> Any:
    """Write ``(words[at + l] << left >> right) + add`` to ``out[to + l]``, int16, for `SOME` words.

    There is no check of bounds, as for `differing`.
    """
    del typing, at, left, right, add, to
    return _cut(words, out, "lshr")


@intrinsic  # type: ignore[untyped-decorator]
def cut_signed(typing: Any, words: Any, at: Any, left: Any, right: Any, add: Any, out: Any, to: Any) -> Any:
    """Do the same as `cut_unsigned` for a field in two's complement."""
    del typing, at, left, right, add, to
    return _cut(words, out, "ashr")


@intrinsic  # type: ignore[untyped-decorator]
def paddings(typing: Any, words: Any, at: Any, padding: Any) -> Any:  # noqa: ARG001
    """Compare ``words[at:at + 64]`` with 0 and `padding`, and ask for words that come later.

    There is no check of bounds. ``words`` is a contiguous row of uint32, ``at`` uint64, ``padding`` uint32.

    Returns
    -------
    found : uint64
        Bit j is set where word j is `padding`.
    more : uint64
        Not 0 if any word is neither 0 nor `padding`.
    """

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        where, value = _pointer(context, builder, signature, args), splat(builder, args[2], _VECTOR.count)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (_BYTE.as_pointer(),),
            ir.FunctionType(ir.VoidType(), (_BYTE.as_pointer(), _WORD, _WORD, _WORD)),
        )
        nothing, found = ir.Constant(_VECTOR, [0] * _VECTOR.count), ir.Constant(_LONG, 0)
        some: Any = nothing
        for k in range(0, SPAN, _VECTOR.count):
            here = builder.gep(where, [_WORD(k)])
            ahead = builder.gep(builder.bitcast(here, _BYTE.as_pointer()), [_WORD(_AHEAD)])
            builder.call(prefetch, [ahead, _WORD(0), _WORD(3), _WORD(1)])
            row = builder.load(builder.bitcast(here, _VECTOR.as_pointer()))
            row.align = 4
            equal = builder.icmp_unsigned("==", row, value)
            some = builder.or_(some, builder.select(equal, nothing, row))
            bits = builder.zext(builder.bitcast(equal, ir.IntType(_VECTOR.count)), _LONG)
            found = builder.or_(found, builder.shl(bits, _LONG(k)))
        more = builder.bitcast(builder.icmp_unsigned("!=", some, nothing), ir.IntType(_VECTOR.count))
        return context.make_tuple(builder, signature.return_type, [found, builder.zext(more, _LONG)])

    return types.UniTuple(types.uint64, 2)(words, types.uint64, types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def filled(typing: Any, words: Any, at: Any) -> Any:  # noqa: ARG001
    """Bit j is set where ``words[at + j]`` is not 0, j = 0..63; no check of bounds."""
    vector = ir.VectorType(_WORD, SPAN)

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        row = builder.load(builder.bitcast(_pointer(context, builder, signature, args), vector.as_pointer()))
        row.align = 4
        return builder.bitcast(builder.icmp_unsigned("!=", row, ir.Constant(vector, [0] * SPAN)), _LONG)

    return types.uint64(words, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _multiply_at_once(typing: Any, a: Any, b: Any) -> Any:  # noqa: ARG001
    """Return the product of two uint32 without carries, by the instruction of x86 for it."""
    pair = ir.VectorType(_LONG, 2)

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        instruction = builder.module.declare_intrinsic(
            "llvm.x86.pclmulqdq", (), ir.FunctionType(pair, (pair, pair, _BYTE))
        )
        first = ir.Constant(_WORD, 0)
        both = [
            builder.insert_element(ir.Constant(pair, [0, 0]), builder.zext(x, _LONG), first) for x in args
        ]
        return builder.extract_element(builder.call(instruction, [*both, _BYTE(0)]), first)

    return types.uint64(types.uint32, types.uint32), generate


@kernel
def _multiply_in_parts(a: Any, b: Any) -> Any:
    """Return the product of two uint32 without carries, on any processor.

    Of every four bits one is taken at a time: the three between take up the carries of its eight products.
    """
    every = np.uint64(0x1111111111111111)
    out = np.uint64(0)
    for i in range(4):
        x = np.uint64(a) & (every << np.uint64(i))
        for j in range(4):
            y = np.uint64(b) & (every << np.uint64(j))
            out ^= (x * y) & (every << np.uint64((i + j) & 3))
    return out


def _has_multiplication() -> bool:
    """Return whether the processor that kernels are compiled for multiplies without carries (x86)."""
    if config.CPU_FEATURES is not None:
        return "+pclmul" in config.CPU_FEATURES.split(",")
    try:
        return bool(llvmlite.binding.get_host_cpu_features().get("pclmul"))
    except RuntimeError:
        return False


multiply_without_carries = _multiply_at_once if _has_multiplication() else _multiply_in_parts
"""The product of two uint32 as polynomials over the field of two elements: a uint64."""
