r"""Choices: which characters a class keeps, collapses or drops, as tables for `kernels.characters`.

A choice is uint8, one entry a code point: KEEP, SPACE, DROP or CUT. Not here: the pass over the text. Invariant: loads
no compiler, so that a config can be checked without one; classes are those of the running `re`.
"""

from __future__ import annotations

import re
import warnings
from functools import cache

import numpy as np

from gristmill.kernels.tables import ALL, Bytes, class_table, space_table

DROP, KEEP, SPACE, CUT = 0, 1, 2, 4  # the bits are told apart by arithmetic in the kernel
_A_SPACE = 0x20


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


@cache
def collapsed_then_kept(body: str) -> Bytes:
    """Give the choice that collapses white space and keeps of the result what is inside `[body]`."""
    keep = kept(body)
    choice = np.where(keep, KEEP, CUT).astype(np.uint8)
    spaces = space_table().astype(np.bool_)
    choice[: len(spaces)][spaces] = SPACE if keep[_A_SPACE] else DROP
    return choice
