r"""White space tidied: line ends, blank lines, and both ends of a text.

`tidy` equals, in this order (text without white space at its ends is told apart by `\A` and `\Z`):
    re.sub("\r\n|[\r\x85\u2028]", "\n", t).replace("\u2029", "\n\n")    one way to end a line, one to end a paragraph
    re.sub("[ \t]+\n", "\n", t)                                       nothing invisible before a line end
    re.sub("\n{3,}", "\n\n", t)                                      at most one blank line
    re.sub(r"\A\n+|\s+\Z", "", t)                                     no blank line first, nothing invisible last

Not here: runs of white space made one space (`kernels.characters`), what white space is (`tables.space_table`).
Invariant: idempotent, linear in the bytes, and never makes a row longer.
"""

from __future__ import annotations

import numpy as np

from gristmill.kernels.tables import space_table
from gristmill.kernels.utf8 import (
    EDITED,
    READ_8,
    READ_32,
    Bytes,
    Column,
    Int,
    Int32s,
    copy,
    find_any,
    helper,
    kernel,
    stripped_end,
)

LINE_ENDS = np.zeros(256, np.uint8)  # first bytes of \n, \r, U+0085, U+2028, U+2029
LINE_ENDS[[0x0A, 0x0D, 0xC2, 0xE2]] = 1


def tidy(data: Bytes, offsets: Int32s) -> Column:
    """Tidy line ends, blank lines and both ends of each row (module docstring).

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.

    Returns:
        The same kind of pair; the very arguments if no row changes. GIL released.
    """
    out, ends, edited = _tidy(data, offsets, LINE_ENDS, space_table())
    return (out, ends) if edited else (data, offsets)


@helper
def _line_end_size(data: Bytes, i: Int, end: Int) -> Int:
    r"""Give the bytes of the line end at `i`, 0 if it is none; `\r\n` is one."""
    c = data[i]
    if c == 0x0A:
        return 1
    if c == 0x0D:
        return 2 if i + 1 < end and data[i + 1] == 0x0A else 1
    if c == 0xC2:
        return 2 if data[i + 1] == 0x85 else 0
    if c == 0xE2 and data[i + 1] == 0x80 and (data[i + 2] == 0xA8 or data[i + 2] == 0xA9):
        return 3
    return 0


@helper
def _skip_blanks(data: Bytes, i: Int, end: Int) -> Int:
    while i < end and (data[i] == 0x20 or data[i] == 0x09):
        i += 1
    return i


@kernel(EDITED, READ_8, READ_32, READ_8, READ_8)
def _tidy(data: Bytes, offsets: Int32s, line_ends: Bytes, spaces: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    out = np.empty(offsets[n] - offsets[0], np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    kept = np.int64(offsets[0])  # data[kept:] is not copied yet
    for row in range(n):
        start, row_end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        end = stripped_end(data, start, row_end, spaces)
        i = start
        while True:
            i = find_any(data, i, end, line_ends)
            if i >= end:
                break
            width = _line_end_size(data, i, end)
            if width == 0:
                i += 1
                continue
            first = i
            while first > start and (data[first - 1] == 0x20 or data[first - 1] == 0x09):
                first -= 1
            lines = 0
            plain = True
            after = i
            while width:
                plain = plain and data[i] == 0x0A
                lines += 2 if width == 3 and data[i + 2] == 0xA9 else 1
                after = i + width
                i = _skip_blanks(data, after, end)
                width = _line_end_size(data, i, end) if i < end else 0
            wanted = 0 if first == start else min(lines, 2)
            if not plain or after - first != wanted:
                o = copy(out, o, data, kept, first)
                for _ in range(wanted):
                    out[o] = 0x0A
                    o += 1
                kept = after
        if end < row_end:
            o = copy(out, o, data, kept, end)
            kept = row_end
        ends[row + 1] = o + row_end - kept
    edited = kept != offsets[0]
    if edited:
        o = copy(out, o, data, kept, np.int64(offsets[n]))
    return out[:o], ends, edited
