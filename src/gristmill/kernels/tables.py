"""Unicode tables for the kernels, built from the running Python at first use, so that kernels equal it exactly.

A class table is uint8, one entry a code point; what a table does not cover is said in its function and proved over
all code points by `tests/kernels/test_tables.py`. Not here: text, or a table that Unicode does not decide.
Invariant: no list of characters is written down; all come from `re`, `str` and `unicodedata`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Int32s: TypeAlias = npt.NDArray[np.int32]

ALL = 0x110000
# White space ends at U+3000; letters with case, decompositions and combining marks lie below U+30000.
SPACES_END = 0x3001
LETTERS_END = 0x30000
# An entry of `order_table`: this code point may compose or decompose; other entries are canonical combining classes.
UNSTABLE = 255


def _characters(end: int) -> str:
    """Give all code points below `end`, surrogates too, as one string: position = code point."""
    return np.arange(end, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")


def class_table(pattern: str, end: int = ALL) -> Bytes:
    """Mark the code points below `end` that match `pattern`, a regular expression for one character."""
    table = np.zeros(end, np.uint8)
    for run in re.finditer(f"(?:{pattern})+", _characters(end)):
        table[run.start() : run.end()] = 1
    return table


@cache
def space_table() -> Bytes:
    r"""Mark white space as `re` (`\s`), `str.split` and `str.strip` see it; nothing from U+3001 on is."""
    return class_table(r"\s", SPACES_END)


@cache
def word_table() -> Bytes:
    r"""Mark `\w`, for all code points."""
    return class_table(r"\w")


@cache
def order_table(form: Literal["NFC", "NFKC"]) -> Bytes:
    """Give each code point below U+30000 its combining class, or UNSTABLE where `form` is not sure to keep it.

    This is the quick check of UAX #15 section 9: a text is normalised if no code point is unstable and combining
    classes other than 0 never fall. From U+30000 on all are stable and of class 0. `form` is NFC or NFKC.
    """
    characters = _characters(LETTERS_END)
    table = np.fromiter(map(unicodedata.combining, characters), np.uint8, LETTERS_END)
    for code_point, mapping in enumerate(map(unicodedata.decomposition, characters)):
        if mapping:
            if unicodedata.normalize(form, characters[code_point]) != characters[code_point]:
                table[code_point] = UNSTABLE
            parts = mapping.split()
            if len(parts) == 2 and parts[0][0] != "<":
                table[int(parts[1], 16)] = UNSTABLE
    # Hangul composes by rule, not by table: vowels and final consonants (Unicode chapter 3.12).
    table[0x1161:0x1176] = UNSTABLE
    table[0x11A8:0x11C3] = UNSTABLE
    return table


# str.lower of these two depends on the neighbours, or gives two code points: Python does those documents.
SIGMA = 0x03A3
DOTTED_I = 0x0130


@cache
def lower_table() -> Int32s:
    """Map each code point below U+30000 to its lower case (int32); U+03A3 and U+0130 map to -1."""
    text = _characters(LETTERS_END).replace(chr(SIGMA), "?").replace(chr(DOTTED_I), "?").lower()
    table = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<i4").astype(np.int32)
    table[[SIGMA, DOTTED_I]] = -1
    return table
