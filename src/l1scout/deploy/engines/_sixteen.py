"""Sixteen muons at once in the table, with the processor's own instructions for scattered loads.

A compiler does not use them for a loop that also writes, as it cannot know that what is written is not the
table. Without such instructions in the processor the same code becomes sixteen ordinary loads.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.extending import intrinsic

from l1scout.formats.lanes import splat

LANES = 16
_WORD, _SHORT, _LONG, _FLOAT = ir.IntType(32), ir.IntType(16), ir.IntType(64), ir.FloatType()
_BIT = ir.IntType(1)


def _row(kind: ir.Type) -> ir.VectorType:
    return ir.VectorType(kind, LANES)


def _all(kind: ir.Type, value: float) -> ir.Constant:
    return ir.Constant(_row(kind), [value] * LANES)


@intrinsic  # type: ignore[untyped-decorator]
def look_up_sixteen(_typing: Any, words: Any, table: Any, hardware: Any, out: Any, first: Any) -> Any:
    """Write the corrections of muons `first` to `first` + 15; NaN where a value is outside the domain.

    There is no check of bounds or of overlaps. ``words`` (int64) holds the entries; ``table`` is a tuple of
    float64: lowest values, numbers of values and strides of the inputs, and the steps of the corrections.
    Muons lie side by side in each row of ``hardware`` (int16) and ``out`` (float32).
    """

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        _generate(context, builder, signature, args, None)
        return context.get_dummy_value()

    return types.void(words, table, hardware, out, first), generate


@intrinsic  # type: ignore[untyped-decorator]
def look_up_some(_typing: Any, words: Any, table: Any, hardware: Any, out: Any, first: Any, end: Any) -> Any:
    """Do as `look_up_sixteen` with the muons `first` to `end` - 1, at most sixteen."""

    def generate(context: BaseContext, builder: Any, signature: Any, args: Any) -> Any:
        numbers = ir.Constant(_row(_WORD), list(range(LANES)))
        count = splat(builder, builder.trunc(builder.sub(args[5], args[4]), _WORD), LANES)
        _generate(context, builder, signature, args, builder.icmp_unsigned("<", numbers, count))
        return context.get_dummy_value()

    return types.void(words, table, hardware, out, first, end), generate


def _generate(context: BaseContext, builder: Any, signature: Any, args: Any, some: Any) -> None:
    """Generate code for sixteen muons, or for those of them where `some` has bits."""
    kinds = signature.args
    entries, given, answers = (context.make_array(kinds[k])(context, builder, args[k]) for k in (0, 2, 3))
    *domain, first, second, third = cgutils.unpack_tuple(builder, args[1])
    place, inside = _places(builder, given, args[4], domain, some)
    got = _gather(builder, entries, place, inside)
    for k, (value, step) in enumerate(zip(_parts(builder, got), (first, second, third), strict=True)):
        scale = splat(builder, builder.fptrunc(step, _FLOAT), LANES)
        answer = builder.fmul(builder.sitofp(value, _row(_FLOAT)), scale)
        answer = builder.select(inside, answer, _all(_FLOAT, float("nan")))
        where = _address(builder, answers, k, args[4], _FLOAT)
        if some is None:
            builder.store(answer, where).align = 4
        else:
            _call(builder, "store.v16f32.p0", ir.VoidType(), answer, where, ir.Constant(_WORD, 4), some)


def _call(builder: Any, name: str, kind: ir.Type, *args: Any) -> Any:
    """Call one of LLVM's masked loads and stores, which leave alone what the mask has no bit for."""
    function = ir.FunctionType(kind, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.{name}"), args)


def _address(builder: Any, array: Any, row: int, column: Any, kind: ir.Type) -> Any:
    """Return where sixteen values of a row begin."""
    step = cgutils.unpack_tuple(builder, array.strides)[0]
    begins = builder.bitcast(array.data, ir.IntType(8).as_pointer())
    begins = builder.gep(begins, [builder.mul(step, ir.Constant(_LONG, row))])
    begins = builder.gep(builder.bitcast(begins, kind.as_pointer()), [column])
    return builder.bitcast(begins, _row(kind).as_pointer())


def _places(builder: Any, given: Any, first: Any, domain: Any, some: Any) -> Any:
    """Return the places of sixteen muons in the table, and which of them are inside the domain."""
    inputs = len(domain) // 3
    place, inside = _all(_WORD, 0), some or _all(_BIT, 1)
    for k in range(inputs):
        low, size, stride = (builder.fptosi(domain[k + n * inputs], _WORD) for n in range(3))
        where = _address(builder, given, k, first, _SHORT)
        if some is None:
            column = builder.load(where, align=2)
        else:
            row = _row(_SHORT)
            column = _call(
                builder, "load.v16i16.p0", row, where, ir.Constant(_WORD, 2), some, _all(_SHORT, 0)
            )
        index = builder.sub(column, splat(builder, builder.trunc(low, _SHORT), LANES))  # wraps round if below
        number = splat(builder, builder.trunc(size, _SHORT), LANES)
        inside = builder.and_(inside, builder.icmp_unsigned("<", index, number))
        steps = builder.mul(builder.zext(index, _row(_WORD)), splat(builder, stride, LANES))
        place = builder.add(place, steps)
    return place, inside


def _gather(builder: Any, entries: Any, place: Any, inside: Any) -> Any:
    """Return the entries at the places that are inside, and 0 for the others, without loading these."""
    begins = splat(builder, entries.data, LANES)
    pointers = builder.gep(begins, [place], source_etype=_LONG)
    return _call(
        builder, "gather.v16i64.v16p0", _row(_LONG), pointers, ir.Constant(_WORD, 8), inside, _all(_LONG, 0)
    )


def _parts(builder: Any, got: Any) -> Any:
    """Return phi, eta and pT of entries: two halves of 16 bits and one of 32, with their signs."""
    halves = builder.bitcast(got, ir.VectorType(_WORD, 2 * LANES))
    low, high = (
        builder.shuffle_vector(halves, halves, ir.Constant(_row(_WORD), list(range(k, 2 * LANES, 2))))
        for k in (0, 1)
    )
    sixteen = _all(_WORD, 16)
    return builder.ashr(builder.shl(low, sixteen), sixteen), builder.ashr(low, sixteen), high
