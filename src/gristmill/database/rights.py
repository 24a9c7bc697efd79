"""Who may write: whether the session's user has the rights a load needs, asked of the catalogue before there is one.

Not here: what the table is like (`target`). Invariants: nothing is changed and nothing tried; where a database does not say
(rights by roles of MySQL, all other databases), nothing is told.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gristmill.database.alchemy import Alchemy
from gristmill.database.connect import Connection
from gristmill.database.dsn import Dsn
from gristmill.database.spec import Spec
from gristmill.database.target import Target, missing

_ON_TABLE = ("SELECT", "INSERT", "UPDATE", "DELETE")


def lacking(connection: Connection, target: Target, ledger: Target, spec: Spec) -> list[str]:
    """Give one sentence for each right that a load would need and its user has not."""
    if connection.family == "postgresql":
        return _postgresql(connection, target, ledger, spec)
    if isinstance(connection, Alchemy) and connection.engine.dialect.name in {"mysql", "mariadb"}:
        return _mysql(connection, target)
    return []


def of_file(dsn: Dsn, *, create: bool) -> list[str]:
    """Say why an SQLite file cannot be written or made."""
    path = Path(dsn.url)
    if not path.exists() and not create:
        return [f"dsn: there is no file {path}; set create: true to have it made"]
    if not path.parent.is_dir():
        return [f"dsn: there is no folder {path.parent}; make it"]
    wanted = [path.parent, *([path] if path.exists() else [])]  # SQLite writes a journal beside the file
    return [
        f"dsn: {each} may not be written; give its user the right" for each in wanted if not os.access(each, os.W_OK)
    ]


def _postgresql(connection: Connection, target: Target, ledger: Target, spec: Spec) -> list[str]:
    told = []
    schema = target.schema
    asked = sa.select(
        sa.func.has_database_privilege(sa.func.current_database(), _text("TEMP")).cast(sa.Integer),
        sa.func.pg_is_in_recovery().cast(sa.Integer),
        sa.func.coalesce(sa.func.to_regnamespace(sa.func.quote_ident(_text(schema))).cast(sa.Text), _text("")),
    )
    ((may_stage, standby, place),) = connection.rows(asked)
    if standby:
        told.append("dsn: this server is a standby and cannot be written; name the primary")
    if not may_stage:
        told.append("the user may make no temporary tables here; GRANT TEMP ON DATABASE")
    if not schema or not place:
        return [*told, f'there is no schema "{schema}"; make it' if schema else "no schema of the search path is there"]
    if target.columns is None or ledger.columns is None:
        ((may_make,),) = connection.rows(
            sa.select(sa.func.has_schema_privilege(_text(schema), _text("CREATE")).cast(sa.Integer))
        )
        if not may_make and spec.create:
            told.append(
                f'the user may make no tables in schema "{schema}"; GRANT CREATE ON SCHEMA, or make them and set create: false'
            )
    for each, rights in ((target, _ON_TABLE), (ledger, _ON_TABLE[:3])):
        if each.columns is not None:
            told += _on_table(connection, each, rights)
    if target.columns is not None and spec.create and missing("postgresql", target, spec):
        told += _owner(connection, target)
    return told


def _on_table(connection: Connection, target: Target, rights: tuple[str, ...]) -> list[str]:
    full = _full(target)
    asked = [sa.func.has_table_privilege(full, _text(right)).cast(sa.Integer).label(right.lower()) for right in rights]
    (row,) = connection.rows(sa.select(*asked))
    without = [right for right, has in zip(rights, row, strict=True) if not has]
    return [f"the user may not {', '.join(without)} on {target.called()}; GRANT it"] if without else []


def _owner(connection: Connection, target: Target) -> list[str]:
    classes = sa.table("pg_class", sa.column("oid"), sa.column("relowner"), schema="pg_catalog")
    oid = sa.cast(sa.func.to_regclass(_full(target)), sa.dialects.postgresql.OID)
    owns = sa.func.pg_has_role(classes.c.relowner, _text("USAGE")).cast(sa.Integer)
    ((may,),) = connection.rows(sa.select(owns).where(classes.c.oid == oid))
    return [] if may else [f"columns are to be added to {target.called()}, which only its owner may do"]


def _full(target: Target) -> Any:
    return sa.func.concat(
        sa.func.quote_ident(_text(target.schema)), _text("."), sa.func.quote_ident(_text(target.table))
    )


def _mysql(connection: Connection, target: Target) -> list[str]:
    """Go by the rights given to the user itself, of all, of the database and of the table; roles are not seen."""
    if target.schema:
        schema = target.schema
    else:
        ((schema,),) = connection.rows(sa.select(sa.func.database()))
    found: set[str] = set()
    for view in ("USER_PRIVILEGES", "SCHEMA_PRIVILEGES", "TABLE_PRIVILEGES"):
        names = {"TABLE_PRIVILEGES": ("TABLE_SCHEMA", "TABLE_NAME"), "SCHEMA_PRIVILEGES": ("TABLE_SCHEMA",)}.get(
            view, ()
        )
        rights = sa.table(view, *map(sa.column, ("PRIVILEGE_TYPE", *names)), schema="information_schema")
        asked = sa.select(rights.c.PRIVILEGE_TYPE)
        if names:  # the name of a database may be a pattern
            asked = asked.where(sa.literal(schema).like(rights.c.TABLE_SCHEMA))
        if len(names) > 1:
            asked = asked.where(rights.c.TABLE_NAME.in_([target.table]))
        found |= {str(right).upper() for (right,) in connection.rows(asked)}
    wanted = {*_ON_TABLE, *(["CREATE"] if target.columns is None else [])}
    if found <= {"USAGE"} or wanted <= found:
        return []
    return [f"the user may not {', '.join(sorted(wanted - found))} on {target.called()}; GRANT it"]


def _text(value: str | None) -> Any:
    return sa.literal(value, sa.Text)
