"""The `sql` export: the records of a snapshot as rows of a table, in PostgreSQL, SQLite, MySQL, MariaDB or another database.

A run changes the table by one transaction, from the snapshot it holds to the newest one: new records are inserted, revised
ones changed, withdrawn ones deleted. A row of the ledger table, written in the same transaction, says which snapshot that is.
Not here: statements, sessions, types (`database/`), what changed between two snapshots (`engine.loads`). Invariants: a
reader of the table sees one snapshot whole; done twice, or after a crash anywhere, the rows are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
import pyarrow as pa

from gristmill.core.batch import TABLE_SCHEMA, UInt64s
from gristmill.core.errors import ConfigError, ExportError, MissingExtra, SourceError, Transient
from gristmill.core.find import suggestion
from gristmill.core.load import Load, Loaded, Wanted
from gristmill.database.dsn import Dsn, family_of
from gristmill.database.dsn import parse as parse_dsn
from gristmill.database.relation import split_name
from gristmill.database.spec import META, Spec, Stored, TargetColumn
from gristmill.database.values import duration_s

if TYPE_CHECKING:
    from gristmill.database.connect import Connection
    from gristmill.database.outgoing import Column

EXTRA = "sql"
_READ_TIMEOUT_S = 24 * 3600


class FromMeta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column filled from `meta`. field: meta.<path>; type: what it is stored as."""

    field: str
    type: Stored = "text"


class Sql(Load, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows of a table.

    dsn: postgresql://user:password@host/database, sqlite:///path, mysql+pymysql://..., or any other URL of SQLAlchemy.
    table: a table, perhaps schema.table; nothing else may be in it. columns: for each column of the table the field it is
    filled from: one of the dataset's (id, text, url, ...), or meta.<path>, as text; {field: meta.year, type: int} stores a
    value of meta as int, float, bool, time, json; one column must hold id. By default all columns of the dataset's table.
    create: make the table, its ledger, and columns that are missing; false: they must be there. extra_rows: what becomes of rows
    in the table that were not put there by this export: fail (nothing is loaded), or delete. unfit: what becomes of values the database
    cannot hold (NUL in PostgreSQL, infinity, a word where a number is stored): replace (by U+FFFD in texts, by null elsewhere;
    they are counted in the report), or fail. batch_rows: rows sent at a time. wait: how long to wait for another load, or a
    lock.
    """

    FORMAT: ClassVar[str] = "sql"

    dsn: str
    table: str
    columns: dict[str, str | FromMeta] | None = None
    create: bool = True
    extra_rows: Literal["fail", "delete"] = "fail"
    unfit: Literal["replace", "fail"] = "replace"
    batch_rows: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 8192
    wait: str = "5m"

    def __post_init__(self) -> None:
        """Refuse what no load could work with."""
        told = []
        try:
            split_name(self.table)
        except ValueError as error:
            told.append(str(error))
        for column in self._columns:
            told += _column_problems(column)
        if sum(column.field == "id" for column in self._columns) != 1:
            told.append("columns: exactly one column must be filled from id, which is the key of the table")
        if not duration_s(self.wait):
            told.append(f'wait: "{self.wait}" is no duration; write 90s, 10m or 2h')
        if "://" in self.dsn and family_of(self.dsn) == "sqlite" and self._place[0] not in {None, "main"}:
            told.append("table: SQLite has no schemas; write the table's name alone")
        if told:
            raise ValueError("; ".join(told))

    @property
    def _place(self) -> tuple[str | None, str]:
        return split_name(self.table)

    @property
    def _columns(self) -> list[TargetColumn]:
        if self.columns is None:
            return [TargetColumn(name, name) for name in TABLE_SCHEMA.names]
        return [
            TargetColumn(name, field.field, field.type) if isinstance(field, FromMeta) else TargetColumn(name, field)
            for name, field in self.columns.items()
        ]

    @property
    def place(self) -> str:
        """The table's name."""
        return f"table {self.table}"

    @property
    def address(self) -> str:
        """Database and table as they are written."""
        return f"{self.dsn}\0{self.table}"

    def fingerprint(self) -> dict[str, Any]:
        """Give what decides the rows; the address of the database, which holds a secret, does not."""
        columns = [[column.name, column.field, column.kind] for column in self._columns]
        params = {"table": self.table, "columns": columns, "unfit": self.unfit}
        return {"format": self.FORMAT, "version": self.VERSION, "params": params}

    def _spec(self, dsn: Dsn) -> Spec:
        schema, table = self._place
        return Spec(
            None if dsn.family == "sqlite" else schema,
            table,
            self._columns,
            self.create,
            self.extra_rows,
            self.unfit,
            self.digest(),
            self.batch_rows,
        )

    # What is asked of it.

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on: connection, rights, the table there is; no side effect."""
        try:
            _need()
            from gristmill.database import rights, target

            dsn = parse_dsn(self.dsn, folder)
            if dsn.family == "sqlite":
                told = rights.of_file(dsn, create=self.create)
                if told or not Path(dsn.url).exists():
                    return told
            spec = self._spec(dsn)
            connection = self._reading(dsn)
            try:
                found = target.look(connection, spec.schema, spec.table)
                ledger = target.look(connection, found.schema, spec.ledger)
                told = target.problems(dsn.family, found, spec)
                told += rights.lacking(connection, found, ledger, spec)
                if ledger.columns is None and not self.create:
                    told.append(
                        f"there is no table {spec.ledger} beside {found.called()}; make it, or set create: true"
                    )
                return told
            finally:
                connection.close()
        except (ConfigError, SourceError) as error:
            return [str(error)]

    def load(self, wanted: Wanted, folder: Path, *, thorough: bool) -> Loaded:
        """Make the table hold a snapshot."""
        _need()
        from gristmill.database.loading import Loading
        from gristmill.database.writing import open_writer, recover

        dsn = parse_dsn(self.dsn, folder)
        try:
            wait_s = duration_s(self.wait) or 0
            recover(dsn, wait_s)
            force = thorough and self._is_damaged(wanted, dsn)
            writer = open_writer(dsn, wait_s, create=self.create)
            try:
                return Loading(writer, self._spec(dsn), wanted, force=force).run()
            finally:
                writer.close()
        except Transient:
            raise
        except SourceError as error:
            raise ExportError(str(error)) from None

    def verify(self, wanted: Wanted, folder: Path) -> list[str]:
        """Hold ledger, count, ids and every value in the table against a snapshot."""
        try:
            _need()
            dsn = parse_dsn(self.dsn, folder)
            if dsn.family == "sqlite" and not Path(dsn.url).exists():
                return [f"there is no file {dsn.url}"]
            return self._ledger_says(wanted, dsn) or self._compared(wanted, dsn)
        except (ConfigError, SourceError, ExportError) as error:
            return [f"it cannot be looked at: {error}"]

    # What it is made of.

    def _is_damaged(self, wanted: Wanted, dsn: Dsn) -> bool:
        """Tell whether a table that should hold this snapshot does not."""
        if dsn.family == "sqlite" and not Path(dsn.url).exists():
            return False
        return not self._ledger_says(wanted, dsn) and bool(self._compared(wanted, dsn))

    def _reading(self, dsn: Dsn) -> Connection:
        from gristmill.database.connect import connect

        return connect(dsn, _READ_TIMEOUT_S)

    def _ledger_says(self, wanted: Wanted, dsn: Dsn) -> list[str]:
        """Say why the ledger does not name this snapshot."""
        from gristmill.database import loading, tables, target

        spec = self._spec(dsn)
        connection = self._reading(dsn)
        try:
            found = target.look(connection, spec.schema, spec.table)
            if found.columns is None:
                return [f"{found.called()} is not there"]
            ledger = target.look(connection, found.schema, spec.ledger)
            entry = None
            if ledger.columns is not None:
                entry = loading.entry_of(connection, tables.ledger_table(found.schema, spec.ledger, None), found.table)
        finally:
            connection.close()
        if entry is None or not entry.snapshot:
            return [f"{found.called()} was never loaded"]
        if entry.dataset != wanted.dataset:
            return [loading.of_another(found, spec.ledger)]
        if (entry.snapshot, entry.manifest) != (wanted.seq, wanted.sha256):
            return [f"{found.called()} holds snapshot {entry.snapshot}, the newest is {wanted.seq}"]
        return []

    def _compared(self, wanted: Wanted, dsn: Dsn) -> list[str]:
        """Hold the rows against a snapshot."""
        from gristmill.database import loading, readback, tables, target
        from gristmill.database.outgoing import Outgoing

        spec = self._spec(dsn)
        connection = self._reading(dsn)
        try:
            found = target.look(connection, spec.schema, spec.table)
            lacking = [column.name for column in target.missing(dsn.family, found, spec)]
            if lacking:
                return [f"{found.called()} has no column {', '.join(lacking)}"]
            columns = loading.columns_of(dsn.family, found, spec)
            outgoing = Outgoing(dsn.family, columns, refuse=False)
            kinds = [(column.name, column.kind) for column in columns]
            table = tables.written_table(found.schema, found.table, kinds, dsn.family)
            there = _digests(columns, readback.rows_of(connection, dsn, table, columns, outgoing))
        finally:
            connection.close()
        ours = _digests(columns, outgoing.batches(wanted.live(outgoing.fields), spec.batch_rows))
        if there[""][0] != ours[""][0]:
            return [f"{found.called()} holds {there[''][0]} rows, the snapshot {ours[''][0]}"]
        if there[""] != ours[""]:
            return [f"{found.called()} holds other ids than the snapshot"]
        wrong = [column.name for column in columns if there[column.name] != ours[column.name]]
        return [f"{found.called()} has other values than the snapshot in {', '.join(wrong)}"] if wrong else []


def _need() -> None:
    """Say what to install where it is not.

    Raises:
        MissingExtra: the drivers are not there.
    """
    try:
        import gristmill.database.writing  # noqa: F401
    except ImportError as error:
        if (error.name or "").startswith("gristmill"):
            raise
        raise MissingExtra(
            f"export 'sql' needs what is not installed ({error.name}); pip install \"gristmill[{EXTRA}]\""
        ) from error


def _column_problems(column: TargetColumn) -> Iterator[str]:
    if not column.name or "\0" in column.name:
        yield f"columns: {column.name!r} is no name of a column"
    if column.field.startswith(META):
        if not re.fullmatch(r"meta(\.[^.\0]+)+", column.field):
            yield f"columns: {column.name}: {column.field!r} is no path; write meta.key or meta.key.inner"
    elif column.kind is not None:
        yield f"columns: {column.name}: type goes with a path of meta only; {column.field} has its own"
    elif column.field not in TABLE_SCHEMA.names:
        hint = (
            suggestion(column.field, [*TABLE_SCHEMA.names])
            or f"; choose from {', '.join(TABLE_SCHEMA.names)}, meta.<path>"
        )
        yield f"columns: {column.name}: there is no field {column.field!r}{hint}"


Digest = tuple[int, int, int]


def _digests(columns: list[Column], batches: Iterator[pa.RecordBatch]) -> dict[str, Digest]:
    """Give for each column a digest of its values with their ids, and by "" one of the ids; no order is in them."""
    from gristmill.database.readback import spelled_alike
    from gristmill.kernels.columns import hash_columns

    key = next(at for at, column in enumerate(columns) if column.field == "id")
    sums: dict[str, UInt64s] = {name: np.zeros(2, np.uint64) for name in ["", *(column.name for column in columns)]}
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        ids = batch.column(key)
        sums[""] += hash_columns([ids]).sum(axis=0, dtype=np.uint64)
        for at, column in enumerate(columns):
            values = spelled_alike(column, batch.column(at))
            sums[column.name] += hash_columns([ids, values]).sum(axis=0, dtype=np.uint64)
    return {name: (rows, int(total[0]), int(total[1])) for name, total in sums.items()}
