"""A source that does what a script says: each split a list of pages, each page told as JSON. For the engine's tests alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from gristmill.core.errors import SourceError, Transient
from gristmill.core.source import (
    NO_UNITS,
    PAGE_SCHEMA,
    Page,
    PlanContext,
    ReadContext,
    Reject,
    Source,
    SourcePlan,
    Split,
    State,
    UnitRead,
    fold_units,
)


class Scripted(Source, frozen=True, kw_only=True):
    """Reads `path`: {"splits": [[page, ...], ...], "units": [...], "replaced": [...], "gone": [...], "cursor": n, "fail": text}."""

    LANDED: ClassVar[bool] = True

    path: str = "world.json"

    def check(self, folder: Path) -> list[str]:
        return []

    def _world(self, folder: Path) -> dict[str, Any]:
        world: dict[str, Any] = json.loads((folder / self.path).read_text())
        return world

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        world = self._world(context.folder)
        if world.get("fail"):
            raise SourceError(world["fail"])
        names = sorted(world.get("units", []))
        tags = pa.array([""] * len(names))
        listing = pa.table({"unit": pa.array(names, pa.string()), "tag": tags}) if names else NO_UNITS
        splits = [
            Split(
                f"{i:032x}",
                {"split": i},
                sorted({page["unit"] for page in pages}),
                1,
                False,
                lane=world.get("lane", ""),
            )
            for i, pages in enumerate(world.get("splits", []))
        ]
        ceiling = {"cursor": world.get("cursor", 0), "seen": state.doc if state else None}
        return SourcePlan(splits, listing, world.get("replaced", []), world.get("gone", []), [], ceiling)

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        world = self._world(context.folder)
        pages = world["splits"][split.spec["split"]]
        start = context.resume["next"] if context.resume else 0
        for at, page in enumerate(pages[start:], start):
            told = context.folder / "read.log"
            with told.open("a") as log:
                log.write(f"{split.spec['split']}:{at}\n")
            if page.get("raise") and told.read_text().count(f"{split.spec['split']}:{at}\n") <= page.get("times", 1000):
                raise {"transient": Transient, "source": SourceError}[page["raise"]](f"page {at} fails")
            rows = [
                {"key": key, "text": text, "origin": f"{page['unit']}#{n}"}
                for n, (key, text) in enumerate(page.get("rows", {}).items())
            ]
            yield Page(
                page["unit"],
                pa.RecordBatch.from_pylist(rows, schema=PAGE_SCHEMA),
                [Reject("test.bad", f"{page['unit']}#0", "as told")] if page.get("outcome") == "bad" else [],
                deleted=page.get("deleted", []),
                present=page.get("present", []),
                versioned=page.get("versioned", True),
                outcome=page.get("outcome", "ok"),
                note=page.get("note", {}),
                resume={"next": at + 1},
            )

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        units = fold_units(state.units if state else None, plan, reads, seq)
        return State({"cursor": plan.ceiling["cursor"]}, units)
