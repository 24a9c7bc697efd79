"""The `sql` source: a table or a query of PostgreSQL, SQLite, MySQL, MariaDB, or any other database SQLAlchemy speaks to.

With a `cursor` a run reads what is new since the last one, and again what lies within the overlap before it; without one
it reads all, and the engine finds what changed. There is one unit, `rows`; a record's origin is `rows#<key>`. Not here:
statements, sessions, bounds (`database/`), identity and state (`engine`). Invariants: the database is only read; the
bounds of a run are fixed before reading, by the database; the cursor moves only when all that was planned has been read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.errors import ConfigError, MissingExtra, SourceError, SourceMisconfigured
from gristmill.core.mapping import MAX_DEPTH, Mapping
from gristmill.core.source import (
    NOTE,
    UNIT_FIELDS,
    Page,
    PlanContext,
    ReadContext,
    Source,
    SourcePlan,
    Split,
    State,
    UnitRead,
    fold_units,
)
from gristmill.database.dsn import Dsn, family_of
from gristmill.database.dsn import parse as parse_dsn
from gristmill.database.relation import Column, Layout, Relation, checked_query, lay_out, split_name
from gristmill.database.values import Kind, decode, duration_s, kind_of
from gristmill.extract import Document, Extracted, ExtractOptions, Extractor, needs

if TYPE_CHECKING:
    from gristmill.database.catalog import Facts
    from gristmill.database.compose import Composer
    from gristmill.database.connect import Connection

EXTRA = "sql"
UNIT = "rows"
_LISTING = pa.table({"unit": pa.array([UNIT], pa.string())})
_OVERLAP_S = 600  # longer than most transactions
_MIB = 1 << 20
_NAMED = 5  # rows named in a message
_CALLED: dict[Kind, str] = {"int": "number", "float": "number"}
_CURSOR_KINDS: set[Kind] = {"int", "float", "decimal", "text", "time", "timetz", "date"}


class _Opened(msgspec.Struct, frozen=True):
    """A relation looked at through a connection."""

    connection: Any
    relation: Relation
    layout: Layout
    facts: Any
    trusted: bool


class Sql(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads rows of a database.

    dsn: postgresql://user:password@host/database, sqlite:///path, mysql+pymysql://..., or any other URL of SQLAlchemy.
    table: a table or view, perhaps schema.table. query: a SELECT instead. key: the columns that name a row, by default the
    primary key. cursor: a column that grows with every insert and update; without it all is read each run. text, url,
    time, lang, license: the column for each; a path into a JSON column (payload.body) or a template ("{title}: {body}")
    works too; all other columns go to `meta`. deleted: a column that says of a row that it is deleted: true, a number but 0, a time.
    overlap: how far before the cursor each run begins, for what was committed late: a duration such as 10m (the default
    for times), for a number a number. horizon: xmin finds what was committed late exactly, on PostgreSQL, by reading what
    transactions wrote that had not ended at the last run. scan_keys: every so many days all keys are read, to find what
    was deleted. max_gone_ratio: stop if more of the known keys than this are gone. batch_rows: rows of a statement.
    parallel: parts a first or full read is cut into, and statements at a time. max_cell_bytes: a row with more is
    quarantined. max_depth: of objects and lists in each other. timeout: of a statement. format: html and pdf take the main text out of documents that the text column
    holds; extract: how, and what one may cost (docs/sources/html.md, pdf.md).
    """

    VERSION: ClassVar[int] = 1
    LANDED: ClassVar[bool] = True
    WINDOWED: ClassVar[bool] = True

    dsn: str
    table: str | None = None
    query: str | None = None
    key: str | list[str] | None = None
    cursor: str | None = None
    text: str = "text"
    url: str | None = None
    time: str | None = None
    lang: str | None = None
    license: str | None = None
    deleted: str | None = None
    overlap: str | int | float | None = None
    horizon: Literal["xmin"] | None = None
    scan_keys: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_gone_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    batch_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000
    parallel: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    max_cell_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 * _MIB
    max_depth: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)] = MAX_DEPTH
    timeout: str = "10m"
    format: Literal["text", "html", "pdf"] = "text"
    extract: ExtractOptions = ExtractOptions()

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = self._mapping.problems()
        if (self.table is None) == (self.query is None):
            problems.append("table: give either table or query")
        try:
            if self.table is not None:
                split_name(self.table)
            if self.query is not None:
                checked_query(self.query)
        except (ValueError, ConfigError) as error:
            problems.append(str(error))
        if self.query is not None and self.key is None:
            problems.append("key: a query has no primary key; name the columns that are unique in it")
        if self.key is not None and (not self._keys or not all(self._keys) or len(set(self._keys)) < len(self._keys)):
            problems.append("key: name one column, or several different ones")
        if self.cursor is None:
            problems += [
                f"{name}: needs a cursor column; set cursor:"
                for name in ("overlap", "horizon", "scan_keys")
                if getattr(self, name) is not None
            ]
        if self.horizon and self.overlap is not None:
            problems.append("overlap: horizon: xmin takes its place; remove one of them")
        if self.horizon and (self.query is not None or ("://" in self.dsn and family_of(self.dsn) != "postgresql")):
            problems.append("horizon: xmin needs a table of PostgreSQL")
        if isinstance(self.overlap, str) and duration_s(self.overlap) is None:
            problems.append(f'overlap: "{self.overlap}" is no duration; write 90s, 10m, 2h or 1d, or a number')
        if isinstance(self.overlap, int | float) and self.overlap < 0:
            problems.append("overlap: cannot be negative")
        if self.format != "text" and "{" in self.text:
            problems.append(f"text: with format: {self.format} it must be one column, not a template")
        if not duration_s(self.timeout):
            problems.append(f'timeout: "{self.timeout}" is no duration; write 90s, 10m or 2h')
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def _keys(self) -> list[str]:
        return [] if self.key is None else [self.key] if isinstance(self.key, str) else self.key

    @property
    def _mapping(self) -> Mapping:
        return Mapping(self.text, None, self.url, self.time, self.lang, self.license)

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on; no side effect."""
        if self.format != "text" and (missing := needs(self.format)):
            return [missing]
        try:
            dsn = parse_dsn(self.dsn, folder)
            connection = self._connect(dsn)
            from gristmill.database.compose import Composer, Part

            try:
                opened = self._look(connection)
                composer = Composer(opened.relation, opened.layout, dsn.family, self.max_cell_bytes)
                if self.horizon:
                    connection.rows(composer.exists(Part(xids=(0, 1))))  # a view has no transaction numbers
                return [NOTE + advice for advice in [*self._advice(opened), *self._strays(opened, composer)]]
            finally:
                connection.close()
        except (ConfigError, SourceError) as error:
            return [str(error)]

    def _advice(self, opened: _Opened) -> list[str]:
        """Give what makes a run slow or leaves rows out, by the catalogue."""
        facts: Facts = opened.facts
        keys = [column.name for column in opened.layout.keys]
        found = []
        if facts.known and not facts.is_unique(keys):
            found.append(
                f"key: no unique index of {opened.relation.called} covers ({', '.join(keys)}), so every run counts "
                "repeated keys first; add a unique index"
            )
        if facts.known and (nullable := [name for name in keys if name not in facts.not_null]):
            found.append(f"key: {', '.join(nullable)} can be NULL; rows where it is are quarantined as id.missing")
        if facts.known and self.cursor is not None and not self.horizon and self.cursor not in facts.leading:
            found.append(
                f"cursor: no index of {opened.relation.called} begins with {self.cursor}, so every run reads the whole "
                f"table on the server; add an index on ({', '.join([self.cursor, *keys])})"
            )
        return found

    def _strays(self, opened: _Opened, composer: Composer) -> list[str]:
        """Name rows whose cursor is of another type than that of most (SQLite takes any)."""
        cursor = opened.layout.cursor
        if cursor is None or not cursor.mixed or self.horizon:
            return []
        ((count,),) = opened.connection.rows(composer.strays())
        keys = ["/".join(map(str, row)) for row in opened.connection.rows(composer.stray_keys(_NAMED))]
        names = ", ".join([*keys, *(["..."] if count > len(keys) else [])])
        told = (
            f"cursor: {count} rows of {opened.relation.called} hold no {_CALLED.get(cursor.kind, cursor.kind)} in {cursor.name}, "
            f"as the others do ({names}); they are read again each run until that is mended"
        )
        return [told]

    def _connect(self, dsn: Dsn) -> Connection:
        try:
            from gristmill.database.connect import connect
        except ImportError as error:
            raise MissingExtra(
                f"source 'sql' needs what is not installed ({error.name}); pip install \"gristmill[{EXTRA}]\""
            ) from error
        return connect(dsn, duration_s(self.timeout) or 0)

    def _relation(self, columns: list[Column]) -> Relation:
        if self.query is not None:
            return Relation(query=checked_query(self.query), columns=columns)
        schema, table = split_name(self.table or "")
        return Relation(table, schema, columns=columns)

    def _look(self, connection: Connection, doc: dict[str, Any] | None = None) -> _Opened:
        """Read the catalogue and find the columns. doc: of the state, which knows what the cursor held.

        Raises:
            SourceMisconfigured: a column is not there, or there is no usable key.
        """
        from gristmill.database import catalog

        relation = catalog.described(connection, self._relation([]))
        facts = catalog.facts(connection, relation)
        keys = self._keys or list(facts.primary)
        if not keys:
            raise SourceMisconfigured(
                f"{relation.called} has no primary key; name the columns that are unique in it with key:, "
                "or make a query that has such columns"
            )
        columns = [msgspec.structs.replace(c, nullable=c.name not in facts.not_null) for c in relation.columns]
        relation = msgspec.structs.replace(relation, columns=columns)
        hint = kind_of(decode(doc["cursor"])) if doc and "cursor" in doc else None
        relation, trusted = catalog.with_kinds(connection, relation, keys, self.cursor, hint)
        layout = lay_out(relation, self._mapping, keys, self.cursor, self.deleted)
        if layout.record and self.format != "text":
            raise SourceMisconfigured(
                f"text: with format: {self.format} all mapped names must be columns, not paths or templates"
            )
        if layout.cursor is not None and layout.cursor.kind not in _CURSOR_KINDS:
            raise SourceMisconfigured(
                f"cursor: {self.cursor} is of a type that has no order to read on in; take a time, a number or a text"
            )
        return _Opened(connection, relation, layout, facts, trusted)

    @property
    def has_cursor(self) -> bool:
        """See `Source`."""
        return self.cursor is not None

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Ask the database what is new since `state`.

        Raises:
            ConfigError: the DSN is none, or the window makes no sense for the cursor.
            SourceMisconfigured: no such table or column, or what is asked for makes no sense for it.
            SourceError: a cursor that went back, too many keys gone.
            Transient: the database cannot be reached now.
        """
        dsn = parse_dsn(self.dsn, context.folder)
        connection = self._connect(dsn)
        try:
            doc = state.doc if state is not None else {}
            return self._plan(self._look(connection, doc), state, context, dsn.lane)
        finally:
            connection.close()

    def _plan(self, opened: _Opened, state: State | None, context: PlanContext, lane: str) -> SourcePlan:
        from gristmill.database.compose import Composer
        from gristmill.database.planner import Asked, Planner

        layout, relation = opened.layout, opened.relation
        keys = [column.name for column in layout.keys]
        asked = Asked(
            overlap_s=(duration_s(self.overlap) or 0) if isinstance(self.overlap, str) else _OVERLAP_S,
            overlap=self.overlap if isinstance(self.overlap, int | float) else 0,
            overlap_of=None if self.overlap is None else "times" if isinstance(self.overlap, str) else "numbers",
            xmin=self.horizon is not None,
            scan_days=self.scan_keys,
            max_gone_ratio=self.max_gone_ratio,
            parallel=self.parallel,
            unique=opened.facts.is_unique(keys),
            of=_digest([self.table, keys, self.cursor, self.horizon]),
            known=state is not None and state.units is not None and len(state.units) > 0,
            window=context.window,
        )
        doc = state.doc if state is not None else {}
        composer = Composer(relation, layout, opened.connection.family, self.max_cell_bytes)
        found = Planner(opened.connection, composer, asked, doc).plan()
        columns = [list(msgspec.structs.astuple(column)) for column in relation.columns]
        shown = _digest([column.name for column in relation.columns])
        if found.doc:
            found.doc["columns"] = shown
        if doc.get("columns", shown) != shown:
            found.warnings["sql.columns_changed"] = 1
        splits = []
        for part, rows in found.parts:
            spec = {
                "columns": columns,
                "keys": keys,
                "trusted": opened.trusted,
                "part": msgspec.to_builtins(part),
            }
            splits.append(
                Split(
                    id=_digest([self.table, self.query, found.doc.get("cursor"), found.doc.get("horizon"), spec]),
                    spec=spec,
                    units=[UNIT],
                    bytes=max(rows * part.row_bytes, 1),
                    fresh=not asked.known,
                    lane=lane,
                    lane_cap=self.parallel,
                )
            )
        return SourcePlan(
            splits,
            listing=_LISTING,
            replaced=[UNIT] if found.replaces and asked.known else [],
            ceiling={"doc": found.doc if found.moves else None, "splits": len(splits)},
            warnings=found.warnings,
        )

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read a part, reconnecting as often as it helps.

        Raises:
            SourceError: the table is no more what was planned.
            Transient: the database did not answer for too long.
        """
        from gristmill.database.compose import Composer, Part
        from gristmill.database.keyset import Reader
        from gristmill.database.pages import Shape

        dsn = parse_dsn(self.dsn, context.folder)
        columns = [Column(*column) for column in split.spec["columns"]]
        relation = self._relation(columns)
        layout = lay_out(relation, self._mapping, split.spec["keys"], self.cursor, self.deleted)
        layout = msgspec.structs.replace(layout, raw=self.format != "text")
        part = msgspec.convert(split.spec["part"], Part)
        composer = Composer(relation, layout, dsn.family, self.max_cell_bytes)
        mapping = self._mapping if layout.record else None
        with Extractor(self.extract) as extractor:  # starts nothing before it is asked
            extract = None if self.format == "text" else self._documents(extractor, layout.roles["text"])
            shape = Shape(
                len(layout.keys),
                mapping,
                split.spec["trusted"],
                self.max_cell_bytes,
                extract,
                self.max_depth,
                composer.null_is_large,
            )
            reader = Reader(lambda: self._connect(dsn), composer, part, shape)
            yield from reader.pages(context.resume, context.batch_bytes, self.batch_rows)

    def _documents(self, extractor: Extractor, column: Column) -> Callable[[list[bytes]], Iterator[Extracted]]:
        kind: Literal["html", "pdf"] = "pdf" if self.format == "pdf" else "html"
        charset = "utf-8" if column.kind == "text" else None  # of a text column the database says so
        return lambda cells: extractor.extract_many(Document(kind, cell, charset) for cell in cells)

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        """Move the cursor if every planned part was read; remember where the rows of all runs lie, with a cursor."""
        before = state.units if state is not None else None
        doc = state.doc if state is not None else {}
        units = fold_units(before, plan, reads, seq)
        if self.cursor is not None and reads:
            units = _accumulated(before, units, reads, seq)
        whole = len(reads) >= plan.ceiling.get("splits", 0) and all(r.advance and r.status == "ok" for r in reads)
        new = plan.ceiling.get("doc")
        return State(new if whole and new else doc, units)


def _accumulated(before: pa.Table | None, units: pa.Table, reads: list[UnitRead], seq: int) -> pa.Table:
    """Keep the ord ranges of earlier runs: their rows were not read again."""
    old = before.to_pylist()[0]["ords"] if before is not None and len(before) else []
    new = [{"lo": read.lo, "hi": read.hi} for read in reads if read.status == "ok" and read.hi > read.lo]
    ords: list[dict[str, int]] = []
    for span in [*old, *new]:
        if ords and ords[-1]["hi"] == span["lo"]:
            ords[-1] = {"lo": ords[-1]["lo"], "hi": span["hi"]}
        else:
            ords.append(dict(span))
    row = {"unit": UNIT, "seq": seq, "ords": ords, "status": "ok", "code": None}
    return pa.Table.from_pylist(
        [row], schema=units.schema if len(units) else pa.schema([*_LISTING.schema, *UNIT_FIELDS])
    )


def _digest(what: Any) -> str:
    return hashlib.blake2b(orjson.dumps(what), digest_size=16).hexdigest()
