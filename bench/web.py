"""The `web` source against a local site: requests a second at two settings of politeness, and what a second run asks.

    python -m bench.web                 10,000 pages of 8 KB, one host, both settings; prints a table, exit 1 if a promise is broken
    python -m bench.web --pages 1000    a quick look

The site is a process of its own, which counts: how many requests were conditional, how many connections were open. CPU time is that of the crawling process and its extracting child. Not here: the network; loopback has no latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from gristmill.core.source import PlanContext, ReadContext, State, UnitRead
from gristmill.sources.web import Web

WORDS = ["harbour", "ice", "ferry", "winter", "island", "sledge", "market", "captain", "letter", "bridge", "lantern"]
WORDS += ["kitchen", "school", "river", "forest", "stone", "weather", "engine", "archive", "window", "garden", "ladder"]
WORDS += ["copper", "sugar", "paper", "mountain", "village", "railway", "coffee", "orchard", "candle", "meadow"]
BODY_BYTES = 8_000
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("delay 0, 2 connections", {"delay_s": 0, "max_connections": 2}),
    ("delay 5 ms, 1 connection", {"delay_s": 0.005, "max_connections": 1}),
]


# --- the site ----------------------------------------------------------------------------------------------------


def page(number: int, count: int) -> bytes:
    """Give a page like an article's: navigation, some paragraphs, a footer; the same for the same number."""
    state = number * 2654435761 % (1 << 32)
    paragraphs: list[str] = []
    while sum(map(len, paragraphs)) < BODY_BYTES * 3 // 4:
        words = []
        for _ in range(60):
            state = (state * 1103515245 + 12345) % (1 << 31)
            words.append(WORDS[state >> 16 & 31])
        paragraphs.append(f"<p>{' '.join(words).capitalize()}.</p>")
    links = "".join(f'<li><a href="/page/{(number + n) % count}">Number {n}</a></li>' for n in range(20))
    return (
        f'<!doctype html><html lang="en"><head><title>Page {number}</title><link rel="canonical" href="/page/{number}"></head>'
        f"<body><nav><ul>{links}</ul></nav><article><h1>Page {number}</h1>{''.join(paragraphs)}</article>"
        f"<footer>Imprint, contact, all rights reserved</footer></body></html>"
    ).encode()


class Site(asyncio.Protocol):
    """One connection; `seen` is shared by all: requests, conditional ones, the most connections open."""

    def __init__(self, pages: list[bytes], seen: dict[str, Any]) -> None:
        self._pages, self._seen, self._held = pages, seen, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: Any = transport
        self._seen["open"] += 1
        self._seen["most_open"] = max(self._seen["most_open"], self._seen["open"])

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it."""
        self._seen["open"] -= 1

    def data_received(self, data: bytes) -> None:
        """Answer each whole head."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head, self._held = self._held[:end], self._held[end + 4 :]
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1].decode()
        seen = self._seen
        if path == "/stats":
            body = json.dumps(seen).encode()
            seen.update(pages=0, conditional=0, not_modified=0, most_open=0, lists=0)
            return _http(200, body)
        if path == "/robots.txt":
            return _http(200, b"User-agent: *\nDisallow: /private\n")
        if path == "/sitemap.xml":
            seen["lists"] += 1
            locs = "".join(f"<url><loc>{seen['origin']}/page/{n}</loc></url>" for n in range(len(self._pages)))
            return _http(200, f"<urlset>{locs}</urlset>".encode())
        seen["pages"] += 1
        number = path.rpartition("/")[2]
        tag = f'"{number}-1"'
        conditional = b"\r\nif-none-match:" in head.lower()
        seen["conditional"] += conditional
        if conditional and tag.encode() in head:
            seen["not_modified"] += 1
            return f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()
        return _http(200, self._pages[int(number)], f"ETag: {tag}\r\nContent-Type: text/html; charset=utf-8\r\n")


def _http(status: int, body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


async def serve(count: int) -> None:
    """Serve until the input ends; the first line of output is the port."""
    pages = [page(number, count) for number in range(count)]
    seen: dict[str, Any] = dict.fromkeys(("pages", "conditional", "not_modified", "lists", "open", "most_open"), 0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Site(pages, seen), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen["origin"] = f"http://127.0.0.1:{port}"
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


# --- the crawl ---------------------------------------------------------------------------------------------------


class Crawled(NamedTuple):
    """One run: what it took and gave, and what the site saw of it."""

    wall_s: float
    cpu_s: float
    rows: int
    unchanged: int
    state: State
    seen: dict[str, Any]


def crawl(source: Web, state: State | None, folder: Path, origin: str) -> Crawled:
    """Plan, read and fold once, as the engine does."""
    with urllib.request.urlopen(f"{origin}/stats", timeout=10):
        pass  # forget what was before
    start, cpu = time.perf_counter(), _cpu_s()
    plan = source.plan(state, PlanContext(folder))
    reads = []
    rows = 0
    for split in plan.splits:
        for page_ in source.read(split, ReadContext(folder)):
            rows += page_.rows.num_rows
            advance = page_.outcome != "bad" or bool(page_.note)
            reads.append(UnitRead(page_.unit, rows, rows, page_.outcome, None, advance, note=page_.note))
    wall, spent = time.perf_counter() - start, _cpu_s() - cpu
    unchanged = sum(read.status == "unchanged" for read in reads)
    with urllib.request.urlopen(f"{origin}/stats", timeout=10) as said:
        seen = json.load(said)
    return Crawled(wall, spent, rows, unchanged, source.fold(state, plan, reads, 1), seen)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def broken(first: Crawled, second: Crawled, pages: int, settings: dict[str, Any]) -> list[str]:
    """Give the promises that two runs broke."""
    problems = []
    if (first.rows, first.seen["pages"], first.seen["conditional"]) != (pages, pages, 0):
        problems.append(f"the first run gave {first.rows} records of {first.seen['pages']} requests")
    if (second.rows, second.unchanged, second.seen["conditional"]) != (0, pages, second.seen["pages"]):
        problems.append(
            f"the second run gave {second.rows} records; {second.seen['conditional']} of {second.seen['pages']} were conditional"
        )
    for run in (first, second):
        if run.seen["most_open"] > settings["max_connections"] + 1:  # one is ours, for the figures
            problems.append(f"{run.seen['most_open']} connections at a time")
        if run.wall_s < settings["delay_s"] * pages:
            problems.append(f"{pages} pages in {run.wall_s:.1f} s is faster than polite")
    return problems


def main() -> int:
    """Parse, serve, crawl, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.web", description="Crawl a local site politely, twice.")
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return 0
    command = [sys.executable, "-m", "bench.web", "--serve", str(options.pages)]
    problems: list[str] = []
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as site,
    ):
        assert site.stdout is not None
        origin = f"http://127.0.0.1:{int(site.stdout.readline())}"
        print(
            f"{'':34}{'requests':>9}{'conditional':>12}{'304':>7}{'records':>9}{'wall s':>8}{'req/s':>8}{'req/CPU-s':>11}"
        )
        for name, settings in SETTINGS:
            source = Web(
                contact="bench@example.org", sitemaps=[f"{origin}/sitemap.xml"], allow_hosts=["127.0.0.1"], **settings
            )
            first = crawl(source, None, Path(folder), origin)
            second = crawl(source, first.state, Path(folder), origin)
            problems += [f"{name}: {problem}" for problem in broken(first, second, options.pages, settings)]
            for which, run in (("first", first), ("second", second)):
                n, seen = run.seen["pages"], run.seen
                print(
                    f"{name + ', ' + which:34}{n:9}{seen['conditional']:12}{seen['not_modified']:7}{run.rows:9}"
                    f"{run.wall_s:8.1f}{n / run.wall_s:8.0f}{n / run.cpu_s:11.0f}"
                )
        assert site.stdin is not None
        site.stdin.close()
    for problem in problems:
        print(f"BROKEN {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
