"""What is read: a table or a query, its columns, and which column plays which part.

Not here: SQL (`compose`), the catalogues columns are read from (`catalog`). Invariants: a query is one SELECT in
itself, so that it can stand in a subquery; every column has a part, and one that is not mapped goes to `meta`.
"""

from __future__ import annotations

import re

import msgspec

from gristmill.core.errors import ConfigError, SourceMisconfigured
from gristmill.core.find import suggestion
from gristmill.core.mapping import Field, Mapping
from gristmill.database.values import Kind

ROLES = ("text", "url", "time", "lang", "license")

_NAME_PART = r'"(?:[^"]|"")+"|[^."][^.]*'
_TABLE = re.compile(rf"(?:({_NAME_PART})\.)?({_NAME_PART})")
_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(\w*)\$.*?\$\1\$ | --[^\n]* | /\*.*?\*/ | [();] | ['"`] | \w+ | \s+ | .""",
    re.DOTALL | re.VERBOSE,
)
_BEGINS = {"select", "with", "values", "table"}


class Column(msgspec.Struct, frozen=True):
    """A column as the database has it. mixed: some cells hold another type than `kind` (SQLite takes any)."""

    name: str
    kind: Kind
    nullable: bool = True
    mixed: bool = False


class Relation(msgspec.Struct, frozen=True):
    """A table (perhaps in a schema) or a query, with its columns in order."""

    table: str = ""
    schema: str | None = None
    query: str = ""
    columns: list[Column] = []

    @property
    def called(self) -> str:
        """What messages call it."""
        return "the query" if self.query else f'table "{f"{self.schema}." if self.schema else ""}{self.table}"'

    def column(self, name: str, key: str) -> Column:
        """Give the column that config key `key` names.

        Raises:
            SourceMisconfigured: there is none.
        """
        names = [column.name for column in self.columns]
        if name not in names:
            hint = suggestion(name, names) or f"; it has {', '.join(names[:30])}"
            raise SourceMisconfigured(f'{key}: {self.called} has no column "{name}"{hint}')
        return self.columns[names.index(name)]


class Layout(msgspec.Struct, frozen=True):
    """Which columns are what. keys: the key; roles: mapped column by part; rest: those of `meta`, in order.

    record: the mapping has paths or templates, so `rest` holds all a record needs, and the record is mapped after reading.
    raw: the text is a document to take the text out of, so its bytes are wanted.
    """

    keys: list[Column]
    cursor: Column | None
    deleted: Column | None
    roles: dict[str, Column]
    rest: list[Column]
    record: bool
    raw: bool = False


def split_name(table: str) -> tuple[str | None, str]:
    """Give schema and name of `schema.table`; a name that holds a dot stands in double quotes.

    Raises:
        ValueError: it is no such name.
    """
    found = _TABLE.fullmatch(table)
    if not found or "\0" in table:
        raise ValueError(f'table: "{table}" is no name; write table, schema.table, or "a.b" in double quotes for a dot')
    schema, name = (None if part is None else _bare(part) for part in found.groups())
    return schema, name or ""


def _bare(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def query_problem(query: str) -> str | None:
    """Tell why a query is not one SELECT that can stand in a subquery, None if it is.

    What this lets through the database still runs in a read-only session, as one statement.
    """
    depth, words = 0, 0
    text = query.strip().removesuffix(";")
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark.isspace() or mark.startswith(("--", "/*")):
            continue
        words += 1
        if words == 1 and mark.lower() not in _BEGINS and mark != "(":
            return "begins with no SELECT; only one reading statement can be given"
        if mark == ";":
            return "holds a semicolon; only one statement can be given"
        if mark in {"'", '"', "`"}:
            return "has a quote that is not closed"
        depth += (mark == "(") - (mark == ")")
        if depth < 0:
            return "closes a bracket that was not opened"
    if not words:
        return "is empty"
    return "has a bracket that is not closed" if depth else None


def lay_out(relation: Relation, mapping: Mapping, keys: list[str], cursor: str | None, deleted: str | None) -> Layout:
    """Find the columns the config names and say what becomes of all others.

    Raises:
        SourceMisconfigured: one is not there.
    """
    names = {column.name for column in relation.columns}
    specs = {role: spec for role in ROLES if (spec := getattr(mapping, role))}
    plain = all(spec in names or not ("{" in spec or "." in spec) for spec in specs.values())
    fixed = [relation.column(name, "key") for name in keys]
    cursor_column = relation.column(cursor, "cursor") if cursor else None
    deleted_column = relation.column(deleted, "deleted") if deleted else None
    apart = {*keys, *([deleted] if deleted else [])}
    roles: dict[str, Column] = {}
    if plain:
        roles = {role: relation.column(spec, role) for role, spec in specs.items()}
        apart |= {column.name for column in roles.values()}
    else:
        used: set[str] = set()
        for role, spec in specs.items():
            for name in Field(spec).names:
                base = name if name in names else name.partition(".")[0]
                used.add(relation.column(base, role).name)
        apart -= used
    rest = [column for column in relation.columns if column.name not in apart]
    return Layout(fixed, cursor_column, deleted_column, roles, rest, not plain)


def checked_query(query: str) -> str:
    """Give the query without the semicolon that may end it.

    Raises:
        ConfigError: it is not one SELECT.
    """
    problem = query_problem(query)
    if problem:
        raise ConfigError(f"query: {problem}")
    return query.strip().removesuffix(";")
