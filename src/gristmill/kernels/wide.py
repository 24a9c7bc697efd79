"""Words of 32 bytes: looked at and moved in one go, for kernels that read or write JSON strings.

Not here: what the marked bytes mean to a kernel (`jsonl`, `parse`). Invariants: everything is inlined into the kernel that calls
it; the last byte of a word is touched by index first, so `NUMBA_BOUNDSCHECK=1` sees words too; a caller has `WIDTH` bytes
from the place on, in what it reads and in what it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from gristmill.kernels.utf8 import Bytes, F

WIDTH = 32  # LLVM makes two or four of it where registers are narrower
_VECTOR = ir.VectorType(ir.IntType(8), WIDTH)


def inlined(function: F) -> F:
    """Compile as part of the kernels that call it, in place: the loops here are a few instructions a byte."""
    return cast("F", njit(function, nogil=True, inline="always"))


def _intrinsic(function: Callable[..., Any]) -> Any:
    return intrinsic(function)


def _word(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _load(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    word = builder.load(_word(context, builder, array_type, array, index))
    word.align = 1
    return word


def _mark(builder: Any, word: Any, sign: str, byte: int) -> Any:
    """Compare each byte of a word; one bit a byte."""
    return builder.icmp_unsigned(sign, word, ir.Constant(_VECTOR, [byte] * WIDTH))


def _bits(builder: Any, marks: Any) -> Any:
    return builder.zext(builder.bitcast(marks, ir.IntType(WIDTH)), ir.IntType(64))


@_intrinsic
def _hits_of(_typing: Any, array: Any, _index: Any) -> Any:
    """Mark which of the `WIDTH` bytes at any place of a uint8 array must be escaped; the first byte is bit 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _load(context, builder, signature.args[0], *args)
        quotes = builder.or_(_mark(builder, word, "==", 34), _mark(builder, word, "==", 92))
        return _bits(builder, builder.or_(quotes, _mark(builder, word, "<", 32)))

    return types.uint64(array, types.int64), build


@_intrinsic
def _rare_of(_typing: Any, array: Any, _index: Any) -> Any:
    """Mark which of the `WIDTH` bytes at any place of a uint8 array need the long escape."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _load(context, builder, signature.args[0], *args)
        marks = _mark(builder, word, "<", 32)
        for byte in (8, 9, 10, 12, 13):
            marks = builder.and_(marks, _mark(builder, word, "!=", byte))
        return _bits(builder, marks)

    return types.uint64(array, types.int64), build


@_intrinsic
def _move_word(_typing: Any, source: Any, _at: Any, target: Any, _to: Any) -> Any:
    """Copy `WIDTH` bytes."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _load(context, builder, signature.args[0], *args[:2])
        builder.store(word, _word(context, builder, signature.args[2], *args[2:])).align = 1
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), build


@inlined
def hits(data: Bytes, at: Any) -> Any:
    """Mark which of the `WIDTH` bytes from `at` on JSON wants escaped in a string, uint64; bit 0 for the first byte."""
    _ = data[at + WIDTH - 1]
    return _hits_of(data, at)


@inlined
def rare(data: Bytes, at: Any) -> Any:
    """Mark which of the `WIDTH` bytes from `at` on need the long escape, uint64."""
    return _rare_of(data, at)


@inlined
def move(data: Bytes, at: Any, out: Bytes, to: Any) -> None:
    """Copy the `WIDTH` bytes from `at` on to `out[to:]`."""
    _ = out[to + WIDTH - 1]
    _move_word(data, at, out, to)
