r"""JSON lines from columns: many rows assembled into one buffer of bytes, without a Python object a row.

Not here: which columns, in what order (`exports.jsonl`); compression (`core.jsonlines`).
A line is `{"key":value,...}` and a newline, the null values left out. Strings are escaped as orjson does (the two
mandatory characters, the five short control escapes, `\u00xx` for the other controls; nothing else).
Invariants: `measure` and `encode` agree to the byte; every byte written lies inside its own value (which is why the
wide stores in `_put_text` are safe: from a hit at byte k on, at least 2 + (WIDTH - 1 - k) more bytes follow).
Shapes: n rows; offsets int32 (n + 1) into data; valid bool (n); sizes, at int64 (n). All inputs are borrowed, read only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from gristmill.kernels.utf8 import READ_8, READ_32, READ_BOOL, Bytes, kernel, lowest, ones
from gristmill.kernels.wide import WIDTH, hits, inlined, move, rare

_TIMES = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.uint8[::1]
_SIZES = types.int64[::1]
_ENDS = types.int32[::1]


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
                size += ones(hits(data, at)) + 4 * ones(rare(data, at))
                at += WIDTH
            while at < end:
                letter = _ESCAPES[data[at]]
                if letter:
                    size += 5 if letter == 117 else 1
                at += 1
        sizes[row] += size


@inlined
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


@inlined
def _put_text(data: Any, at: Any, end: Any, out: Any, to: Any) -> Any:
    out[to] = 34
    to += 1
    while at + WIDTH <= end:
        found = hits(data, at)
        move(data, at, out, to)
        if found:
            clean = lowest(found)
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


@inlined
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
