"""Unicode normalisation, NFC or NFKC: equals `unicodedata.normalize` on every row.

The kernel does the quick check of UAX #15 section 9 (a row passes if it is surely normalised already); only rows that
do not pass go through Python. Nearly all text from the wild passes NFC.

Not here: the tables (`tables.order_table`). Invariant: a row that passes is normalised in the running Python's
Unicode version.
"""

from __future__ import annotations

import unicodedata
from functools import partial
from typing import Literal

import numpy as np

from gristmill.kernels.rows import rewrite
from gristmill.kernels.tables import UNSTABLE, order_table
from gristmill.kernels.utf8 import (
    FLAGS,
    HIGH_BITS,
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
)

UNSTABLE_ORDER = np.uint8(UNSTABLE)


def normalize(data: Bytes, offsets: Int32s, form: Literal["NFC", "NFKC"]) -> Column:
    """Normalise each row.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.
        form: NFC (canonical) or NFKC (compatibility: also folds widths, ligatures, circled letters).

    Returns:
        The same kind of pair; the very arguments if the quick check passes all rows. The kernel releases the GIL,
        the rows that go through Python hold it.
    """
    rows = np.flatnonzero(~_passes(data, offsets, order_table(form)))
    return rewrite(data, offsets, rows, partial(unicodedata.normalize, form)) if len(rows) else (data, offsets)


@kernel(FLAGS, READ_8, READ_32, READ_8)
def _passes(data: Bytes, offsets: Int32s, order: Bytes) -> Mask:
    n = len(offsets) - 1
    passes = np.ones(n, np.bool_)
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
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
                passes[row] = False
                break
            last = here
            i += size(lead)
    return passes
