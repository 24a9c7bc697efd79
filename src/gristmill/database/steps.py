"""The steps of a load as SQL: filling an empty table, following changes, making a table equal to a snapshot.

Not here: which of them is to be done (`loading`), sessions (`writing`). Invariants: every step runs in the transaction of its
caller; a row that is as it should be is not written again where the database can compare; columns of the table that are not
ours keep their values in rows that are revised (`Staged`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gristmill.core.load import Changes
from gristmill.database.outgoing import Outgoing
from gristmill.database.tables import GONE, STAGED, column_type, staged_table
from gristmill.database.writing import Writer

_DELETED_AT_ONCE = 500  # ids in one statement
Rows = Iterator[pa.RecordBatch]


class Place(msgspec.Struct, frozen=True):
    """Where rows go. key: the column `table.c` has the id under; exact: the table's types are those that are written.

    types: of each column as the catalogue has it, "" where the table was made here.
    """

    table: Any
    key: str
    batch_rows: int
    exact: bool
    types: list[str]


class Steps(Protocol):
    """What a family of databases does. Each step gives how many rows it wrote and how many it deleted."""

    def fill(self, rows: Rows) -> tuple[int, int]:
        """Write all rows into an empty table."""
        ...

    def follow(self, changes: Changes) -> tuple[int, int]:
        """Apply what changed."""
        ...

    def equal(self, rows: Rows) -> tuple[int, int]:
        """Make the table hold these rows and no others."""
        ...


class Staged:
    """PostgreSQL and SQLite: rows go into a table of the session, and from there by one statement."""

    def __init__(self, writer: Writer, place: Place, outgoing: Outgoing) -> None:
        self._writer = writer
        self._place = place
        self._outgoing = outgoing
        self._insert: Any = postgresql.insert if writer.family == "postgresql" else sqlite.insert

    def fill(self, rows: Rows) -> tuple[int, int]:
        """Write straight into the table where its types are ours."""
        if self._place.exact:
            return self._put(self._place.table, rows, staged=False), 0
        staged = self._stage(rows)
        return self._writer.execute(self._upsert(staged)), 0

    def follow(self, changes: Changes) -> tuple[int, int]:
        """Delete what left and did not come again; insert what is new, change what is revised."""
        table, key = self._place.table, self._place.key
        gone = staged_table(self._writer.family, GONE, [("id", table.c[key].type)], None)
        self._writer.execute(sa.schema.CreateTable(gone))
        ids = (pa.record_batch([ids.cast(pa.string())], names=["id"]) for ids in changes.removed)
        self._writer.put(gone, ids, pa.schema([("id", pa.string())]), staged=True)
        staged = self._stage(changes.added)
        came = sa.exists().where(staged.c[key] == table.c[key])
        taken = self._writer.execute(sa.delete(table).where(table.c[key].in_(sa.select(gone.c.c0)), ~came))
        put = self._writer.execute(self._upsert(staged))
        self._writer.execute(sa.schema.DropTable(gone))
        self._writer.execute(sa.schema.DropTable(staged))
        return put, taken

    def equal(self, rows: Rows) -> tuple[int, int]:
        """Delete what is not among the rows, insert what is missing, change what differs."""
        table, key = self._place.table, self._place.key
        staged = self._stage(rows)
        there = sa.exists().where(staged.c[key] == table.c[key])
        taken = self._writer.execute(sa.delete(table).where(~there))
        put = self._writer.execute(self._upsert(staged))
        self._writer.execute(sa.schema.DropTable(staged))
        return put, taken

    def _put(self, table: sa.Table, rows: Rows, *, staged: bool) -> int:
        batches = self._outgoing.batches(rows, self._place.batch_rows)
        return self._writer.put(table, batches, self._outgoing.schema, staged=staged)

    def _stage(self, rows: Rows) -> sa.Table:
        """Write rows into a table of the session. SQLite looks an id up by the key; PostgreSQL joins by hashes without one."""
        family, key = self._writer.family, self._place.key
        columns = [
            (str(column.name), postgresql.JSON() if of == "json" else column_type(family, kind))
            for column, of, kind in zip(self._place.table.c, self._place.types, self._outgoing.kinds, strict=True)
        ]
        keyed = str(self._place.table.c[key].name) if family == "sqlite" else None
        staged = staged_table(family, STAGED, columns, keyed)
        self._writer.execute(sa.schema.CreateTable(staged))
        self._put(staged, rows, staged=True)
        return staged

    def _upsert(self, staged: sa.Table) -> Any:
        """Insert the staged rows; where the id is there already, change what differs."""
        table, key = self._place.table, self._place.key
        names = list(table.c.keys())
        # SQLite needs a WHERE between a SELECT and ON CONFLICT to tell it from a join.
        chosen = sa.select(*(staged.c[name] for name in names)).where(sa.true())
        insert = self._insert(table).from_select(names, chosen)
        others = [name for name in names if name != key]
        if not others:
            return insert.on_conflict_do_nothing(index_elements=[table.c[key]])
        differs = [
            self._comparable(table.c[name], of).is_distinct_from(self._comparable(insert.excluded[name], of))
            for name, of in zip(names, self._place.types, strict=True)
            if name != key
        ]
        return insert.on_conflict_do_update(
            index_elements=[table.c[key]],
            set_={table.c[name]: insert.excluded[name] for name in others},
            where=sa.or_(*differs),
        )

    def _comparable(self, column: Any, of: str) -> Any:
        """Give a column as something that has an equal: the type json has none."""
        return sa.cast(column, sa.Text) if of == "json" else column


class Plain:
    """Any other database: rows are deleted by their ids and inserted, so a revised row is a new one."""

    def __init__(self, writer: Writer, place: Place, outgoing: Outgoing) -> None:
        self._writer = writer
        self._place = place
        self._outgoing = outgoing

    def fill(self, rows: Rows) -> tuple[int, int]:
        """Insert all rows."""
        batches = self._outgoing.batches(rows, self._place.batch_rows)
        return self._writer.put(self._place.table, batches, self._outgoing.schema, staged=False), 0

    def follow(self, changes: Changes) -> tuple[int, int]:
        """Delete what left, then insert what came."""
        taken = 0
        key = self._place.table.c[self._place.key]
        for batch in changes.removed:
            for start in range(0, len(batch), _DELETED_AT_ONCE):
                ids = batch.slice(start, _DELETED_AT_ONCE).to_pylist()
                taken += self._writer.execute(sa.delete(self._place.table).where(key.in_(ids)))
        put, _ = self.fill(changes.added)
        return put, taken

    def equal(self, rows: Rows) -> tuple[int, int]:
        """Delete all and insert all."""
        taken = self._writer.execute(sa.delete(self._place.table))
        put, _ = self.fill(rows)
        return put, taken
