"""Spans of a text column given to plain Python: what a kernel marks as too rare to be worth compiling.

Not here: which spans those are (`kernels.normal`, `kernels.lowercase`). Invariant: what is not named keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gristmill.kernels.utf8 import Bytes, Column, Int32s, Int64s

MAX_BYTES = 2**31 - 1  # int32 offsets


def rewrite(data: Bytes, offsets: Int32s, spans: Int64s, change: Callable[[str], str]) -> Column:
    """Give the column with `change(text)` in the place of each span; offsets begin at 0.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.
        spans: int64 (k, 2), start and end in `data` of text to change; ascending, each not empty and inside one row.
        change: called once a span, in order, holding the GIL.

    Raises:
        OverflowError: the result would have over 2 GiB.
    """
    view = data.data
    pieces: list[memoryview | bytes] = []
    grown = np.empty(len(spans), np.int64)
    kept = int(offsets[0])
    for at, (start, end) in enumerate(spans.tolist()):
        changed = change(str(view[start:end], "utf-8")).encode()
        pieces += (view[kept:start], changed)
        grown[at] = len(changed) - (end - start)
        kept = end
    pieces.append(view[kept : int(offsets[-1])])
    lengths = np.diff(offsets).astype(np.int64)
    np.add.at(lengths, np.searchsorted(offsets, spans[:, 0], side="right") - 1, grown)
    ends = np.zeros(len(offsets), np.int64)
    np.cumsum(lengths, out=ends[1:])
    check_bytes(int(ends[-1]))
    return np.frombuffer(b"".join(pieces), np.uint8), ends.astype(np.int32)


def check_bytes(count: int) -> None:
    """Refuse a column of more bytes than int32 offsets can hold."""
    if count > MAX_BYTES:
        raise OverflowError(f"a text column of {count} bytes is over the limit of {MAX_BYTES}: use smaller batches")
