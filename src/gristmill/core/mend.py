"""JSON that a strict parser refuses for one of the values in it, decoded all the same, so that only that value is lost.

For answers of APIs: one text with half a surrogate pair, one NaN, one byte that is not UTF-8 spoils the whole answer, for as long
as its record is listed. (Files are cut into values before they are decoded, and need none of this.) Not here: what is done
with what is found (`net.listing`, `sources/formats/api_records.py`). Invariants: what is cut or is no JSON stays refused; a
value with such a thing in it is told by `fault_of`, so none of it gets into a record.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

_LONGEST_INT = 400  # digits; any longer one is beyond what a float holds


class Mended(NamedTuple):
    """A decoded value. is_utf8: its bytes were. has_controls: control characters stood in its strings as they are."""

    value: Any
    is_utf8: bool
    has_controls: bool


class Spoiled(NamedTuple):
    """What stands in the place of a record that cannot be one. code: a quarantine code; detail: quotes nothing."""

    code: str
    detail: str


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
