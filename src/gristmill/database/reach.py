"""How far the cursor of a relation has come, and how far the next run may take it for granted.

A row may say that it is of a time to come: a mistyped year, a clock that is fast, a date of publication. Rows that are
written later have smaller cursors, so a cursor that followed such a row would pass them all by. It stands at the greatest
value that the database's clock has reached; what is ahead of it is read whenever anything changed, until its time comes.
Not here: what a run reads (`planner`). Invariants: the clock is the database's own; numbers and other texts have no clock,
so the greatest counts; what is left out of the order (NULL, endless, of another type) is told, to be read on its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import msgspec

from gristmill.core.errors import SourceError, SourceMisconfigured
from gristmill.database.compose import Composer, Part
from gristmill.database.connect import Connection
from gristmill.database.values import Value, clock, encode, is_number, is_time, kind_of, moment, typed

_FAR = timedelta(days=2)  # zones differ by up to 26 hours: what is further ahead is wrong, or planned


class Reach(msgspec.Struct, frozen=True):
    """What there is.

    top: the greatest cursor. settled: the greatest that is not ahead of the clock. odd: there are rows outside of the order.
    nokey: there are rows whose key is NULL. day: the database's date, as a number. warnings: what is worth a look.
    """

    top: Value | None
    settled: Value | None
    odd: bool
    nokey: bool
    day: int
    warnings: dict[str, int] = {}


def look(connection: Connection, composer: Composer, before: Value | None) -> Reach:
    """See how far the cursor has come. before: where it stood at the last run."""

    def ask(statement: Any) -> tuple[Any, ...]:
        (row,) = connection.rows(statement)
        return row

    def value(raw: Any) -> Value | None:
        assert composer.layout.cursor is not None
        return None if raw is None else typed(composer.layout.cursor.kind, raw)

    high, odd, nokey, told = ask(composer.head())
    now = moment(told)
    warnings = {}
    strays = int(ask(composer.strays())[0]) if composer.layout.cursor and composer.layout.cursor.mixed else 0
    if strays:
        warnings["cursor.type"] = strays
    top = settled = value(high)
    likes = [each for each in (top, before) if each is not None]
    if isinstance(top, str) and before is None:  # is there any time among its texts
        likes += [each for each in (value(ask(composer.least())[0]),) if each is not None]
    like = next((each for each in likes if clock(each, now) is not None), None)
    limit = clock(like, now) if like is not None else None
    if top is not None and limit is not None and top > limit:  # type: ignore[operator]
        settled = value(ask(composer.top(limit))[0])
        far = clock(like, now + _FAR) if like is not None else None
        count = int(ask(composer.count(Part(low=encode(far))))[0]) if far is not None else 0
        if count:
            warnings["cursor.future"] = count
    return Reach(top, settled, bool(odd), bool(nokey), now.toordinal(), warnings)


def must_fit(
    composer: Composer, overlap_of: Literal["times", "numbers"] | None, before: Value | None, top: Value | None
) -> None:
    """Refuse a cursor that holds other values than it did, or than the overlap was given for.

    Raises:
        SourceError: it does.
    """
    called = composer.relation.called
    there = [value for value in (top, before) if value is not None]
    if len({"number" if is_number(value) else kind_of(value) for value in there}) > 1:
        raise SourceError(
            f"the cursor of {called} holds {_said(top)} values now, {_said(before)} at the last run; run with --full-refresh"
        )
    if not there or overlap_of is None or composer.layout.cursor is None:
        return
    name = composer.layout.cursor.name
    if overlap_of == "numbers" and not is_number(there[0]):
        raise SourceMisconfigured(f"overlap: {name} holds no numbers; give the overlap as a duration such as 10m")
    if overlap_of == "times" and is_number(there[0]):
        raise SourceMisconfigured(f"overlap: {name} holds numbers; give the overlap as a number")
    if overlap_of == "times" and not is_time(there[0]):
        raise SourceMisconfigured(f"overlap: the cursor of {called} holds no times, so it can overlap by no duration")


def _said(value: Value | None) -> str | None:
    return None if value is None else kind_of(value)
