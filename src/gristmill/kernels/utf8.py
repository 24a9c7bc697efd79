"""UTF-8 primitives that the kernels share: types, unaligned words, copies, code points, white space.

Not here: Unicode classes (`kernels.tables`) or anything that walks rows. Invariant: everything is inlined or linked
into the kernel that calls it, touches only the bytes it is told to, and reads past neither `end` nor a code point;
`load64`, `store64` and `copy` touch their last byte by index first, so `NUMBA_BOUNDSCHECK=1` sees them too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from gristmill.kernels.cached import jitted

Bytes: TypeAlias = npt.NDArray[np.uint8]
Int32s: TypeAlias = npt.NDArray[np.int32]
Int64s: TypeAlias = npt.NDArray[np.int64]
UInt64s: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Column: TypeAlias = tuple[Bytes, Int32s]
# A position, a count or a code point: int64 in compiled code; mypy has no word for what Numba infers.
Int: TypeAlias = Any
F = TypeVar("F", bound=Callable[..., Any])

# Borrowed from Arrow, hence read-only; Numba converts writable arrays to these, not the other way round.
READ_8 = types.Array(types.uint8, 1, "C", readonly=True)
READ_32 = types.Array(types.int32, 1, "C", readonly=True)
READ_BOOL = types.Array(types.boolean, 1, "C", readonly=True)
READ_PAIRS = types.Array(types.uint64, 2, "C", readonly=True)
PAIRS = types.uint64[:, ::1]
FLAGS = types.boolean[::1]
# What an editing kernel answers: data, offsets, whether anything changed.
EDITED = types.Tuple((types.uint8[::1], types.int32[::1], types.boolean))

ONES = np.uint64(0x0101010101010101)
HIGH_BITS = np.uint64(0x8080808080808080)

# Stands for this file, words, values and the constants of choices in the names of the kernels' cache files, so that no change there is overlooked.
_SHARED = (Path(__file__), *(Path(__file__).with_name(name) for name in ("choices.py", "wide.py", "jsonvalues.py")))
_PRIMITIVES = hashlib.sha256(b"".join(path.read_bytes() for path in _SHARED)).hexdigest()[:8]


def kernel(*signature: Any) -> Callable[[F], F]:
    """Compile now (or load from the cache) for one signature: (answer, arguments...)."""
    answer, *arguments = signature

    def compiled(function: F) -> F:
        # Numba names the cache file after this, and looks for changes in the kernel's own source file alone.
        function.__qualname__ += f"_{_PRIMITIVES}"
        try:
            return cast("F", jitted(function, answer(*arguments)))
        except (RuntimeError, OSError):  # nowhere to keep the cache: read-only install and home, or a full disk
            return cast("F", njit([answer(*arguments)], nogil=True)(function))

    return compiled


def helper(function: F) -> F:
    """Compile as part of the kernels that call it."""
    return cast("F", njit(function, nogil=True, inline="never"))


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast("Callable[..., Any]", intrinsic(function))


def _at(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@_intrinsic
def _load64(_typing: Any, array: Any, _index: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = builder.bitcast(_at(context, builder, signature.args[0], args[0], args[1]), ir.IntType(64).as_pointer())
        word = builder.load(at)
        word.align = 1
        return word

    return types.uint64(array, types.int64), build


@_intrinsic
def _store64(_typing: Any, array: Any, _index: Any, _word: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = builder.bitcast(_at(context, builder, signature.args[0], args[0], args[1]), ir.IntType(64).as_pointer())
        builder.store(args[2], at).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), build


BLOCK = 32  # bytes looked at in one go; LLVM makes two or four words of it where registers are narrower
_BLOCK = ir.VectorType(ir.IntType(8), BLOCK)


def _block_at(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.bitcast(_at(context, builder, array_type, array, index), _BLOCK.as_pointer())


def _block(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    block = builder.load(_block_at(context, builder, array_type, array, index))
    block.align = 1
    return block


def _spread(builder: Any, byte: Any) -> Any:
    nothing = ir.Constant(_BLOCK, ir.Undefined)
    first = builder.insert_element(nothing, byte, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK))


@_intrinsic
def _marked_between(_typing: Any, array: Any, _index: Any, _first: Any, _more: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        past = builder.sub(_block(context, builder, signature.args[0], *args[:2]), _spread(builder, args[2]))
        found = builder.icmp_unsigned("<=", past, _spread(builder, args[3]))
        return builder.zext(builder.bitcast(found, ir.IntType(BLOCK)), ir.IntType(64))

    return types.uint64(array, types.int64, types.uint8, types.uint8), build


@_intrinsic
def _put_spaced(_typing: Any, data: Any, _index: Any, out: Any, _to: Any, _marks: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        marked = builder.bitcast(builder.trunc(args[4], ir.IntType(BLOCK)), ir.VectorType(ir.IntType(1), BLOCK))
        spaces = ir.Constant(_BLOCK, [0x20] * BLOCK)
        written = builder.select(marked, spaces, _block(context, builder, signature.args[0], *args[:2]))
        builder.store(written, _block_at(context, builder, signature.args[2], *args[2:4])).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, out, types.int64, types.uint64), build


@_intrinsic
def ones(_typing: Any, _word: Any) -> Any:
    """Count the bits that are set in a uint64."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), build


@_intrinsic
def lowest(_typing: Any, _word: Any) -> Any:
    """Give the number of the lowest bit that is set in a uint64 that is not 0."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), build


@_intrinsic
def _copy(_typing: Any, target: Any, _to: Any, source: Any, _start: Any, _count: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _at(context, builder, signature.args[0], args[0], args[1])
        start = _at(context, builder, signature.args[2], args[2], args[3])
        cgutils.raw_memcpy(builder, to, start, args[4], 1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), build


@helper
def load64(data: Bytes, i: Int) -> Any:
    """Give the 8 bytes from `i` on as one little-endian uint64."""
    _ = data[i + 7]
    return _load64(data, i)


@helper
def store64(out: Bytes, i: Int, word: Any) -> None:
    """Write the uint64 `word` as the 8 bytes from `i` on."""
    _ = out[i + 7]
    _store64(out, i, word)


@helper
def copy(out: Bytes, o: Int, data: Bytes, start: Int, end: Int) -> Int:
    """Copy `data[start:end]` to `out[o:]` and give the position after it."""
    count = end - start
    if count > 0:
        _ = out[o + count - 1]
        _ = data[end - 1]
        _copy(out, o, data, start, count)
    return o + count


@helper
def marked_between(data: Bytes, i: Int, first: Any, more: Any) -> Any:
    """Mark which of the `BLOCK` bytes from `i` on are `first` or one of the `more` (both uint8) after it.

    It answers uint64: bit 0 for the first byte, the bits from `BLOCK` on are 0.
    """
    _ = data[i + BLOCK - 1]
    return _marked_between(data, i, first, more)


@helper
def put_spaced(data: Bytes, i: Int, out: Bytes, o: Int, marks: Any) -> None:
    """Copy the `BLOCK` bytes from `i` on to `out[o:]`, with a space in the place of each that is marked."""
    _ = data[i + BLOCK - 1]
    _ = out[o + BLOCK - 1]
    _put_spaced(data, i, out, o, marks)


@helper
def size(lead: Int) -> Int:
    """Give the number of bytes of a code point from its first byte."""
    if lead < 0x80:
        return 1
    if lead < 0xE0:
        return 2
    return 3 if lead < 0xF0 else 4


@helper
def code_point(data: Bytes, i: Int) -> Int:
    """Give the code point that begins at `i`, int64."""
    lead = np.int64(data[i])
    if lead < 0x80:
        return lead
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | np.int64(data[i + 1]) & 0x3F
    middle = (np.int64(data[i + 1]) & 0x3F) << 6 | np.int64(data[i + 2]) & 0x3F
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | middle
    return (lead & 0x07) << 18 | middle << 6 | np.int64(data[i + 3]) & 0x3F


@helper
def before(data: Bytes, i: Int) -> Int:
    """Give where the code point that ends at `i` begins."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@helper
def space_size(data: Bytes, i: Int, spaces: Bytes) -> Int:
    """Give the number of bytes of the white space code point at `i`, 0 if it is none. spaces: `space_table()`."""
    lead = data[i]
    if lead < 0x80:
        return np.int64(spaces[lead])
    if lead != 0xC2 and (lead < 0xE1 or lead > 0xE3):
        return 0
    c = code_point(data, i)
    return size(lead) if c < len(spaces) and spaces[c] else 0


@helper
def stripped_end(data: Bytes, start: Int, end: Int, spaces: Bytes) -> Int:
    """Give the end of `data[start:end]` without the white space it ends with."""
    while end > start:
        i = before(data, end)
        if space_size(data, i, spaces) == 0:
            break
        end = i
    return end


@helper
def find_any(data: Bytes, i: Int, end: Int, wanted: Bytes) -> Int:
    """Give the first position from `i` on whose byte is marked in `wanted` (uint8, 256), `end` if there is none."""
    while i < end and wanted[data[i]] == 0:
        i += 1
    return i


@helper
def has_byte(word: Any, spread: Any) -> Any:
    """Tell (not zero) if a byte of `word` equals the byte that `spread` repeats; the lowest marked byte is exact."""
    other = word ^ spread
    return (other - ONES) & ~other & HIGH_BITS
