"""A dataset in small: applies what a source gives as the engine does, all of a run or nothing."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from gristmill.core.errors import Transient
from gristmill.core.source import PAGE_SCHEMA, PlanContext, ReadContext, SourcePlan, State, UnitRead, Window
from gristmill.sources.sql import Sql

TRIES = 20
SHIFT = 20


class Copy:
    """The records a source has given so far, by key, and its state."""

    def __init__(self, source: Sql, folder: Path, pause_s: float = 0) -> None:
        self.source = source
        self.pause_s = pause_s  # what is done with each page
        self.folder = folder
        self.state: State | None = None
        self.rows: dict[str, dict[str, Any]] = {}
        self.seq = 0
        self.arrived: Counter[str] = Counter()
        self.doubled = 0  # keys that came twice with the same content in one split
        self.tries = 0  # how often a read had to be taken up again by the engine
        self.rejects: list[tuple[str, str]] = []
        self.warnings: Counter[str] = Counter()
        self.deleted: list[str] = []
        self.plan: SourcePlan | None = None

    def read(self, split: Any, batch_bytes: int) -> list[Any]:
        """Read a split, going on from the last page after a passing failure."""
        pages: list[Any] = []
        for _ in range(TRIES):
            resume = pages[-1].resume if pages else None
            if pages and resume is None:
                pages.clear()  # no such place: from the start
            try:
                for page in self.source.read(split, ReadContext(self.folder, batch_bytes, resume=resume)):
                    page.rows.validate(full=True)
                    assert page.rows.schema == PAGE_SCHEMA
                    pages.append(page)
                    time.sleep(self.pause_s)
            except Transient:
                self.tries += 1
            else:
                return pages
        raise AssertionError("the split could not be read")

    def run(self, *, window: Window | None = None, batch_bytes: int = 8 << 20, lost: int | None = None) -> Copy:
        """Make a run. lost: the split, by number, that fails as a whole and is left out."""
        self.seq += 1
        plan = None
        for _ in range(TRIES):
            try:
                plan = self.source.plan(self.state, PlanContext(self.folder, window or Window()))
                break
            except Transient:
                self.tries += 1
                time.sleep(0.2)
        assert plan is not None
        self.plan = plan
        self.arrived, self.rejects, self.warnings, self.deleted = Counter(), [], Counter(plan.warnings), []
        rows, seen, reads = dict(self.rows), set(), []
        for number, split in enumerate(plan.splits):
            msgspec.json.decode(msgspec.json.encode(split))
            low = (self.seq << 40) + (number << SHIFT)
            if number == lost:
                reads.append(UnitRead("rows", low, low, "bad", "lost", advance=False))
                continue
            count = 0
            contents: set[tuple[str, str, str | None]] = set()
            for page in self.read(split, batch_bytes):
                for row in page.rows.to_pylist():
                    key = row["key"]
                    content = (key, row["text"], row["meta"])
                    self.doubled += content in contents
                    contents.add(content)
                    rows[key] = row
                    seen.add(key)
                    self.arrived[key] += 1
                count += page.rows.num_rows
                for key in page.deleted:
                    rows.pop(key, None)
                self.deleted += page.deleted
                seen |= set(page.present)
                self.rejects += [(reject.code, reject.origin) for reject in page.rejects]
                self.warnings.update(page.warnings)
            reads.append(UnitRead("rows", low, low + count))
        if "rows" in plan.replaced:
            for key in self.rows.keys() - seen:
                rows.pop(key, None)
        if plan.splits or plan.gone:
            self.state = self.source.fold(self.state, plan, reads, self.seq)
            self.state = State(msgspec.json.decode(msgspec.json.encode(self.state.doc)), self.state.units)
        self.rows = rows
        return self

    def texts(self) -> dict[str, str]:
        """Give the texts by key."""
        return {key: row["text"] for key, row in self.rows.items()}

    def scan_now(self) -> None:
        """Let the next run look at all keys, as if the days had passed."""
        assert self.state is not None
        self.state = State(self.state.doc | {"scanned": 0}, self.state.units)
