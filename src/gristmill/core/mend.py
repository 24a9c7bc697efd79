"""Values that JSON cannot hold, in what strangers' programs give us: found, so that one of them costs its record and no other.

`mend` is for answers of APIs, which a strict parser refuses whole: one text with half a surrogate pair, one NaN, one byte that
is not UTF-8 would stop the listing for as long as its record is in it. `storable` is for Python values. (Files are cut into
values before they are decoded, and need none of this.) Not here: what becomes of them (`net.listing`, `sources/formats`).
Invariants: what is cut or is no JSON stays refused; a value with such a thing in it is told by `fault_of` or `Unstorable`, or
counted, so none of it gets into a record in silence.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NamedTuple

_LONGEST_INT = 400  # digits; any longer one is beyond what a float holds
_MAX_DEPTH = 254  # orjson writes no deeper; who writes will say so


class Mended(NamedTuple):
    """A decoded value. is_utf8: its bytes were. has_controls: control characters stood in its strings as they are."""

    value: Any
    is_utf8: bool
    has_controls: bool


class Spoiled(NamedTuple):
    """What stands in the place of a record that cannot be one. code: a quarantine code; detail: quotes nothing."""

    code: str
    detail: str


class Unstorable(ValueError):
    """A text that is no Unicode, in the value of a record."""


def mend(data: bytes) -> Mended:
    """Decode JSON; bytes that are not UTF-8 become lone surrogates, NaN and Infinity floats, integers too long floats.

    Raises:
        ValueError: it is no JSON but for such things, or nested too deeply.
    """
    try:
        text, is_utf8 = data.decode(), True
    except UnicodeDecodeError:
        text, is_utf8 = data.decode("utf-8", "surrogateescape"), False
    for strict in (True, False):
        try:
            return Mended(json.loads(text, strict=strict, parse_int=_integer), is_utf8, not strict)
        except json.JSONDecodeError as error:
            if not strict or not error.msg.startswith("Invalid control character"):
                raise
        except RecursionError:
            raise ValueError("nested too deeply") from None
    raise AssertionError("one of the two gives a value or raises")


def fault_of(value: Any, *, is_utf8: bool) -> Spoiled | None:
    """Tell what keeps a decoded value from being a record; None: nothing does."""
    todo = [value]
    while todo:
        inner = todo.pop()
        if isinstance(inner, str):
            try:
                inner.encode()
            except UnicodeEncodeError:
                if not is_utf8 and any("\udc80" <= char <= "\udcff" for char in inner):
                    return Spoiled("text.encoding", "bytes that are not UTF-8")
                return Spoiled("text.surrogate", "an escape gives half a surrogate pair")
        elif isinstance(inner, float) and not math.isfinite(inner):
            return Spoiled("json.nan", "NaN or Infinity, or a number too large for a 64-bit float")
        elif isinstance(inner, dict):
            todo += inner.keys()
            todo += inner.values()
        elif isinstance(inner, list):
            todo += inner
    return None


def _integer(digits: str) -> int | float:
    """Give an integer as orjson does: beyond 64 bits as a float."""
    if len(digits) > _LONGEST_INT:
        return math.inf
    number = int(digits)
    return number if -(1 << 63) <= number < 1 << 64 else float(digits)


def storable(value: Any, odd: Counter[str], depth: int = 0) -> Any:
    """Give a copy of a Python value that JSON can hold; what changes is counted in `odd`.

    Keys become texts, integers beyond 64 bits floats (`json.int_range`), NaN and infinities null (`field.not_finite`). Dates,
    decimals and others stay as they are.

    Raises:
        Unstorable: half a surrogate pair is in one of its texts.
    """
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Unstorable("half a surrogate pair is in one of its texts") from None
        return value
    if depth > _MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {storable(str(key), odd): storable(inner, odd, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner, odd, depth + 1) for inner in value]
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        odd["json.int_range"] += 1
        value = float(value) if abs(value) < 1 << 1023 else math.inf
    if isinstance(value, float) and not math.isfinite(value):
        odd["field.not_finite"] += 1
        return None
    return value
