"""Statements: which rows of a relation, in which order, with which columns.

Not here: how a family of databases spells an expression (`grammar`), running statements (`connect`). Invariants: the
order of every paged statement is total over (cursor, key), so that reading on after a row neither loses nor repeats
one; what a statement leaves out for NULL keys or cursors another part of the plan reads.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from gristmill.database.dsn import Family
from gristmill.database.grammar import Statement, grammar_of
from gristmill.database.relation import Column, Layout, Relation
from gristmill.database.values import Encoded, Value, decode, encode

Condition = ColumnElement[bool]
_XIDS = (1 << 32) - 1


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a relation, as it stands in a split.

    of: `rows` with a key (and, with bounds, a cursor within them); `odd`, whose cursor is NULL or beyond all bounds; `nokey`,
    whose key is NULL; `keys`, only the keys. by_cursor: in order of (cursor, key), else of the key. low, high: bounds of
    the cursor, both within, the high one not if `high_open`. first, until: bounds of the key, half-open. xids: low and
    high transaction number, half-open; a high of -1 is none. row_bytes: what a row has, about.
    """

    of: str = "rows"
    by_cursor: bool = False
    low: Encoded | None = None
    high: Encoded | None = None
    high_open: bool = False
    first: list[Encoded] | None = None
    until: list[Encoded] | None = None
    xids: tuple[int, int] | None = None
    row_bytes: int = 1024


class Composer:
    """Makes the statements for one relation."""

    def __init__(self, relation: Relation, layout: Layout, family: Family, max_cell_bytes: int) -> None:
        self.relation = relation
        self.layout = layout
        self.grammar = grammar_of(family)(relation)
        self._max_cell_bytes = max_cell_bytes
        self._keys = [self.grammar.col(column) for column in layout.keys]
        self._cursor = self.grammar.col(layout.cursor) if layout.cursor else None

    @property
    def null_is_large(self) -> bool:
        """Tell whether a text or `meta` that is NULL can only stand for a cell over the cap. A column that says so costs a sixth of a read."""
        text = self.layout.roles.get("text")
        asked = [*([text] if text else []), *self.layout.rest]
        return bool(self._sizes(asked)) and (text is None or not text.nullable)

    def source(self) -> FromClause:
        """Give what stands after FROM."""
        return self.grammar.source

    def rows(self, part: Part, after: list[Value] | None, limit: int | None) -> Statement:
        """Give a page of a part: at most `limit` rows beyond the row whose (cursor,) key is `after`."""
        order = self._order(part)
        if after is not None:
            # Every row after it is within these bounds, and SQLite seeks by one lower bound only, perhaps the wrong one.
            part = msgspec.structs.replace(
                part, first=None if not part.by_cursor else part.first, low=None if part.by_cursor else part.low
            )
        statement = sa.select(*self.projection(part)).select_from(self.source()).where(*self.conditions(part))
        if after is not None:
            statement = statement.where(self._compare(order, after, strict=True))
        if order:
            statement = statement.order_by(*order)
        return statement.limit(limit) if limit is not None else statement

    def _order(self, part: Part) -> list[ColumnElement[Any]]:
        if part.of == "nokey":
            return []
        return [self._cursor, *self._keys] if part.by_cursor and self._cursor is not None else self._keys

    def projection(self, part: Part) -> list[ColumnElement[Any]]:
        """Give the labelled columns a page is made of: k0.., c, and unless only keys are asked for the rest."""
        grammar, layout = self.grammar, self.layout
        found = self._places(part)
        if layout.deleted:
            found.append(grammar.gone(layout.deleted).label("gone"))
        if part.of == "keys":
            return found
        big = self._big()
        if big is not None:
            found.append(big.label("big"))
        for role, column in layout.roles.items():
            if role == "text":
                text = grammar.raw(column) if layout.raw else grammar.text(column)
                found.append(self._if_small(text, [column]).label(role))
            else:
                found.append((grammar.time(column) if role == "time" else grammar.text(column)).label(role))
        if not grammar.on_server:
            return found + [grammar.col(column).label(f"m{at}") for at, column in enumerate(layout.rest)]
        if layout.rest:
            found.append(self._if_small(grammar.document(layout.rest), layout.rest).label("meta"))
        odd = [flag for column in layout.rest if (flag := grammar.strange(column)) is not None]
        if odd:
            counted: ColumnElement[Any] = sa.case((odd[0], 1), else_=0)
            for flag in odd[1:]:
                counted += sa.case((flag, 1), else_=0)
            found.append(counted.label("odd"))
        return found

    def _places(self, part: Part) -> list[ColumnElement[Any]]:
        """Give what says where a row stands: k0.., and c in order of the cursor or where there is no key."""
        grammar, layout = self.grammar, self.layout
        found: list[ColumnElement[Any]] = [grammar.key(column).label(f"k{at}") for at, column in enumerate(layout.keys)]
        if layout.cursor and (part.by_cursor or part.of == "nokey"):
            found.append(grammar.key(layout.cursor).label("c"))
        return found

    def _sizes(self, columns: list[Column]) -> list[ColumnElement[Any]]:
        """Give the bytes of the cells that can be large, as far as the database can say."""
        return [size for column in columns if (size := self.grammar.size(column)) is not None]

    def _if_small(self, expression: ColumnElement[Any], columns: list[Column]) -> ColumnElement[Any]:
        """Give an expression, or null in place of a cell over the cap, of which `big` tells."""
        over = [size > self._max_cell_bytes for size in self._sizes(columns)]
        return sa.case((sa.or_(*over), sa.null()), else_=expression) if over else expression

    def _big(self) -> ColumnElement[Any] | None:
        """Give the bytes of the large cells of a row that has one over the cap, else null; None if that cannot be asked, or need not be."""
        if self.null_is_large:
            return None
        text = self.layout.roles.get("text")
        sizes = self._sizes([*([text] if text else []), *self.layout.rest])
        over = [size > self._max_cell_bytes for size in sizes]
        return sa.case((sa.or_(*over), _sum(sizes))) if sizes else None

    def conditions(self, part: Part) -> list[Condition]:
        """Give what the rows of a part have in common."""
        found: list[Condition] = []
        if part.of == "nokey":
            found.append(sa.or_(*(key.is_(None) for key in self._keys)))
        else:
            found += [self.grammar.col(column).is_not(None) for column in self.layout.keys if column.nullable]
        if part.of == "odd":
            found.append(self._odd_cursor())
        elif part.low is not None or part.high is not None:
            found += self._within(part)
        if part.first is not None:
            found.append(self._compare(self._keys, [decode(value) for value in part.first], strict=False))
        if part.until is not None:
            found.append(sa.not_(self._compare(self._keys, [decode(value) for value in part.until], strict=False)))
        if part.xids is not None:
            found.append(self._since_xid(*part.xids))
        return found

    def _within(self, part: Part) -> list[Condition]:
        assert self.layout.cursor is not None
        assert self._cursor is not None
        found: list[Condition] = []
        inside = self.grammar.within(self.layout.cursor)
        if inside is not None:
            found.append(inside)
        if part.low is not None:
            found.append(self._cursor >= self.grammar.literal(decode(part.low)))
        if part.high is not None:
            high = self.grammar.literal(decode(part.high))
            found.append(self._cursor < high if part.high_open else self._cursor <= high)
        return found

    def _odd_cursor(self) -> Condition:
        assert self.layout.cursor is not None
        assert self._cursor is not None
        inside = self.grammar.within(self.layout.cursor)
        none = self._cursor.is_(None)
        return none if inside is None else sa.or_(none, sa.not_(inside))

    @staticmethod
    def _since_xid(low: int, high: int) -> Condition:
        """Give whether a transaction in [low, high) wrote a row.

        A row has 32 of the 64 bits, so one written 2^32 transactions earlier may be taken for such a row, never the other
        way round. A row's own number stays when it is frozen (since PostgreSQL 9.4).
        """
        xid = sa.cast(sa.cast(sa.literal_column("source.xmin"), sa.Text), sa.BigInteger)
        age = (xid - sa.literal(low, sa.BigInteger)).op("&")(sa.literal(_XIDS, sa.BigInteger))
        span = (1 << 31) if high < 0 else min(high - low, _XIDS)
        return age < sa.literal(span, sa.BigInteger)

    def _compare(self, columns: list[ColumnElement[Any]], values: list[Value], *, strict: bool) -> Condition:
        """Give (a, b, ...) > (x, y, ...), or >= if not strict."""
        bounds = [self.grammar.literal(value) for value in values]
        if len(columns) == 1:
            return columns[0] > bounds[0] if strict else columns[0] >= bounds[0]
        if self.grammar.row_values:
            left, right = sa.tuple_(*columns), sa.tuple_(*bounds)
            return left > right if strict else left >= right
        condition: Condition = columns[-1] > bounds[-1] if strict else columns[-1] >= bounds[-1]
        for column, bound in zip(columns[-2::-1], bounds[-2::-1], strict=True):
            condition = sa.and_(column >= bound, sa.or_(column > bound, condition))
        return condition

    # What is asked once a plan.

    @property
    def may_lack_keys(self) -> bool:
        """Whether there can be rows whose key is NULL."""
        return any(column.nullable for column in self.layout.keys)

    def _lacks_keys(self) -> ColumnElement[Any]:
        return (
            self._any(sa.or_(*(key.is_(None) for key in self._keys))) if self.may_lack_keys else sa.literal_column("0")
        )

    def head(self) -> Statement:
        """Give, from one snapshot: the greatest cursor, whether there are odd cursors, whether there are NULL keys, the time."""
        return sa.select(
            self._end(sa.func.max, self._inside()).label("high"),
            self._any(self._odd_cursor()).label("odd"),
            self._lacks_keys().label("nokey"),
            self.grammar.now().label("now"),
        )

    def least(self) -> Statement:
        """Give the least cursor."""
        return sa.select(self._end(sa.func.min, self._inside()).label("low"))

    def top(self, limit: Value) -> Statement:
        """Give the greatest cursor that is not over `limit`."""
        assert self._cursor is not None
        below = self._cursor <= self.grammar.literal(limit)
        return sa.select(self._end(sa.func.max, [*self._inside(), below]).label("high"))

    def _end(self, of: Any, conditions: list[Condition]) -> ColumnElement[Any]:
        """Give the greatest or least cursor of the rows for which these hold."""
        return self._cast_back(
            sa.select(of(self._cursor)).select_from(self.source()).where(*conditions).scalar_subquery()
        )

    def strays(self) -> Statement:
        """Count the rows whose cursor is of another type than that of the others."""
        return sa.select(sa.func.count()).select_from(self.source()).where(*self._stray())

    def stray_keys(self, n: int) -> Statement:
        """Give the keys of some of them."""
        return sa.select(*self._places(Part())).select_from(self.source()).where(*self._stray()).limit(n)

    def _stray(self) -> list[Condition]:
        assert self._cursor is not None
        return [self._cursor.is_not(None), *(sa.not_(inside) for inside in self._inside())]

    def _cast_back(self, scalar: ColumnElement[Any]) -> ColumnElement[Any]:
        assert self.layout.cursor is not None
        return sa.cast(scalar, sa.Text) if self.grammar.on_server and self.layout.cursor.kind == "decimal" else scalar

    def _any(self, condition: Condition) -> ColumnElement[Any]:
        found = sa.select(sa.literal_column("1")).select_from(self.source()).where(condition).exists()
        return sa.case((found, 1), else_=0)

    def exists(self, part: Part) -> Statement:
        """Give 1 if a part has any row, else 0."""
        return sa.select(self._any(sa.and_(*self.conditions(part))).label("found"))

    def xmin_head(self) -> Statement:
        """Give, from one snapshot: the horizon, whether there are NULL keys, the time."""
        return sa.select(
            self.grammar.horizon().label("high"),
            self._lacks_keys().label("nokey"),
            self.grammar.now().label("now"),
        )

    def count(self, part: Part) -> Statement:
        """Count the rows of a part."""
        return sa.select(sa.func.count()).select_from(self.source()).where(*self.conditions(part))

    def every(self, part: Part, step: int) -> Statement:
        """Give the first key of a part and every `step`-th after it."""
        place = sa.func.row_number().over(order_by=self._keys).label("place")
        keys = [self.grammar.key(column).label(f"k{at}") for at, column in enumerate(self.layout.keys)]
        inner = sa.select(*keys, place).select_from(self.source()).where(*self.conditions(part)).subquery("numbered")
        return (
            sa.select(*(inner.c[f"k{at}"] for at in range(len(keys))))
            .where((inner.c.place - 1) % step == 0)
            .order_by(inner.c.place)
        )

    def still_there(self, keys: list[list[Value]]) -> Statement:
        """Count how many of these keys there are."""
        if len(self._keys) == 1:
            one: Condition = self._keys[0].in_([self.grammar.literal(values[0]) for values in keys])
        else:
            one = sa.or_(
                *(
                    sa.and_(
                        *(key == self.grammar.literal(value) for key, value in zip(self._keys, values, strict=True))
                    )
                    for values in keys
                )
            )
        return sa.select(sa.func.count()).select_from(self.source()).where(one)

    def repeated(self, part: Part) -> Statement:
        """Count the keys of a part that more than one row has."""
        grouped: Statement = sa.select(sa.literal_column("1").label("one")).select_from(self.source())
        if self._cursor is not None and part.by_cursor:
            grouped = grouped.group_by(self._cursor, *self._keys)
        else:
            grouped = grouped.group_by(*self._keys)
        grouped = grouped.where(*self.conditions(part)).having(sa.func.count() > 1)
        return sa.select(sa.func.count()).select_from(grouped.subquery("repeated"))

    def newest(self, n: int, high: Value) -> Statement:
        """Give key and cursor of the last `n` rows in order up to the cursor `high`, the last first."""
        assert self._cursor is not None
        order = [self._cursor, *self._keys]
        part = Part(by_cursor=True, high=encode(high))
        return (
            sa.select(*self._places(part))
            .select_from(self.source())
            .where(*self.conditions(part))
            .order_by(*(column.desc() for column in order))
            .limit(n)
        )

    def _inside(self) -> list[Condition]:
        """Give the condition for a cursor we can order by; none where all are (databases seek an end faster without)."""
        assert self.layout.cursor is not None
        inside = self.grammar.within(self.layout.cursor)
        return [] if inside is None else [inside]

    def bytes_of_some(self, n: int) -> Statement | None:
        """Give the mean bytes of a few rows, None if the database cannot say."""
        sizes = self._sizes([*self.layout.roles.values(), *self.layout.rest])
        if not sizes:
            return None
        some = sa.select(_sum(sizes).label("size")).select_from(self.source()).limit(n).subquery("some")
        return sa.select(sa.func.avg(some.c.size))

    def ends(self) -> Statement:
        """Give least and greatest of the first key column."""
        tops = [sa.select(end(self._keys[0])).select_from(self.source()) for end in (sa.func.min, sa.func.max)]
        return sa.select(*(top.scalar_subquery().label(f"end{at}") for at, top in enumerate(tops)))

    def next_to(self, values: list[int]) -> Statement:
        """Give for each number the least key that is not below it, as one row."""
        key = self._keys[0]
        found = [sa.select(sa.func.min(key)).select_from(self.source()).where(key >= value) for value in values]
        return sa.select(*(each.scalar_subquery().label(f"v{at}") for at, each in enumerate(found)))

    def at(self, part: Part, place: int) -> Statement:
        """Give the key that stands at a place of a part, counted from 0."""
        keys = [self.grammar.key(column).label(f"k{at}") for at, column in enumerate(self.layout.keys)]
        rows = sa.select(*keys).select_from(self.source()).where(*self.conditions(part))
        return rows.order_by(*self._keys).offset(place).limit(1)


def _sum(sizes: list[ColumnElement[Any]]) -> ColumnElement[Any]:
    total: ColumnElement[Any] = sa.literal_column("0")
    for size in sizes:
        total = total + sa.func.coalesce(size, 0)
    return total
