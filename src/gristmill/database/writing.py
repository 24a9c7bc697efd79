"""Sessions that write: one transaction at a time, rows by binary COPY (PostgreSQL) or many at once (SQLite, all others).

Not here: what is written and in which order (`loading`), read-only sessions (`connect`). Invariants: a session holds the
lock on the table it loads from the begin of the transaction to its end; nothing of a transaction is kept unless `commit`
came back; whether it was kept when the connection broke in it, only the ledger tells; errors are told as in `connect`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import adbc_driver_manager
import pyarrow as pa
import sqlalchemy as sa

from gristmill.core import access
from gristmill.core.errors import ConfigError, SourceError, Transient
from gristmill.database.ahead import ahead
from gristmill.database.alchemy import Alchemy
from gristmill.database.connect import Adbc, Connection
from gristmill.database.dsn import Dsn, Family
from gristmill.database.grammar import SQLite, Statement

# Of MySQL and MariaDB: out of range, too long, without a default, NULL, over max_allowed_packet.
_NAMES_A_COLUMN = {1264, 1406, 1364, 1048, 1153}


class Writer(Connection, Protocol):
    """A session that writes."""

    @property
    def collation(self) -> str | None:
        """What texts of tables made here are compared by; None: by their bytes anyway."""
        ...

    @property
    def ddl_commits(self) -> bool:
        """Whether making a table ends the transaction, so that it must be done before."""
        ...

    @property
    def dialect(self) -> Any:
        """How SQL is written, as SQLAlchemy has it."""
        ...

    def begin(self, table: str) -> None:
        """Begin a transaction and wait for whoever loads the same table, where that needs no row of the ledger to wait for."""
        ...

    def lock(self, name: str) -> None:
        """Wait for whoever holds this name in a transaction, where databases have such locks."""
        ...

    def execute(self, statement: Any) -> int:
        """Run a statement that gives no rows back; give how many it changed, if it changes rows."""
        ...

    def put(self, table: sa.Table, batches: Iterator[pa.RecordBatch], schema: pa.Schema, *, staged: bool) -> int:
        """Append rows whose columns are those of `schema`, in the table's order; give how many."""
        ...

    def commit(self) -> None:
        """Keep what was done."""
        ...

    def rollback(self) -> None:
        """Forget what was done; also where the connection is lost."""
        ...


def open_writer(dsn: Dsn, wait_s: int, *, create: bool) -> Writer:
    """Open a session that writes. wait_s: how long to wait for a lock; create: make an SQLite file that is not there.

    Raises:
        Transient: the server cannot be reached now.
        SourceError: it refuses us.
    """
    if dsn.family == "postgresql":
        return PostgreSQLWriter(dsn, wait_s)
    return SQLiteWriter(dsn, wait_s, create=create) if dsn.family == "sqlite" else AlchemyWriter(dsn, wait_s)


class _Watched:
    """Batches on their way into a driver: an error in making them is kept, as a driver would only tell its own."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                yield batch
        except GeneratorExit:  # the driver wants no more: it says why itself
            raise
        except BaseException as error:
            self.error = error
            raise

    def raise_own(self) -> None:
        """Raise the error in making the batches, if there was one."""
        if self.error is not None:
            raise self.error from None


class PostgreSQLWriter(Adbc):
    """PostgreSQL through ADBC."""

    collation: str | None = None
    ddl_commits = False

    def _set_up(self, timeout_s: int) -> None:
        settings = {
            "TimeZone": "UTC",
            "DateStyle": "ISO, YMD",
            "extra_float_digits": "1",
            "lock_timeout": str(timeout_s * 1000),
            "statement_timeout": "0",  # a COPY takes as long as it takes
            "default_transaction_isolation": "read committed",  # what was committed while we waited for the lock is seen
        }
        set_all = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        self._execute(f"SELECT {set_all}")

    def begin(self, table: str) -> None:
        """Begin, and take the lock that all loads of a table of this name take."""
        self._execute("BEGIN")
        self.lock(table)

    def lock(self, name: str) -> None:
        """Take an advisory lock; it goes with the transaction."""
        digest = hashlib.blake2b(f"gristmill {name}".encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big", signed=True)
        self.rows(sa.select(sa.func.pg_advisory_xact_lock(sa.cast(sa.literal(number), sa.BigInteger)).cast(sa.Text)))

    @property
    def dialect(self) -> Any:
        """How SQL is written."""
        return self._dialect

    def execute(self, statement: Any) -> int:
        """Run a statement."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(self.sql(statement))
            except (adbc_driver_manager.Error, OSError) as error:
                raise self._told(error) from None
            return int(cursor.rowcount)

    def put(self, table: sa.Table, batches: Iterator[pa.RecordBatch], schema: pa.Schema, *, staged: bool) -> int:
        """Append rows by binary COPY, the next ones read and decoded while the server takes those at hand."""
        made = ahead(batches)
        watched = _Watched(made)
        reader = pa.RecordBatchReader.from_batches(schema, iter(watched))
        place: dict[str, Any] = {"temporary": True} if staged else {"db_schema_name": table.schema}
        with self._connection.cursor() as cursor:
            try:
                cursor.adbc_ingest(str(table.name), reader, mode="append", **place)
            except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                watched.raise_own()
                raise self._told(error) from None
            finally:
                made.close()
        return watched.rows

    def commit(self) -> None:
        """Commit."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Roll back; a lost connection has done so itself."""
        with suppress(SourceError):
            self._execute("ROLLBACK")


def recover(dsn: Dsn, wait_s: int) -> None:
    """Let SQLite roll back what a process that died, or found the disk full, left half done: a reader may not.

    wait_s: how long to wait for whoever is writing, as a journal is also there while all is well.

    Raises:
        Transient: that took longer.
        SourceError: it cannot.
    """
    if dsn.family == "sqlite" and Path(f"{dsn.url}-journal").exists():
        writer = SQLiteWriter(dsn, wait_s, create=False)
        try:
            writer.probe()
        finally:
            writer.close()


class SQLiteWriter:
    """SQLite through Python's own driver, whose errors say what kind they are."""

    family: Family = "sqlite"
    collation: str | None = None
    ddl_commits = False

    def __init__(self, dsn: Dsn, wait_s: int, *, create: bool) -> None:
        self._dsn = dsn
        if not create and not Path(dsn.url).is_file():
            raise ConfigError(f"dsn: there is no file {dsn.url}; set create: true to have it made")
        if create and not Path(dsn.url).exists():
            # With our mode, whatever the umask says: SQLite gives its journals the same. What cannot be made SQLite says.
            with suppress(OSError):
                access.append(Path(dsn.url)).close()
        try:
            self._connection = sqlite3.connect(dsn.url, timeout=wait_s, isolation_level=None)
        except sqlite3.Error as error:
            raise self._told(error) from None

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def probe(self) -> None:
        """Read something."""
        self._run("SELECT count(*) FROM sqlite_master").fetchall()

    def begin(self, table: str) -> None:
        """Begin, and take the file's one lock for writing."""
        self._run(
            "PRAGMA synchronous = EXTRA"
        )  # else a power loss after COMMIT may bring its journal back, and undo it
        self._run("BEGIN IMMEDIATE")

    def lock(self, name: str) -> None:
        """The file is locked already."""

    def _run(self, sql: str) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql)
        except sqlite3.Error as error:
            raise self._told(error) from None

    @property
    def dialect(self) -> Any:
        """How SQL is written."""
        return SQLite.dialect

    def _sql(self, statement: Any) -> str:
        return str(statement.compile(dialect=SQLite.dialect, compile_kwargs={"literal_binds": True}))

    def execute(self, statement: Any) -> int:
        """Run a statement."""
        return self._run(self._sql(statement)).rowcount

    def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        """Give all rows of a small result."""
        return self._run(self._sql(statement)).fetchall()

    def names(self, statement: Statement) -> list[str]:
        """Give the names of the columns of a result."""
        return [name for name, *_ in self._run(self._sql(statement)).description]

    def batches(self, statement: Statement, batch_bytes: int, row_bytes: int, *, whole: bool) -> Any:
        """Nothing large is read by a session that writes."""
        raise NotImplementedError

    def put(self, table: sa.Table, batches: Iterator[pa.RecordBatch], schema: pa.Schema, *, staged: bool) -> int:
        """Append rows, many in one call."""
        sql = str(sa.insert(table).compile(dialect=SQLite.dialect, column_keys=list(table.c.keys())))
        sql = sql.partition(" VALUES ")[0] + f" VALUES ({', '.join('?' * len(schema))})"
        rows = 0
        for batch in batches:
            cells = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            try:
                self._connection.executemany(sql, cells)
            except (sqlite3.Error, OverflowError) as error:
                raise self._told(error) from None
            rows += batch.num_rows
        return rows

    def commit(self) -> None:
        """Commit."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Roll back, if there is anything to roll back."""
        if self._connection.in_transaction:
            with suppress(SourceError):
                self._run("ROLLBACK")

    def _told(self, error: Exception) -> SourceError:
        """Give our error; messages of SQLite name tables and columns, never values."""
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        passing = name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_PROTOCOL"))
        message = f"the database says: {error} ({name})"
        return Transient(message) if passing else SourceError(message)


class AlchemyWriter(Alchemy):
    """Every other database through SQLAlchemy."""

    ddl_commits = True

    def __init__(self, dsn: Dsn, wait_s: int) -> None:
        self.collation: str | None = None
        super().__init__(dsn, wait_s)

    def _set_up(self, timeout_s: int) -> None:
        if self.engine.dialect.name not in {"mysql", "mariadb"}:
            return
        is_mariadb = bool(getattr(self.engine.dialect, "is_mariadb", False))
        self.collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        # Strict: a value that does not fit is an error, where MySQL could cut it off and go on.
        waits = [f"{name} = {timeout_s}" for name in ("innodb_lock_wait_timeout", "lock_wait_timeout")]
        for command in ("sql_mode = 'TRADITIONAL'", "time_zone = '+00:00'", *waits):
            try:
                self._connection.execute(sa.text(f"SET SESSION {command.replace(':', chr(92) + ':')}"))
                self._connection.commit()
            except sa.exc.DBAPIError as error:
                raise self._told(error) from None

    def begin(self, table: str) -> None:
        """Begin; the ledger's row is the lock."""
        self._connection.rollback()

    def lock(self, name: str) -> None:
        """There are none that all databases have."""

    def _end(self) -> None:
        """A transaction ends when it is told to."""

    @property
    def dialect(self) -> Any:
        """How SQL is written."""
        return self.engine.dialect

    def execute(self, statement: Any) -> int:
        """Run a statement."""
        try:
            return int(getattr(self._connection.execute(statement), "rowcount", -1))
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None

    def put(self, table: sa.Table, batches: Iterator[pa.RecordBatch], schema: pa.Schema, *, staged: bool) -> int:
        """Append rows, many in one call."""
        rows, keys = 0, list(table.c.keys())
        insert = sa.insert(table)
        for batch in batches:
            cells = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            try:
                self._connection.execute(insert, [dict(zip(keys, row, strict=True)) for row in cells])
            except (sa.exc.SQLAlchemyError, UnicodeEncodeError) as error:
                raise self._told(error) from None
            rows += batch.num_rows
        return rows

    def _told(self, error: Exception) -> SourceError:
        """Give our error; these messages name the column and quote nothing."""
        told = super()._told(error)
        original = getattr(error, "orig", None)
        code, words = [*getattr(original, "args", ()), None, None][:2]
        if code in _NAMES_A_COLUMN and not isinstance(told, Transient):
            return SourceError(self._dsn.hide(f"the database says: {words} ({code})"))
        return told

    def commit(self) -> None:
        """Commit."""
        try:
            self._connection.commit()
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None

    def rollback(self) -> None:
        """Roll back; a lost connection has done so itself."""
        try:
            self._connection.rollback()
        except sa.exc.SQLAlchemyError:
            self._connection.invalidate()
