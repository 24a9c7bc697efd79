"""The `web` source: pages by URL lists, sitemaps and feeds; each asked for politely, and again only if it has changed.

Not here: robots, lanes and order of answers (`net/polite.py`), sitemaps and feeds (`net/lists.py`), what an answer is (`formats/webpage.py`),
text extraction (`extract`), following links (docs/sources/crawl.md). A unit is a URL in normal form, which is the record's key. A page is
unchanged if the server says so (304), or if its bytes or its text are those of the last time. Invariants: a URL is known until it leaves the
config, or is not found on two days; one that fails costs a code, its record stands, it is asked for again; pages come
in the order of the split, whatever answers first; clocks decide what is due, never what is read.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.errors import ConfigError, SourceError
from gristmill.core.source import (
    Page,
    PlanContext,
    ReadContext,
    Source,
    SourcePlan,
    Split,
    State,
    UnitRead,
    forgotten,
)
from gristmill.extract import ExtractOptions, needs
from gristmill.net.addresses import Guard
from gristmill.net.fetch import Limits, user_agent
from gristmill.net.lists import Gathered, Root, gather, name_of
from gristmill.net.polite import Answer, Ask, Manners, answers, unreachable
from gristmill.net.retry import Patience
from gristmill.net.urls import host_of, normal
from gristmill.net.urltable import LISTING, STATE, Row, is_due, moved_on, splits_of
from gristmill.sources.formats.webpage import DURATION, Arrived, Due, Format, Judge, Keeping

EXTRA = "web"


class Web(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads web pages.

    urls: URLs, or the path of a text file with one a line (# begins a comment). sitemaps: of sites; indexes are followed three deep. feeds: RSS or
    Atom, whose entries' pages are read. include, exclude: regular expressions for URLs out of sitemaps and feeds. contact: a mail address or URL at which you can be
    reached; goes into the user agent. user_agent: the name sent and looked for in robots.txt, by default gristmill. delay_s: the least time
    between two requests to a host; its crawl-delay counts if longer. max_connections: to a host. max_hosts: asked at a time.
    robots: obey, or ignore for the hosts in allow_hosts. on_disallow: keep or withdraw the record of a page that robots.txt now forbids.
    max_bytes: of a page; max_ratio: of what one expands to, above 10 MiB. timeout_s: for a page, from look-up to last byte. attempts: for one page. retry_wait_s: before the second.
    retry_after_max_s: the longest rest a host may ask for. recheck: ask a known page again after so long (30m, 12h, 7d); by default every run.
    max_urls_per_host: more out of sitemaps and feeds are left out and counted. extract: how main text is
    taken out of HTML and PDF, and what one may cost (docs/sources/html.md). keep_raw: keep the body in `meta.raw`, as base64.
    allow_hosts: names, addresses or networks that may be talked to although they are not public. format: told by the content if auto.
    allow_empty: it is fine if no URL is there (any more). clock: the time to plan with, ISO 8601, for replays; by default now.
    """

    VERSION: ClassVar[int] = 1
    LANDED: ClassVar[bool] = True

    contact: str
    urls: list[str] | str = msgspec.field(default_factory=list)
    sitemaps: list[str] = msgspec.field(default_factory=list)
    feeds: list[str] = msgspec.field(default_factory=list)
    include: list[str] = msgspec.field(default_factory=list)
    exclude: list[str] = msgspec.field(default_factory=list)
    user_agent: str | None = None
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    max_hosts: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16
    robots: Literal["obey", "ignore"] = "obey"
    on_disallow: Literal["keep", "withdraw"] = "keep"
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 28)] = 10 << 20
    max_ratio: Annotated[int, msgspec.Meta(ge=1)] = 200
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    retry_wait_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0
    retry_after_max_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 900.0
    recheck: Annotated[str, msgspec.Meta(pattern=DURATION)] | None = None
    max_urls_per_host: Annotated[int, msgspec.Meta(ge=1)] = 50_000
    extract: ExtractOptions = ExtractOptions()
    keep_raw: bool = False
    allow_hosts: list[str] = msgspec.field(default_factory=list)
    format: Format = "auto"
    allow_empty: bool = False
    clock: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = []
        if not (self.urls or self.sitemaps or self.feeds):
            problems.append("urls: give URLs, or sitemaps, or feeds")
        if not re.fullmatch(r"\S+@\S+\.\S+|(?:https?://|mailto:)\S+", self.contact):
            problems.append("contact: give a mail address or URL at which a site's owner can reach you")
        if self.user_agent is not None and not re.fullmatch(r"[A-Za-z_-]+(?:/[\w.-]+)?", self.user_agent):
            problems.append("user_agent: write a name and perhaps a version, such as mybot/1.0; contact is added to it")
        if self.robots == "ignore" and not self.allow_hosts:
            problems.append("robots: ignore is for the hosts in allow_hosts only; name them there")
        for key in ("include", "exclude"):
            for pattern in getattr(self, key):
                try:
                    re.compile(pattern)
                except re.error as error:
                    problems.append(f'{key}: "{pattern}" is no regular expression: {error}')
        for key in ("sitemaps", "feeds"):
            for at, url in enumerate(getattr(self, key)):
                try:
                    normal(url)
                except ValueError as error:
                    problems.append(f"{key}[{at}]: {error}")
        try:
            Guard(tuple(self.allow_hosts))
        except ValueError as error:
            problems.append(str(error))
        if self.clock is not None:
            try:
                if datetime.fromisoformat(self.clock).tzinfo is None:
                    problems.append(f'clock: "{self.clock}" has no time zone; write 2026-11-25T08:00:00Z')
            except ValueError:
                problems.append(f'clock: "{self.clock}" is no time; write 2026-11-25T08:00:00Z, or leave it out')
        if problems:
            raise ValueError("; ".join(problems))

    # --- what is there ---------------------------------------------------------------------------------------------

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on: an extra that is missing, no URLs, hosts that cannot be talked to; asks for robots.txt only."""
        missing = _missing()
        if missing:
            return [missing]
        try:
            listed, failed = self._listed(folder)
        except (ConfigError, SourceError) as error:
            return [str(error)]
        problems = [f"urls: {unit}: {detail}" for unit, _, detail in failed[:5]]
        if not listed and not self.sitemaps and not self.feeds and not self.allow_empty:
            problems.append("urls: no URL in it; add some, or set allow_empty: true if that is expected")
        some = [*self.sitemaps, *self.feeds, *listed]
        return problems + unreachable([normal(url) for url in some], self._visitor_of(some))

    def _listed(self, folder: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
        """Give the URLs of `urls` in normal form, sorted, and what are none."""
        lines = self.urls
        if isinstance(lines, str):
            path = folder / lines
            try:
                lines = path.read_text("utf-8-sig").splitlines()
            except FileNotFoundError:
                raise SourceError(
                    f'urls: there is no file "{self.urls}" in {folder}; a URL itself goes into a list'
                ) from None
            except (OSError, UnicodeDecodeError) as error:
                raise SourceError(
                    f'urls: "{self.urls}" cannot be read as UTF-8 text ({type(error).__name__})'
                ) from None
        found, failed = set(), []
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    found.add(normal(line))
                except ValueError as error:
                    failed.append((f"urls:{number}", "url.invalid", f"no URL of a web page: {error}"))
        return sorted(found), failed

    def _visitor_of(self, urls: list[str]) -> tuple[Manners, Guard, Limits, Patience]:
        exempt = frozenset(host for url in urls if self._exempt(host := host_of(url)))
        agent = f"{self.user_agent} (+{self.contact})" if self.user_agent else user_agent(self.contact)
        manners = Manners(agent, self.delay_s, self.max_connections, self.max_hosts, exempt)
        limits = Limits(max_bytes=self.max_bytes, max_ratio=self.max_ratio, timeout_s=self.timeout_s)
        patience = Patience(
            attempts=self.attempts,
            wait_initial_s=self.retry_wait_s,
            wait_jitter_s=self.retry_wait_s,
            retry_after_max_s=self.retry_after_max_s,
        )
        return manners, Guard(tuple(self.allow_hosts)), limits, patience

    def _exempt(self, host: str) -> bool:
        """Tell whether a host's robots.txt is not asked for."""
        if self.robots == "obey":
            return False
        if Guard(tuple(self.allow_hosts)).trusts(host):
            return True
        try:
            address = ipaddress.ip_address(host)
            return any(address in ipaddress.ip_network(entry, strict=False) for entry in self.allow_hosts)
        except ValueError:
            return False

    # --- planning --------------------------------------------------------------------------------------------------

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Gather the URLs there are, and give those that are due.

        Raises:
            SourceError: the file of URLs cannot be read, every list failed, or no URL is left.
        """
        now = datetime.fromisoformat(self.clock) if self.clock else datetime.now(UTC)
        known: dict[str, Row] = {}
        if state is not None and state.units is not None:
            known = {row["unit"]: row for row in state.units.to_pylist()}
        listed, failed = self._listed(context.folder)
        roots = [Root(normal(url), "sitemap") for url in self.sitemaps] + [
            Root(normal(url), "feed") for url in self.feeds
        ]
        doc = state.doc if state is not None else {}
        settings = hashlib.blake2b(
            orjson.dumps([self.sitemaps, self.feeds, self.include, self.exclude, self.max_urls_per_host]), digest_size=8
        ).hexdigest()
        validators = doc.get("lists", {}) if doc.get("settings") == settings else {}
        budget = _Budget(self, [*known, *listed])
        places = [root.url for root in roots]
        lists = gather(roots, self._visitor_of(places), validators, budget.admits, foreign=bool(self.include))
        lists.count("web.host_budget", budget.refused)
        self._must_have_something(listed, roots, lists, known)
        rows, gone = self._rows(known, set(listed), lists, {name_of(url) for url in places})
        due = [row for row in rows if is_due(row, known.get(row["unit"]), now, self.recheck)]
        return SourcePlan(
            splits=splits_of(due, known, now.isoformat()),
            listing=pa.Table.from_pylist(rows, schema=LISTING),
            replaced=sorted(row["unit"] for row in due if row["unit"] in known),
            gone=gone,
            failed=sorted(failed + lists.failed),
            ceiling={"lists": lists.validators, "settings": settings},
            warnings=lists.warnings,
        )

    def _must_have_something(
        self, listed: list[str], roots: list[Root], lists: Gathered, known: dict[str, Row]
    ) -> None:
        if roots and len(lists.failed) >= len(roots) and not lists.urls and not listed and not lists.validators:
            place, code, detail = lists.failed[0]
            raise SourceError(f"none of the {len(roots)} sitemaps and feeds could be read; {place}: {code}: {detail}")
        if not self.allow_empty and not listed and not lists.urls and (not known or not roots):
            now = f"; {len(known)} URLs were known" if known else ""
            raise SourceError(f"no URL to read{now}; give some, or set allow_empty: true if that is expected")

    def _rows(
        self, known: dict[str, Row], listed: set[str], lists: Gathered, roots: set[str]
    ) -> tuple[list[Row], list[str]]:
        """Give a row for each URL there is now, sorted, what is known of it carried along; and the URLs that have left the config."""
        rows, gone = [], []
        for url in sorted({*known, *listed, *lists.urls}):
            old = known.get(url)
            before = (old["listed"], old["via"], old["lastmod"]) if old is not None else (False, None, None)
            via, lastmod = lists.urls.get(url, before[1:])
            left = (via not in roots and not lists.failed) or not self.wants(url)
            if url not in lists.urls and via is not None and left:
                via = None
            if url not in listed and via is None:
                gone.append(url)
            elif old is not None and before == (url in listed, via, lastmod):
                rows.append(old)
            else:
                told = {"unit": url, "listed": url in listed, "via": via, "lastmod": lastmod}
                rows.append((old or dict.fromkeys(LISTING.names)) | told)
        return rows, gone

    def wants(self, url: str) -> bool:
        """Tell whether `include` and `exclude` let a URL out of a sitemap or feed through."""
        if self.include and not any(re.search(pattern, url) for pattern in self.include):
            return False
        return not any(re.search(pattern, url) for pattern in self.exclude)

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Visit the URLs of a split; give one page for each, in order."""
        dues = msgspec.convert(split.spec["urls"], list[Due])
        start = context.resume["next"] if context.resume else 0
        todo = [(at, due) for at, due in enumerate(dues) if at >= start and due.url not in context.skip]
        asks = [Ask(due.url, due.conditions()) for _, due in todo]
        planned = datetime.fromisoformat(split.spec["now"])
        keeping = Keeping(self.format, planned, self.recheck, self.keep_raw, self.on_disallow == "withdraw")
        rested = [split.lane] if split.lane else []
        at = 0
        with Judge(self.extract, keeping) as judge:
            for batch in answers(asks, *self._visitor_of([due.url for _, due in todo]), rested=rested):
                group = todo[at : at + len(batch)]
                at += len(batch)
                visits = [(due, _arrived(answer)) for (_, due), answer in zip(group, batch, strict=True)]
                for (place, _), page in zip(group, judge.pages(visits), strict=True):
                    yield msgspec.structs.replace(page, resume={"next": place + 1})

    def again(self, state: State, units: set[str]) -> State:
        """Give the state as one under which these URLs are due, and fetched in full. Pure."""
        asked_with = {"next_due", "etag", "last_modified", "body_hash", "text_hash"}
        return state if state.units is None else State(state.doc, forgotten(state.units, units, asked_with))

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        """Give the next state: every URL there is has a row, read or not; what was read moves on as its page's note says. Pure."""
        known = (
            {row["unit"]: row for row in state.units.to_pylist()}
            if state is not None and state.units is not None
            else {}
        )
        ended = {read.unit: read for read in reads}
        rows = [moved_on(row, known.get(row["unit"]), ended.get(row["unit"]), seq) for row in plan.listing.to_pylist()]
        return State(plan.ceiling, pa.Table.from_pylist(rows, schema=STATE))


class _Budget:
    """How many URLs of a host are taken out of sitemaps and feeds: a calendar without end is a trap."""

    def __init__(self, source: Web, known: list[str]) -> None:
        self._source = source
        self._known = set(known)
        self._taken = Counter(host_of(url) for url in self._known)
        self.refused = 0

    def admits(self, url: str) -> bool | None:
        """Tell whether a URL is taken (True), is one too many (False), or is not wanted (None)."""
        if not self._source.wants(url):
            return None
        if url in self._known:
            return True
        host = host_of(url)
        if self._taken[host] >= self._source.max_urls_per_host:
            self.refused += 1
            return False
        self._taken[host] += 1
        return True


def _arrived(answer: Answer) -> Arrived:
    said = answer.response
    if said is None:
        return Arrived(answer.url, skipped=answer.skipped, code=answer.code, detail=answer.detail)
    notes = (*said.notes, "web.moved") if answer.moved else said.notes
    return Arrived(answer.url, said.status, said.headers, said.body, notes)


def _missing() -> str | None:
    """Give the sentence for what is not installed."""
    for package in ("aiohttp", "feedparser", "lxml", "protego", "stamina"):
        try:
            version(package)
        except PackageNotFoundError:
            return f'web needs {package}, which is not installed; pip install "gristmill[web]"'
    return needs("html")
