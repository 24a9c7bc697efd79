"""How each family of databases says what we need: values as text, rows as JSON, literals of typed values.

Not here: which rows (`compose`). Invariants: every expression is built from SQLAlchemy elements, none from text of a
user or of data; an expression never raises in the database whatever the row holds.
"""

from __future__ import annotations

import functools
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement, quoted_name
from sqlalchemy.sql.selectable import FromClause

from gristmill.core.errors import SourceError
from gristmill.database.dsn import Family
from gristmill.database.relation import Column, Relation
from gristmill.database.values import Kind, Value

Expression: TypeAlias = ColumnElement[Any]
Statement: TypeAlias = Any  # a SELECT of SQLAlchemy; its type is written differently for 2.0 and 2.1

_PAIRS = 40  # of names and values in one function call: PostgreSQL takes 100 arguments, older SQLite 127
_NATIVE_TEXT: set[Kind] = {"text"}
_PLAIN_JSON: set[Kind] = {"int", "bool", "text", "float", "time", "timetz", "date"}
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_SQLITE_TYPES: dict[Kind, list[str]] = {"int": ["integer"], "float": ["integer", "real"], "text": ["text"]}
# The times Python and Arrow agree on; PostgreSQL has more, and infinity.
_FIRST, _LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"


def named(name: str) -> quoted_name:
    """Give a name that is quoted whatever it holds."""
    return quoted_name(name, True)


def source(relation: Relation) -> FromClause:
    """Give a relation as what stands after FROM, by the name `source`: the table, or the query in brackets.

    Columns are always written with that name: SQLite takes a quoted name that stands alone and is no column for a string.
    """
    columns: list[Any] = [sa.column(named(column.name)) for column in relation.columns]
    if relation.query:
        return sa.text(relation.query.replace(":", "\\:") + "\n").columns(*columns).subquery("source")
    schema = named(relation.schema) if relation.schema else None
    return sa.table(named(relation.table), *columns, schema=schema).alias("source")


class Grammar:
    """What databases have in common.

    row_values: they compare (a, b) > (c, d) and use an index for it. on_server: meta is written by the database.
    fixed_rows: a batch has a number of rows, whatever their size.
    """

    row_values = False
    on_server = False
    fixed_rows = False

    def __init__(self, relation: Relation) -> None:
        self.source = source(relation)

    def col(self, column: Column) -> Expression:
        """Give a column of the relation."""
        return self.source.c[column.name]

    def text(self, column: Column) -> Expression:
        """Give a column as text, or as bytes where it holds them."""
        return self.col(column)

    def raw(self, column: Column) -> Expression:
        """Give a column as bytes, or as text where it holds that."""
        return self.text(column)

    def key(self, column: Column) -> Expression:
        """Give a key or cursor column in a form that can be written down."""
        return self.col(column)

    def time(self, column: Column) -> Expression:
        """Give a mapped time."""
        return self.col(column)

    def document(self, columns: list[Column]) -> Expression:
        """Give an object of these columns as JSON text."""
        raise NotImplementedError

    def size(self, column: Column) -> Expression | None:
        """Give the bytes of a cell without sending it, None if that cannot be had."""
        return sa.func.octet_length(self.col(column))

    def strange(self, column: Column) -> Expression | None:
        """Give whether a cell holds what JSON has no word for, None if it never can."""
        return None

    def gone(self, column: Column) -> Expression:
        """Give what a tombstone column says, for `core.tombstones`."""
        return self.col(column)

    def literal(self, value: Value) -> Expression:
        """Give a typed value as an operand."""
        return sa.literal(value)

    def within(self, cursor: Column) -> Expression | None:
        """Give whether a cursor that is not null is one we can order by, None if all are."""
        return None

    def now(self) -> Expression:
        """Give the database's clock."""
        return sa.func.current_timestamp()

    def horizon(self) -> Expression:
        """Give the transaction number below which all transactions have ended.

        Raises:
            SourceError: the database has none.
        """
        raise SourceError("horizon: xmin needs PostgreSQL")


class PostgreSQL(Grammar):
    """PostgreSQL 13 and later, read as binary COPY."""

    row_values = True
    on_server = True
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]

    def text(self, column: Column) -> Expression:
        """Text and bytes as they are, all else cast."""
        return self.col(column) if column.kind in {"text", "bytes"} else sa.cast(self.col(column), sa.Text)

    def key(self, column: Column) -> Expression:
        """Integers, text, bytes and times as they are, all else cast to text."""
        native: set[Kind] = {"int", "text", "bytes", "time", "timetz", "date"}
        return self.col(column) if column.kind in native else sa.cast(self.col(column), sa.Text)

    def time(self, column: Column) -> Expression:
        """A time as it is (infinity comes as the ends of the integers, which `pages` takes out); all else as text."""
        return self.col(column) if column.kind in {"time", "timetz", "date"} else self.text(column)

    def document(self, columns: list[Column]) -> Expression:
        """JSON text put together from `to_json` of each column; to_json(json) would let any JSON through, so it is cast."""
        pieces: list[Expression] = []
        for at, column in enumerate(columns):
            name = orjson.dumps(column.name).decode()
            pieces += [_string(f"{',' if at else '{'}{name}:"), self._json(column)]
        groups = [pieces[at : at + 2 * _PAIRS] for at in range(0, len(pieces), 2 * _PAIRS)]
        parts: list[Expression] = [sa.func.concat(*group) for group in groups]
        return sa.func.concat(*parts, _string("}"))

    def _json(self, column: Column) -> Expression:
        value = self.col(column)
        if column.kind == "bytes":
            value = sa.func.translate(sa.func.encode(value, _string("base64")), _string("\n"), _string(""))
        elif column.kind not in _PLAIN_JSON:
            value = sa.cast(value, sa.Text)
        odd = self.strange(column)
        if odd is not None:
            value = sa.case((sa.not_(odd), value))
        return sa.func.coalesce(sa.cast(sa.func.to_json(value), sa.Text), _string("null"))

    def size(self, column: Column) -> Expression | None:
        """Bytes of text and binary as stored; of other types that can be long, of their text."""
        if column.kind in {"text", "bytes"}:
            return sa.func.octet_length(self.col(column))
        return sa.func.octet_length(sa.cast(self.col(column), sa.Text)) if column.kind in {"json", "other"} else None

    def strange(self, column: Column) -> Expression | None:
        """Infinity and NaN of numbers and times."""
        if column.kind in {"time", "timetz", "date"}:
            inside = self.within(column)
            assert inside is not None
            return sa.func.coalesce(sa.not_(inside), sa.false())
        if column.kind not in {"float", "decimal"}:
            return None
        return sa.func.coalesce(
            sa.cast(self.col(column), sa.Text).in_([_string(word) for word in _NOT_FINITE]), sa.false()
        )

    def gone(self, column: Column) -> Expression:
        """Booleans and integers as they are, times (the endless ones too) and UUIDs as whether there is one, all else as text."""
        if column.kind in {"bool", "int"}:
            return self.col(column)
        if column.kind in {"time", "timetz", "date", "uuid"}:
            return sa.case((self.col(column).is_not(None), 1), else_=0)
        return sa.cast(self.col(column), sa.Text)

    def literal(self, value: Value) -> Expression:
        """A literal: with bound parameters the driver holds the whole result (its COPY takes none)."""
        if isinstance(value, bytes):
            return sa.cast(_string(f"\\x{value.hex()}"), postgresql.BYTEA)
        if isinstance(value, datetime):
            return sa.cast(_string(value.isoformat(" ")), sa.DateTime(timezone=value.tzinfo is not None))
        if isinstance(value, date):
            return sa.cast(_string(value.isoformat()), sa.Date)
        if isinstance(value, UUID):
            return sa.cast(_string(str(value)), postgresql.UUID)
        if isinstance(value, Decimal):
            return sa.cast(_string(str(value)), sa.Numeric)
        if isinstance(value, float):
            return sa.cast(_string(repr(value)), sa.Double)
        return sa.literal(value)

    def within(self, cursor: Column) -> Expression | None:
        """Times between year 1 and 9999; numbers that are finite."""
        if cursor.kind in {"time", "timetz", "date"}:
            zone = "+00" if cursor.kind == "timetz" else ""
            of: Any = sa.Date() if cursor.kind == "date" else sa.DateTime(timezone=cursor.kind == "timetz")
            first, last = (sa.cast(_string(text + zone), of) for text in (_FIRST, _LAST))
            return sa.and_(self.col(cursor) >= first, self.col(cursor) <= last)
        if cursor.kind == "decimal":
            return sa.not_(self.col(cursor).in_([sa.cast(_string(word), sa.Numeric) for word in _NOT_FINITE]))
        return None

    def now(self) -> Expression:
        """With its zone: UTC, as the session is set to it."""
        return sa.func.now()

    def horizon(self) -> Expression:
        """xid8 as a number: 64 bits, so it does not wrap."""
        return sa.cast(sa.cast(sa.func.pg_snapshot_xmin(sa.func.pg_current_snapshot()), sa.Text), sa.BigInteger)


class SQLite(Grammar):
    """SQLite: any cell may hold any type, so each is asked for its own."""

    row_values = True
    on_server = True
    dialect = sqlite.dialect(paramstyle="named")

    fixed_rows = True

    def text(self, column: Column) -> Expression:
        """Text; the driver guesses the type of a column by its values, so all of them must have one.

        A column declared as text holds text or bytes, and is left as it is: casting costs a fiftieth of all.
        """
        return self.col(column) if column.kind == "text" else sa.cast(self.col(column), sa.Text)

    time = text

    def raw(self, column: Column) -> Expression:
        """Bytes of whatever it is."""
        return sa.cast(self.col(column), sa.LargeBinary)

    def document(self, columns: list[Column]) -> Expression:
        """JSON text by `json_object`, which takes no BLOB: those become hexadecimal."""
        groups = [columns[at : at + _PAIRS] for at in range(0, len(columns), _PAIRS)]
        made = [
            sa.func.json_object(*(item for column in group for item in (_string(column.name), self._json(column))))
            for group in groups
        ]

        def joined(left: Expression, right: Expression) -> Expression:
            return sa.func.substr(left, 1, sa.func.length(left) - 1).concat(",").concat(sa.func.substr(right, 2))

        return functools.reduce(joined, made)

    def _json(self, column: Column) -> Expression:
        """The cell; infinity comes as 9.0e+999, which `pages` takes out."""
        value = self.col(column)
        return sa.case((sa.func.typeof(value) == "blob", sa.func.hex(value)), else_=value)

    def size(self, column: Column) -> Expression | None:
        """Bytes of a cell, of columns that are not declared as numbers."""
        return None if column.kind in {"int", "float"} else sa.func.octet_length(self.col(column))

    def gone(self, column: Column) -> Expression:
        """Text of whatever it is."""
        return sa.cast(self.col(column), sa.Text)

    def literal(self, value: Value) -> Expression:
        """A literal of the value's own storage class."""
        if isinstance(value, bytes):
            return sa.literal_column(f"X'{value.hex()}'")
        if isinstance(value, str) and not (value.isprintable() and value.isascii()):
            # A statement ends at a NUL, and cannot hold what is no UTF-8.
            data = value.encode("utf-8", "surrogateescape")
            return sa.cast(sa.literal_column(f"X'{data.hex()}'"), sa.Text)
        return sa.literal_column(repr(value)) if isinstance(value, float) else sa.literal(value)

    def within(self, cursor: Column) -> Expression | None:
        """Cells of the column's own type, where there are others."""
        types = _SQLITE_TYPES.get(cursor.kind)
        return sa.func.typeof(self.col(cursor)).in_(types) if cursor.mixed and types else None

    def now(self) -> Expression:
        """In UTC."""
        return sa.func.datetime("now")


class Other(Grammar):
    """Every other dialect of SQLAlchemy: plain columns and bound values; the rest is done after reading."""

    def size(self, column: Column) -> Expression | None:
        """Not asked for: functions differ between databases."""
        return None


def grammar_of(family: Family) -> type[Grammar]:
    """Give the grammar of a family of databases."""
    return PostgreSQL if family == "postgresql" else SQLite if family == "sqlite" else Other


def _string(text: str) -> Expression:
    return sa.literal(text, sa.Text)
