"""Tombstones: whether the value of a `deleted` field or column says that its record is gone. One meaning for all sources.

Not here: which field (the sources), what becomes of the record (`engine.identity`). Invariant: only what is sure is
told: what says neither is None, and its record is quarantined as `CODE`, so that it is neither published nor withdrawn
by a guess.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from gristmill.core.mapping import microseconds

CODE = "deleted.unknown"
DETAIL = "the deleted field says neither yes nor no"
_NO = frozenset({"", "false", "f", "no", "n", "off", "null", "none"})
_YES = frozenset({"true", "t", "yes", "y", "on"})
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?")
_ZERO_DATE = re.compile(r"0000-00-00(?:[ T]00:00:00(?:\.0*)?)?")  # MySQL's word for none


def is_gone(value: Any) -> bool | None:
    """Tell whether a tombstone says that the record is gone; None: it says neither.

    Null, false, 0 and the words for no: it is there. True, any other number, a time and the words for yes: it is gone.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float | Decimal):
        return None if math.isnan(value) else value != 0
    if isinstance(value, str):
        return _says(value.strip())
    if isinstance(value, bytes | bytearray | memoryview):  # BIT(1) of MySQL, flags in a BLOB
        data = bytes(value)
        number = int.from_bytes(data[:9], "big")
        return bool(number) if len(data) <= 8 and number <= 1 else _says(data.decode("utf-8", "replace").strip())
    return None if isinstance(value, dict | list | tuple | set) else True  # times, UUIDs


def _says(text: str) -> bool | None:
    word = text.casefold()
    if word in _NO or _ZERO_DATE.fullmatch(text):
        return False
    if _NUMBER.fullmatch(text):
        return float(text) != 0
    return True if word in _YES or microseconds(text) is not None else None
