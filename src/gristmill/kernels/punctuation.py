r"""Runs of punctuation shortened.

`shorten` equals  re.sub(r"([!?])[!?]+", r"\1", t)  where `marks`, then  re.sub(r"\.{4,}", "...", t)  where `ellipsis`.

Not here: which of the two a pipeline wants (`steps.clean.punctuation`). Invariant: idempotent, linear, never makes a
row longer; the two do not meet, because a run of marks leaves one mark.
"""

from __future__ import annotations

import numpy as np

from gristmill.kernels.utf8 import EDITED, READ_8, READ_32, Bytes, Column, Int32s, copy, find_any, kernel

MARK, DOT = 1, 2


def shorten(data: Bytes, offsets: Int32s, *, marks: bool = True, ellipsis: bool = True) -> Column:
    """Shorten runs of `!` and `?` to the first, and runs of four or more dots to three.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.
        marks: whether to shorten runs of marks.
        ellipsis: whether to shorten runs of dots.

    Returns:
        The same kind of pair; the very arguments if no row changes. GIL released.
    """
    kinds = np.zeros(256, np.uint8)
    kinds[[0x21, 0x3F]] = MARK * marks
    kinds[0x2E] = DOT * ellipsis
    out, ends, edited = _shorten(data, offsets, kinds)
    return (out, ends) if edited else (data, offsets)


@kernel(EDITED, READ_8, READ_32, READ_8)
def _shorten(data: Bytes, offsets: Int32s, kinds: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    out = np.empty(offsets[n] - offsets[0], np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    kept = np.int64(offsets[0])  # data[kept:] is not copied yet
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        while True:
            first = find_any(data, i, end, kinds)
            if first >= end:
                break
            kind = kinds[data[first]]
            i = first + 1
            while i < end and kinds[data[i]] == kind:
                i += 1
            wanted = 1 if kind == MARK else 3
            if i - first > wanted:
                o = copy(out, o, data, kept, first + wanted)
                kept = i
        ends[row + 1] = o + end - kept
    edited = kept != offsets[0]
    if edited:
        o = copy(out, o, data, kept, np.int64(offsets[n]))
    return out[:o], ends, edited
