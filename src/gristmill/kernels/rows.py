"""Rows of a text column given to plain Python: what a kernel marks as too rare to be worth compiling.

Not here: which rows those are (`kernels.normal`, `kernels.lowercase`). Invariant: rows that are not named keep their
bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gristmill.kernels.utf8 import Bytes, Column, Int32s, Int64s

MAX_BYTES = 2**31 - 1  # int32 offsets


def rewrite(data: Bytes, offsets: Int32s, rows: Int64s, change: Callable[[str], str]) -> Column:
    """Give the column with `change(text)` at `rows` (int64, ascending); offsets begin at 0.

    Raises:
        OverflowError: the result would have over 2 GiB.
    """
    view = data.data
    pieces: list[memoryview | bytes] = []
    lengths = np.diff(offsets).astype(np.int64)
    kept = int(offsets[0])
    for row in rows.tolist():
        start, end = int(offsets[row]), int(offsets[row + 1])
        changed = change(str(view[start:end], "utf-8")).encode()
        pieces += (view[kept:start], changed)
        lengths[row] = len(changed)
        kept = end
    pieces.append(view[kept : int(offsets[-1])])
    ends = np.zeros(len(offsets), np.int64)
    np.cumsum(lengths, out=ends[1:])
    check_bytes(int(ends[-1]))
    return np.frombuffer(b"".join(pieces), np.uint8), ends.astype(np.int32)


def check_bytes(count: int) -> None:
    """Refuse a column of more bytes than int32 offsets can hold."""
    if count > MAX_BYTES:
        raise OverflowError(f"a text column of {count} bytes is over the limit of {MAX_BYTES}: use smaller batches")
