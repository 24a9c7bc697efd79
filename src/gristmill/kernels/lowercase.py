"""Lower case: equals `str.lower` on every row.

Rows with U+03A3 (final sigma depends on its neighbours) or U+0130 (one code point becomes two) go through Python.

Not here: the table (`tables.lower_table`), case folding for comparison. Invariant: one code point in, one out, also
where the number of bytes differs (U+023A: 2 become 3), hence room for half as much again.
"""

from __future__ import annotations

import numpy as np
from numba import types

from gristmill.kernels.rows import check_bytes, rewrite
from gristmill.kernels.tables import lower_table
from gristmill.kernels.utf8 import (
    FLAGS,
    HIGH_BITS,
    ONES,
    READ_8,
    READ_32,
    Bytes,
    Column,
    Int32s,
    Mask,
    code_point,
    kernel,
    load64,
    size,
    store64,
)

PAST_Z = np.uint64(0x7F - ord("Z")) * ONES
FROM_A = np.uint64(0x80 - ord("A")) * ONES
TWO = np.uint64(2)


def lower(data: Bytes, offsets: Int32s) -> Column:
    """Make each row lower case.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.

    Returns:
        The same kind of pair; the very arguments if no row changes. The kernel releases the GIL, the rows that go
        through Python hold it.

    Raises:
        OverflowError: the column has over 1.3 GiB.
    """
    check_bytes(3 * int(offsets[-1] - offsets[0]) // 2)
    out, ends, edited, odd = _lower(data, offsets, lower_table())
    if odd.any():
        # The kernel left the two letters alone; lower neighbours make the same sigma final as upper ones.
        rows = np.flatnonzero(odd)
        return rewrite(out, ends, np.stack([ends[rows], ends[rows + 1]], 1).astype(np.int64), str.lower)
    return (out, ends) if edited else (data, offsets)


@kernel(
    types.Tuple((types.uint8[::1], types.int32[::1], types.boolean, FLAGS)),
    READ_8,
    READ_32,
    types.Array(types.int32, 1, "C", readonly=True),
)
def _lower(data: Bytes, offsets: Int32s, lowered: Int32s) -> tuple[Bytes, Int32s, bool, Mask]:
    n = len(offsets) - 1
    total = np.int64(offsets[n]) - np.int64(offsets[0])
    out = np.empty(total + total // 2, np.uint8)
    ends = np.zeros(n + 1, np.int32)
    odd = np.zeros(n, np.bool_)
    o = np.int64(0)
    changed = np.uint64(0)
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        while i < end:
            if i + 8 <= end:
                word = load64(data, i)
                if word & HIGH_BITS == 0:
                    upper = ((word + FROM_A) ^ (word + PAST_Z)) & HIGH_BITS
                    changed |= upper
                    store64(out, o, word | upper >> TWO)
                    i += 8
                    o += 8
                    continue
            stop = min(i + 8, end)
            while i < stop:
                lead = data[i]
                c = code_point(data, i)
                to = np.int64(lowered[c]) if c < len(lowered) else c
                if to < 0:
                    odd[row] = True
                    to = c
                changed |= np.uint64(to ^ c)
                if to < 0x80:
                    out[o] = to
                    o += 1
                elif to < 0x800:
                    out[o] = 0xC0 | to >> 6
                    out[o + 1] = 0x80 | to & 0x3F
                    o += 2
                elif to < 0x10000:
                    out[o] = 0xE0 | to >> 12
                    out[o + 1] = 0x80 | to >> 6 & 0x3F
                    out[o + 2] = 0x80 | to & 0x3F
                    o += 3
                else:
                    out[o] = 0xF0 | to >> 18
                    out[o + 1] = 0x80 | to >> 12 & 0x3F
                    out[o + 2] = 0x80 | to >> 6 & 0x3F
                    out[o + 3] = 0x80 | to & 0x3F
                    o += 4
                i += size(lead)
        ends[row + 1] = o
    return out[:o], ends, changed != 0, odd
