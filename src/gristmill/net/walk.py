"""Walking through an API: one listing, or the listings of all records of a parent listing, answer by answer.

Not here: a single listing (`listing.py`), what becomes of the records (`sources/rest.py`). Invariants: answers come in
one order, that of the parents and of each listing, however many are asked for at a time; each has the place where to go
on after it, which is JSON-able, holds no secret, and is good as long as the server honours its page tokens.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from gristmill.net.addresses import Guard
from gristmill.net.auth import Auth
from gristmill.net.credentials import Credentials
from gristmill.net.fetch import Fetcher, Limits, origin
from gristmill.net.listing import Listing, PageMissing, Place, Query
from gristmill.net.pages import Guards, dig
from gristmill.net.retry import Patience, Retrier

_HOLE = re.compile(r"\{([^{}]+)\}")


class Pace(msgspec.Struct, frozen=True):
    """How fast and how far. rate: requests a second, 0: no limit; connections: at a time; max_pages: of a listing."""

    rate: float
    connections: int
    max_pages: int


class Trip(msgspec.Struct, frozen=True):
    """All that is to be asked. handed_down: fields of a parent that its children's query takes, or their records get.

    skip_missing: a child that is not there is passed over.
    """

    query: Query
    parents: Query | None
    handed_down: list[str]
    skip_missing: bool
    auth: Auth | None
    guard: Guard
    limits: Limits
    patience: Patience
    pace: Pace
    agent: str


class Got(msgspec.Struct, frozen=True):
    """An answer. place: to go on from after it; None: it is the last, or that place is none. refused: (code, detail).

    date: of the answer, by the server's clock.
    """

    records: list[Any]
    size: int
    place: dict[str, Any] | None
    warnings: list[str] = []
    refused: list[tuple[str, str]] = []
    date: datetime | None = None


async def walk(trip: Trip, at: dict[str, Any] | None) -> AsyncIterator[Got]:
    """Give the answers from a place on (None: from the beginning).

    Raises:
        SourceError: an answer is none, or a listing would not end.
        Transient: no answer came, and might another time.
    """
    async with Fetcher(trip.guard, trip.limits, agent=trip.agent, max_connections=trip.pace.connections) as fetcher:
        retrier = Retrier(fetcher, trip.patience, trip.pace.rate)
        credentials = Credentials(trip.auth, trip.query.url, retrier)
        if trip.parents is not None:
            async for got in _Family(trip, trip.parents, retrier, credentials).walk(at or {}):
                yield got
            return
        place, guards = _going_on(trip, at)
        async for answer in Listing(trip.query, retrier, credentials).pages(place, guards):
            yield Got(answer.records, answer.size, _kept(answer.following, guards), answer.warnings, date=answer.date)


async def first_record(trip: Trip) -> Any:
    """Ask for as little as shows the first record; None: there is none in the first answer.

    Raises:
        SourceError, Transient: as `walk`.
    """
    small = msgspec.structs.replace(trip, pace=msgspec.structs.replace(trip.pace, connections=1))
    answers = walk(small, None)
    try:
        for _ in range(1 if trip.parents is None else 2):
            got = await anext(answers, None)
            if got is None or got.records:
                return got.records[0] if got else None
        return None
    finally:
        await answers.aclose()  # type: ignore[attr-defined]


def _going_on(trip: Trip, at: dict[str, Any] | None) -> tuple[Place | None, Guards]:
    if at is None:
        return None, Guards(trip.pace.max_pages)
    return msgspec.convert(at["at"], Place), Guards(trip.pace.max_pages, at["guards"])


def _kept(place: Place | None, guards: Guards) -> dict[str, Any] | None:
    return None if place is None else {"at": msgspec.to_builtins(place), "guards": guards.kept()}


class _Family:
    """Parents and their children.

    A place is: above, where the page of the parents is (None: the first); index, of the parent in it; values, that one's;
    child, where in its listing.
    """

    def __init__(self, trip: Trip, parents: Query, retrier: Retrier, credentials: Credentials) -> None:
        self._trip, self._retrier, self._credentials = trip, retrier, credentials
        same = origin(parents.url) == origin(trip.query.url)
        self._parents = Listing(parents, retrier, credentials if same else Credentials(trip.auth, parents.url, retrier))

    async def walk(self, at: dict[str, Any]) -> AsyncIterator[Got]:
        """Give the answers with the children of all parents."""
        above = at.get("above")
        place, guards = _going_on(self._trip, above)
        async for answer in self._parents.pages(place, guards):
            families = [self._values(record) for record in answer.records]
            refused = [("field.missing", why) for why in families if isinstance(why, str)]
            values = [each for each in families if not isinstance(each, str)]
            after = _kept(answer.following, guards)
            yield Got([], answer.size, None, answer.warnings, refused, answer.date)
            start, child = 0, None
            index = at.get("index", 0)
            if index < len(values) and at.get("values") == values[index]:  # else the page has changed: all of it again
                start, child = index, at.get("child")
            async for index, got in self._children(values[start:], child):
                here = start + index
                place_after: dict[str, Any] | None
                if got.place is not None:
                    place_after = {"above": above, "index": here, "values": values[here], "child": got.place}
                elif here + 1 < len(values):
                    place_after = {"above": above, "index": here + 1, "values": values[here + 1]}
                else:
                    place_after = {"above": after} if after is not None else None
                # each record its own copy: the mapping takes fields out of it
                records = [
                    each | {"_parent": copy.deepcopy(values[here])} if isinstance(each, dict) else each
                    for each in got.records
                ]
                yield msgspec.structs.replace(got, records=records, place=place_after)
            above, at = after, {}

    async def _children(
        self, values: list[dict[str, Any]], child: dict[str, Any] | None
    ) -> AsyncIterator[tuple[int, Got]]:
        """Give the answers of each child's listing; the first pages of some next ones are asked for meanwhile."""
        waiting: deque[tuple[AsyncIterator[Got], asyncio.Task[Got | None]]] = deque()
        begun = index = 0
        try:
            while index < len(values):
                while begun < len(values) and len(waiting) < self._trip.pace.connections:
                    listing = self._child(values[begun], child if not begun else None)
                    waiting.append((listing, asyncio.create_task(_first(listing))))
                    begun += 1
                listing, first = waiting[0]
                got = await first
                while got is not None:
                    yield index, got
                    got = await _first(listing)
                waiting.popleft()
                index += 1
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
            for listing, _ in waiting:
                await listing.aclose()  # type: ignore[attr-defined]

    async def _child(self, values: dict[str, Any], at: dict[str, Any] | None) -> AsyncIterator[Got]:
        query = self._trip.query
        filled = msgspec.structs.replace(
            query,
            url=_HOLE.sub(lambda hole: quote(_text(values[hole[1]]), safe=""), query.url),
            params={
                name: _HOLE.sub(lambda hole: _text(values[hole[1]]) if hole[1] in values else hole[0], value)
                for name, value in query.params.items()
            },
        )
        place, guards = _going_on(self._trip, at)
        try:
            async for answer in Listing(filled, self._retrier, self._credentials).pages(place, guards):
                yield Got(
                    answer.records, answer.size, _kept(answer.following, guards), answer.warnings, date=answer.date
                )
        except PageMissing:
            if not self._trip.skip_missing:
                raise
            yield Got([], 0, None, ["parent.missing"])

    def _values(self, record: Any) -> dict[str, Any] | str:
        """Give what a parent hands down, or why it cannot."""
        needed = {
            hole for text in (self._trip.query.url, *self._trip.query.params.values()) for hole in _HOLE.findall(text)
        }
        values = {}
        for name in self._trip.handed_down:
            value = dig(record, name) if isinstance(record, dict) else None
            if name in needed and (
                isinstance(value, bool) or not isinstance(value, str | int) or value in {"", ".", ".."}
            ):
                return f"a parent's {name!r} is no text or number that can stand in a URL"
            values[name] = value
        return values


async def _first(answers: AsyncIterator[Got]) -> Got | None:
    return await anext(answers, None)


def _text(value: Any) -> str:
    return str(value)
