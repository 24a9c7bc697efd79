r"""Removal of control characters, web addresses and mail addresses.

`controls` removes category Cc except \t \n \r, U+FEFF, and the noncharacters (U+FDD0..FDEF, U+xxFFFE, U+xxFFFF).
`urls` equals  re.sub(r'''(?i)(?<!\w)(?:https?://|ftp://|www\.)[^\s<>"]*[^\s<>".,;:!?'")\]}]''', "", t)
`emails` equals  re.sub(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", "", t)

Each looks for a byte that every match has (a lead byte; `:` or `.`; `@`), then to both sides of it, so text without
one costs a scan. Source: the Unicode standard, chapters 23.1 and 23.7; the two expressions are this project's own.

Not here: replacing what is private (`steps.pii`). Invariant: linear also on hostile text (no byte is looked at more
than a few times), never makes a row longer.
"""

from __future__ import annotations

import numpy as np

from gristmill.kernels.tables import space_table, word_table
from gristmill.kernels.utf8 import (
    EDITED,
    READ_8,
    READ_32,
    Bytes,
    Column,
    Int,
    Int32s,
    before,
    code_point,
    copy,
    find_any,
    has_byte,
    helper,
    kernel,
    load64,
    space_size,
)


def _marked(*values: int) -> Bytes:
    table = np.zeros(256, np.uint8)
    table[list(values)] = 1
    return table


# First bytes of what `controls` removes: C0 and DEL, C1 (C2), U+FDD0.. and U+FEFF (EF), planes 1 to 16 (F0 to F4).
CONTROL_LEADS = _marked(*set(range(0x20)) - {9, 10, 13}, 0x7F, 0xC2, 0xEF, *range(0xF0, 0xF5))
# Bytes that end an address (or may: the lead bytes of white space), and those that are part of one but never its last.
STOP, TAIL = 1, 2
URL_BYTES = _marked(*b'<>" \t\n\v\f\r\x1c\x1d\x1e\x1f', 0xC2, 0xE1, 0xE2, 0xE3)
URL_BYTES[list(b".,;:!?')]}")] = TAIL
LOCAL = _marked(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-")
LABEL = _marked(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")

COLONS, DOTS, ATS = (np.uint64(int.from_bytes(c * 8, "little")) for c in (b":", b".", b"@"))


def controls(data: Bytes, offsets: Int32s) -> Column:
    """Remove control characters and noncharacters from each row.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.

    Returns:
        The same kind of pair; the very arguments if no row changes. GIL released.
    """
    out, ends, edited = _controls(data, offsets, CONTROL_LEADS)
    return (out, ends) if edited else (data, offsets)


def urls(data: Bytes, offsets: Int32s) -> Column:
    """Remove web addresses from each row; arguments and answer as `controls`."""
    out, ends, edited = _urls(data, offsets, URL_BYTES, space_table(), word_table())
    return (out, ends) if edited else (data, offsets)


def emails(data: Bytes, offsets: Int32s) -> Column:
    """Remove mail addresses from each row; arguments and answer as `controls`."""
    out, ends, edited = _emails(data, offsets, LOCAL, LABEL)
    return (out, ends) if edited else (data, offsets)


@helper
def _control_size(data: Bytes, i: Int) -> Int:
    """Give the bytes of what is to be removed at `i`, 0 if it stays; data[i] is marked in CONTROL_LEADS."""
    lead = data[i]
    if lead < 0x80:
        return 1
    if lead == 0xC2:
        return 2 if data[i + 1] < 0xA0 else 0
    second, third = data[i + 1], data[i + 2]
    if lead == 0xEF:
        gone = (
            (second == 0xBB and third == 0xBF)
            or (second == 0xB7 and 0x90 <= third <= 0xAF)
            or (second == 0xBF and third >= 0xBE)
        )
        return 3 if gone else 0
    return 4 if second & 0x0F == 0x0F and third == 0xBF and data[i + 3] >= 0xBE else 0


@kernel(EDITED, READ_8, READ_32, READ_8)
def _controls(data: Bytes, offsets: Int32s, leads: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    out = np.empty(offsets[n] - offsets[0], np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    kept = np.int64(offsets[0])  # data[kept:] is not copied yet
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        while True:
            i = find_any(data, i, end, leads)
            if i >= end:
                break
            width = _control_size(data, i)
            if width:
                o = copy(out, o, data, kept, i)
                kept = i + width
            i += max(width, 1)
        ends[row + 1] = o + end - kept
    edited = kept != offsets[0]
    if edited:
        o = copy(out, o, data, kept, np.int64(offsets[n]))
    return out[:o], ends, edited


@helper
def _url_start(data: Bytes, i: Int, floor: Int, end: Int) -> Int:
    """Give where the prefix of an address begins whose `:` or last `.` is at `i`, -1 if there is none from `floor` on."""
    if data[i] == 0x2E:
        if i - floor >= 3 and data[i - 1] | 0x20 == 0x77 and data[i - 2] | 0x20 == 0x77 and data[i - 3] | 0x20 == 0x77:
            return i - 3
        return -1
    if i + 2 >= end or data[i + 1] != 0x2F or data[i + 2] != 0x2F:
        return -1
    # `re` takes U+017F (C5 BF), whose upper case is S, for an s.
    if i - floor >= 5 and data[i - 1] | 0x20 == 0x73:
        i -= 1
    elif i - floor >= 6 and data[i - 1] == 0xBF and data[i - 2] == 0xC5:
        i -= 2
    elif i - floor >= 3 and data[i - 1] | 0x20 == 0x70 and data[i - 2] | 0x20 == 0x74 and data[i - 3] | 0x20 == 0x66:
        return i - 3
    if i - floor < 4 or data[i - 1] | 0x20 != 0x70 or data[i - 2] | 0x20 != 0x74:
        return -1
    return i - 4 if data[i - 3] | 0x20 == 0x74 and data[i - 4] | 0x20 == 0x68 else -1


@helper
def _url_end(data: Bytes, body: Int, end: Int, kinds: Bytes, spaces: Bytes) -> Int:
    """Give the end of the address whose prefix ends at `body`; `body` itself if nothing follows the prefix."""
    i = body
    while True:
        i = find_any(data, i, end, kinds)
        if i >= end or (kinds[data[i]] == STOP and (data[i] < 0x80 or space_size(data, i, spaces))):
            break
        i += 1
    while i > body and kinds[data[i - 1]] == TAIL:
        i -= 1
    return i


@kernel(EDITED, READ_8, READ_32, READ_8, READ_8, READ_8)
def _urls(data: Bytes, offsets: Int32s, kinds: Bytes, spaces: Bytes, words: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    out = np.empty(offsets[n] - offsets[0], np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    kept = np.int64(offsets[0])  # data[kept:] is not copied yet
    for row in range(n):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        i = start
        floor = start  # the end of the last match
        while i < end:
            if i + 8 <= end:
                word = load64(data, i)
                if has_byte(word, COLONS) | has_byte(word, DOTS) == 0:
                    i += 8
                    continue
            stop = min(i + 8, end)
            while i < stop:
                at = i
                i += 1
                if data[at] != 0x3A and data[at] != 0x2E:
                    continue
                first = _url_start(data, at, floor, end)
                if first < 0 or (first > start and words[code_point(data, before(data, first))]):
                    continue
                body = at + (3 if data[at] == 0x3A else 1)
                after = _url_end(data, body, end, kinds, spaces)
                if after > body:
                    o = copy(out, o, data, kept, first)
                    kept = floor = i = after
                    break
        ends[row + 1] = o + end - kept
    edited = kept != offsets[0]
    if edited:
        o = copy(out, o, data, kept, np.int64(offsets[n]))
    return out[:o], ends, edited


@helper
def _email_end(data: Bytes, i: Int, end: Int, label: Bytes) -> Int:
    """Give the end of the domain that begins at `i` (two labels or more), `i` itself if there is none."""
    begin = last = i
    dots = 0
    while True:
        while i < end and label[data[i]]:
            i += 1
        if i == last:
            break
        last = i
        if i + 1 >= end or data[i] != 0x2E or label[data[i + 1]] == 0:
            break
        dots += 1
        i += 1
    return last if dots else begin


@kernel(EDITED, READ_8, READ_32, READ_8, READ_8)
def _emails(data: Bytes, offsets: Int32s, local: Bytes, label: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    out = np.empty(offsets[n] - offsets[0], np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    kept = np.int64(offsets[0])  # data[kept:] is not copied yet
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        floor = i  # the end of the last match
        while i < end:
            if i + 8 <= end and has_byte(load64(data, i), ATS) == 0:
                i += 8
                continue
            stop = min(i + 8, end)
            while i < stop and data[i] != 0x40:
                i += 1
            if i == stop:
                continue
            first = i
            while first > floor and local[data[first - 1]]:
                first -= 1
            i += 1
            after = _email_end(data, i, end, label) if first < i - 1 else i
            if after > i:
                o = copy(out, o, data, kept, first)
                kept = floor = i = after
        ends[row + 1] = o + end - kept
    edited = kept != offsets[0]
    if edited:
        o = copy(out, o, data, kept, np.int64(offsets[n]))
    return out[:o], ends, edited
