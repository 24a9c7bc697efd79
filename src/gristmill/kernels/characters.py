r"""Characters chosen by class: kept, removed, or collapsed with their neighbours to one space, in one pass.

A choice is a table (uint8, one entry a code point): KEEP, SPACE, DROP or CUT. A run of SPACE becomes one U+0020, none at
either end of a row; a dropped character does not end a run, one that is cut does. So, with the tables of `kernels.choices`,
`choose` equals
    collapsed:   re.sub(r"\s+", " ", t).strip()
    kept:        "".join(c for c in t if re.match(f"[{body}]", c))
`kept_then_collapsed` and `collapsed_then_kept` do both, in the one order or the other, at the cost of one.

A block of ASCII is told apart by the ranges of the choice and copied at once up to what must be looked at. Not here:
line ends (`kernels.whitespace`), the words of the config (`steps.clean.text`). Invariant: linear, never makes a row
longer, idempotent (but for `collapsed_then_kept`).
"""

from __future__ import annotations

import numpy as np

from gristmill.kernels.choices import CUT, KEEP, SPACE
from gristmill.kernels.utf8 import (
    BLOCK,
    EDITED,
    READ_8,
    READ_32,
    Bytes,
    Column,
    Int,
    Int32s,
    code_point,
    helper,
    kernel,
    lowest,
    marked_between,
    put_spaced,
    size,
)

ONE, TWO, SIXTY_FOUR = np.uint64(1), np.uint64(2), np.uint64(64)
NO_BYTE, A_SPACE = np.uint8(0), np.uint8(0x20)
BLOCK_END = ONE << np.uint64(BLOCK)
AFTER_ODD = 4  # bytes looked at one by one after one that is not ASCII or not copied as it is: more are likely near


def choose(data: Bytes, offsets: Int32s, choice: Bytes) -> Column:
    """Rewrite each row by `choice`.

    Args:
        data: uint8, valid UTF-8, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.
        choice: uint8, 0x110000 entries of DROP, KEEP or SPACE.

    Returns:
        The same kind of pair as data and offsets; the very arguments if no row changes. GIL released.
    """
    out, ends, edited = _choose(data, offsets, choice, _ranges(choice, KEEP), _ranges(choice, SPACE))
    return (out, ends) if edited else (data, offsets)


def _ranges(choice: Bytes, kind: int) -> Bytes:
    """Give the ranges of ASCII that `choice` says `kind` of: first byte and last less first, one after the other."""
    borders = np.flatnonzero(np.diff(choice[:0x80] == kind, prepend=False, append=False))
    return np.stack([borders[::2], borders[1::2] - borders[::2] - 1], 1).astype(np.uint8).reshape(-1)


@helper
def _marked(data: Bytes, i: Int, ranges: Bytes) -> Int:
    found = np.uint64(0)
    for at in range(0, len(ranges), 2):
        found |= marked_between(data, i, ranges[at], ranges[at + 1])
    return found


@kernel(EDITED, READ_8, READ_32, READ_8, READ_8, READ_8)
def _choose(data: Bytes, offsets: Int32s, choice: Bytes, keeps: Bytes, spaces: Bytes) -> tuple[Bytes, Int32s, bool]:
    n = len(offsets) - 1
    total = offsets[n] - offsets[0]
    out = np.empty(total, np.uint8)
    ends = np.zeros(n + 1, np.int32)
    o = np.int64(0)
    changed = np.uint64(0)
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        in_space = ONE  # so that none comes first
        begin = o
        while i < end:
            stop = i + 1
            if i + BLOCK <= end:
                space = _marked(data, i, spaces)
                put_spaced(data, i, out, o, space)
                odd = ~(space | _marked(data, i, keeps)) | space & (space << ONE | in_space)
                plain = lowest(odd | BLOCK_END)
                if plain:
                    changed |= (space & ~marked_between(data, i, A_SPACE, NO_BYTE)) << SIXTY_FOUR - np.uint64(plain)
                    in_space = space >> np.uint64(plain) - ONE & ONE
                    i += plain
                    o += plain
                    if plain == BLOCK:
                        continue
                stop = min(i + AFTER_ODD, end)
            while i < stop:
                lead = data[i]
                if lead < 0x80:
                    # Written always, kept by moving on, in arithmetic: no branch to mispredict.
                    kind = np.uint64(choice[lead])
                    keep, space = kind & ONE, kind >> ONE & ONE
                    written = np.uint8(0x20) if space else lead
                    out[o] = written
                    changed |= np.uint64(written ^ lead)
                    o += np.int64(keep | space & ~in_space)
                    in_space = in_space & ~(keep | kind >> TWO) | space
                    i += 1
                    continue
                width = size(lead)
                verdict = np.int64(choice[code_point(data, i)])
                if verdict == KEEP:
                    out[o] = lead
                    for k in range(1, width):
                        out[o + k] = data[i + k]
                    o += width
                    in_space = np.uint64(0)
                elif verdict == SPACE:
                    changed = ONE
                    out[o] = 0x20
                    o += np.int64(in_space ^ ONE)
                    in_space = ONE
                elif verdict == CUT:
                    in_space = np.uint64(0)
                i += width
                stop = min(i + AFTER_ODD, end)
        if in_space and o > begin:
            o -= 1
        ends[row + 1] = o
    edited = changed != 0 or o != total
    return out[:o], ends, edited
