"""JSON values in bytes: where one ends, and what a string says.

Not here: objects, lines and columns (`parse`). Invariants: nothing is judged that orjson would have to judge (the ends of numbers and
nested values are found, not whether they are right); nothing looks past a byte below 32 but white space, so the zeros
behind the data end everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.kernels.utf8 import helper, lowest
from gristmill.kernels.wide import WIDTH, hits, inlined, move

_MAX_DIGITS = 18  # of an integer that surely has 64 bits
_UNESCAPED = np.zeros(256, np.uint8)
for _letter, _byte in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _UNESCAPED[_letter] = _byte
_HEX = np.full(256, 255, np.uint8)
for _value, _digits in enumerate(zip(b"0123456789abcdef", b"0123456789ABCDEF", strict=True)):
    for _digit in _digits:
        _HEX[_digit] = _value


@inlined
def is_space(byte: Any) -> Any:
    """Tell if a byte is white space within a line."""
    return byte in (32, 9, 13)


@helper
def string_end(data: Any, at: Any) -> Any:
    """Give the place behind the string whose first character is at `at`, and whether it has escapes; -1 if it does not end."""
    escaped = False
    while True:
        found = hits(data, at)
        if found == 0:
            at += WIDTH
            continue
        at += lowest(found)
        if data[at] == 34:
            return at + 1, escaped
        if data[at] != 92 or data[at + 1] < 32:
            return -1, escaped
        escaped = True
        at += 2


@inlined
def _hex4(data: Any, at: Any) -> Any:
    """Give the number of four hexadecimal digits; -1 if they are none."""
    value = np.int64(0)
    for k in range(4):
        digit = np.int64(_HEX[data[at + k]])
        if digit == 255:
            return np.int64(-1)
        value = value << 4 | digit
    return value


@inlined
def _put_point(point: Any, out: Any, to: Any) -> Any:
    """Write a code point as UTF-8."""
    if point < 0x80:
        out[to] = point
        return to + 1
    if point < 0x800:
        out[to] = 0xC0 | point >> 6
        out[to + 1] = 0x80 | point & 0x3F
        return to + 2
    if point < 0x10000:
        out[to] = 0xE0 | point >> 12
        out[to + 1] = 0x80 | point >> 6 & 0x3F
        out[to + 2] = 0x80 | point & 0x3F
        return to + 3
    out[to] = 0xF0 | point >> 18
    out[to + 1] = 0x80 | point >> 12 & 0x3F
    out[to + 2] = 0x80 | point >> 6 & 0x3F
    out[to + 3] = 0x80 | point & 0x3F
    return to + 4


@helper
def take_string(data: Any, at: Any, out: Any, to: Any) -> Any:
    """Write the string whose first character is at `at`, unescaped; give the places behind it in both, -1 if it is refused."""
    while True:
        found = hits(data, at)
        move(data, at, out, to)
        if found == 0:
            at += WIDTH
            to += WIDTH
            continue
        clean = lowest(found)
        at += clean
        to += clean
        if data[at] == 34:
            return at + 1, to
        if data[at] != 92:
            return np.int64(-1), to
        letter = data[at + 1]
        if _UNESCAPED[letter]:
            out[to] = _UNESCAPED[letter]
            at += 2
            to += 1
            continue
        point = _hex4(data, at + 2) if letter == 117 else np.int64(-1)
        at += 6
        if 0xD800 <= point < 0xDC00:
            low = _hex4(data, at + 2) if data[at] == 92 and data[at + 1] == 117 else np.int64(-1)
            if not 0xDC00 <= low < 0xE000:
                return np.int64(-1), to
            point = 0x10000 + ((point - 0xD800) << 10 | low - 0xDC00)
            at += 6
        elif 0xDC00 <= point < 0xE000:
            return np.int64(-1), to
        if point <= 0:
            return np.int64(-1), to
        to = _put_point(point, out, to)


@inlined
def number_end(data: Any, at: Any) -> Any:
    """Give the place behind a number, and whether it is a plain integer, which is written as it is read."""
    start = at + (data[at] == 45)
    at = start
    while 48 <= data[at] <= 57:
        at += 1
    digits = at - start
    zero = data[start] == 48 and (digits > 1 or data[start - 1] == 45)
    plain = 0 < digits <= _MAX_DIGITS and not zero
    while 48 <= data[at] <= 57 or data[at] in (43, 45, 46, 69, 101):  # + - . E e
        plain = False
        at += 1
    return at, plain


@helper
def _nested_end(data: Any, at: Any) -> Any:
    """Give the place behind an array or object, by its brackets and strings alone; -1 if it does not end on its line."""
    depth = 0
    while True:
        byte = data[at]
        at += 1
        if byte == 34:
            at, _ = string_end(data, at)
            if at < 0:
                return at
        elif byte in (91, 123):
            depth += 1
        elif byte in (93, 125):
            depth -= 1
            if depth == 0:
                return at
        elif byte < 32 and not is_space(byte):
            return np.int64(-1)


@inlined
def word_end(data: Any, at: Any) -> Any:
    """Give the place behind `true`, `false` or `null`; -1 if it is none of them."""
    if data[at] == 116 and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101:
        return at + 4
    if data[at] == 110 and data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108:
        return at + 4
    if data[at] == 102 and data[at + 1] == 97 and data[at + 2] == 108 and data[at + 3] == 115 and data[at + 4] == 101:
        return at + 5
    return np.int64(-1)


@helper
def value_end(data: Any, at: Any) -> Any:
    """Give the place behind the value at `at`, and whether orjson would write it as it is; -1 if there is none."""
    byte = data[at]
    if byte == 34:
        end, escaped = string_end(data, at + 1)
        return end, not escaped
    if byte in (91, 123):
        return _nested_end(data, at), False
    if byte == 45 or 48 <= byte <= 57:
        return number_end(data, at)
    return word_end(data, at), True


@inlined
def past_space(data: Any, at: Any) -> Any:
    """Give the first place from `at` on that is no white space."""
    while is_space(data[at]):
        at += 1
    return at
