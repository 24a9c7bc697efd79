"""Visible text: everything that could act on where it is shown, or hide in it, written as an escape.

Control and bidi characters, lone surrogates, odd line ends, noncharacters: a terminal would obey them, a web page would let them turn
or hide what stands beside them. Not here: markup (a page escapes it besides), widths, colours. Invariant: what is given back holds no
such character, except those the caller keeps.
"""

from __future__ import annotations

import re
import unicodedata

JOINERS = "\u200c\u200d"  # needed to spell Persian and Hindi; they move nothing
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(value: object, keep: str = "") -> str:
    """Give a text with everything unsafe written as an escape; `keep`: characters that stay as they are."""
    text = value if isinstance(value, str) else str(value)
    if text.isprintable():
        return text
    return "".join(escape(char) if is_unsafe(char) and char not in keep else char for char in text)


def is_unsafe(char: str) -> bool:
    """Tell if a character could act on where it is shown, or is none."""
    if unicodedata.category(char) in _UNSAFE:
        return char not in JOINERS
    code = ord(char)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def escape(char: str) -> str:
    r"""Give a character as an escape: `\n`, `\x07`, `\u202e`, `\U000e0041`."""
    code = ord(char)
    wide = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else wide)


def meant(shown: str) -> str:
    """Give the text that `visible` shows so; where it holds the like of an escape itself nobody can tell, and that is taken for one."""

    def char(found: re.Match[str]) -> str:
        mark, code = found[0][1], found[0][2:]
        short = next((each for each, escaped in _SHORT.items() if escaped == found[0]), None)
        number = int(code, 16) if mark in "xuU" else 0
        plain = short or (chr(number) if number <= 0x10FFFF else found[0])
        return plain if is_unsafe(plain[0]) else found[0]

    return _ESCAPE.sub(char, shown)
