"""What a database says about a relation: its columns and their kinds, its keys and indexes.

Not here: which columns are needed (`relation.lay_out`). Invariants: only the catalogue and the types of a result are
read here, no rows; what the catalogue does not say is not guessed.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from gristmill.core.errors import SourceError, SourceMisconfigured, Transient
from gristmill.core.find import suggestion
from gristmill.database.connect import Connection
from gristmill.database.grammar import Statement, named, source
from gristmill.database.relation import Column, Relation
from gristmill.database.values import Kind, kind_of

_POSTGRESQL_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("int2", "int4", "int8"), "int"),
    **dict.fromkeys(("float4", "float8"), "float"),
    **dict.fromkeys(("text", "varchar"), "text"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "bool": "bool",
    "timestamp": "time",
    "timestamptz": "timetz",
    "date": "date",
    "numeric": "decimal",
    "uuid": "uuid",
    "bytea": "bytes",
}  # fmt: skip


_TABLES = 1000  # looked at for a name like the one that is not there
_SHOWN = 60  # letters of a key in a message
_SQLITE_KINDS: dict[str, Kind] = {"integer": "int", "real": "float", "text": "text", "blob": "bytes"}


class Facts(msgspec.Struct, frozen=True):
    """What the catalogue knows. known: it has an entry (a view or query has none). primary: the primary key.

    unique: columns of each unique index. leading: first columns of all indexes. not_null: columns that cannot be NULL.
    """

    known: bool = False
    primary: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = []
    leading: set[str] = set()
    not_null: set[str] = set()

    def is_unique(self, keys: list[str]) -> bool:
        """Tell whether no two rows can have the same key."""
        return any(set(names) <= set(keys) for names in [*self.unique, *([self.primary] if self.primary else [])])


def described(connection: Connection, relation: Relation) -> Relation:
    """Give the relation with its columns.

    Raises:
        SourceMisconfigured: there is no such relation.
        SourceError: it cannot be read.
    """
    nothing = sa.select(sa.text("*")).select_from(_anything(relation)).where(sa.false())
    try:
        names = connection.names(nothing)
    except Transient:
        raise
    except SourceError as error:
        near, is_there = _near(connection, relation)
        cls = SourceError if is_there else SourceMisconfigured
        raise cls(f"{relation.called} cannot be read: {error}{near}") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceMisconfigured(
            f"{relation.called} has two columns named {', '.join(twice)}; give them other names with AS"
        )
    bare = msgspec.structs.replace(relation, columns=[Column(name, "other") for name in names])
    if connection.family == "postgresql":
        kinds = _postgresql_kinds(connection, bare)
        columns = [Column(name, kind) for name, kind in zip(names, kinds, strict=True)]
    elif connection.family == "sqlite":
        declared = _sqlite_declared(connection, relation) if relation.table else {}
        columns = [Column(name, _affinity(declared.get(name, ""))) for name in names]
    else:
        return bare
    return msgspec.structs.replace(relation, columns=columns)


def _anything(relation: Relation) -> Any:
    if relation.query:
        return sa.text(f"({relation.query.replace(':', chr(92) + ':')}\n) AS source")
    return source(relation)


def with_kinds(
    connection: Connection, relation: Relation, keys: list[str], cursor: str | None, hint: Kind | None
) -> tuple[Relation, bool]:
    """Give the relation with the kinds of key and cursor, where values and not the catalogue tell; and whether its UTF-8 is vouched for.

    hint: what the cursor was at the last run.

    Raises:
        SourceMisconfigured: a column is not there.
        SourceError: a key holds values of several types.
    """
    named = {**dict.fromkeys(keys, "key"), **({cursor: "cursor"} if cursor is not None and cursor not in keys else {})}
    columns = {name: relation.column(name, what) for name, what in named.items()}
    if connection.family == "postgresql":
        ((encoding,),) = connection.rows(sa.select(sa.func.current_setting(sa.literal("server_encoding", sa.Text))))
        return relation, encoding != "SQL_ASCII"
    for name, column in columns.items():
        columns[name] = _by_values(connection, relation, column, hint if name == cursor else None, name in keys)
    found = [columns.get(column.name, column) for column in relation.columns]
    return msgspec.structs.replace(relation, columns=found), False


def _by_values(connection: Connection, relation: Relation, column: Column, hint: Kind | None, is_key: bool) -> Column:
    """Tell the kind of a column by its least and greatest value: databases sort by type first.

    Where there is none it is what it was, or is declared as. A cursor may hold some values of another type: the kind is what it
    was, or that of most values.
    """
    rows = source(relation)
    of = sa.func.typeof if connection.family == "sqlite" else lambda end: end
    ends = [
        sa.select(of(end(rows.c[column.name]))).select_from(rows).scalar_subquery().label(name)
        for name, end in (("least", sa.func.min), ("most", sa.func.max))
    ]
    ((least, most),) = connection.rows(sa.select(*ends))
    if least is None or least == "null":
        declared = column.kind if column.kind in {"int", "float", "text"} else "text"
        return msgspec.structs.replace(column, kind=hint or declared)
    if connection.family == "sqlite":
        found: set[Kind | None] = {_SQLITE_KINDS[least], _SQLITE_KINDS[most]}
    else:
        found = {kind_of(least), kind_of(most)}
    if found == {"int", "float"}:
        return msgspec.structs.replace(column, kind="float")
    kind = found.pop()
    if not found and kind is not None:
        return msgspec.structs.replace(column, kind=kind)
    if connection.family != "sqlite":
        raise SourceError(
            f'column "{column.name}" of {relation.called} holds values of several types, or of one without an order; '
            "a key or cursor needs numbers, texts or times throughout"
        )
    return _mixed(connection, relation, column, hint, is_key)


def _mixed(connection: Connection, relation: Relation, column: Column, hint: Kind | None, is_key: bool) -> Column:
    """Give the kind of a column of SQLite whose cells are of several types."""
    cell = source(relation).c[column.name]
    least = sa.cast(sa.func.min(cell), sa.Text)
    counted = sa.select(sa.func.typeof(cell), sa.func.count(), least).where(cell.is_not(None))
    rows = connection.rows(counted.group_by(sa.func.typeof(cell)))
    if is_key:
        rarest = min(rows, key=lambda row: int(row[1]))
        shown = (
            str(rarest[2]).encode("utf-8", "backslashreplace").decode()[:_SHOWN]
        )  # bytes that are no text come as halves of pairs
        told = ", ".join(f"{n} {of}" for of, n, _ in rows)
        raise SourceError(
            f'key: column "{column.name}" of {relation.called} holds values of several types ({told}; one {rarest[0]} is '
            f'"{shown}"); make them all of one type, or give a query that casts them'
        )
    counts: dict[Kind, int] = {}
    real = any(of == "real" for of, _, _ in rows)
    for of, n, _ in rows:
        kind = "float" if real and of == "integer" else _SQLITE_KINDS[of]
        counts[kind] = counts.get(kind, 0) + int(n)
    same = [kind for kind in counts if kind == hint or {kind, hint} == {"int", "float"}]
    usable = same or [kind for kind in counts if kind != "bytes"] or list(counts)
    return msgspec.structs.replace(column, kind=max(usable, key=lambda kind: counts[kind]), mixed=True)


def _near(connection: Connection, relation: Relation) -> tuple[str, bool]:
    """Give `; did you mean ...?` for the table most like the one asked for, and whether it may be there all the same."""
    if relation.query:
        return "", True
    try:
        tables = _tables(connection, relation.schema)
    except SourceError:
        return "", True
    is_there = relation.table in tables or len(tables) >= _TABLES
    return suggestion(relation.table, tables), is_there


def _tables(connection: Connection, schema: str | None) -> list[str]:
    if connection.family == "sqlite":
        found: Statement = sa.select(sa.column("name")).select_from(sa.table("sqlite_master"))
        return [str(name) for (name,) in connection.rows(found)]
    listing: Statement = sa.select(sa.column("table_name")).select_from(sa.table("tables", schema="information_schema"))
    if schema:
        listing = listing.where(sa.column("table_schema") == schema)
    return [str(name) for (name,) in connection.rows(listing.limit(_TABLES))]


def _postgresql_kinds(connection: Connection, relation: Relation) -> list[Kind]:
    """Ask for the type of each column of a row that is not there; a domain counts as what it is made of."""
    one = sa.select(sa.literal_column("1").label("one")).subquery("one")
    rows = source(relation)
    asked = [
        sa.cast(sa.cast(sa.func.pg_typeof(rows.c[column.name]), sa.dialects.postgresql.OID), sa.BigInteger).label(
            f"t{at}"
        )
        for at, column in enumerate(relation.columns)
    ]
    (oids,) = connection.rows(sa.select(*asked).select_from(one.outerjoin(rows, sa.false())))
    names: list[Any] = [sa.column(name) for name in ("oid", "typname", "typbasetype")]
    numbers = [sa.cast(name, sa.BigInteger) if name.name != "typname" else sa.cast(name, sa.Text) for name in names]
    types = sa.select(*numbers).select_from(sa.table("pg_type", schema="pg_catalog"))
    known = {oid: (name, base) for oid, name, base in connection.rows(types)}
    found: list[Kind] = []
    for oid in oids:
        name, base = known.get(oid, ("", 0))
        while base:
            name, base = known.get(base, ("", 0))
        found.append(_POSTGRESQL_KINDS.get(name, "other"))
    return found


def _sqlite_declared(connection: Connection, relation: Relation) -> dict[str, str]:
    found = _pragma(connection, "pragma_table_info", relation.table, relation.schema, "name", "type")
    return {str(name): str(of) for name, of in found}


def _affinity(declared: str) -> Kind:
    """Give what SQLite prefers a column to hold, which is no promise (its datatype3.html, section 3.1)."""
    upper = declared.upper()
    if "INT" in upper:
        return "int"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "text"
    return "float" if any(word in upper for word in ("REAL", "FLOA", "DOUB")) else "other"


def _pragma(connection: Connection, function: str, name: str, schema: str | None, *columns: str) -> list[Any]:
    arguments = [sa.literal(name, sa.Text), *([sa.literal(schema, sa.Text)] if schema else [])]
    called = getattr(sa.func, function)(*arguments).table_valued(*columns)
    return connection.rows(sa.select(*(called.c[column] for column in columns)))


def facts(connection: Connection, relation: Relation) -> Facts:
    """Give what the catalogue knows of a table; nothing for a view or a query."""
    if relation.query:
        return Facts()
    if connection.family == "postgresql":
        return _postgresql_facts(connection, relation)
    if connection.family == "sqlite":
        return _sqlite_facts(connection, relation)
    return _other_facts(connection, relation)


def _postgresql_facts(connection: Connection, relation: Relation) -> Facts:
    full = sa.func.concat(
        *([sa.func.quote_ident(sa.literal(relation.schema, sa.Text)), "."] if relation.schema else []),
        sa.func.quote_ident(sa.literal(relation.table, sa.Text)),
    )
    oid = sa.cast(sa.func.to_regclass(full), sa.dialects.postgresql.OID)
    attribute = sa.table(
        "pg_attribute", *map(sa.column, ("attrelid", "attname", "attnum", "attnotnull")), schema="pg_catalog"
    )
    index = sa.table(
        "pg_index",
        *map(sa.column, ("indrelid", "indexrelid", "indisunique", "indisprimary", "indpred", "indkey", "indisvalid")),
        schema="pg_catalog",
    )
    nulls = sa.select(sa.cast(attribute.c.attname, sa.Text)).where(attribute.c.attrelid == oid, attribute.c.attnotnull)
    # An index on an expression has 0 in place of a column; it joins to nothing and its list comes out short.
    place = sa.func.array_position(sa.cast(index.c.indkey, sa.ARRAY(sa.SmallInteger)), attribute.c.attnum)
    listed = (
        sa.select(
            sa.cast(index.c.indexrelid, sa.BigInteger),
            sa.cast(index.c.indisunique, sa.Integer),
            sa.cast(index.c.indisprimary, sa.Integer),
            sa.case((index.c.indpred.is_(None), 0), else_=1),
            sa.func.array_length(sa.cast(index.c.indkey, sa.ARRAY(sa.SmallInteger)), 1),
            place,
            sa.cast(attribute.c.attname, sa.Text),
        )
        .select_from(index.join(attribute, attribute.c.attrelid == index.c.indrelid))
        .where(index.c.indrelid == oid, index.c.indisvalid, place.is_not(None))
        .order_by(index.c.indexrelid, place)
    )
    not_null = {str(name) for (name,) in connection.rows(nulls)}
    indexes: dict[int, list[Any]] = {}
    for row in connection.rows(listed):
        indexes.setdefault(row[0], []).append(row)
    made = [
        (tuple(row[6] for row in rows), bool(rows[0][1]), bool(rows[0][2]), bool(rows[0][3]), rows[0][4] == len(rows))
        for rows in indexes.values()
    ]
    return Facts(
        known=bool(made or not_null),
        primary=next((names for names, _, primary, _, _ in made if primary), ()),
        unique=[names for names, unique, _, partial, plain in made if unique and plain and not partial],
        leading={rows[0][6] for rows in indexes.values() if not rows[0][3] and rows[0][5] == 0},
        not_null=not_null,
    )


def _sqlite_facts(connection: Connection, relation: Relation) -> Facts:
    columns = _pragma(connection, "pragma_table_info", relation.table, relation.schema, "name", "notnull", "pk", "type")
    keyed = sorted((pk, str(name), str(of)) for name, _, pk, of in columns if pk)
    primary = tuple(name for _, name, _ in keyed)
    unique: list[tuple[str, ...]] = []
    leading = {primary[0]} if primary else set()
    for name, is_unique, partial in _pragma(
        connection, "pragma_index_list", relation.table, relation.schema, "name", "unique", "partial"
    ):
        members = _pragma(connection, "pragma_index_info", str(name), relation.schema, "seqno", "name")
        names = tuple(str(member) for _, member in sorted(members) if member is not None)
        if names and not partial:
            leading.add(names[0])
        if is_unique and not partial and len(names) == len(members):
            unique.append(names)
    # Of all primary keys only that of INTEGER type is never NULL, by SQLite's own account (lang_createtable.html).
    rowid = {name for _, name, of in keyed if len(keyed) == 1 and of.upper() == "INTEGER"}
    return Facts(bool(columns), primary, unique, leading, {str(n) for n, null, _, _ in columns if null} | rowid)


def _other_facts(connection: Connection, relation: Relation) -> Facts:
    from gristmill.database.alchemy import Alchemy

    if not isinstance(connection, Alchemy):
        return Facts()
    name, schema = named(relation.table), named(relation.schema) if relation.schema else None
    try:
        columns, constraint, indexes = connection.inspected(
            lambda found: (
                found.get_columns(name, schema),
                found.get_pk_constraint(name, schema),
                found.get_indexes(name, schema),
            )
        )
    except (SourceError, NotImplementedError):
        return Facts()
    names = {column.name for column in relation.columns}

    def real(name: Any) -> str:
        """Give a column's name; reflection of MySQL leaves backticks doubled."""
        return str(name or "") if str(name) in names else str(name or "").replace("``", "`")

    primary = tuple(real(name) for name in constraint.get("constrained_columns") or ())
    lists = [(tuple(real(name) for name in index["column_names"]), bool(index["unique"])) for index in indexes]
    return Facts(
        known=bool(primary or lists),
        primary=primary,
        unique=[listed for listed, unique in lists if unique and all(listed)],
        leading={listed[0] for listed, _ in lists if listed and listed[0]} | set(primary[:1]),
        not_null={real(column["name"]) for column in columns if not column["nullable"]} | set(primary),
    )
