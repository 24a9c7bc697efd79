r"""JSON lines into columns: flat objects read straight from bytes into Arrow's buffers, without a Python object a row.

Not here: which columns, pages, rejects (`sources/formats/jsonl.py`). A line is either read wholly, exactly as orjson would, or refused
and left to the caller: the kernel never says what is wrong with a line, and never guesses. Refused are: what is no object; a mapped
value of another type than its column takes; escapes of NUL and of half a surrogate pair; a key twice, with an escape, or more than
`MAX_KEYS` of them; a longer line than `max_line`. Members that are not mapped are copied behind one another as an object, their
bytes as they are but without white space around them; `loose` marks the rows where that object may not be what orjson would write,
or not even JSON (nested values, numbers but plain integers, escapes): the caller has it parsed and written again.
Invariants: the data is valid UTF-8 (the caller has looked) with `PADDING` bytes of zeros behind it; nothing is written for a refused
line; wide stores stay inside their column's region, which is `PADDING` larger than the data.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from gristmill.kernels.jsonvalues import number_end, past_space, string_end, take_string, value_end, word_end
from gristmill.kernels.utf8 import READ_8, READ_32, Bytes, Int32s, Int64s, Mask, copy, helper, kernel
from gristmill.kernels.wide import inlined

PADDING = 64
MAX_KEYS = 32
# What a column takes: a string that must be there; the same, or a plain integer; a string or null; anything plain, told by its place.
TEXT, KEY, STRING, SPAN = range(4)
_MAX_ORIGIN_DIGITS = 20


class Parsed(NamedTuple):
    """What came of some lines, of which `rows` were read: columns in the order of the names, then meta, then origin.

    data: uint8, one region of `region` bytes a column; ends: int32 (columns, rows + 1), offsets into its region; valid: bool
    (columns, rows). spans: int64 (rows, 2), where the value of the column of kind SPAN lies in the bytes given. loose: bool (rows).
    starts: int64 (lines + 1), where each line begins and the last ends. line: int64 (rows), the line of each row.
    """

    rows: int
    region: int
    data: Bytes
    ends: npt.NDArray[np.int32]
    valid: npt.NDArray[np.bool_]
    spans: Int64s
    loose: Mask
    starts: Int64s
    line: Int64s


@inlined
def _same(data: Any, start: Any, end: Any, other: Any, begin: Any, stop: Any) -> Any:
    k = 0
    if end - start == stop - begin:
        while k < end - start and data[start + k] == other[begin + k]:
            k += 1
    return k == end - start == stop - begin


@helper
def _column_of(data: Any, start: Any, end: Any, names: Any, name_ends: Any) -> Any:
    for column in range(len(name_ends) - 1):
        if _same(data, start, end, names, np.int64(name_ends[column]), np.int64(name_ends[column + 1])):
            return column
    return -1


@helper
def _take_value(kind: Any, data: Any, at: Any, out: Any, to: Any) -> Any:
    """Write a mapped value; give the places behind it in both, and whether there is one. -1: it is refused."""
    if data[at] == 34:
        end, behind = take_string(data, at + 1, out, to)
        if kind == KEY and behind == to:
            return np.int64(-1), to, False
        return end, behind, True
    if data[at] == 110 and kind == STRING:
        return word_end(data, at), to, False
    if kind == KEY:
        end, plain = number_end(data, at)
        if plain:
            return end, copy(out, to, data, at, end), True
    return np.int64(-1), to, False


@helper
def _object(data: Any, at: Any, columns: Any, out: Any, state: Any) -> Any:
    """Read one object. Gives the place behind it, -1 if it is refused, and whether the rest is loose.

    columns: names, their ends, kinds. state: int64, where each column's region is written next, moved on; uint8, per column: 0 not
    seen, 1 null, 2 a value; int64 (2), the place of the SPAN; int64 (MAX_KEYS, 2), room for the places of keys.
    """
    names, name_ends, kinds = columns
    tos, found, span, keys = state
    meta = len(kinds)
    loose = False
    n_keys = 0
    begun = tos[meta]
    while True:
        at = past_space(data, at + 1)
        if data[at] != 34:  # an object without a text is refused, so an empty one too
            return np.int64(-1), loose
        start = at + 1
        at, escaped = string_end(data, start)
        if at < 0 or escaped:
            return np.int64(-1), loose
        end = at - 1
        at = past_space(data, at)
        if data[at] != 58:
            return np.int64(-1), loose
        at = past_space(data, at + 1)
        column = _column_of(data, start, end, names, name_ends)
        if column >= 0:
            if found[column]:
                return np.int64(-1), loose
            if kinds[column] == SPAN:
                behind, _ = value_end(data, at)
                span[0], span[1] = at, behind
                found[column] = 2
            else:
                behind, tos[column], valid = _take_value(kinds[column], data, at, out, tos[column])
                found[column] = 2 if valid else 1
            at = behind
        else:
            for k in range(n_keys):
                if _same(data, start, end, data, keys[k, 0], keys[k, 1]):
                    return np.int64(-1), loose
            if n_keys == len(keys):
                return np.int64(-1), loose
            keys[n_keys, 0], keys[n_keys, 1] = start, end
            n_keys += 1
            behind, as_it_is = value_end(data, at)
            if behind >= 0:
                to = tos[meta]
                out[to] = 123 if to == begun else 44
                to = copy(out, to + 1, data, start - 1, end + 1)
                out[to] = 58
                tos[meta] = copy(out, to + 1, data, at, behind)
                loose = loose or not as_it_is
            at = behind
        if at < 0:
            return at, loose
        at = past_space(data, at)
        if data[at] == 125:
            if tos[meta] > begun:
                out[tos[meta]] = 125
                tos[meta] += 1
            return at, loose
        if data[at] != 44:
            return np.int64(-1), loose


@helper
def _put_origin(prefix: Any, place: Any, out: Any, to: Any) -> Any:
    to = copy(out, to, prefix, 0, len(prefix))
    width = 1
    power = np.int64(10)
    while width < 18 and place >= power:
        power *= 10
        width += 1
    for k in range(width):
        out[to + width - 1 - k] = 48 + place % 10
        place //= 10
    return to + width


_COLUMNS = types.Tuple((READ_8, READ_32, READ_8))
_MADE = types.Tuple(
    (
        types.uint8[::1],
        types.int32[:, ::1],
        types.boolean[:, ::1],
        types.int64[:, ::1],
        types.boolean[::1],
        types.int64[::1],
        types.int64[::1],
    )
)


@kernel(types.int64, READ_8, types.UniTuple(types.int64, 4), _COLUMNS, READ_8, _MADE)
def _parse(data: Any, numbers: Any, named: Any, prefix: Any, made: Any) -> Any:
    size, base, max_line, region = numbers
    kinds = named[2]
    out, ends, valid, spans, loose, starts, line = made
    keys = np.empty((MAX_KEYS, 2), np.int64)
    columns = len(kinds)
    tos = np.zeros(columns + 2, np.int64)
    found = np.zeros(columns, np.uint8)
    span = np.zeros(2, np.int64)
    for column in range(columns + 2):
        tos[column] = column * region
    row = 0
    number = 0
    start = np.int64(0)
    while start < size:
        starts[number] = start
        found[:] = 0
        span[:] = -1
        at = past_space(data, start)
        is_loose = False
        if data[at] == 123:
            at, is_loose = _object(data, at, named, out, (tos, found, span, keys))
        else:
            at = np.int64(-1)
        if at >= 0:
            at = past_space(data, at + 1)
            if not (data[at] == 10 or at == size) or at - start > max_line:
                at = np.int64(-1)
        for column in range(columns):
            if kinds[column] <= KEY and found[column] != 2:
                at = np.int64(-1)
        if at >= 0:
            tos[columns + 1] = _put_origin(prefix, base + start, out, tos[columns + 1])
            for column in range(columns):
                valid[column, row] = found[column] == 2
            valid[columns, row] = tos[columns] - columns * region > ends[columns, row]
            valid[columns + 1, row] = True
            spans[row, 0], spans[row, 1] = span[0], span[1]
            loose[row] = is_loose
            line[row] = number
            row += 1
            for column in range(columns + 2):
                ends[column, row] = tos[column] - column * region
        else:
            for column in range(columns + 2):
                tos[column] = column * region + ends[column, row]
            at = start
            while at < size and data[at] != 10:
                at += 1
        start = at + 1
        number += 1
    starts[number] = start
    return row


def parse(data: bytes, base: int, max_line: int, names: list[str], kinds: list[int], prefix: str) -> Parsed:
    """Read lines into columns.

    Args:
        data: lines, valid UTF-8, with `PADDING` zeros behind them; less than 1 GiB. The last one may lack its newline.
        base: where they begin in their file; what origins count from.
        max_line: the bytes of a longer line are not looked at for meaning.
        names: the key of each column; no two are the same, none needs an escape.
        kinds: of each column, `TEXT`, `KEY`, `STRING` or, at most once, `SPAN`.
        prefix: what stands before the place of a line in its origin.
    """
    size = len(data) - PADDING
    seen = np.frombuffer(data, np.uint8)
    lines = int(np.count_nonzero(seen == 10)) + 1  # three times as fast as bytes.count
    columns = len(names) + 2
    encoded = [name.encode() for name in names]
    name_ends: Int32s = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    before = prefix.encode()
    region = max(size + PADDING, lines * (len(before) + _MAX_ORIGIN_DIGITS) + PADDING)
    found = Parsed(
        0,
        region,
        np.empty(columns * region, np.uint8),
        np.zeros((columns, lines + 1), np.int32),
        np.zeros((columns, lines), np.bool_),
        np.empty((lines, 2), np.int64),
        np.empty(lines, np.bool_),
        np.empty(lines + 1, np.int64),
        np.empty(lines, np.int64),
    )
    rows = _parse(
        seen,
        (size, base, max_line, region),
        (
            np.frombuffer(b"".join(encoded), np.uint8),
            np.frombuffer(name_ends.tobytes(), np.int32),  # read only, as the signature has it
            np.frombuffer(bytes(kinds), np.uint8),
        ),
        np.frombuffer(before, np.uint8),
        (found.data, found.ends, found.valid, found.spans, found.loose, found.starts, found.line),
    )
    return found._replace(rows=rows, starts=found.starts[: _lines(found.starts, data, size) + 1])


def _lines(starts: Int64s, data: bytes, size: int) -> int:
    """Count the lines, one without a newline at the end too."""
    return len(starts) - 1 if size and data[size - 1] != 10 else len(starts) - 2
