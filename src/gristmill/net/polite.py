"""Politeness: a lane for each host, robots.txt before the first page, and answers in the order they were asked for.

    Lanes      a fetcher that gives each host its turns: few connections, a gap between two starts, a rest when the host asks for it
    Visitor    robots, the page, its redirects (robots again where they lead to another origin)
    answers    many visits at once from a plain iterator, each answer in its place

Not here: what robots.txt says (`robots.py`), the address check and the caps (`fetch.py`), when to ask again (`retry.py`), what an answer means
(`sources/web.py`). Invariants: no request to a host starts sooner after the last than its gap, retries, redirects and robots.txt included;
no page is asked for that robots.txt of its origin forbids; answers come in the order of the asks whatever comes back first; what is
held for that is bounded: beyond `HELD_BYTES` bodies wait on disk.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast
from urllib.parse import urljoin, urlsplit

import msgspec

from gristmill.net.addresses import Guard
from gristmill.net.fetch import Fetcher, FetchFailed, FetchRefused, Limits, Response, shown
from gristmill.net.loop import Loop
from gristmill.net.retry import Patience, Retrier, retry_after_s
from gristmill.net.robots import Robots, parse
from gristmill.net.urls import host_of, normal, origin_of

HELD_BYTES = 64 << 20  # of bodies that came before their turn, in memory
BATCH_BYTES = 8 << 20  # of bodies given at a time
FAILURES = 10  # in a row without an answer: the host rests until the next run
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ROBOTS = Limits(max_bytes=8 << 20, timeout_s=30.0)
_PASSING = frozenset({429, 503})


class Manners(msgspec.Struct, frozen=True):
    """How we behave towards hosts.

    user_agent: sent, and looked for in robots.txt. delay_s: between the starts of two requests to a host, more if its crawl-delay says so.
    max_connections: to a host at a time. max_hosts: asked at the same time. exempt: hosts whose robots.txt is not asked for.
    """

    user_agent: str
    delay_s: float = 1.0
    max_connections: int = 1
    max_hosts: int = 16
    exempt: frozenset[str] = frozenset()


class Ask(msgspec.Struct, frozen=True):
    """A page to visit. headers: the conditions of a conditional GET."""

    url: str
    headers: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True):
    """What came of an ask: a response (of any status that is not worth another try), or why there is none.

    url: where the response is from. skipped: a code, nothing was asked for: robots.disallowed, robots.unreachable, robots.too_many_rules,
    host.deferred. code, detail: a failure. moved: whether the whole way there was by permanent redirects.
    """

    ask: Ask
    url: str
    response: Response | None = None
    skipped: str = ""
    code: str = ""
    detail: str = ""
    moved: bool = False


class _Lane:
    """The state of one host."""

    def __init__(self, gap_s: float, connections: int) -> None:
        self.gap_s, self.next_at = gap_s, 0.0
        self.connections, self.gate = asyncio.Semaphore(connections), asyncio.Lock()
        self.active = self.failures = 0
        self.resting = ""


class Lanes(Fetcher):
    """A fetcher whose every request waits for its host's turn. It gives redirects as they are, for the visitor to judge.

    rested: hosts that were asked shortly before, whose first turn is one gap away. retry_after_max_s: a host that wants more rests until the next run.
    """

    def __init__(self, manners: Manners, guard: Guard, limits: Limits, *, retry_after_max_s: float) -> None:
        connections = manners.max_hosts * manners.max_connections
        super().__init__(guard, limits, agent=manners.user_agent, max_connections=connections, follow=False)
        self._manners, self._retry_after_max_s = manners, retry_after_max_s
        self._hosts = asyncio.Semaphore(manners.max_hosts)
        self._lanes: dict[str, _Lane] = {}
        self._failed: dict[str, FetchFailed] = {}

    def lane(self, host: str) -> _Lane:
        """Give a host's lane."""
        if host not in self._lanes:
            self._lanes[host] = _Lane(self._manners.delay_s, self._manners.max_connections)
        return self._lanes[host]

    def slow_down(self, host: str, delay_s: float) -> None:
        """Keep at least this gap from now on; the gap since the last start is widened too."""
        lane = self.lane(host)
        lane.next_at += max(0.0, delay_s - lane.gap_s)
        lane.gap_s = max(lane.gap_s, delay_s)

    @asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[_Lane]:
        lane, clock = self.lane(host), asyncio.get_running_loop().time
        async with lane.connections:
            async with lane.gate:
                while (wait_s := lane.next_at - clock()) > 0:
                    await asyncio.sleep(wait_s)
                if not lane.active:
                    await self._hosts.acquire()
                lane.active += 1
                lane.next_at = clock() + lane.gap_s
            try:
                yield lane
            finally:
                lane.active -= 1
                if not lane.active:
                    self._hosts.release()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limits: Limits | None = None,
    ) -> Response:
        """Fetch as `Fetcher.fetch` does, when the host's turn comes; not at all once the host rests.

        Raises:
            FetchRefused: also host.deferred: it failed ten times in a row, or asked for a longer rest than allowed.
        """
        async with self._turn(host_of(url)) as lane:
            if lane.resting:  # what was asked for before keeps the code of its own failure
                earlier = self._failed.get(url)
                raise FetchRefused(
                    *(earlier.code, url, earlier.detail) if earlier else ("host.deferred", url, lane.resting)
                )
            try:
                response = await super().fetch(
                    method, url, headers=headers, credentials=credentials, body=body, limits=limits
                )
            except FetchFailed as error:
                self._failed[url] = error
                lane.failures += 1
                if lane.failures >= FAILURES:
                    lane.resting = f"{FAILURES} requests in a row got no answer"
                raise
        lane.failures = 0
        if response.status in _PASSING:
            self._rest(lane, retry_after_s(response.headers, datetime.now(UTC)))
        return response

    def _rest(self, lane: _Lane, wait_s: float | None) -> None:
        """Give a host the rest it asks for, all of it and not only the page it said so of."""
        if wait_s is None:
            return
        if wait_s > self._retry_after_max_s:
            lane.resting = f"it asks to wait {wait_s:.0f} s, over the {self._retry_after_max_s:.0f} s allowed"
        else:
            lane.next_at = max(lane.next_at, asyncio.get_running_loop().time() + wait_s)


class Visitor:
    """Visits pages as robots.txt and the lanes allow. One per read; robots.txt of an origin is asked for once."""

    def __init__(self, manners: Manners, guard: Guard, limits: Limits, patience: Patience) -> None:
        self._manners, self._limits = manners, limits
        self._lanes = Lanes(manners, guard, limits, retry_after_max_s=patience.retry_after_max_s)
        self._retrier = Retrier(self._lanes, patience)
        self._robots: dict[str, asyncio.Task[Robots]] = {}

    async def close(self) -> None:
        """Close all connections, and end what still goes on."""
        for task in self._robots.values():
            task.cancel()
        await asyncio.gather(*self._robots.values(), return_exceptions=True)
        await self._lanes.__aexit__(None, None, None)

    def rest(self, host: str) -> None:
        """Let a host's first turn be one gap from now: another read may have asked it just before."""
        self._lanes.lane(host).next_at = asyncio.get_running_loop().time() + self._manners.delay_s

    async def visit(self, ask: Ask, limits: Limits | None = None) -> Answer:
        """Visit one page; never raises for what a page or host does."""
        url, moved = ask.url, True
        try:
            for _ in range(self._limits.max_redirects + 1):
                robots = await self.robots(url)
                if not robots.allows(url):
                    return Answer(ask, url, skipped=robots.deferred or "robots.disallowed")
                response = await self._retrier.fetch("GET", url, headers=ask.headers, limits=limits)
                if response.status not in _REDIRECTS or not response.headers.get("location"):
                    return Answer(ask, url, response, moved=moved and url != ask.url)
                url, moved = _led_to(response, url), moved and response.status in {301, 308}
        except (FetchRefused, FetchFailed) as error:
            if error.code == "host.deferred":
                return Answer(ask, url, skipped=error.code, detail=error.detail)
            return Answer(ask, url, code=error.code, detail=error.detail)
        return Answer(ask, url, code="net.redirects", detail=f"more than {self._limits.max_redirects} redirects")

    async def robots(self, url: str) -> Robots:
        """Give the rules for the origin of a URL.

        Raises:
            FetchRefused, FetchFailed: the host cannot be talked to at all.
        """
        if host_of(url) in self._manners.exempt:
            return Robots()
        origin = origin_of(url)
        if origin not in self._robots:
            self._robots[origin] = asyncio.create_task(self._read_robots(origin))
        return await asyncio.shield(self._robots[origin])

    async def _read_robots(self, origin: str) -> Robots:
        url = f"{origin}/robots.txt"
        status, body = 0, b""
        try:
            for _ in range(self._limits.max_redirects + 1):
                response = await self._retrier.fetch("GET", url, limits=_ROBOTS)
                status, body = response.status, response.body
                if status not in _REDIRECTS or not response.headers.get("location"):
                    break
                url = _led_to(response, url)
            else:
                status = 404  # RFC 9309, 2.3.1.2: too many redirects may be taken as unavailable
        except (FetchRefused, FetchFailed) as error:
            if not error.code.startswith(("http.", "size.")):
                raise
            status = 503
        robots = parse(status, body, self._manners.user_agent)
        self._lanes.slow_down(host_of(origin), robots.delay_s)
        return robots


def _led_to(response: Response, url: str) -> str:
    """Give where a redirect leads, in normal form.

    Raises:
        FetchRefused: nowhere we could go.
    """
    location = response.headers["location"].strip()
    try:
        scheme = urlsplit(urljoin(url, location)).scheme.lower()
        if scheme not in {"http", "https"}:
            raise FetchRefused("net.scheme", url, f"redirected to the scheme {scheme[:20]!r}")
        return normal(location, url)
    except ValueError as error:
        raise FetchRefused("url.invalid", url, f"redirected to what is no URL: {error}") from None


class _Window:
    """Visits in flight, and answers that wait for their turn."""

    def __init__(self, visitor: Visitor, asks: Sequence[Ask], size: int) -> None:
        self._visitor, self._asks, self._size = visitor, asks, size
        self._next = self._held_bytes = 0
        self._tasks: deque[asyncio.Task[tuple[Answer, BinaryIO | None]]] = deque()

    async def take(self) -> list[Answer]:
        """Give the next answers that are there, at least one; none at the end."""
        while len(self._tasks) < self._size and self._next < len(self._asks):
            self._tasks.append(asyncio.create_task(self._visit(self._asks[self._next])))
            self._next += 1
        taken: list[Answer] = []
        size = 0
        while self._tasks and (not taken or (self._tasks[0].done() and size < BATCH_BYTES)):
            answer, spilled = await self._tasks[0]
            self._tasks.popleft()
            if spilled is not None:
                with spilled:
                    answer = _with_body(answer, spilled.read())
            elif answer.response is not None:
                self._held_bytes -= len(answer.response.body)
            size += len(answer.response.body) if answer.response is not None else 0
            taken.append(answer)
        return taken

    async def _visit(self, ask: Ask) -> tuple[Answer, BinaryIO | None]:
        answer = await self._visitor.visit(ask)
        if answer.response is None:
            return answer, None
        if self._held_bytes + len(answer.response.body) <= HELD_BYTES:
            self._held_bytes += len(answer.response.body)
            return answer, None
        spilled = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  # closed when it is taken, or in close()
        spilled.write(answer.response.body)
        spilled.seek(0)
        return _with_body(answer, b""), spilled

    async def close(self) -> None:
        """End what is still in flight, and free what waits."""
        for task in self._tasks:
            task.cancel()
        for done in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(done, tuple) and done[1] is not None:
                done[1].close()
        await self._visitor.close()


def _with_body(answer: Answer, body: bytes) -> Answer:
    assert answer.response is not None
    return msgspec.structs.replace(answer, response=msgspec.structs.replace(answer.response, body=body))


def answers(
    asks: Sequence[Ask],
    manners: Manners,
    guard: Guard,
    limits: Limits,
    patience: Patience,
    *,
    rested: Sequence[str] = (),
) -> Iterator[list[Answer]]:
    """Visit all pages, many hosts at once; give the answers in order, some at a time as they come.

    rested: hosts that may have been asked just before; they are given one gap first.
    """
    size = max(64, 4 * manners.max_hosts * manners.max_connections)
    with Loop() as loop:
        window = loop.run(_open(asks, Visitor, (manners, guard, limits, patience), size, rested))
        try:
            while batch := loop.run(window.take()):
                yield batch
        finally:
            loop.run(window.close())


async def _open(asks: Sequence[Ask], make: Any, parameters: Any, size: int, rested: Sequence[str]) -> _Window:
    visitor = make(*parameters)
    for host in rested:
        visitor.rest(host)
    return _Window(visitor, asks, size)


CHECKED = 5  # hosts that are tried before a run


def unreachable(urls: Sequence[str], visitor_of: tuple[Manners, Guard, Limits, Patience]) -> list[str]:
    """Ask the first few hosts of some URLs for their robots.txt; give a sentence for each that cannot be read from now."""
    firsts = list({origin_of(url): url for url in reversed(urls)}.values())[::-1][:CHECKED]
    with Loop() as loop:
        return loop.run(_try(firsts, visitor_of))


async def _try(urls: list[str], visitor_of: tuple[Manners, Guard, Limits, Patience]) -> list[str]:
    visitor = Visitor(*visitor_of)
    problems = []
    try:
        for url in urls:
            origin = origin_of(url)
            try:
                robots = await visitor.robots(url)
            except (FetchRefused, FetchFailed) as error:
                problems.append(f"{origin}: {error.code}: {error.detail}")
                continue
            if robots.deferred:
                problems.append(
                    f"{origin}: {robots.deferred}: its robots.txt cannot be read, so nothing of it is asked for now"
                )
            elif not robots.allows(url):
                problems.append(f"{shown(url)}: robots.disallowed: robots.txt of the host forbids it")
    finally:
        await visitor.close()
    return problems
