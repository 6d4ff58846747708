"""Eight 32-bit lanes at once: the bit operations that numba does not give.

A row of a BX block has a word for each of the eight links. Written as loops, the tests below run
at half the speed: the compiler does not find the vector instructions by itself.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.extending import intrinsic

_AHEAD = 6144
"""bytes; measured: half the time of 512, no worse than 16384"""
_ROW = ir.VectorType(ir.IntType(32), 8)
_NOTHING = ir.Constant(_ROW, [0] * 8)


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_ROW, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(_ROW, ir.Undefined), ir.Constant(_ROW, [0] * 8))


@intrinsic  # type: ignore[untyped-decorator]
def differing(typing: Any, words: Any, at: Any, value: Any, mask: Any) -> Any:  # noqa: ARG001
    """Bit l is set where ``(words[at + l] ^ value) & mask`` is not 0, l = 0..7.

    There is no check of bounds: the caller makes sure of ``at + 8 <= words.size``. ``words`` is a
    contiguous row of uint32, ``at`` uint64, the others uint32.
    """

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        row = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), _ROW.as_pointer()))
        row.align = 4
        apart = builder.and_(builder.xor(row, _splat(builder, args[2])), _splat(builder, args[3]))
        bits = builder.icmp_unsigned("!=", apart, _NOTHING)
        return builder.zext(builder.bitcast(bits, ir.IntType(8)), ir.IntType(32))

    return types.uint32(words, types.uint64, types.uint32, types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """Position of the lowest set bit of a uint32 that is not 0."""

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        zero_is_undefined = ir.Constant(ir.IntType(1), 1)
        return builder.zext(builder.cttz(args[0], zero_is_undefined), ir.IntType(64))

    return types.uint64(types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def ones(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """Count the set bits of a uint32."""

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(args[0])

    return types.uint32(types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_8(typing: Any, source: Any, at: Any, target: Any, to: Any, mask: Any) -> Any:  # noqa: ARG001
    """Copy eight words of uint32; bit l of the result is set where word l has any bit of `mask`.

    There is no check of bounds, as for `differing`.
    """

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        array = [context.make_array(signature.args[k])(context, builder, args[k]) for k in (0, 2)]
        where = [
            builder.bitcast(builder.gep(a.data, [args[k]]), _ROW.as_pointer())
            for a, k in zip(array, (1, 3), strict=True)
        ]
        row = builder.load(where[0])
        row.align = 4
        builder.store(row, where[1]).align = 4
        there = builder.icmp_unsigned("!=", builder.and_(row, _splat(builder, args[4])), _NOTHING)
        return builder.zext(builder.bitcast(there, ir.IntType(8)), ir.IntType(32))

    return types.uint32(source, types.uint64, target, types.uint64, types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy_32(typing: Any, source: Any, at: Any, target: Any, to: Any, count: Any) -> Any:  # noqa: ARG001
    """Copy ``source[at:at + count]`` (uint32, `count` to 32) to ``target[to:]``; which were not 0, as bits.

    All 32 words are read, and the target's surplus is set to 0, with no check of bounds.
    """
    word, row = ir.IntType(32), ir.VectorType(ir.IntType(32), 32)
    byte = ir.IntType(8).as_pointer()
    nothing, numbers = ir.Constant(row, [0] * 32), ir.Constant(row, list(range(32)))

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        array = [context.make_array(signature.args[k])(context, builder, args[k]) for k in (0, 2)]
        where = [
            builder.bitcast(builder.gep(a.data, [args[k]]), row.as_pointer())
            for a, k in zip(array, (1, 3), strict=True)
        ]
        one = builder.insert_element(ir.Constant(row, ir.Undefined), args[4], ir.Constant(word, 0))
        limit = builder.shuffle_vector(one, ir.Constant(row, ir.Undefined), nothing)
        read = builder.load(where[0])
        read.align = 4
        # the processor's own prefetching does not follow steps of more than two cache lines
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), (byte, word, word, word))
        )
        for line in range(2):
            ahead = builder.gep(builder.bitcast(where[0], byte), [word(_AHEAD + 64 * line)])
            builder.call(prefetch, [ahead, word(0), word(3), word(1)])
        kept = builder.select(builder.icmp_unsigned("<", numbers, limit), read, nothing)
        builder.store(kept, where[1]).align = 4
        return builder.bitcast(builder.icmp_unsigned("!=", kept, nothing), word)

    return types.uint32(source, types.uint64, target, types.uint64, types.uint32), generate
