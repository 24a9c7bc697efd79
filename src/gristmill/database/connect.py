"""Connections: one read-only session each, by ADBC for PostgreSQL and SQLite, by SQLAlchemy for all others.

Not here: what is asked (`compose`), trying again (`keyset`). Invariants: a session cannot write where the database has
read-only sessions; times come in UTC and texts of values in one spelling whatever the server's settings; an error is
`Transient` if another try may help, else `SourceError`, told by its type and SQLSTATE, and quotes no data and no secret.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

import adbc_driver_manager
import adbc_driver_postgresql.dbapi  # type: ignore[import-untyped]
import adbc_driver_sqlite.dbapi
import pyarrow as pa

from gristmill.core.errors import SourceError, Transient
from gristmill.database.cells import values
from gristmill.database.dsn import Dsn, Family, sqlite_uri, with_options
from gristmill.database.grammar import PostgreSQL, SQLite, Statement

_CONNECT_S = 10
_WAIT_MS = 10_000  # for a lock on an SQLite file
_ROW_BYTES = 128  # what a row costs besides its cells
# More falls out of the CPU's cache before it is looked at, and is mapped anew each time.
_SQLITE_BATCH_BYTES = 2_500_000
# Rows are read once: a tenth faster than with the default cache of 2 MB, which falls out of the CPU's.
_SQLITE_CACHE_KIB = 256
_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
# Classes of SQLSTATE another try can help with: connection, transaction rollback, resources, operator, system.
_PASSING = ("08", "40", "53", "57", "58", "55P03", "XX000")
_NAMES_ONLY = ("42", "3D", "3F", "28", "25")  # these messages name objects and users, not data


class Connection(Protocol):
    """A session of a database."""

    @property
    def family(self) -> Family:
        """The family of the database."""
        ...

    def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        """Give all rows of a small result."""
        ...

    def names(self, statement: Statement) -> list[str]:
        """Give the names of the columns of a result."""
        ...

    def batches(
        self, statement: Statement, batch_bytes: int, row_bytes: int, *, whole: bool
    ) -> Generator[pa.RecordBatch, None, None]:
        """Give a result in batches of about `batch_bytes`, if rows have about `row_bytes`.

        whole: the result is small and may be held; errors can then be told apart.
        """
        ...

    def close(self) -> None:
        """End the session."""
        ...


def connect(dsn: Dsn, timeout_s: int) -> Connection:
    """Open a session.

    Raises:
        Transient: the server cannot be reached now.
        SourceError: it refuses us.
    """
    if dsn.family == "other":
        from gristmill.database.alchemy import Alchemy

        return Alchemy(dsn, timeout_s)
    return Adbc(dsn, timeout_s)


class Adbc:
    """A session by ADBC: results come as Arrow, in constant memory."""

    def __init__(self, dsn: Dsn, timeout_s: int) -> None:
        self._dsn = dsn
        self.family: Family = dsn.family
        self._dialect = PostgreSQL.dialect if dsn.family == "postgresql" else SQLite.dialect
        try:
            if dsn.family == "postgresql":
                options = {"connect_timeout": str(_CONNECT_S), "application_name": "gristmill"}
                url = with_options(dsn.url, options)
                self._connection = adbc_driver_postgresql.dbapi.connect(url, autocommit=True)
            elif not Path(dsn.url).is_file():
                raise SourceError(f"dsn: there is no file {dsn.url}")
            else:
                self._connection = adbc_driver_sqlite.dbapi.connect(sqlite_uri(dsn.url), autocommit=True)
        except adbc_driver_manager.Error as error:
            raise self._told(error) from None
        try:
            self._set_up(timeout_s)
        except BaseException:
            self.close()
            raise

    def _set_up(self, timeout_s: int) -> None:
        if self._dsn.family == "sqlite":
            for pragma in ("query_only = 1", f"busy_timeout = {_WAIT_MS}", f"cache_size = -{_SQLITE_CACHE_KIB}"):
                self._execute(f"PRAGMA {pragma}")
            return
        settings = {
            "default_transaction_read_only": "on",
            "TimeZone": "UTC",
            "DateStyle": "ISO, YMD",
            "IntervalStyle": "iso_8601",
            "extra_float_digits": "1",
            "bytea_output": "hex",
            "lc_monetary": "C",
            "statement_timeout": str(timeout_s * 1000),
        }
        set_all = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        self._execute(f"SELECT {set_all}")

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def sql(self, statement: Statement) -> str:
        """Give a statement as text, its values as literals."""
        return str(statement.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True}))

    def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        """Give all rows of a small result."""
        return self._execute(self.sql(statement))

    def _execute(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                if not cursor.description:
                    return []
                columns = [values(column) for column in cursor.fetch_arrow_table().columns]
                return list(zip(*columns, strict=True))
            except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                raise self._told(error) from None

    def names(self, statement: Statement) -> list[str]:
        """Give the names of the columns of a result."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(self.sql(statement))
                return list(cursor.fetch_record_batch().schema.names)
            except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                raise self._told(error) from None

    def batches(
        self, statement: Statement, batch_bytes: int, row_bytes: int, *, whole: bool
    ) -> Generator[pa.RecordBatch, None, None]:
        """Give a result in batches; PostgreSQL streams it by COPY unless it is to be `whole`."""
        with self._connection.cursor() as cursor:
            if self._dsn.family == "sqlite":
                rows = min(max(min(batch_bytes, _SQLITE_BATCH_BYTES) // (row_bytes + _ROW_BYTES), 16), 1 << 14)
                options = {"adbc.sqlite.query.batch_rows": str(rows)}
            else:
                options = {"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)}
                if whole:
                    options["adbc.postgresql.use_copy"] = "false"
            cursor.adbc_statement.set_options(**options)
            try:
                cursor.execute(self.sql(statement))
                reader = cursor.fetch_record_batch()
            except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                raise self._told(error) from None
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                    raise self._told(error) from None
                yield batch
                del batch

    def _told(self, error: Exception) -> SourceError:
        """Give our error for the driver's. An error in the midst of a result has no SQLSTATE: it may be passing."""
        state = getattr(error, "sqlstate", None) or ""
        told = re.split(r"(?:ERROR|FATAL):\s+", str(error))[-1]  # before it stands the statement
        message = told.partition("\n")[0].strip().replace("[libpq] ", "")
        if not state.startswith(_NAMES_ONLY):
            message = _QUOTED.sub('"…"', message)
        message = self._dsn.hide(f"the database says: {message}" + (f" (SQLSTATE {state})" if state else ""))
        if self._dsn.family == "sqlite":
            passing = not isinstance(error, adbc_driver_manager.ProgrammingError)
        else:
            passing = state.startswith(_PASSING) if state else True
        return Transient(message) if passing else SourceError(message)
