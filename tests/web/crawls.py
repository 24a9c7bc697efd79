"""Runs of the `web` source as the engine does them, day by day, but without the engine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from tests.web.site import Site

from gristmill.core.source import PAGE_SCHEMA, Page, PlanContext, ReadContext, SourcePlan, State, UnitRead
from gristmill.sources.web import Web

FAST: dict[str, Any] = {
    "contact": "crawler@example.org",
    "allow_hosts": ["127.0.0.0/8", "::1", "localhost"],
    "delay_s": 0,
    "retry_wait_s": 0.01,
    "timeout_s": 5,
}


class Run(NamedTuple):
    """What one run did: its plan, all pages in order, and the state after it."""

    plan: SourcePlan
    pages: list[Page]
    state: State

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for page in self.pages for row in page.rows.to_pylist()]

    @property
    def texts(self) -> dict[str, str]:
        return {row["key"]: row["text"] for row in self.rows}

    @property
    def outcomes(self) -> dict[str, str]:
        return {page.unit: page.outcome for page in self.pages}

    @property
    def codes(self) -> dict[str, str]:
        return {page.unit: reject.code for page in self.pages for reject in page.rejects}

    @property
    def warnings(self) -> Counter[str]:
        total = Counter(self.plan.warnings)
        for page in self.pages:
            total.update(page.warnings)
        return total


class Crawl:
    """A source with its state. `run` is one day's run; `day` is what the site's clock and ours show."""

    def __init__(self, folder: Path, **parameters: Any) -> None:
        self.folder, self.parameters = folder, FAST | parameters
        self.state: State | None = None
        self.seq = 0

    def source(self, **parameters: Any) -> Web:
        return Web(**(self.parameters | parameters))

    def run(self, **parameters: Any) -> Run:
        source = self.source(**parameters)
        plan = source.plan(self.state, PlanContext(self.folder))
        self.seq += 1
        pages: list[Page] = []
        reads: list[UnitRead] = []
        for split in plan.splits:
            pages += (got := list(source.read(split, ReadContext(self.folder))))
            assert [page.unit for page in got] == split.units
            reads += [read_of(page, self.seq * 1000 + n) for n, page in enumerate(got)]
        self.state = source.fold(self.state, plan, reads, self.seq)
        return Run(plan, pages, self.state)


def read_of(page: Page, at: int) -> UnitRead:
    """Give what the engine tells of a unit that had this one page."""
    assert page.rows.schema == PAGE_SCHEMA
    page.rows.validate(full=True)
    code = page.rejects[0].code if page.rejects else None
    if page.outcome == "ok":
        return UnitRead(page.unit, at, at + page.rows.num_rows, note=page.note)
    assert not page.rows.num_rows
    advance = page.outcome != "bad" or bool(page.note)
    return UnitRead(page.unit, at, at, page.outcome, code, advance, note=page.note)


def crawl_of(site: Site, folder: Path, *paths: str, **parameters: Any) -> Crawl:
    """Give a crawl of some pages of a site."""
    return Crawl(folder, urls=[site.url(path) for path in paths], **parameters)
