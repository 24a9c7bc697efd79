"""The table rows are written to: what the catalogue says of it, and whether it can hold what the config asks for.

Not here: making it (`tables`), writing to it (`writing`, `loading`). Invariants: only the catalogue is read; a column
whose type could change a value in silence is refused, as is a type that is not known here.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import OID

from gristmill.core.find import suggestion
from gristmill.database.catalog import facts
from gristmill.database.connect import Connection
from gristmill.database.grammar import named
from gristmill.database.relation import Relation
from gristmill.database.spec import META, Spec, Stored, TargetColumn

# Of each family: what a type of the catalogue holds. Only what is written without a change of value stands here.
_POSTGRESQL: dict[str, Stored] = {
    **dict.fromkeys(("text", "varchar"), "text"),
    **dict.fromkeys(("int2", "int4", "int8"), "int"),
    **dict.fromkeys(("timestamptz", "timestamp"), "time"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "float4": "real",
    "float8": "float",
    "bool": "bool",
    "bytea": "bytes",
}  # fmt: skip
# What each kind may be written into. A number becomes no text, and a text no number.
_FITS: dict[Stored, set[Stored]] = {
    "text": {"text"},
    "int": {"int"},
    "real": {"real", "float"},
    "float": {"float"},
    "bool": {"bool"},
    "time": {"time"},
    "json": {"json", "text"},
    "bytes": {"bytes"},
}
# SQLite has no types of its own for these; a column without a type keeps whatever it is given.
_SQLITE_AS: dict[Stored, Stored] = {"bool": "int", "time": "text", "json": "text", "real": "float"}


class Found(msgspec.Struct, frozen=True):
    """A column as the catalogue has it. needed: an insert must give it a value; filled: the database does so itself."""

    name: str
    type: str
    holds: Stored | None
    needed: bool = False
    filled: bool = False


class Target(msgspec.Struct, frozen=True):
    """The table as it is. schema: where it is or would be made; columns: None if there is no table yet.

    keyed: columns that are unique each by itself. engine: of MySQL, if it has no transactions.
    """

    schema: str | None
    table: str
    columns: list[Found] | None = None
    is_view: bool = False
    engine: str = ""
    keyed: set[str] = set()

    def called(self) -> str:
        """Give what messages call it."""
        return f'table "{f"{self.schema}." if self.schema else ""}{self.table}"'


def look(connection: Connection, schema: str | None, table: str) -> Target:
    """Find the table in the catalogue."""
    if connection.family == "postgresql":
        target = _postgresql(connection, schema, table)
    elif connection.family == "sqlite":
        target = _sqlite(connection, table)
    else:
        target = _other(connection, schema, table)
    if target.columns is None or target.is_view:
        return target
    known = facts(connection, Relation(table=target.table, schema=target.schema))
    unique = [*known.unique, *([known.primary] if known.primary else [])]
    return msgspec.structs.replace(target, keyed={names[0] for names in unique if len(names) == 1})


def problems(family: str, target: Target, spec: Spec) -> list[str]:
    """Say why the table cannot be written as the spec asks, one sentence each; nothing if it can, or will be made."""
    called = target.called()
    if target.columns is None:
        return [] if spec.create else [f"{called} is not there; make it, or set create: true"]
    if target.is_view:
        return [f"{called} is a view; name a table"]
    fold = str if family == "postgresql" else str.casefold
    there = {fold(column.name): column for column in target.columns}
    told = []
    for column in spec.columns:
        found = there.get(fold(column.name))
        if found is None:
            if not spec.create:
                hint = suggestion(column.name, [each.name for each in target.columns])
                told.append(f'{called} has no column "{column.name}"{hint or "; add it, or set create: true"}')
        elif found.filled:
            told.append(
                f'column "{found.name}" of {called} gets its values from the database; leave it out of columns:'
            )
        elif not _fits(family, column, found):
            told.append(
                f'column "{found.name}" of {called} is of type {found.type}, which cannot hold {column.field} '
                f"({_wanted(column)}); change its type, or leave it out of columns:"
            )
    ours = {fold(column.name) for column in spec.columns}
    told += [
        f'column "{each.name}" of {called} needs a value and is not in columns:; give it a default, or let it be NULL'
        for each in target.columns
        if each.needed and fold(each.name) not in ours
    ]
    if target.engine:
        told.append(f"{called} is kept by {target.engine}, which has no transactions; ALTER TABLE ... ENGINE = InnoDB")
    if fold(spec.key.name) not in set(map(fold, target.keyed)):
        told.append(
            f'{called} has no unique index on "{spec.key.name}" alone, which holds the id; make it the primary key'
        )
    return told


def _fits(family: str, column: TargetColumn, found: Found) -> bool:
    if found.holds is None or _free(column):
        return found.holds is not None
    if family == "sqlite":
        return found.holds in {"bytes", _SQLITE_AS.get(column.stored, column.stored)}
    return found.holds in _FITS[column.stored]


def _free(column: TargetColumn) -> bool:
    """Tell whether the table may say what is written: the config does not."""
    return column.field.startswith(META) and column.kind is None


def _wanted(column: TargetColumn) -> str:
    return " or ".join(sorted(_FITS[column.stored]))


def missing(family: str, target: Target, spec: Spec) -> list[TargetColumn]:
    """Give the columns an existing table lacks."""
    fold = str if family == "postgresql" else str.casefold
    there = {fold(found.name) for found in target.columns or []}
    return [column for column in spec.columns if fold(column.name) not in there]


def settled(family: str, target: Target, column: TargetColumn) -> tuple[Stored, str]:
    """Give what is written for a column, and its type in the catalogue ("" where it is made here)."""
    fold = str if family == "postgresql" else str.casefold
    found = next((each for each in target.columns or [] if fold(each.name) == fold(column.name)), None)
    if found is None or found.holds is None:
        return column.stored, ""
    if _free(column):
        return "text" if found.holds == "bytes" else found.holds, found.type
    return "text" if column.stored == "json" and found.holds == "text" else column.stored, found.type


# --- the catalogues ------------------------------------------------------------------------------------------------


def _text(value: str | None) -> Any:
    return sa.literal(value, sa.Text)


_ATTRIBUTE = (
    *("attrelid", "attname", "attnum", "atttypid", "atttypmod", "attnotnull"),
    *("atthasdef", "attidentity", "attgenerated", "attisdropped"),
)


def _postgresql(connection: Connection, schema: str | None, table: str) -> Target:
    full = sa.func.concat(
        *([sa.func.quote_ident(_text(schema)), _text(".")] if schema else []), sa.func.quote_ident(_text(table))
    )
    oid = sa.cast(sa.func.to_regclass(full), OID)
    classes = sa.table("pg_class", *map(sa.column, ("oid", "relnamespace", "relkind")), schema="pg_catalog")
    spaces = sa.table("pg_namespace", *map(sa.column, ("oid", "nspname")), schema="pg_catalog")
    places = connection.rows(
        sa.select(sa.cast(spaces.c.nspname, sa.Text), sa.cast(classes.c.relkind, sa.Text))
        .select_from(classes.join(spaces, spaces.c.oid == classes.c.relnamespace))
        .where(classes.c.oid == oid)
    )
    if not places:
        if schema is None:
            ((schema,),) = connection.rows(sa.select(sa.cast(sa.func.current_schema(), sa.Text)))
        return Target(schema, table)
    ((space, kind),) = places
    attribute = sa.table("pg_attribute", *map(sa.column, _ATTRIBUTE), schema="pg_catalog")
    types = sa.table("pg_type", *map(sa.column, ("oid", "typname")), schema="pg_catalog")
    listed = connection.rows(
        sa.select(
            sa.cast(attribute.c.attname, sa.Text),
            sa.cast(types.c.typname, sa.Text),
            sa.cast(attribute.c.atttypmod, sa.Integer),
            sa.cast(attribute.c.attnotnull, sa.Integer),
            sa.cast(attribute.c.atthasdef, sa.Integer),
            sa.cast(attribute.c.attidentity, sa.Text),
            sa.cast(attribute.c.attgenerated, sa.Text),
        )
        .select_from(attribute.join(types, types.c.oid == attribute.c.atttypid))
        .where(attribute.c.attrelid == oid, attribute.c.attnum > 0, sa.not_(attribute.c.attisdropped))
        .order_by(attribute.c.attnum)
    )
    columns = [
        Found(
            name,
            f"{of}({precision})" if (rounds := of.startswith("timestamp") and precision not in {-1, 6}) else of,
            None if rounds else _POSTGRESQL.get(of),
            needed=bool(not_null) and not default and not identity,
            filled=bool(generated) or identity == "a",
        )
        for name, of, precision, not_null, default, identity, generated in listed
    ]
    return Target(space, table, columns, is_view=kind not in {"r", "p"})


def _sqlite(connection: Connection, table: str) -> Target:
    master = sa.table("sqlite_master", sa.column("name"), sa.column("type"))
    same = sa.func.lower(master.c.name) == sa.func.lower(_text(table))
    kind_of = master.c.type.in_([_text("table"), _text("view")])
    found = connection.rows(sa.select(master.c.name, master.c.type).where(same, kind_of))
    if not found:
        return Target(None, table)
    ((table, kind),) = found
    info = sa.func.pragma_table_xinfo(_text(table)).table_valued(
        "name", "type", "notnull", "dflt_value", "pk", "hidden"
    )
    # The driver guesses a column's type by its first value, so NULL must not stand among texts.
    default = sa.case((info.c.dflt_value.is_(None), 0), else_=1)
    columns = [
        Found(
            str(name),
            str(of) or "none",
            _affinity(str(of)),
            needed=bool(not_null) and not has_default,
            filled=hidden in {2, 3},
        )
        for name, of, not_null, has_default, hidden in connection.rows(
            sa.select(info.c.name, info.c.type, info.c.notnull, default, info.c.hidden)
        )
    ]
    return Target(None, table, columns, is_view=kind == "view")


def _affinity(declared: str) -> Stored | None:
    """Give what SQLite keeps as it is in a column declared so (its datatype3.html, section 3.1); None: it may convert."""
    upper = declared.upper()
    if "INT" in upper:
        return "int"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if "BLOB" in upper or not upper or upper == "ANY":
        return "bytes"
    return "float" if any(word in upper for word in ("REAL", "FLOA", "DOUB")) else None


def _other(connection: Connection, schema: str | None, table: str) -> Target:
    from gristmill.database.alchemy import Alchemy

    assert isinstance(connection, Alchemy)
    name, space = named(table), named(schema) if schema else None

    mysql = connection.engine.dialect.name in {"mysql", "mariadb"}

    def ask(found: Any) -> tuple[list[Any], list[str], str] | None:
        if not found.has_table(name, space):
            return None
        views = found.get_view_names(space)
        options = found.get_table_options(name, space) if mysql and table not in views else {}
        engine = next((str(value) for key, value in options.items() if key.endswith("_engine")), "")
        return found.get_columns(name, space), views, engine

    told = connection.inspected(ask)
    if told is None:
        return Target(schema, table)
    listed, views, engine = told
    columns = [
        Found(
            str(each["name"]).replace("``", "`") if mysql else str(each["name"]),  # reflection leaves quotes doubled
            str(each["type"]),
            _holds(each["type"]),
            needed=not each["nullable"] and each.get("default") is None and each.get("autoincrement") is not True,
            filled=bool(each.get("computed")),
        )
        for each in listed
    ]
    safe = not engine or _has_transactions(connection, engine)
    return Target(schema, table, columns, is_view=table in views, engine="" if safe else engine)


def _has_transactions(connection: Connection, engine: str) -> bool:
    engines = sa.table("ENGINES", sa.column("ENGINE"), sa.column("TRANSACTIONS"), schema="information_schema")
    asked = sa.select(engines.c.TRANSACTIONS).where(engines.c.ENGINE.in_([engine]))
    return [str(has).upper() for (has,) in connection.rows(asked)] == ["YES"]


def _holds(of: Any) -> Stored | None:
    """Give what a type of SQLAlchemy holds; None for a list of words, and for times that are rounded."""
    if isinstance(of, sa.Enum) or getattr(of, "fsp", 6) != 6:
        return None
    kinds: list[tuple[Any, Stored]] = [
        (sa.JSON, "json"),
        (sa.String, "text"),
        (sa.Boolean, "bool"),
        (sa.Integer, "int"),
        (sa.Double, "float"),
        (sa.DateTime, "time"),
    ]
    found = next((kind for cls, kind in kinds if isinstance(of, cls)), None)
    if found is None and _python_type(of) is bytes:
        return "bytes"
    return "bool" if found == "int" and getattr(of, "display_width", None) == 1 else found


def _python_type(of: Any) -> type | None:
    try:
        kind: type = of.python_type
    except NotImplementedError:
        return None
    return kind
