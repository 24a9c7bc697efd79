"""A small source that keeps every law, and breaks one when told so: a table in `shelf.json`, read by a cursor and a scan of keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.core.errors import SourceError
from gristmill.core.source import (
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

UNITS = ["even", "odd"]
LAG = 50
_CALLS: dict[str, int] = {}  # what a sound source has not: a memory beside the state


def _nth(name: str) -> int:
    _CALLS[name] = _CALLS.get(name, 0) + 1
    return _CALLS[name]


class Shelf(Source, frozen=True, kw_only=True):
    """Rows {key, text, at}; each unit is half of them. fault: the law to break; "": none."""

    token: str = ""
    fault: str = ""

    def _has(self, *faults: str) -> bool:
        return self.fault in faults

    def check(self, folder: Path) -> list[str]:
        return ["something is odd"] if self._has("check") else []

    def _table(self, folder: Path) -> list[dict[str, Any]]:
        try:
            return json.loads((folder / "shelf.json").read_text())
        except OSError as error:
            told = self.token if self._has("secret.error") else ""
            raise SourceError(f"the shelf is gone {told}") from error

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        doc = state.doc if state else {}
        rows = self._table(context.folder)
        if len(rows) < doc.get("count", 0) / 2 and not self._has("guard"):
            raise SourceError("over half of the rows are gone")
        window = context.window
        lag = 0 if self._has("late") else LAG
        ceiling: dict[str, Any] = {"at": max((row["at"] for row in rows), default=0), "count": len(rows)}
        if self._has("new"):
            ceiling["at"] += 1000
        if self._has("plan.differs"):
            ceiling["call"] = _nth("plan")
        since = doc.get("at", 0) - lag
        side = context.folder / "side.txt"
        if self._has("side.state") and side.exists():
            since = max(since, int(side.read_text()))
        spec: dict[str, Any] = {"since": since, "until": None, "scan": True, "keys": doc.get("keys", [])}
        if window.is_backfill and not self._has("window.ignored"):
            spec |= {"since": int(window.since or 0), "until": int(window.until or 0), "scan": False}
        ceiling["backfill"] = window.is_backfill
        if self._has("secret.spec"):
            spec["token"] = self.token
        if self._has("plan.json"):
            ceiling["seen"] = {1: "a number is no JSON key"}
        splits = []
        for unit in UNITS:
            given = spec | {"unit": unit}
            digest = hashlib.sha256(b"" if self._has("split.ids") else json.dumps(given).encode()).hexdigest()
            splits.append(Split(digest, given, [unit], 1, state is None))
        names = UNITS[::-1] if self._has("listing") else UNITS
        scan = not self._has("delete") and spec["scan"]
        return SourcePlan(
            splits,
            listing=pa.table({"unit": names}),
            replaced=UNITS if state is not None and scan else [],
            ceiling=ceiling,
        )

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        spec, unit = split.spec, split.units[0]
        table = [row for row in self._table(context.folder) if UNITS[int(row["key"][-1:] in "13579")] == unit]
        until = spec["until"]
        rows = [row for row in table if row["at"] >= spec["since"] and (until is None or row["at"] < until)]
        if self._has("update"):
            rows = [row for row in rows if row["key"] not in spec["keys"]]
        if self._has("lost") or (self._has("pages") and context.batch_bytes < 1000):
            rows = rows[:-1]
        if self._has("again") and _nth(split.id) > 1:
            rows = rows[::-1]
        step = 3 if context.batch_bytes < 1000 else 1000
        start = context.resume["next"] if context.resume and not self._has("resume.all") else 0
        if self._has("resume.skips") and start:
            start += 1
        shift = _nth(str(id(self))) if self._has("order") else 0
        for at in range(start, len(rows), step):
            if self._has("side.state"):
                (context.folder / "side.txt").write_text(str(max(row["at"] for row in rows[at : at + step]) + 1))
            yield self._page(unit, rows[at : at + step], at + shift, at + step)
        keys = sorted(row["key"] for row in table) if spec["scan"] else []
        note = {"token": self.token} if self._has("secret.note") else {"keys": keys}
        empty = pa.RecordBatch.from_pylist([], schema=PAGE_SCHEMA)
        yield Page(unit, empty, present=keys, versioned=True, note=note, outcome="ok")

    def _page(self, unit: str, rows: list[dict[str, Any]], first: int, after: int) -> Page:
        good = [row for row in rows if isinstance(row["text"], str)]
        quoted = (lambda row: f"found {row['text']}") if self._has("reject.quotes") else (lambda row: "no text")
        rejects = [Reject("text.type", f"{unit}#{row['key']}", quoted(row)) for row in rows if row not in good]
        if self._has("reject.silent"):
            rejects = []
        if self._has("reject.twice"):
            rejects *= 2
        place = "nowhere" if self._has("origin") else unit
        found = [
            {"key": row["key"], "text": row["text"], "origin": f"{place}#{first + n}"} for n, row in enumerate(good)
        ]
        return Page(
            "elsewhere" if self._has("unit") else unit,
            pa.RecordBatch.from_pylist(found, schema=PAGE_SCHEMA),
            rejects,
            versioned=True,
            outcome="bad" if self._has("outcome") else "ok",
            resume=None if self._has("resume.none") else {"next": after},
        )

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        before = state.doc if state else {}
        doc: dict[str, Any] = {"at": plan.ceiling["at"], "count": plan.ceiling["count"]}
        doc["keys"] = sorted(key for read in reads for key in read.note.get("keys", []))
        if plan.ceiling["backfill"] and not self._has("window.moves"):
            doc = dict(before)
        if self._has("restless"):
            doc["runs"] = before.get("runs", 0) + 1
        if self._has("days") and before.get("runs", 0) > 2:
            doc["at"] += 1000
        if self._has("days"):
            doc["runs"] = min(before.get("runs", 0) + 1, 3)
        if self._has("fold.differs"):
            doc["call"] = _nth("fold")
        if self._has("fold.changes"):
            before["touched"] = before.get("touched", 0) + 1
        return State(doc, fold_units(state.units if state else None, plan, reads, seq))
