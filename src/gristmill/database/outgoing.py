"""Rows of a snapshot as they are written into a table: the columns asked for, in types that the database holds.

Not here: which columns (`target`), writing (`writing`). Invariants: same rows, same values; a value that the database
cannot hold as it is, is counted by column or refused, never changed in silence; an id is never changed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.errors import ExportError
from gristmill.core.mapping import Field, microseconds
from gristmill.database.cells import has_nul
from gristmill.database.dsn import Family
from gristmill.database.spec import META, Stored, TargetColumn

_UTC = pa.timestamp("us", tz="UTC")
_NAIVE = pa.timestamp("us")
_ISO = "%Y-%m-%dT%H:%M:%SZ"  # seconds with six digits after them
_ARROW: dict[Stored, pa.DataType] = {
    "text": pa.string(),
    "int": pa.int64(),
    "real": pa.float32(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": _UTC,
    "json": pa.string(),
    "bytes": pa.binary(),
}
_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")  # the escape, not a backslash and what follows it
_REPLACEMENT = "\ufffd"
_MAX_INT = 1 << 63
_BATCH_BYTES = 8 << 20  # about what is sent at a time
# Years 1 to 9999, which every client of a database understands; PostgreSQL has more.
_FIRST_US, _LAST_US = microseconds("0001-01-01T00:00:00Z"), microseconds("9999-12-31T23:59:59.999999Z")


class Column(msgspec.Struct, frozen=True):
    """A column to be written: what of the dataset's table, as what."""

    name: str
    field: str
    kind: Stored


class Outgoing:
    """Makes batches of the target's columns. `unfit` counts, by column, the values it could not leave as they are."""

    def __init__(self, family: Family, columns: list[Column], *, refuse: bool) -> None:
        self._family = family
        self._columns = columns
        self._refuse = refuse
        self._paths = {column.field: Field(column.field.removeprefix(META)) for column in columns if _of_meta(column)}
        self.unfit: Counter[str] = Counter()

    @property
    def fields(self) -> list[str]:
        """The columns of the dataset's table that are needed."""
        return list(dict.fromkeys("meta" if _of_meta(column) else column.field for column in self._columns))

    @property
    def kinds(self) -> list[Stored]:
        """What each column is written as."""
        return [column.kind for column in self._columns]

    @property
    def schema(self) -> pa.Schema:
        """Of the batches."""
        return pa.schema([pa.field(column.name, self._type(column.kind)) for column in self._columns])

    def _type(self, kind: Stored) -> pa.DataType:
        if self._family == "postgresql" and kind == "json":
            return pa.json_(pa.string())
        if self._family == "sqlite" and kind in {"bool", "time"}:
            return pa.int64() if kind == "bool" else pa.string()
        return _NAIVE if self._family == "other" and kind == "time" else _ARROW[kind]

    def batches(self, rows: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Give the rows as they are written, not more than `batch_rows` at a time, and fewer where they are long."""
        for batch in rows:
            fitting = batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes)
            step = max(1, min(batch_rows, fitting))
            for start in range(0, batch.num_rows, step):
                yield self.batch(batch.slice(start, step))

    def batch(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Give some rows as they are written.

        Raises:
            ExportError: a value cannot be held, and may not be replaced.
        """
        records: list[dict[str, Any]] = []
        if self._paths:
            records = [orjson.loads(cell) if cell else {} for cell in rows.column("meta").to_pylist()]
        arrays = []
        for column in self._columns:
            if column.field in self._paths:
                values = self._dug(column, records)
            else:
                values = rows.column(column.field)
                wanted = TABLE_SCHEMA.field(column.field).type
                values = values if values.type == wanted else values.cast(wanted)
            arrays.append(self._sent(column, values))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _dug(self, column: Column, records: list[dict[str, Any]]) -> pa.Array:
        """Give the values under one path of `meta`; one that is not of the kind asked for becomes null, and is counted."""
        get, read = self._paths[column.field].get, _READ[column.kind]
        found = [get(record) for record in records]
        values = [None if value is None else read(value) for value in found]
        self._count(column, sum(value is None for value in values) - found.count(None), f"are no {column.kind}")
        return pa.array(values, _UTC if column.kind == "time" else _ARROW[column.kind])

    def _sent(self, column: Column, values: pa.Array) -> pa.Array:
        """Give a column in the type the database takes."""
        if column.kind in {"text", "json"}:
            values = self._without_nul(column, values) if self._family == "postgresql" else values
        elif column.kind in {"real", "float"} and self._family != "postgresql":
            values = self._kept(column, values, pc.is_finite(values), "are infinite or no number")
        elif column.kind == "time":
            values = self._time(column, values)
        kind = self._type(column.kind)
        if isinstance(kind, pa.JsonType):
            return pa.ExtensionArray.from_storage(kind, values)
        return values if values.type == kind else values.cast(kind)

    def _time(self, column: Column, values: pa.Array) -> pa.Array:
        count = values.view(pa.int64())
        inside = pc.and_(pc.greater_equal(count, _FIRST_US), pc.less_equal(count, _LAST_US))
        values = self._kept(column, values, inside, "lie outside of the years 1 to 9999")
        if self._family == "postgresql":
            return values
        naive = values.cast(_NAIVE)
        return naive if self._family == "other" else pc.strftime(naive, _ISO)

    def _kept(self, column: Column, values: pa.Array, fits: pa.Array, why: str) -> pa.Array:
        """Put null in place of the values that do not fit."""
        unfit = len(fits) - fits.null_count - (pc.sum(fits).as_py() or 0)
        if not unfit:
            return values
        self._count(column, unfit, why)
        return pc.if_else(fits, values, pa.scalar(None, values.type))

    def _without_nul(self, column: Column, values: pa.Array) -> pa.Array:
        """Put U+FFFD in place of NUL, which PostgreSQL holds in no text; in JSON it is an escape."""
        if column.kind == "json":
            marked = pc.match_substring(values, "\\u0000")
            if not pc.any(marked).as_py():
                return values
            cells = values.to_pylist()
            changed = [cell if cell is None else _NUL.sub(r"\1\\ufffd", cell) for cell in cells]
            self._count(column, sum(a != b for a, b in zip(cells, changed, strict=True)), "hold NUL")
            return pa.array(changed, pa.string())
        if not has_nul(values):
            return values
        self._count(column, pc.sum(pc.match_substring(values, "\0")).as_py(), "hold NUL", key=column.field == "id")
        return pc.replace_substring(values, "\0", _REPLACEMENT)

    def _count(self, column: Column, n: int, why: str, *, key: bool = False) -> None:
        if not n:
            return
        if key:
            raise ExportError(
                f'column "{column.name}": {n} ids {why}, and an id is never changed; mend them at the source'
            )
        if self._refuse:
            raise ExportError(
                f'column "{column.name}": {n} values of {column.field} {why}; nothing is loaded. Leave the column out, or '
                "set unfit: replace"
            )
        self.unfit[column.name] += n


def _of_meta(column: Column | TargetColumn) -> bool:
    return column.field.startswith(META)


# --- values out of `meta`; None for what is none of the kind ------------------------------------------------------


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _int(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}", value.strip(), re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if -_MAX_INT <= value < _MAX_INT else None


def _float(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower())


def _moment(value: Any) -> int | None:
    return None if isinstance(value, bool) else microseconds(value)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_READ: dict[Stored, Callable[[Any], Any]] = {
    "text": _text,
    "int": _int,
    "real": _float,
    "float": _float,
    "bool": _bool,
    "time": _moment,
    "json": _json,
    "bytes": lambda value: value.encode() if isinstance(value, str) else None,
}


# --- values read back ---------------------------------------------------------------------------------------------


def as_sent(column: Column, values: list[Any], kind: pa.DataType) -> pa.Array:
    """Give Python values that a driver read as the column that was written."""
    if column.kind == "time" and pa.types.is_timestamp(kind):
        values = [value.astimezone(UTC).replace(tzinfo=None) if _zoned(value) else value for value in values]
    elif column.kind == "bool" and pa.types.is_boolean(kind):
        values = [None if value is None else bool(value) for value in values]
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return pa.array(values, storage)


def _zoned(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None
