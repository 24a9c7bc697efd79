"""Words: numbers and texts as a page shows them.

Not here: markup and escaping (`render`), terminals (`console.terminal`). Invariant: a masked text gives away no letter and no digit.
"""

from __future__ import annotations

import unicodedata
from math import isfinite
from pathlib import PurePath
from typing import Any

Json = dict[str, Any]

LONGEST = 200  # characters of a name or message on a page; names come from data
_NARROW = "\u202f"  # a space that no line ends at
_MASKS = {"Lu": "X", "Lt": "X", "N": "0", "Z": " ", "C": " "}


def count(value: float | None) -> str:
    """Give a number with its thousands set apart, a fraction in four digits, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def short(value: float) -> str:
    """Give a number for an axis: `9.2k`, `1.5M`."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def percent(part: float, whole: float) -> str:
    """Give a share in per cent; what is not nothing never shows as 0 %, nor what is not all as 100 %."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return f"<{_NARROW}0.1{_NARROW}%"
    if 99.9 < share < 100:
        return f">{_NARROW}99.9{_NARROW}%"
    return f"{share:.2g}{_NARROW}%" if share < 10 else f"{share:.1f}{_NARROW}%".replace("100.0", "100")


def size(n: float) -> str:
    """Give bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f}{_NARROW}{unit}" if unit == "B" else f"{n:.1f}{_NARROW}{unit}"
        n /= 1000
    return f"{n:,.1f}{_NARROW}TB"


def seconds(s: float) -> str:
    """Give a time span as people read it."""
    if s < 0.01:
        return f"{s * 1000:.1f}{_NARROW}ms" if s else f"0{_NARROW}s"
    if s < 60:
        return f"{s:.2f}{_NARROW}s"
    minutes, rest = divmod(round(s), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(n: int, thing: str) -> str:
    """Give `1 file`, `2 files`."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def cut(value: object, most: int = LONGEST) -> str:
    """Give a text of at most so many characters; what is left out is marked."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def last_part(path: str) -> str:
    """Give the name at the end of a path: a page is sent around, the folders of a machine are nobody's business."""
    return PurePath(path).name or path


def masked(text: str, most: int = 160) -> str:
    """Give the shape of a text: capitals as X, other letters as x, digits as 0; only ASCII punctuation stays."""
    shape = "".join(_mask(char) for char in text[:most])
    return shape + "…" if len(text) > most else shape


def _mask(char: str) -> str:
    if char.isascii() and not char.isalnum():
        return char if char.isprintable() else " "
    kind = unicodedata.category(char)
    if kind in _MASKS:
        return _MASKS[kind]
    return "x" if kind[0] in "LM" else _MASKS.get(kind[0], "*")
