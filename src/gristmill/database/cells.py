"""Cells of Arrow columns: what is UTF-8, what holds NUL, what is a time, what a tombstone says.

Not here: what becomes of a row (`pages`). Invariants: nothing is changed in silence: each function that leaves a cell out
says which; a column is looked at as a whole first, its cells one by one only where that finds something.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.batch import TIME, utf8_buffers
from gristmill.core.mapping import microseconds
from gristmill.core.tombstones import is_gone

_FIRST_DAY, _LAST_DAY, _DAY_US = -719_162, 2_932_896, 86_400_000_000  # days since 1970 of 0001-01-01 and 9999-12-31


def values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Give the cells of a column as Python values; bytes of a text that are no UTF-8 as lone surrogates."""
    if not pa.types.is_string(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        cells = [cell for chunk in chunks for cell in chunk.view(pa.binary()).to_pylist()]
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]


def not_utf8(column: pa.Array) -> list[int]:
    """Give the places of cells whose bytes are no UTF-8."""
    if not pa.types.is_string(column.type):
        return []
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        wrong = []
        for at, cell in enumerate(column.view(pa.binary()).to_pylist()):
            try:
                (cell or b"").decode()
            except UnicodeDecodeError:
                wrong.append(at)
        return wrong
    return []


def without(column: pa.Array, wrong: list[int], instead: bytes | None = b"") -> pa.Array:
    """Put something in the place of these cells."""
    cells = column.view(pa.binary()).to_pylist()
    for at in wrong:
        cells[at] = instead
    return pa.array(cells, pa.binary()).cast(pa.string())


def is_plain(column: pa.Array) -> bool:
    """Tell whether all bytes are ASCII and none is NUL, in one pass: then nothing needs a closer look."""
    data, ends = utf8_buffers(column)
    inside = data[ends[0] : ends[-1]].view(np.int8)
    return not len(inside) or int(inside.min()) > 0


def bytes_of(column: pa.Array) -> bytes:
    """Give the bytes of all cells, one after the other."""
    data, ends = utf8_buffers(column)
    return data[ends[0] : ends[-1]].tobytes()


def has_nul(column: pa.Array) -> bool:
    """Tell whether any cell holds NUL."""
    data, ends = utf8_buffers(column)
    inside = data[ends[0] : ends[-1]]
    return len(inside) > 0 and int(inside.min()) == 0


def gone(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Give what a column of tombstones says, by `core.tombstones`, and the places of cells that say neither."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return column.fill_null(False), []
    if pa.types.is_integer(kind):
        return pc.not_equal(column.fill_null(0), 0), []
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pc.is_valid(column), []
    coded = column.dictionary_encode(null_encoding="encode")
    said = pa.array([is_gone(value) for value in values(coded.dictionary)], pa.bool_())
    told = said.take(coded.indices)
    return told.fill_null(False), np.flatnonzero(pc.is_null(told).to_numpy(zero_copy_only=False)).tolist()


def times(column: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """Give a column as times in UTC, and by place the texts that are none."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(column), {}
    if pa.types.is_string(kind):
        for of in (pa.timestamp("us"), TIME):
            try:
                parsed = column.cast(of)
            except pa.ArrowInvalid:
                continue
            return parsed.view(TIME), {}  # what names no zone is UTC
    cells = column.to_pylist()
    found = [None if cell is None else microseconds(_number_or_text(cell)) for cell in cells]
    left = {
        at: str(cell)
        for at, (cell, value) in enumerate(zip(cells, found, strict=True))
        if cell is not None and value is None
    }
    return pa.array(found, pa.int64()).cast(TIME), left


def _moments(column: pa.Array) -> pa.Array:
    """Give times or dates as times in UTC, null for infinity and what lies outside of years 1 to 9999."""
    day = pa.types.is_date(column.type)
    first, last = (_FIRST_DAY, _LAST_DAY) if day else (_FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1)
    numbers = column.view(pa.int32() if day else pa.int64())
    ends = pc.min_max(numbers)
    if (ends["min"].as_py() or 0) < first or (ends["max"].as_py() or 0) > last:
        inside = pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last))
        column = pc.if_else(inside, column, pa.scalar(None, column.type))
    if day:
        column = column.cast(pa.timestamp("us"))
    return column.cast(pa.timestamp("us", column.type.tz)).view(TIME)  # what names no zone is UTC


def _number_or_text(cell: Any) -> Any:
    """Give text that is a number as one: epoch seconds that came as text."""
    try:
        return float(cell) if isinstance(cell, str) and not cell.strip().isalpha() else cell
    except ValueError:
        return cell
