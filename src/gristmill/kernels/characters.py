r"""Characters chosen by class: kept, removed, or collapsed with their neighbours to one space, in one pass.

A choice is a table (uint8, one entry a code point): DROP, KEEP or SPACE. A run of SPACE becomes one U+0020, none at
either end of a row; dropped characters do not end a run. So, with the tables built here, `choose` equals
    collapsed:   re.sub(r"\s+", " ", t).strip()
    kept:        "".join(c for c in t if re.match(f"[{body}]", c))
and `kept_then_collapsed` does the second, then the first, at the cost of one.

Not here: line ends (`kernels.whitespace`), the words of the config (`steps.clean.text`). Invariant: linear, never
makes a row longer, idempotent.
"""

from __future__ import annotations

import re
import warnings
from functools import cache

import numpy as np

from gristmill.kernels.tables import ALL, class_table, space_table
from gristmill.kernels.utf8 import EDITED, READ_8, READ_32, Bytes, Column, Int32s, code_point, kernel, size

DROP, KEEP, SPACE = 0, 1, 2  # bit 0 and bit 1 are told apart by arithmetic in the kernel


@cache
def collapsed() -> Bytes:
    """Give the choice that keeps all and collapses white space."""
    choice = np.full(ALL, KEEP, np.uint8)
    spaces = space_table()
    choice[: len(spaces)] += spaces
    return choice


@cache
def kept(body: str) -> Bytes:
    r"""Give the choice that keeps what is inside the regular expression class `[body]`, such as `\w\s.,!?-`.

    Raises:
        ValueError: `body` is empty, has a bare `]`, or is no class for `re`; the message says which.
    """
    if re.fullmatch(r"\^?(?:[^\\\]]|\\.)+", body, re.DOTALL) is None:
        raise ValueError("it must be the inside of [...]: not empty, ] and \\ written as \\] and \\\\")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        try:
            return class_table(f"[{body}]")
        except (re.error, FutureWarning) as error:
            raise ValueError(str(error)) from None


@cache
def kept_then_collapsed(body: str) -> Bytes:
    """Give the choice that keeps what is inside `[body]` and collapses the white space in what is kept."""
    return kept(body) * collapsed()


def choose(data: Bytes, offsets: Int32s, choice: Bytes) -> Column:
    """Rewrite each row by `choice`.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.
        choice: uint8, 0x110000 entries of DROP, KEEP or SPACE.

    Returns:
        The same kind of pair as data and offsets; the very arguments if no row changes. GIL released.
    """
    out, ends, edited = _choose(data, offsets, choice)
    return (out, ends) if edited else (data, offsets)


@kernel(EDITED, READ_8, READ_32, READ_8)
def _choose(data: Bytes, offsets: Int32s, choice: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    total = offsets[n] - offsets[0]
    out = np.empty(total, np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    changed = np.int64(0)
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        in_space = np.int64(1)  # so that none comes first
        begin = o
        while i < end:
            lead = np.int64(data[i])
            if lead < 0x80:
                # Written always, kept by moving on, in arithmetic: no branch to mispredict.
                kind = np.int64(choice[lead])
                keep, space = kind & 1, kind >> 1
                written = lead ^ ((lead ^ 0x20) & -space)
                out[o] = written
                changed |= written ^ lead
                o += keep | space & ~in_space
                in_space = in_space & ~keep | space
                i += 1
                continue
            width = size(lead)
            kind = np.int64(choice[code_point(data, i)])
            if kind == KEEP:
                out[o] = lead
                for k in range(1, width):
                    out[o + k] = data[i + k]
                o += width
                in_space = np.int64(0)
            elif kind == SPACE:
                changed = np.int64(1)
                out[o] = 0x20
                o += 1 - in_space
                in_space = np.int64(1)
            i += width
        if in_space and o > begin:
            o -= 1
        ends[row + 1] = o
    edited = changed != 0 or o != total
    return out[:o], ends, edited
