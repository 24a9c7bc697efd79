"""A whole engine in a dict: plans a source, reads its splits, keeps the records, folds the state. For the conformance kit.

It does to a source what the engine does, as `core/source.py` documents it, in the plainest way: records are `id -> text`,
nothing is on disk, a commit is an assignment. Not here: the laws (`conformance`), steps, verdicts, landing. Invariants: it is
written from the contract and shares no code with the engine, so one mistake cannot stand on both sides; a run that raises
leaves everything as it was; a split and a state pass through JSON on their way, as they do through the files of a dataset.
"""

from __future__ import annotations

import io
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.errors import Transient, UnitFailed
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
    Window,
)

TRIES = 4  # of a read that fails in passing
_ALL = Window()


class Held(msgspec.Struct):
    """What is known of one id: the content that stands, and what each unit said of it when it was last read."""

    text: str
    said: dict[str, str]


class Ran(msgspec.Struct):
    """What a run read: the plan, and the pages and unit ends of every split in order."""

    plan: SourcePlan
    pages: list[list[Page]]
    reads: list[UnitRead]


class Mill:
    """One source and what was made of it so far. seq: the last run; state, records: what is committed."""

    def __init__(self, source: Source, folder: Path, batch_bytes: int = 8 << 20) -> None:
        self.source, self.folder, self.batch_bytes = source, folder, batch_bytes
        self.seq = 0
        self.state: State | None = None
        self.records: dict[str, Held] = {}

    @property
    def texts(self) -> dict[str, str]:
        """What the committed snapshot holds: id -> text."""
        return {key: held.text for key, held in self.records.items()}

    def plan(self, window: Window = _ALL) -> SourcePlan:
        """Ask the source what is new since the committed state."""
        return self.source.plan(self.state, PlanContext(folder=self.folder, window=window))

    def read(
        self, split: Split, resume: dict[str, Any] | None = None, skip: frozenset[str] = frozenset()
    ) -> list[Page]:
        """Read a split once, as a worker would who got it from a file."""
        return list(self.pages(split, resume, skip))

    def pages(
        self, split: Split, resume: dict[str, Any] | None = None, skip: frozenset[str] = frozenset()
    ) -> Generator[Page]:
        """Give the pages of a split one by one."""
        again = None if resume is None else json.loads(json.dumps(resume))
        context = ReadContext(folder=self.folder, batch_bytes=self.batch_bytes, skip=skip, resume=again)
        yield from self.source.read(through_json(split), context)

    def run(self, window: Window = _ALL) -> Ran:
        """Plan, read everything, apply it, fold the state, commit; or raise and change nothing."""
        plan = self.plan(window)
        ran = Ran(plan, [], [])
        for task, split in enumerate(plan.splits):
            pages, failed = self._read_out(split)
            ran.pages.append(pages)
            ran.reads += self._ends(split, pages, failed, ((self.seq + 1) << 45) | (task << 26))
        self.commit(ran)
        return ran

    def commit(self, ran: Ran) -> None:
        """Make a run's pages and state the committed ones."""
        bare = msgspec.structs.replace(ran.plan, splits=[], ceiling=json.loads(json.dumps(ran.plan.ceiling)))
        state = self.source.fold(self.state, bare, ran.reads, self.seq + 1)
        records = {key: Held(held.text, dict(held.said)) for key, held in self.records.items()}
        apply(records, ran)
        self.records, self.state, self.seq = records, committed(state), self.seq + 1

    def _read_out(self, split: Split) -> tuple[list[Page], dict[str, UnitFailed]]:
        failed: dict[str, UnitFailed] = {}
        passing = 0
        while True:
            try:
                return self.read(split, skip=frozenset(failed)), failed
            except UnitFailed as error:
                if error.unit in failed:
                    raise
                failed[error.unit] = error
            except Transient:
                passing += 1
                if passing == TRIES:
                    raise

    @staticmethod
    def _ends(split: Split, pages: list[Page], failed: dict[str, UnitFailed], first: int) -> list[UnitRead]:
        """Give what became of each unit of a split."""
        ranges: dict[str, list[int]] = {}
        last: dict[str, Page] = {}
        notes: dict[str, dict[str, Any]] = {}
        at = first
        for page in pages:
            here = ranges.setdefault(page.unit, [at, at])
            at += page.rows.num_rows + len(page.deleted) + len(page.present)
            here[1] = at
            last[page.unit] = page
            notes[page.unit] = page.note or notes.get(page.unit, {})
        ends = []
        for unit in split.units:
            lo, hi = ranges.get(unit, [at, at])
            error = failed.get(unit)
            if error is not None:
                ends.append(UnitRead(unit, at, at, "bad", error.code, error.advance))
                continue
            end = last.get(unit)
            outcome = end.outcome if end is not None else "ok"
            note = notes.get(unit, {})
            if outcome == "ok":
                ends.append(UnitRead(unit, lo, hi, note=note))
            else:
                code = end.rejects[0].code if end is not None and end.rejects else None
                ends.append(UnitRead(unit, lo, lo, outcome, code, outcome != "bad" or bool(note), note=note))
        return ends


def apply(records: dict[str, Held], ran: Ran) -> None:
    """Do to the records what a run's pages say, in the total order."""
    seen: dict[str, set[str]] = {}
    for pages in ran.pages:
        take_up(records, pages, seen)
    ended = {read.unit: read.status for read in ran.reads if read.status != "ok"}
    retired = {unit for unit in ran.plan.replaced if unit not in ended} | set(ran.plan.gone)
    retired |= {unit for unit, status in ended.items() if status == "gone"}
    for key, held in list(records.items()):
        for unit in [unit for unit in held.said if unit in retired and key not in seen.get(unit, set())]:
            del held.said[unit]
            if held.text not in held.said.values():  # no other unit holds it alike
                records.pop(key, None)


def take_up(records: dict[str, Held], pages: Sequence[Page], seen: dict[str, set[str]]) -> None:
    """Take a split's pages into the records. seen: unit -> ids it spoke of in this run."""
    first: dict[tuple[str, str], str] = {}
    for page in pages:
        spoken = seen.setdefault(page.unit, set())
        for key, text in rows_of(page):
            spoken.add(key)
            if not page.versioned and first.setdefault((page.unit, key), text) != text:
                continue  # a conflict: the first content of a unit stands
            held = records.setdefault(key, Held(text, {}))
            held.text = text
            held.said[page.unit] = text
        for key in page.present:
            spoken.add(key)
        for key in page.deleted:
            spoken.discard(key)
            records.pop(key, None)


def rows_of(page: Page) -> list[tuple[str, str]]:
    """Give (id, text) of a page's rows: the source's own key, or else the origin."""
    columns = (page.rows.column(name).to_pylist() for name in ("key", "origin", "text"))
    return [(origin if key is None else key, text) for key, origin, text in zip(*columns, strict=True)]


def faces(pages: Sequence[Page], *, without: Sequence[str] = ("fetched_at",)) -> list[dict[str, Any]]:
    """Give pages as plain values that can be compared: rows joined over page borders, what else each unit told beside.

    without: columns left out: when a page was fetched is no property of what was found.
    """
    units: dict[str, dict[str, Any]] = {}
    names = [name for name in PAGE_SCHEMA.names if name not in without]
    for page in pages:
        face = units.setdefault(page.unit, {"unit": page.unit, "rows": [], "rejects": [], "told": [], "outcome": "ok"})
        face["rows"] += page.rows.select(names).to_pylist()
        face["rejects"] += [msgspec.to_builtins(reject) for reject in page.rejects]
        face["told"] += [("gone", key) for key in page.deleted] + [("there", key) for key in page.present]
        face["outcome"] = page.outcome
    return list(units.values())


def through_json(split: Split) -> Split:
    """Write a split as JSON and read it again, as between the processes of the engine."""
    return msgspec.json.decode(msgspec.json.encode(split), type=Split)


def committed(state: State) -> State:
    """Give a state as it comes back out of a snapshot: the doc through JSON, the units through Parquet."""
    units = state.units
    if units is not None:
        out = io.BytesIO()
        pq.write_table(units, out)
        units = pq.read_table(pa.BufferReader(out.getvalue())).replace_schema_metadata(None)
    return State(json.loads(json.dumps(state.doc)), units)
