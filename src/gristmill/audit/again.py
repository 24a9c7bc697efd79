"""Reading records again: the texts of those that were dropped, which no file of a dataset holds.

They are read from where they were read the first time: landed pages, or files of this machine. No address is asked, whatever the source.
Not here: what became of a record (`explain`), published texts (`texts`). Invariants: nothing is written; what is given back is the record
of that id at that place, or a sentence says why not; no step of the user's own is run.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.errors import GristmillError, SourceError
from gristmill.core.source import BoundSource, Page, ReadContext
from gristmill.core.step import Filter, GlobalStep, Transform
from gristmill.engine import plan
from gristmill.engine.landing import read_part
from gristmill.engine.work import ROW_BITS, TASK_BITS, Job, TaskResult
from gristmill.store.layout import Layout

SECONDS = 3.0
_PAGE_BYTES = 1 << 20


class Wanted(NamedTuple):
    """A record to be read again, and the step whose view of it is asked for."""

    ord: int
    id: str
    step: str


class Again(msgspec.Struct, frozen=True):
    """A record read again. text: as its source gives it; seen: as the step saw it, None if that cannot be told; why: there is no text."""

    text: str = ""
    seen: str | None = None
    why: str = ""


def read_again(
    config: PipelineConfig, layout: Layout, wanted: Sequence[Wanted], seconds: float = SECONDS
) -> dict[int, Again]:
    """Give the records by `ord`; what was not found in so many seconds is told as such."""
    deadline = time.monotonic() + seconds
    tasks: dict[int, list[Wanted]] = defaultdict(list)
    for one in wanted:
        tasks[one.ord >> ROW_BITS].append(one)
    found: dict[int, Again] = {}
    for task, many in tasks.items():
        why = "its source holds fewer records now"
        try:
            found |= _of_task(config, layout, task, many, deadline)
        except _NotThereError as error:
            why = str(error)
        except (GristmillError, OSError, ValueError, pa.ArrowException) as error:
            why = f"its place cannot be read any more ({type(error).__name__})"
        for one in many:
            found.setdefault(one.ord, Again(why=why))
    return found


class _NotThereError(SourceError):
    """Says why records cannot be read again."""


def _of_task(
    config: PipelineConfig, layout: Layout, task: int, wanted: Sequence[Wanted], deadline: float
) -> dict[int, Again]:
    job, bound = _place(config, layout, task >> TASK_BITS, task & ((1 << TASK_BITS) - 1))
    open_ = {one.ord & ((1 << ROW_BITS) - 1): one for one in wanted}
    found: dict[int, Again] = {}
    at = 0
    for page in _pages(config, layout, task >> TASK_BITS, job, bound):
        n = page.rows.num_rows
        for row in [row for row in open_ if at <= row < at + n]:
            one = open_.pop(row)
            found[one.ord] = _judged(config, bound, page.rows.slice(row - at, 1).to_pylist()[0], one)
        at += n + len(page.deleted) + len(page.present)  # as `engine.task` counts
        if not open_:
            break
        if time.monotonic() > deadline:
            return found | {one.ord: Again(why="it was not found in time") for one in open_.values()}
    return found


def _place(config: PipelineConfig, layout: Layout, seq: int, number: int) -> tuple[Job, BoundSource]:
    """Give a task of a run, and its source."""
    for job in plan.read_plan(layout, seq).tasks[number : number + 1]:
        for bound in config.sources:
            if bound.name == job.source:
                return job, bound
    raise _NotThereError("its source is not in the config any more")


def _pages(config: PipelineConfig, layout: Layout, seq: int, job: Job, bound: BoundSource) -> Iterator[Page]:
    """Give the pages of a task as they were read."""
    bad = _bad_units(layout.files.fetch(layout.task(seq, job.id)))
    if bound.source.LANDED:
        parts = layout.files.fetched(layout.landing(bound.name) / str(seq), f"{job.id}-*.parquet")
        if not parts:
            raise _NotThereError("what its source gave then is not kept any more (run.landing_days)")
        return (page for part in parts for page in read_part(part)[0] if page.unit not in bad)
    paths: Any = getattr(bound.source, "path", "://")
    if any("://" in path for path in ([paths] if isinstance(paths, str) else paths)) or job.split is None:
        raise _NotThereError("its source is not on this machine, and looking at a dataset asks no address")
    return bound.source.read(job.split, ReadContext(folder=config.folder, batch_bytes=_PAGE_BYTES, skip=bad))


def _bad_units(path: Path) -> frozenset[str]:
    """Give the units that were left out; a journal that is gone names none."""
    if not path.exists():
        return frozenset()
    units = msgspec.json.decode(path.read_bytes(), type=TaskResult).units
    return frozenset(unit.unit for unit in units if unit.status == "bad")


def _judged(config: PipelineConfig, bound: BoundSource, row: dict[str, Any], wanted: Wanted) -> Again:
    name = row["key"] if row["key"] is not None else row["origin"]
    if f"{bound.name}/{name}" != wanted.id:
        return Again(why="another record stands in its place now")
    return Again(row["text"], _as_seen(config, bound, row, wanted))


def _as_seen(config: PipelineConfig, bound: BoundSource, row: dict[str, Any], wanted: Wanted) -> str | None:
    """Give the text after the steps before the one that is asked for; None where a step of the user's own stands between."""
    steps = [*bound.steps, *config.steps, config.require]
    if wanted.step not in {each.name for each in steps}:
        return None
    values = {"id": wanted.id, "source": bound.name, "content_hash": bytes(16), "ord": wanted.ord}
    columns = [pa.array([values.get(field.name, row.get(field.name))], field.type) for field in RECORD_SCHEMA]
    batch = Batch(pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA))
    for each in steps:
        if each.name == wanted.step:
            return str(batch.text[0])
        if isinstance(each.step, Filter | GlobalStep):
            continue
        opened = each.step.open(config.folder)
        if not isinstance(opened, Transform) or not type(opened).__module__.startswith("gristmill."):
            return None
        batch = Batch(opened.apply(batch).rows)
    return None
