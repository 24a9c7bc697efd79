"""Values of key and cursor columns: typed, ordered, and written down as JSON without loss.

Not here: how a value is spelled in SQL (`compose`). Invariants: `decode(encode(value)) == value` with the same type; a
value is one of the types of `Value`, never text that stands for another type; arithmetic is exact (no floats in times).
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias
from uuid import UUID

Value: TypeAlias = int | float | str | bytes | datetime | date | Decimal | UUID
Kind: TypeAlias = Literal[
    "int", "float", "decimal", "text", "time", "timetz", "date", "uuid", "bytes", "bool", "json", "other"
]
Encoded: TypeAlias = list[Any]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+)(s|m|h|d|w)")
# ISO 8601 as databases without a time type keep it; what follows the seconds is cut off when a bound is made of it.
_ISO_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)(?:([ T])(\d\d:\d\d:\d\d)(.*))?", re.DOTALL)


def duration_s(text: str) -> int | None:
    """Give the seconds of `10m` (s, m, h, d, w), None if it is none."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * _SECONDS[found[2]] if found else None


def kind_of(value: Any) -> Kind | None:
    """Give the kind of a Python value, None for one that can be no key or cursor."""
    if isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return "time" if value.tzinfo is None else "timetz"
    kinds: list[tuple[type, Kind]] = [
        (int, "int"),
        (float, "float"),
        (str, "text"),
        (bytes, "bytes"),
        (date, "date"),
        (Decimal, "decimal"),
        (UUID, "uuid"),
    ]
    return next((kind for cls, kind in kinds if isinstance(value, cls)), None)


def typed(kind: Kind, raw: Any) -> Value:
    """Give what a driver gave for a column of `kind` (the value or its text) as a value.

    Raises:
        ValueError: it is nothing of the kind, or a time no calendar of ours holds.
    """
    try:
        if kind == "int":  # a fraction among integers (SQLite) stays one: rounded, a page would begin before it again
            return raw if isinstance(raw, float) and not raw.is_integer() else int(raw)
        if kind == "float":
            return float(raw)
        if kind == "decimal":
            return Decimal(str(raw))
        if kind == "uuid":
            return UUID(str(raw))
        if kind == "bytes":
            return bytes(raw)
        if kind in {"time", "timetz"}:
            moment = raw if isinstance(raw, datetime) else datetime.fromisoformat(str(raw))
            if kind == "time":
                return moment.replace(tzinfo=None)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if kind == "date":
            return raw if isinstance(raw, date) else date.fromisoformat(str(raw))
    except (ValueError, InvalidOperation, OverflowError, TypeError) as error:
        raise ValueError(f"a value of {type(raw).__name__} is no {kind}") from error
    return str(raw)


def encode(value: Value) -> Encoded:
    """Write a value as JSON: its kind and its text or number; `raw` is a text that is no UTF-8."""
    kind = kind_of(value)
    if isinstance(value, bytes):
        return [kind, base64.b64encode(value).decode()]
    if isinstance(value, datetime | date):
        return [kind, value.isoformat()]
    if isinstance(value, float):
        return [kind, repr(value)]
    if isinstance(value, str) and any("\udc80" <= letter <= "\udcff" for letter in value):
        return ["raw", base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()]
    return [kind, value if isinstance(value, int | str) else str(value)]


def decode(written: Encoded) -> Value:
    """Give the value that `encode` wrote.

    Raises:
        ValueError: it was not written by `encode`.
    """
    try:
        kind, text = written
        if kind == "raw":
            return base64.b64decode(text, validate=True).decode("utf-8", "surrogateescape")
        return base64.b64decode(text, validate=True) if kind == "bytes" else typed(kind, text)
    except (ValueError, TypeError, binascii.Error) as error:
        raise ValueError("a cursor value in the state is damaged") from error


def minus(value: Value, overlap_s: int, overlap: float) -> Value:
    """Give the low bound of what is read again below `value`: `overlap_s` seconds for times, `overlap` for numbers.

    Text that is an ISO 8601 time is one; the bound is cut after the seconds, which sorts below everything that begins so.
    """
    try:
        if isinstance(value, datetime):
            return value - timedelta(seconds=overlap_s)
        if isinstance(value, date):
            return (datetime.combine(value, datetime.min.time()) - timedelta(seconds=overlap_s)).date()
        if isinstance(value, str):
            found = _ISO_TEXT.fullmatch(value)
            if not found:
                return value
            if found[3] is None:
                return minus(date.fromisoformat(found[1]), overlap_s, overlap).isoformat()  # type: ignore[union-attr]
            moment = datetime.fromisoformat(f"{found[1]}T{found[3]}") - timedelta(seconds=overlap_s)
            return moment.isoformat(found[2], "seconds")
    except (OverflowError, ValueError):
        return value
    if isinstance(value, Decimal):
        return value - Decimal(str(overlap))
    if isinstance(value, int):
        return value - int(overlap)
    return value - overlap if isinstance(value, float) else value


def moment(raw: Any) -> datetime:
    """Give what a driver gave for its database's clock as a time in UTC; one that names no zone is UTC."""
    value = typed("timetz", raw)
    assert isinstance(value, datetime)
    return value


def clock(value: Value, now: datetime) -> Value | None:
    """Give the time `now` (in UTC) as `value` spells times, None if it is none. What names no zone is taken for UTC."""
    if isinstance(value, datetime):
        return now if value.tzinfo is not None else now.replace(tzinfo=None)
    if isinstance(value, date):
        return now.date()
    found = _ISO_TEXT.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    return now.date().isoformat() if found[3] is None else now.replace(tzinfo=None).isoformat(found[2], "seconds")


def is_number(value: Value) -> bool:
    """Tell whether an overlap for this cursor is a number."""
    return isinstance(value, int | float | Decimal)


def is_time(value: Value) -> bool:
    """Tell whether an overlap for this cursor is a duration."""
    return isinstance(value, date) or (isinstance(value, str) and _ISO_TEXT.fullmatch(value) is not None)


def parse(kind: Kind, text: str) -> Value:
    """Give a bound that a user wrote (`--since`) as a value of the cursor's kind.

    Raises:
        ValueError: it is none.
    """
    return typed(kind, bytes.fromhex(text) if kind == "bytes" else text.strip())
