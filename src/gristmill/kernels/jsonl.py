r"""JSON lines from columns: many rows assembled into one buffer of bytes, without a Python object a row.

Not here: which columns, in what order (`exports.jsonl`); compression (`core.jsonlines`).
A line is `{"key":value,...}` and a newline, the null values left out. Strings are escaped as orjson does (the two
mandatory characters, the five short control escapes, `\u00xx` for the other controls; nothing else).
Invariants: `measure` and `encode` agree to the byte; every byte written lies inside its own value (which is why the
wide stores in `_put_text` are safe: from a hit at byte k on, at least 2 + (WIDTH - 1 - k) more bytes follow).
Shapes: n rows; offsets int32 (n + 1) into data; valid bool (n); sizes, at int64 (n). All inputs are borrowed, read only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from gristmill.kernels.utf8 import READ_8, READ_32, READ_BOOL, Bytes, F, kernel

_TIMES = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.uint8[::1]
_SIZES = types.int64[::1]
_ENDS = types.int32[::1]


WIDTH = 32  # bytes looked at in one go; LLVM makes two or four of it where registers are narrower
_VECTOR = ir.VectorType(ir.IntType(8), WIDTH)
_TIME_WIDTH = 30  # "+292277-01-09T04:00:54.775807Z" is the longest

# For each byte: 0 as it is, 117 ('u') a \u00xx escape, else the letter after the backslash.
_ESCAPES = np.zeros(256, np.uint8)
_ESCAPES[:32] = ord("u")
for _byte, _letter in ((8, "b"), (9, "t"), (10, "n"), (12, "f"), (13, "r"), (34, '"'), (92, "\\")):
    _ESCAPES[_byte] = ord(_letter)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


class Column(NamedTuple):
    """One column to write. head: the bytes `,"key":`. escape: a string to quote, else JSON text to copy."""

    head: Bytes
    data: Bytes
    offsets: npt.NDArray[np.int32]
    valid: npt.NDArray[np.bool_]
    escape: bool


def _helper(function: F) -> F:
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


@_intrinsic
def _first(_typing: Any, _bits: Any) -> Any:
    """Give the number of the lowest bit of a mask that is not 0."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), build


@_intrinsic
def _count(_typing: Any, _bits: Any) -> Any:
    """Count the bits of a mask."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), build


# The last byte of a word is touched by index first, so `NUMBA_BOUNDSCHECK=1` sees words too.
@_helper
def _hits(data: Bytes, at: Any) -> Any:
    _ = data[at + WIDTH - 1]
    return _hits_of(data, at)


@_helper
def _rare(data: Bytes, at: Any) -> Any:
    return _rare_of(data, at)


@_helper
def _move(data: Bytes, at: Any, out: Bytes, to: Any) -> None:
    _ = out[to + WIDTH - 1]
    _move_word(data, at, out, to)


@kernel(types.void, READ_8, READ_32, READ_BOOL, types.boolean, types.int64, _SIZES)
def _measure(data: Any, offsets: Any, valid: Any, escape: Any, head: Any, sizes: Any) -> None:
    for row in range(len(sizes)):
        if not valid[row]:
            continue
        at = np.int64(offsets[row])
        end = np.int64(offsets[row + 1])
        size = head + end - at
        if escape:
            size += 2
            while at + WIDTH <= end:
                size += _count(_hits(data, at)) + 4 * _count(_rare(data, at))
                at += WIDTH
            while at < end:
                letter = _ESCAPES[data[at]]
                if letter:
                    size += 5 if letter == 117 else 1
                at += 1
        sizes[row] += size


@_helper
def _put_escape(byte: Any, out: Any, to: Any) -> Any:
    letter = _ESCAPES[byte]
    out[to] = 92
    out[to + 1] = letter
    if letter != 117:
        return to + 2
    out[to + 2] = 48
    out[to + 3] = 48
    out[to + 4] = _HEX[byte >> 4]
    out[to + 5] = _HEX[byte & 15]
    return to + 6


@_helper
def _put_text(data: Any, at: Any, end: Any, out: Any, to: Any) -> Any:
    out[to] = 34
    to += 1
    while at + WIDTH <= end:
        found = _hits(data, at)
        _move(data, at, out, to)
        if found:
            clean = _first(found)
            to = _put_escape(data[at + clean], out, to + clean)
            at += clean + 1
        else:
            at += WIDTH
            to += WIDTH
    while at < end:
        byte = data[at]
        at += 1
        if _ESCAPES[byte]:
            to = _put_escape(byte, out, to)
        else:
            out[to] = byte
            to += 1
    out[to] = 34
    return to + 1


@kernel(types.void, READ_8, READ_8, READ_32, READ_BOOL, types.boolean, _OUT, _SIZES)
def _fill(head: Any, data: Any, offsets: Any, valid: Any, escape: Any, out: Any, places: Any) -> None:
    for row in range(len(places)):
        if not valid[row]:
            continue
        to = places[row]
        for k in range(len(head)):
            out[to + k] = head[k]
        to += len(head)
        at = np.int64(offsets[row])
        end = np.int64(offsets[row + 1])
        if escape:
            to = _put_text(data, at, end, out, to)
        else:
            for k in range(end - at):
                out[to + k] = max(data[at + k], np.uint8(32))  # a raw newline in JSON text is only ever white space
            to += end - at
        places[row] = to


@_helper
def _put_digits(out: Any, to: Any, value: Any, width: Any) -> Any:
    for k in range(width):
        out[to + width - 1 - k] = 48 + value % 10
        value //= 10
    return to + width


@kernel(types.void, _TIMES, _OUT, _ENDS)
def _iso_times(times: Any, out: Any, offsets: Any) -> None:
    to = np.int64(0)
    for row in range(len(times)):
        micros = times[row] % 86_400_000_000
        # Days since 1970 to the date of the proleptic Gregorian calendar: H. Hinnant, "chrono-compatible date algorithms".
        days = times[row] // 86_400_000_000 + 719_468
        era = days // 146_097
        day = days - era * 146_097
        year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
        day -= 365 * year + year // 4 - year // 100
        month = (5 * day + 2) // 153
        day += 1 - (153 * month + 2) // 5
        month += 3 if month < 10 else -9
        year += era * 400 + (1 if month <= 2 else 0)
        if 0 <= year <= 9999:
            to = _put_digits(out, to, year, 4)
        else:  # the expanded form of ISO 8601
            out[to] = 45 if year < 0 else 43
            to = _put_digits(out, to + 1, abs(year), 6)
        seconds = micros // 1_000_000
        micros -= seconds * 1_000_000
        for mark, part in ((45, month), (45, day), (84, seconds // 3600), (58, seconds // 60 % 60), (58, seconds % 60)):
            out[to] = mark
            to = _put_digits(out, to + 1, part, 2)
        if micros:
            out[to] = 46
            to = _put_digits(out, to + 1, micros, 6)
        out[to] = 90
        to += 1
        offsets[row + 1] = to


def iso_times(times: npt.NDArray[np.int64]) -> tuple[Bytes, npt.NDArray[np.int32]]:
    """Write microseconds since 1970 (UTC) as ISO 8601: `2026-01-02T03:04:05Z`, six decimals where they are not 0.

    Returns:
        data: uint8; offsets: int32, n + 1.
    """
    out = np.empty(len(times) * _TIME_WIDTH, np.uint8)
    offsets = np.zeros(len(times) + 1, np.int32)
    _iso_times(times, out, offsets)
    return out, offsets


def measure(columns: Sequence[Column], rows: int) -> npt.NDArray[np.int64]:
    """Give the bytes of each line, its newline included; int64 (rows)."""
    sizes = np.zeros(rows, np.int64)
    for column in columns:
        _measure(column.data, column.offsets, column.valid, column.escape, len(column.head), sizes)
    # The first value's comma becomes the opening brace; an object without values has no comma to give.
    sizes += 2 + (sizes == 0)
    return sizes


def encode(columns: Sequence[Column], start: int, stop: int) -> Bytes:
    """Write the lines of the rows `start` to `stop` behind one another; uint8. Takes the memory of its result."""
    if start >= stop:
        return np.zeros(0, np.uint8)
    part = [
        column._replace(offsets=column.offsets[start : stop + 1], valid=column.valid[start:stop]) for column in columns
    ]
    sizes = measure(part, stop - start)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    out = np.empty(int(ends[-1]), np.uint8)
    places = starts.copy()
    for column in part:
        _fill(column.head, column.data, column.offsets, column.valid, column.escape, out, places)
    out[starts] = ord("{")
    out[ends - 2] = ord("}")
    out[ends - 1] = ord("\n")
    return out
