"""A web site on loopback whose every answer is written by the test, byte for byte if need be, and which keeps a log.

    with Site({"/a": page("text"), "/b": Reply(404)}) as site: ... site.url("/a") ... site.log

Not here: faults of the network itself (`tests/faults`). It serves HTTP/1.1 with kept connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.faults.server import Threaded

REASONS = {200: "OK", 301: "Moved Permanently", 302: "Found", 304: "Not Modified", 404: "Not Found"}
TEXT = (
    "The harbour freezes in January and the ferries stay away until the ice has gone again. "
    "People walk across to the island then, with sledges for what they buy, and nobody pays a fare. "
)


class Reply(NamedTuple):
    """An answer. raw: the whole of it, written as it is; the connection is closed after it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  never changed
    delay_s: float = 0.0
    raw: bytes | None = None


class Request(NamedTuple):
    """A request as it came. at: by the monotonic clock, when its head was read; host: its Host header."""

    path: str
    headers: dict[str, str]
    at: float

    @property
    def conditional(self) -> bool:
        return bool({"if-none-match", "if-modified-since"} & self.headers.keys())


Answer = Reply | Callable[[Request], Reply]


def page(text: str = "", *, title: str = "A page", head: str = "", etag: str | None = None, **headers: str) -> Answer:
    """Give an HTML page of some length around `text`; with an etag it answers conditions."""
    body = f"<!doctype html><html lang=en><head><title>{title}</title>{head}</head><body><article><h1>{title}</h1>"
    body += f"<p>{text} {TEXT}</p><p>{TEXT}</p></article></body></html>"
    return _answer(body.encode(), "text/html; charset=utf-8", etag, headers)


def plain(text: object, *, etag: str | None = None, **headers: str) -> Answer:
    """Give a page of plain text, which needs no extraction."""
    return _answer(str(text).encode(), "text/plain; charset=utf-8", etag, headers)


def _answer(body: bytes, kind: str, etag: str | None, headers: dict[str, str]) -> Answer:
    said = {"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    reply = Reply(200, body, said | ({"ETag": etag} if etag else {}))
    if etag is None:
        return reply
    return lambda request: Reply(304, b"", {"ETag": etag}) if request.headers.get("if-none-match") == etag else reply


class Site(Threaded):
    """Serves `pages` (by path with query) from a thread of its own. in_flight: the most requests at a time."""

    def __init__(self, pages: dict[str, Answer] | None = None, host: str = "127.0.0.1") -> None:
        self.pages: dict[str, Answer] = dict(pages or {})
        self.host = host
        self.log: list[Request] = []
        self.date: str | None = "Wed, 25 Nov 2026 08:00:00 GMT"
        self.in_flight = self._now = 0

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accepted, self.host, 0)

    @property
    def origin(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def url(self, path: str) -> str:
        return self.origin + path

    def asked(self) -> list[str]:
        """Give the paths that were asked for since the last call, robots.txt aside, and forget the log."""
        paths = [request.path for request in self.log if request.path != "/robots.txt"]
        self.log.clear()
        return paths

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        request = Request(head[0].split(" ")[1], headers, time.monotonic())
        self.log.append(request)
        answer = self.pages.get(request.path, Reply(404, b"no such page"))
        reply = answer if isinstance(answer, Reply) else answer(request)
        self._now += 1
        self.in_flight = max(self.in_flight, self._now)
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        self._now -= 1
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            return False
        said = {"Content-Length": str(len(reply.body))} | reply.headers
        if self.date:
            said = {"Date": self.date} | said
        lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in said.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if reply.status == 304 else reply.body))
        await writer.drain()
        return True
