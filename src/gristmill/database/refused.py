"""Rows that become no record, as quarantine names them: where they stand, and what they are about.

Not here: why (`pages`). Invariants: of a row only its key, the number of the row and a cursor that is a number or time are
told, never a text; every reject of a page has a place of its own as far as the row gives one.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.source import Reject
from gristmill.database.cells import values
from gristmill.database.values import is_number, is_time

_SHOWN = 200  # letters of a key that cannot be one


def rejects(
    unit: str,
    columns: dict[str, pa.Array],
    keys: int,
    bad: dict[int, tuple[str, str, int]],
    raw: dict[int, bytes],
    first: int,
) -> list[Reject]:
    """Give the rejects of a page.

    columns: of all its rows. bad: code, detail and bytes (0: to be counted) by place. raw: keys that are no UTF-8, by place.
    first: rows of the part before this page.
    """
    places = sorted(bad)
    if not places:
        return []
    at = pa.array(places, pa.int64())
    sizes = _sizes(columns, at)
    cells = [values(columns[f"k{number}"].take(at)) for number in range(keys)]
    names = columns["key"].take(at).to_pylist()
    cursors = values(columns["c"].take(at)) if "c" in columns else [None] * len(places)
    made = []
    for number, place in enumerate(places):
        code, detail, size = bad[place]
        parts = [cell[number] for cell in cells]
        if place in raw:
            locator = raw[place].decode("utf-8", "backslashreplace")[:_SHOWN]
        elif None in parts:
            locator = f"?{first + place}"
            detail += "".join(f", beside it {part}" for part in parts if part is not None)
        else:
            locator = (names[number] or '""').replace("\0", "\\0")
        if code.startswith("id."):
            detail += _said(cursors[number])
        made.append(Reject(code, f"{unit}#{locator}", detail, size or sizes[number]))
    return made


def _said(cursor: Any) -> str:
    """Give the cursor where it is a number or a time: of a text nobody knows what is in it."""
    told = cursor is not None and not isinstance(cursor, bool) and (is_number(cursor) or is_time(cursor))
    return f"; its cursor is {cursor}" if told else ""


def _sizes(columns: dict[str, pa.Array], at: pa.Array) -> list[int]:
    """Give the bytes of the texts of some rows."""
    total = pa.array([0] * len(at), pa.int64())
    for name, column in columns.items():
        if name != "key" and (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
            total = pc.add(total, pc.fill_null(pc.cast(pc.binary_length(column.take(at)), pa.int64()), 0))
    return total.to_pylist()  # type: ignore[no-any-return]
