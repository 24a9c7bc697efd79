"""A live source for the scenes: an append-only feed that may be read once only, with a cursor, updates and deletions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from gristmill.core.source import (
    PAGE_SCHEMA,
    Page,
    PlanContext,
    ReadContext,
    Source,
    SourcePlan,
    Split,
    State,
    UnitRead,
)


class Live(Source, frozen=True, kw_only=True):
    """Reads `path`: lines of {"id", "text"} or {"id", "gone": true}, two splits of what is new, in pages of four lines."""

    LANDED: ClassVar[bool] = True

    path: str

    def check(self, folder: Path) -> list[str]:
        return []

    def _lines(self, folder: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / self.path).read_text("utf-8").splitlines()]

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        start, end = (state.doc["cursor"] if state else 0), len(self._lines(context.folder))
        middle = (start + end) // 2
        borders = [(lo, hi) for lo, hi in ((start, middle), (middle, end)) if lo < hi]
        splits = [
            Split(f"{lo:016x}{hi:016x}", {"lo": lo, "hi": hi}, ["feed"], hi - lo, False, "feed") for lo, hi in borders
        ]
        return SourcePlan(splits, ceiling={"cursor": end})

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        lines = self._lines(context.folder)
        at = context.resume["at"] if context.resume else split.spec["lo"]
        while at < split.spec["hi"]:
            stop = min(at + 4, split.spec["hi"])
            part = lines[at:stop]
            rows = [
                {"key": line["id"], "text": line["text"], "origin": f"feed#{at + n}"}
                for n, line in enumerate(part)
                if "text" in line
            ]
            gone = [line["id"] for line in part if "gone" in line]
            batch = pa.RecordBatch.from_pylist(rows, schema=PAGE_SCHEMA)
            yield Page("feed", batch, deleted=gone, versioned=True, resume={"at": stop})
            at = stop

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        return State({"cursor": plan.ceiling["cursor"]})
