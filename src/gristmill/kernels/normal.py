"""Unicode normalisation, NFC or NFKC: equals `unicodedata.normalize` on every row.

The kernel does the quick check of UAX #15 section 9 (a line passes if it is surely normalised already); only lines
that do not pass go through Python. A line end neither composes nor reorders with anything, so lines stand alone.
Nearly all text from the wild passes NFC.

Not here: the tables (`tables.order_table`). Invariant: a line that passes is normalised in the running Python's
Unicode version.
"""

from __future__ import annotations

import unicodedata
from functools import partial
from typing import Literal

import numpy as np
from numba import types

from gristmill.kernels.rows import rewrite
from gristmill.kernels.tables import UNSTABLE, order_table
from gristmill.kernels.utf8 import (
    HIGH_BITS,
    READ_8,
    READ_32,
    Bytes,
    Column,
    Int,
    Int32s,
    Int64s,
    code_point,
    helper,
    kernel,
    load64,
    size,
)

UNSTABLE_ORDER = np.uint8(UNSTABLE)


def normalize(data: Bytes, offsets: Int32s, form: Literal["NFC", "NFKC"]) -> Column:
    """Normalise each row.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.
        form: NFC (canonical) or NFKC (compatibility: also folds widths, ligatures, circled letters).

    Returns:
        The same kind of pair; the very arguments if the quick check passes all. The kernel releases the GIL, the
        lines that go through Python hold it.
    """
    spans = _unsure_lines(data, offsets, order_table(form))
    return rewrite(data, offsets, spans, partial(unicodedata.normalize, form)) if len(spans) else (data, offsets)


@helper
def _first_unsure(data: Bytes, i: Int, end: Int, order: Bytes) -> Int:
    """Give where the quick check of `data[i:end]` fails, `end` if it passes."""
    last = np.uint8(0)
    while i < end:
        lead = data[i]
        if lead < 0x80:
            last = np.uint8(0)
            i += 1
            while i + 8 <= end and load64(data, i) & HIGH_BITS == 0:
                i += 8
            continue
        c = code_point(data, i)
        here = np.uint8(order[c] if c < len(order) else 0)
        if here == UNSTABLE_ORDER or last > here > 0:
            break
        last = here
        i += size(lead)
    return i


@kernel(types.int64[:, ::1], READ_8, READ_32, READ_8)
def _unsure_lines(data: Bytes, offsets: Int32s, order: Bytes) -> Int64s:
    r"""Give start and end of each line, without its `\n`, that does not pass the quick check."""
    spans = np.empty((64, 2), np.int64)
    count = 0
    for row in range(len(offsets) - 1):
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        i = start
        while i < end:
            i = _first_unsure(data, i, end, order)
            if i >= end:
                break
            if count == len(spans):
                spans = np.concatenate((spans, np.empty_like(spans)))
            first = i
            while first > start and data[first - 1] != 0x0A:
                first -= 1
            while i < end and data[i] != 0x0A:
                i += 1
            spans[count, 0] = first
            spans[count, 1] = i
            count += 1
    return spans[:count].copy()
