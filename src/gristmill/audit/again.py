"""Reading a record again: the text of one that was dropped, which no file of a dataset holds.

It is read from where it was read the first time: a landed page, or a file of this machine. No address is asked, whatever the source.
Not here: what became of it (`explain`), published texts (`texts`). Invariants: nothing is written; what is given back is the record of
that id at that place, or `NotAgain` says why not; no step of the user's own is run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.errors import GristmillError
from gristmill.core.source import BoundSource, Page, ReadContext
from gristmill.core.step import Filter, GlobalStep, Transform
from gristmill.engine import plan
from gristmill.engine.landing import read_part
from gristmill.engine.work import ROW_BITS, TASK_BITS, Job, TaskResult
from gristmill.store.layout import Layout

SECONDS = 3.0
_PAGE_BYTES = 1 << 20


class NotAgain(GristmillError):
    """The text cannot be shown; the message says why."""


class Again(msgspec.Struct, frozen=True):
    """A record read again. text: as the source gives it. seen: as the step that was asked for saw it, None if that cannot be told."""

    text: str
    seen: str | None


def read_again(config: PipelineConfig, layout: Layout, ord_: int, wanted: str, step: str = "") -> Again:
    """Give the text of the record with this `ord` and id, as the source gives it and as `step` saw it.

    Raises:
        NotAgain: it is not there any more, may not be asked for, or takes too long.
    """
    seq, number, row = (
        ord_ >> (TASK_BITS + ROW_BITS),
        ord_ >> ROW_BITS & ((1 << TASK_BITS) - 1),
        ord_ & ((1 << ROW_BITS) - 1),
    )
    try:
        job, bound = _place(config, layout, seq, number)
        found = _row(_pages(config, layout, seq, job, bound), row, time.monotonic() + SECONDS)
    except NotAgain:
        raise
    except (GristmillError, OSError, ValueError, pa.ArrowException) as error:
        raise NotAgain(f"its place cannot be read any more ({type(error).__name__})") from error
    name = found["key"] if found["key"] is not None else found["origin"]
    if f"{job.source}/{name}" != wanted:
        raise NotAgain("another record stands in its place now")
    return Again(found["text"], _as_seen(config, bound, found, wanted, step))


def _place(config: PipelineConfig, layout: Layout, seq: int, number: int) -> tuple[Job, BoundSource]:
    """Give the task of a run, and its source."""
    for job in plan.read_plan(layout, seq).tasks[number : number + 1]:
        for bound in config.sources:
            if bound.name == job.source:
                return job, bound
    raise NotAgain("its source is not in the config any more")


def _pages(config: PipelineConfig, layout: Layout, seq: int, job: Job, bound: BoundSource) -> Iterator[Page]:
    """Give the pages of a task as they were read."""
    bad = _bad_units(layout.task(seq, job.id))
    if bound.source.LANDED:
        parts = sorted((layout.landing(bound.name) / str(seq)).glob(f"{job.id}-*.parquet"))
        if not parts:
            raise NotAgain("what the source gave then is not kept any more (run.landing_days)")
        return (page for part in parts for page in read_part(part)[0] if page.unit not in bad)
    paths: Any = getattr(bound.source, "path", "://")
    if any("://" in path for path in ([paths] if isinstance(paths, str) else paths)) or job.split is None:
        raise NotAgain("its source is not on this machine, and looking at a dataset asks no address")
    return bound.source.read(job.split, ReadContext(folder=config.folder, batch_bytes=_PAGE_BYTES, skip=bad))


def _bad_units(path: Path) -> frozenset[str]:
    """Give the units that were left out; a journal that is gone names none."""
    if not path.exists():
        return frozenset()
    return frozenset(unit.unit for unit in msgspec.json.decode(path.read_bytes(), type=TaskResult).units if unit.status == "bad")  # fmt: skip


def _row(pages: Iterator[Page], wanted: int, deadline: float) -> dict[str, Any]:
    """Give the row with this place among the rows of a task, counted as `engine.task` counts."""
    at = 0
    for page in pages:
        n = page.rows.num_rows
        if at <= wanted < at + n:
            found: dict[str, Any] = page.rows.slice(wanted - at, 1).to_pylist()[0]
            return found
        at += n + len(page.deleted) + len(page.present)
        if time.monotonic() > deadline:
            raise NotAgain(f"it was not found within {SECONDS:g} seconds")
    raise NotAgain("its source holds fewer records now")


def _as_seen(config: PipelineConfig, bound: BoundSource, found: dict[str, Any], id_: str, step: str) -> str | None:
    """Give the text after the steps before `step`; None where a step of the user's own stands between."""
    steps = [*bound.steps, *config.steps, config.require]
    if step not in {each.name for each in steps}:
        return None
    values = {"id": id_, "source": bound.name, "content_hash": bytes(16), "ord": 0}
    columns = [pa.array([values.get(field.name, found.get(field.name))], field.type) for field in RECORD_SCHEMA]
    batch = Batch(pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA))
    for each in steps:
        if each.name == step:
            return str(batch.text[0])
        if isinstance(each.step, Filter | GlobalStep):
            continue
        opened = each.step.open(config.folder)
        if not isinstance(opened, Transform) or not type(opened).__module__.startswith("gristmill."):
            return None
        batch = Batch(opened.apply(batch).rows)
    return None
