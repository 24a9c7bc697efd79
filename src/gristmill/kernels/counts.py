"""Sizes of texts: code points and words.

`chars` is len(text), `words` is len(text.split()): runs of anything but white space.

Not here: the name under which a filter reads them (`steps.signals`). Invariant: equal to the plain Python for every row.
"""

from __future__ import annotations

import numpy as np
from numba import types

from gristmill.kernels.tables import space_table
from gristmill.kernels.utf8 import (
    HIGH_BITS,
    ONES,
    READ_8,
    READ_32,
    Bytes,
    Int32s,
    Int64s,
    kernel,
    load64,
    size,
    space_size,
)

# Added to a byte below 0x80, each sets the high bit from this character on: \t, past \r, U+001C, past the space.
FROM_TAB, PAST_CR, FROM_FS, PAST_SPACE = (np.uint64(0x80 - c) * ONES for c in (0x09, 0x0E, 0x1C, 0x21))
ONE, SEVEN, EIGHT, TOP_BYTE = np.uint64(1), np.uint64(7), np.uint64(8), np.uint64(56)


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
        after_space = np.uint64(1)
        while i < end:
            if i + 8 <= end:
                word = load64(data, i)
                if word & HIGH_BITS == 0:
                    space = (word + FROM_TAB & ~(word + PAST_CR) | word + FROM_FS & ~(word + PAST_SPACE)) & HIGH_BITS
                    space >>= SEVEN  # now one bit a byte, the lowest
                    begins = (space << EIGHT | after_space) & (space ^ ONES)
                    starts += np.int64(begins * ONES >> TOP_BYTE)
                    after_space = space >> TOP_BYTE
                    count += 8
                    i += 8
                    continue
            stop = min(i + 8, end)
            while i < stop:
                is_space = np.uint64(space_size(data, i, spaces) > 0)
                starts += np.int64(after_space & (is_space ^ ONE))
                after_space = is_space
                count += 1
                i += size(data[i])
        chars[row] = count
        words[row] = starts
    return chars, words
