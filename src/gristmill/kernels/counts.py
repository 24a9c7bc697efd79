"""Sizes of texts: code points and words.

`chars` is len(text), `words` is len(text.split()): runs of anything but white space.

Not here: the name under which a filter reads them (`steps.signals`). Invariant: equal to the plain Python for every row.
"""

from __future__ import annotations

import numpy as np
from numba import types

from gristmill.kernels.tables import space_table
from gristmill.kernels.utf8 import (
    BLOCK,
    READ_8,
    READ_32,
    Bytes,
    Int32s,
    Int64s,
    kernel,
    lowest,
    marked_between,
    ones,
    space_size,
)

ONE, BLOCK_BITS = np.uint64(1), np.uint64(BLOCK)
IN_BLOCK = (ONE << BLOCK_BITS) - ONE
# Ranges of bytes, first and last less first: tab to carriage return, U+001C to the space, what continues a code point,
# and the first bytes of the other white space.
TAB, TO_CR = np.uint8(0x09), np.uint8(0x0D - 0x09)
FS, TO_SPACE = np.uint8(0x1C), np.uint8(0x20 - 0x1C)
INNER, TO_INNER = np.uint8(0x80), np.uint8(0xBF - 0x80)
C2, E1, ALONE, TO_E3 = np.uint8(0xC2), np.uint8(0xE1), np.uint8(0), np.uint8(0xE3 - 0xE1)


def sizes(data: Bytes, offsets: Int32s) -> tuple[Int64s, Int64s]:
    """Count code points and words of each row.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.

    Returns:
        chars and words, int64, n each. GIL released.
    """
    chars, words = _sizes(data, offsets, space_table())
    return chars, words


@kernel(types.UniTuple(types.int64[::1], 2), READ_8, READ_32, READ_8)
def _sizes(data: Bytes, offsets: Int32s, spaces: Bytes) -> tuple[Int64s, Int64s]:
    n = len(offsets) - 1
    chars = np.zeros(n, np.int64)
    words = np.zeros(n, np.int64)
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        count = np.int64(0)
        starts = np.int64(0)
        before = ONE  # bit 0: white space stands before `i`; the others: bytes from `i` on known to be white space
        while i + BLOCK <= end:
            space = marked_between(data, i, TAB, TO_CR) | marked_between(data, i, FS, TO_SPACE) | before >> ONE
            found = marked_between(data, i, C2, ALONE) | marked_between(data, i, E1, TO_E3)
            while found:
                at = lowest(found)
                space |= ((ONE << np.uint64(space_size(data, i + at, spaces))) - ONE) << np.uint64(at)
                found &= found - ONE
            starts += ones(~space & (space << ONE | before & ONE) & IN_BLOCK)
            count += BLOCK - ones(marked_between(data, i, INNER, TO_INNER))
            before = space >> BLOCK_BITS - ONE
            i += BLOCK
        after_space = before & ONE
        while i < end:
            if data[i] & 0xC0 != 0x80:
                is_space = np.uint64(space_size(data, i, spaces) > 0)
                starts += np.int64(after_space & (is_space ^ ONE))
                after_space = is_space
                count += 1
            i += 1
        chars[row] = count
        words[row] = starts
    return chars, words
