"""What a table holds, read back in the types it was written in, to be held against a snapshot.

Not here: comparing (`exports.sql`), loading (`loading`). Invariants: nothing is changed; memory does not grow with the
table; the same value written and read back is the same value, JSON too, whatever a database makes of its spelling.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import sqlalchemy as sa

from gristmill.core.errors import SourceError
from gristmill.database.alchemy import Alchemy
from gristmill.database.connect import Adbc, Connection
from gristmill.database.dsn import Dsn, sqlite_uri
from gristmill.database.grammar import SQLite
from gristmill.database.outgoing import Column, Outgoing, as_sent

_BATCH_BYTES = 4 << 20
_ROWS = 4096


def rows_of(
    connection: Connection, dsn: Dsn, table: sa.Table, columns: list[Column], outgoing: Outgoing
) -> Iterator[pa.RecordBatch]:
    """Give the rows of a table as they were written, in any order."""
    statement = sa.select(*table.c)
    names = [column.name for column in columns]
    if isinstance(connection, Adbc) and dsn.family == "postgresql":
        for batch in connection.batches(statement, _BATCH_BYTES, 1024, whole=False):
            arrays = [_storage(array, kind) for array, kind in zip(batch.columns, outgoing.schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=names)
        return
    fetched = _from_sqlite(dsn, statement) if dsn.family == "sqlite" else _from_other(connection, statement)
    for rows in fetched:
        cells = list(zip(*rows, strict=True))
        arrays = [
            as_sent(column, list(values), kind)
            for column, values, kind in zip(columns, cells, outgoing.schema.types, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=names)


def _storage(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Give a column as the type it was written as; JSON, which PostgreSQL writes in its own way, as text."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    wanted = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return array if array.type == wanted else array.cast(wanted)


def _from_sqlite(dsn: Dsn, statement: Any) -> Iterator[list[Any]]:
    """By Python's own driver: ADBC takes a column's type from its first rows."""
    connection = sqlite3.connect(sqlite_uri(dsn.url), uri=True)
    try:
        cursor = connection.execute(str(statement.compile(dialect=SQLite.dialect)))
        while rows := cursor.fetchmany(_ROWS):
            yield rows
    except sqlite3.Error as error:
        raise SourceError(f"the database says: {error}") from None
    finally:
        connection.close()


def _from_other(connection: Connection, statement: Any) -> Iterator[list[Any]]:
    assert isinstance(connection, Alchemy)
    yield from connection.fetch(statement, _ROWS)


def spelled_alike(column: Column, values: pa.Array) -> pa.Array:
    """Give JSON in one spelling, keys sorted, as databases keep what it says and not how; all else as it is."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if column.kind != "json":
        return values
    cells = values.to_pylist()
    return pa.array([None if cell is None else _canonical(cell) for cell in cells], pa.string())


def _canonical(cell: str) -> str:
    return orjson.dumps(orjson.loads(cell), option=orjson.OPT_SORT_KEYS).decode()
