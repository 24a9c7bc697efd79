"""What a text is made of, roughly and at the speed of memory: code points, those beyond ASCII, ASCII white space.

Meant for every text of a run, so it looks at a block of bytes at once and at nothing else. Not here: the histograms made of
it (`core.histogram`), measures that filters ask for (`counts`). Invariant: equal to the plain Python for every row.
"""

from __future__ import annotations

import numpy as np
from numba import types

from gristmill.kernels.utf8 import BLOCK, READ_8, READ_32, Bytes, Int32s, Int64s, kernel, marked_between, ones

# Ranges of bytes, first and last less first: what is no ASCII, what continues a code point, tab to carriage return, space.
HIGH, TO_HIGH = np.uint8(0x80), np.uint8(0xFF - 0x80)
INNER, TO_INNER = np.uint8(0x80), np.uint8(0xBF - 0x80)
TAB, TO_CR = np.uint8(0x09), np.uint8(0x0D - 0x09)
SPACE, ALONE = np.uint8(0x20), np.uint8(0)


def profile(data: Bytes, offsets: Int32s) -> tuple[Int64s, Int64s, Int64s]:
    """Count what each row is made of.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.

    Returns:
        code points, code points beyond ASCII, ASCII white space (tab to carriage return, space); int64, n each. GIL released.
    """
    chars, beyond, spaces = _profile(data, offsets)
    return chars, beyond, spaces


@kernel(types.UniTuple(types.int64[::1], 3), READ_8, READ_32)
def _profile(data: Bytes, offsets: Int32s) -> tuple[Int64s, Int64s, Int64s]:
    n = len(offsets) - 1
    chars = np.zeros(n, np.int64)
    beyond = np.zeros(n, np.int64)
    spaces = np.zeros(n, np.int64)
    for row in range(n):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        high = np.int64(0)
        inner = np.int64(0)
        white = np.int64(0)
        i = start
        while i + BLOCK <= end:
            high += ones(marked_between(data, i, HIGH, TO_HIGH))
            inner += ones(marked_between(data, i, INNER, TO_INNER))
            white += ones(marked_between(data, i, TAB, TO_CR) | marked_between(data, i, SPACE, ALONE))
            i += BLOCK
        while i < end:
            byte = data[i]
            high += np.int64(byte >= 0x80)
            inner += np.int64(byte & 0xC0 == 0x80)
            white += np.int64(byte == 0x20) | np.int64(byte >= 0x09) & np.int64(byte <= 0x0D)
            i += 1
        chars[row] = end - start - inner
        beyond[row] = high - inner
        spaces[row] = white
    return chars, beyond, spaces
