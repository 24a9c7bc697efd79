"""A session by SQLAlchemy, for every database that ADBC is not used for: rows as Python values, packed into Arrow.

Not here: statements (`compose`), pages (`pages`). Invariants: results are streamed by a server-side cursor where the
driver has one; every value that JSON has no word for becomes text, or null if it is infinite or no number; the columns
are those ADBC gives, so that one code makes the pages.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Generator
from datetime import date, datetime
from typing import Any, TypeVar

import orjson
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gristmill.core.errors import SourceError, Transient
from gristmill.database.dsn import Dsn, Family
from gristmill.database.grammar import Statement

T = TypeVar("T")

_ROWS = 1000  # fetched at a time, at most
_BUFFER_ROWS = 50  # read ahead
# MySQL and MariaDB errors that no other try helps with: who may connect and read what, and what is not there.
_REFUSED = {1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, 1227, 1356, 1370}


class Alchemy:
    """A session by SQLAlchemy."""

    def __init__(self, dsn: Dsn, timeout_s: int) -> None:
        self._dsn = dsn
        self.family: Family = dsn.family
        try:
            self.engine = sa.create_engine(dsn.url, poolclass=NullPool, hide_parameters=True)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
            raise SourceError(dsn.hide(f"dsn: {error}; install the driver it names")) from None
        try:
            self._connection = self.engine.connect()
        except sa.exc.DBAPIError as error:
            raise self._told(error) from None
        try:
            self._set_up(timeout_s)
        except BaseException:
            self.close()
            raise

    def _set_up(self, timeout_s: int) -> None:
        if self.engine.dialect.name not in {"mysql", "mariadb"}:
            return
        is_mariadb = getattr(self.engine.dialect, "is_mariadb", False)
        limit = f"max_statement_time = {timeout_s}" if is_mariadb else f"max_execution_time = {timeout_s * 1000}"
        for command in ("SESSION TRANSACTION READ ONLY", "time_zone = '+00:00'", limit):
            try:
                self._connection.execute(sa.text(f"SET {command.replace(':', chr(92) + ':')}"))
                self._connection.rollback()
            except sa.exc.DBAPIError as error:
                raise self._told(error) from None

    def close(self) -> None:
        """End the session."""
        self._connection.close()
        self.engine.dispose()

    def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        """Give all rows of a small result."""
        try:
            return [tuple(row) for row in self._connection.execute(statement)]
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None
        finally:
            self._end()

    def _end(self) -> None:
        """Let the snapshot go, so that the next statement sees what was committed since."""
        try:
            self._connection.rollback()
        except sa.exc.SQLAlchemyError:
            self._connection.invalidate()

    def names(self, statement: Statement) -> list[str]:
        """Give the names of the columns of a result."""
        try:
            return list(self._connection.execute(statement).keys())
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None
        finally:
            self._end()

    def batches(
        self, statement: Statement, batch_bytes: int, row_bytes: int, *, whole: bool
    ) -> Generator[pa.RecordBatch, None, None]:
        """Give a result in batches. The columns m0, m1, ... become `meta`, in the order and by the names of `Other`."""
        names = statement.selected_columns.keys()
        rests = {
            label: str(column.element.name) for label, column in statement.selected_columns.items() if label[0] == "m"
        }
        result: Any = None
        ended = False
        try:
            options = {"stream_results": not whole, "max_row_buffer": _BUFFER_ROWS}
            result = self._connection.execute(statement, execution_options=options)
            held: list[Any] = []
            size, seen = 0, row_bytes
            while not ended:
                part = result.fetchmany(min(max(batch_bytes // (4 * seen), 1), _ROWS))
                part_bytes = sum(len(cell) if isinstance(cell, str | bytes) else 8 for row in part for cell in row)
                seen = max(part_bytes // len(part), 16) if part else seen
                held += part
                size += part_bytes
                ended = not part
                if held and (ended or size >= batch_bytes):
                    yield packed(names, rests, held)
                    held, size = [], 0
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None
        finally:
            if result is not None and not ended:
                _abandon(result)
                self._connection.invalidate()
            else:
                self._end()

    def inspected(self, ask: Callable[[Any], T]) -> T:
        """Give what `ask` finds in the catalogue, by SQLAlchemy's inspector."""
        try:
            return ask(sa.inspect(self._connection))
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None
        finally:
            self._end()

    def fetch(self, statement: Statement, rows: int) -> Generator[list[Any], None, None]:
        """Give a result as it is, so many rows at a time."""
        ended = False
        try:
            options = {"stream_results": True, "max_row_buffer": rows}
            result = self._connection.execute(statement, execution_options=options)
            while found := result.fetchmany(rows):
                yield list(found)
            ended = True
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from None
        finally:
            if ended:
                self._end()
            else:
                self._connection.invalidate()

    def _told(self, error: Exception) -> SourceError:
        original = getattr(error, "orig", None)
        code = next(iter(getattr(original, "args", ())), None)
        passing = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError)
        passing = (passing or bool(getattr(error, "connection_invalidated", False))) and code not in _REFUSED
        # The words of a refusal name objects and users; those of other errors may quote data.
        words = f" {original}" if isinstance(error, sa.exc.ProgrammingError) or code in _REFUSED else ""
        number = f" {code}" if isinstance(code, int) else ""
        name = type(original or error).__name__
        message = self._dsn.hide(f"the database says: {name}{number}{words}".strip())
        return Transient(message) if passing else SourceError(message)


def _abandon(result: Any) -> None:
    """Leave the rest of a result. PyMySQL would read it to its end when it is closed, on a dead connection too, which raises."""
    pending = getattr(getattr(result, "cursor", None), "_result", None)
    if pending is not None and hasattr(pending, "unbuffered_active"):
        pending.unbuffered_active = False


def packed(names: list[str], rests: dict[str, str], rows: list[Any]) -> pa.RecordBatch:
    """Pack rows into the columns ADBC would give; the columns in `rests` (label to name) become JSON text."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    arrays: dict[str, pa.Array] = {}
    for label, values in columns.items():
        if label in rests:
            continue
        arrays[label] = _array(list(values), raw=label in {"c", "gone"} or label[0] == "k")
    if rests:
        odd = [0] * len(rows)
        labels = list(rests)
        metas = []
        for at, cells in enumerate(zip(*(columns[label] for label in labels), strict=True)):
            odd[at] = sum(isinstance(cell, float) and not math.isfinite(cell) for cell in cells)
            record = {rests[label]: cell for label, cell in zip(labels, cells, strict=True)}
            metas.append(orjson.dumps(record, default=_plain).decode())
        arrays["meta"] = pa.array(metas, pa.string())
        arrays["odd"] = pa.array(odd, pa.int64())
    return pa.RecordBatch.from_pydict(arrays)


def _array(values: list[Any], *, raw: bool) -> pa.Array:
    """Give cells as a column: times, dates and (if raw) integers as such, bytes as bytes, all else as text."""
    kinds = {type(value) for value in values if value is not None}
    if raw and kinds <= {int, bool} and all(abs(value or 0) < 1 << 63 for value in values):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    if kinds == {datetime}:
        zoned = {value.tzinfo is not None for value in values if value is not None}
        if len(zoned) == 1:
            return pa.array(values, pa.timestamp("us", tz="UTC" if True in zoned else None))
    if kinds == {date}:
        return pa.array(values, pa.date32())
    if bytes in kinds:
        cells = [value if isinstance(value, bytes) or value is None else _text(value).encode() for value in values]
        return pa.array(cells, pa.binary())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool) else str(value)


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
