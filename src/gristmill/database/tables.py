"""Tables as SQLAlchemy has them: the target, the staged rows, the ledger; and the types each family makes them of.

Not here: what the catalogue says (`target`), running statements (`writing`). Invariants: names are quoted whatever they
hold; a column goes by `c0`, `c1`, ... in statements, so that no name of a user becomes that of a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateColumn

from gristmill.database.dsn import Family
from gristmill.database.grammar import named
from gristmill.database.spec import Stored, TargetColumn

KEY_LENGTH = 768  # characters: what an index of InnoDB holds of four bytes each
_MYSQL = ("mysql", "mariadb")
STAGED, GONE = "gristmill_staged", "gristmill_gone"

_POSTGRESQL: dict[Stored, Any] = {
    "text": sa.Text(),
    "int": sa.BigInteger(),
    "real": sa.REAL(),
    "float": sa.Double(),
    "bool": sa.Boolean(),
    "time": sa.TIMESTAMP(timezone=True),
    "json": postgresql.JSONB(),
    "bytes": postgresql.BYTEA(),
}
_SQLITE: dict[Stored, Any] = {
    "text": sa.TEXT(),
    "int": sa.INTEGER(),
    "real": sa.REAL(),
    "float": sa.REAL(),
    "bool": sa.INTEGER(),
    "time": sa.TEXT(),
    "json": sa.TEXT(),
    "bytes": sa.BLOB(),
}


def _other(kind: Stored, *, key: bool, collation: str | None) -> Any:
    """Give a type for any other database. Texts compare byte by byte where MySQL's own way would take two for one."""
    words: dict[str, Any] = {"charset": "utf8mb4", "collation": collation} if collation else {}
    if key:
        return sa.String(KEY_LENGTH).with_variant(mysql.VARCHAR(KEY_LENGTH, **words), *_MYSQL)
    kinds: dict[Stored, Any] = {
        "text": sa.Text().with_variant(mysql.LONGTEXT(**words), *_MYSQL),
        "int": sa.BigInteger(),
        "real": sa.Double(),
        "float": sa.Double(),
        "bool": sa.Boolean(),
        "time": sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL),
        "json": sa.Text().with_variant(mysql.JSON(), *_MYSQL),
        "bytes": sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL),
    }
    return kinds[kind]


def column_type(family: Family, kind: Stored, *, key: bool = False, collation: str | None = None) -> Any:
    """Give the type a column of this kind is made with."""
    if family == "other":
        return _other(kind, key=key, collation=collation)
    return (_POSTGRESQL if family == "postgresql" else _SQLITE)[kind]


def written_table(schema: str | None, name: str, columns: Sequence[tuple[str, Stored]], family: Family) -> sa.Table:
    """Give a table there is, for statements: JSON goes as the text it is."""
    made = [
        sa.Column(named(column), column_type(family, "text" if kind == "json" else kind), key=f"c{at}")
        for at, (column, kind) in enumerate(columns)
    ]
    return sa.Table(named(name), sa.MetaData(), *made, schema=named(schema) if schema else None)


def target_table(
    family: Family,
    schema: str | None,
    name: str,
    columns: Sequence[TargetColumn],
    collation: str | None,
    *,
    keyed: bool = True,
) -> sa.Table:
    """Give the table as it is made. Its key is the column that holds the id; keyed: it is declared as such."""
    made = [
        sa.Column(
            named(column.name),
            column_type(family, column.stored, key=column.field == "id", collation=collation),
            key=f"c{at}",
            primary_key=keyed and column.field == "id",
            nullable=column.nullable,
            autoincrement=False,
        )
        for at, column in enumerate(columns)
    ]
    return sa.Table(
        named(name),
        sa.MetaData(),
        *made,
        schema=named(schema) if schema else None,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )


def add_column(dialect: Any, table: sa.Table, name: str, of: Any) -> sa.DDL:
    """Give the statement that adds a column to a table that is there; in its rows it is null at first."""
    place = dialect.identifier_preparer.format_table(table)
    column = CreateColumn(sa.Column(named(name), of)).compile(dialect=dialect)
    text = f"ALTER TABLE {place} ADD COLUMN {column}"
    if dialect.paramstyle in {"format", "pyformat"}:
        text = text.replace("%%", "%")  # DDL doubles them itself
    return sa.DDL(text.replace("%", "%%"))  # type: ignore[no-untyped-call]


def staged_table(family: Family, name: str, columns: Sequence[tuple[str, Any]], key: str | None) -> sa.Table:
    """Give a table of this session alone, of names and types; it goes with the transaction or the session."""
    made = [
        sa.Column(named(column), of, key=f"c{at}", primary_key=column == key) for at, (column, of) in enumerate(columns)
    ]
    on_commit = "DROP" if family == "postgresql" else None
    return sa.Table(named(name), sa.MetaData(), *made, prefixes=["TEMPORARY"], postgresql_on_commit=on_commit)


def ledger_table(schema: str | None, name: str, collation: str | None) -> sa.Table:
    """Give the table that says which snapshot each table of its schema holds."""
    words: dict[str, Any] = {"charset": "utf8mb4", "collation": collation} if collation else {}

    def text(n: int) -> Any:
        return sa.String(n).with_variant(mysql.VARCHAR(n, **words), *_MYSQL)

    return sa.Table(
        named(name),
        sa.MetaData(),
        sa.Column("target", text(KEY_LENGTH), primary_key=True),
        sa.Column("dataset", text(64), nullable=False),
        sa.Column("snapshot", sa.BigInteger(), nullable=False),
        sa.Column("manifest", text(64), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("config", text(32), nullable=False),
        sa.Column("loaded_at", text(32), nullable=False),
        schema=named(schema) if schema else None,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
