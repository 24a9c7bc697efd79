"""Sitemaps and feeds of a source: fetched politely, indexes followed, each only if it has changed.

Not here: reading one file (`sitemaps.py`, `feeds.py`), what becomes of a URL (`sources/web.py`). Invariants: one list that fails is told
with its code and stops no other; an index inside indexes is followed `MAX_DEPTH` deep, each file once; the order of what is found is that
of the lists and of their entries; a list whose URLs were not all taken is asked for in full again; no list's URL is given out, for it
may hold a token: lists are known by a digest, and shown without their query.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Literal

import msgspec

from gristmill.net import feeds, sitemaps
from gristmill.net.addresses import Guard
from gristmill.net.fetch import Limits, shown
from gristmill.net.loop import Loop
from gristmill.net.polite import Answer, Ask, Manners, Visitor
from gristmill.net.retry import Patience
from gristmill.net.sitemaps import Listed
from gristmill.net.urls import host_of

MAX_DEPTH = 3
MAX_FILES = 5_000  # of one sitemap and what it leads to
MAX_VALIDATORS = 1_000  # kept in the state's doc; of more files the others are asked for in full
_AT_ONCE = 8
_SITEMAP = Limits(max_bytes=sitemaps.MAX_BYTES, max_ratio=1000, timeout_s=120.0)
_FEED = Limits(max_bytes=feeds.MAX_BYTES, timeout_s=60.0)


class Root(msgspec.Struct, frozen=True):
    """A list as it stands in the config."""

    url: str
    kind: Literal["sitemap", "feed"]


class Gathered(msgspec.Struct):
    """What all lists say. urls: by URL, the list's name and when the page changed as it says. failed: (shown URL, code, detail).

    validators: by the file's name, its ETag and Last-Modified, for the next time. warnings: counted oddities.
    """

    urls: dict[str, tuple[str, str | None]] = {}
    failed: list[tuple[str, str, str]] = []
    validators: dict[str, list[str]] = {}
    warnings: dict[str, int] = {}

    def count(self, code: str, n: int = 1) -> None:
        """Count an oddity."""
        if n:
            self.warnings[code] = self.warnings.get(code, 0) + n


def name_of(url: str) -> str:
    """Give the name a list is known by: a digest of its URL."""
    return hashlib.blake2b(url.encode(), digest_size=8).hexdigest()


def gather(
    roots: list[Root],
    visitor_of: tuple[Manners, Guard, Limits, Patience],
    known: dict[str, list[str]],
    admit: Callable[[str], bool | None],
    foreign: bool,
) -> Gathered:
    """Ask for all lists.

    Args:
        roots: the lists, in order.
        visitor_of: what a `Visitor` is made of.
        known: validators of the last run.
        admit: whether a URL is taken (True), not wanted (None), or one too many (False: its list is asked for in full next time).
        foreign: whether a sitemap may list URLs of other hosts (sitemaps.org: it must not).
    """
    out = Gathered()
    if roots:
        with Loop() as loop:
            loop.run(_gather(roots, visitor_of, known, _Sieve(out, admit, foreign)))
    return out


async def _gather(
    roots: list[Root], visitor_of: tuple[Manners, Guard, Limits, Patience], known: dict[str, list[str]], sieve: _Sieve
) -> None:
    visitor = Visitor(*visitor_of)
    try:
        for root in roots:
            await _Walk(root, visitor, known, sieve).run()
    finally:
        await visitor.close()


class _Sieve:
    """Takes what files list into what was gathered."""

    def __init__(self, out: Gathered, admit: Callable[[str], bool | None], foreign: bool) -> None:
        self.out, self._admit, self._foreign = out, admit, foreign

    def take(self, root: Root, answer: Answer, listed: Listed) -> None:
        """Take one file's entries, and its validators if it need not be asked for in full again."""
        whole = not listed.code
        self.out.count(f"{root.kind}.invalid_url", listed.invalid)
        for url, changed in listed.urls:
            if root.kind == "sitemap" and not self._foreign and not _of_site(url, answer.url):
                self.out.count("sitemap.foreign_url")
            elif url in self.out.urls:
                continue
            elif (admitted := self._admit(url)) is not None:
                whole = whole and admitted
                if admitted:
                    self.out.urls[url] = (name_of(root.url), changed)
        if listed.code:
            self.failed(answer.ask.url, listed.code, listed.detail)
        assert answer.response is not None
        headers = answer.response.headers
        found = [headers.get("etag", ""), headers.get("last-modified", "")]
        if whole and any(found) and not listed.children and len(self.out.validators) < MAX_VALIDATORS:
            self.out.validators[name_of(answer.ask.url)] = found

    def children(self, answer: Answer, listed: Listed) -> list[str]:
        """Give the sitemaps that an index may lead to."""
        wanted = [url for url in listed.children if self._foreign or _of_site(url, answer.url)]
        self.out.count("sitemap.foreign_url", len(listed.children) - len(wanted))
        return wanted

    def failed(self, url: str, code: str, detail: str) -> None:
        """Note a list that gave nothing, or not all."""
        self.out.failed.append((shown(url), code, detail))


class _Walk:
    """One list, and the sitemaps it leads to."""

    def __init__(self, root: Root, visitor: Visitor, known: dict[str, list[str]], sieve: _Sieve) -> None:
        self._root, self._visitor, self._known, self._sieve = root, visitor, known, sieve
        self._limits = _SITEMAP if root.kind == "sitemap" else _FEED

    async def run(self) -> None:
        """Go level by level, some files at a time, and take them in order."""
        seen = {self._root.url}
        level = [self._root.url]
        for depth in range(MAX_DEPTH + 1):
            below: list[str] = []
            for start in range(0, len(level), _AT_ONCE):
                visits = [self._visitor.visit(self._ask(url), self._limits) for url in level[start : start + _AT_ONCE]]
                for answer in await asyncio.gather(*visits):
                    below += self._read(answer)
            level = [url for url in dict.fromkeys(below) if url not in seen]
            if level and depth == MAX_DEPTH:
                self._sieve.failed(self._root.url, "sitemap.depth", f"indexes nested over {MAX_DEPTH} deep")
                return
            if len(seen) + len(level) > MAX_FILES:
                self._sieve.failed(self._root.url, "sitemap.too_many", f"leads to over {MAX_FILES} files")
                level = level[: MAX_FILES - len(seen)]
            seen.update(level)

    def _ask(self, url: str) -> Ask:
        etag, modified = self._known.get(name_of(url), ("", ""))
        conditions = {"If-None-Match": etag} if etag else {}
        return Ask(url, conditions | ({"If-Modified-Since": modified} if modified else {}))

    def _read(self, answer: Answer) -> list[str]:
        """Take what a file lists; give the sitemaps it leads to."""
        url, response = answer.ask.url, answer.response
        if response is None:
            self._sieve.failed(url, answer.code or answer.skipped, answer.detail or "nothing was asked for")
        elif response.status == 304 and name_of(url) in self._known:
            self._sieve.out.validators[name_of(url)] = self._known[name_of(url)]
        elif response.status != 200:
            self._sieve.failed(url, f"http.{response.status}", "the list was not given")
        else:
            if self._root.kind == "sitemap":
                listed = sitemaps.parse(response.body, answer.url)
            else:
                listed = feeds.parse(response.body, answer.url, response.headers.get("content-type", ""))
            self._sieve.take(self._root, answer, listed)
            return self._sieve.children(answer, listed)
        return []


def _of_site(url: str, sitemap: str) -> bool:
    """Tell whether a URL lies on the host of its sitemap, or below it (a sitemap of www.example.org speaks for example.org too)."""
    host, own = host_of(url), host_of(sitemap)
    site = own.removeprefix("www.")
    return host in {own, site} or host.endswith(f".{site}")
