"""Tasks: `run_task`, the one function an executor knows, and the two passes over records.

    read:   for page in source.read(split): name the rows; for step in steps: ...; stage the rows, observe them
    stage:  for batch of the stage before: take out what the barrier decided; for step in steps: ...; stage or write

Not here: steps (`engine.flow`), what happens between passes (`engine.merge`). Invariants: a task reads its split and
staged files only, and can be done twice or by two at once with the same result; it never sees the plan.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core import alarm, own
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.counts import add_into
from gristmill.core.errors import SourceError, UnitFailed
from gristmill.core.failpoints import failpoint
from gristmill.core.source import PAGE_BYTES, REJECT_BYTES, Page, ReadContext, Reject, UnitRead
from gristmill.engine import cost, distributions, exports, identity, merge, observed, withdraw
from gristmill.engine.flow import Crash, Flow, mark
from gristmill.engine.landing import Landing, landed
from gristmill.engine.merge import Decisions
from gristmill.engine.observed import OBSERVED, ObservedWriter, observe
from gristmill.engine.outcomes import apply_decisions, close_sides, open_sides, settle_first, stage_sides
from gristmill.engine.replay import REPLAY
from gristmill.engine.sides import (
    QUARANTINE_SCHEMA,
    StagedWriter,
    rows_of,
    stream_staged,
)
from gristmill.engine.table import TableWriter
from gristmill.engine.work import ROW_BITS, Job, TaskResult, Work, first_ord
from gristmill.kernels.columns import hash_columns
from gristmill.store import journal

HASHED_COLUMNS = ("text", "url", "time", "lang", "license", "meta")


def run_task(work: Work, job: Job) -> TaskResult:
    """Do one job, or give its journalled result if it was done before."""
    done = journal.find(work.layout, work.seq, job.id, TaskResult) if job.kind != "chunk" else None
    if done is not None and all(work.staged(name).exists() for name in done.staged):
        return done
    if done is not None:
        journal.forget(work.layout, work.seq, job.id)
    started, cpu_before_s = time.perf_counter(), cost.cpu_s()
    kinds: dict[str, Callable[[Work, Job], TaskResult]] = {
        "read": read_task,
        "stage": stage_task,
        "identity": merge.identity_task,
        "merge": merge.merge_task,
        "withdraw": withdraw.withdraw_task,
        "chunk": exports.chunk_task,
    }
    with own.contained():
        result = kinds[job.kind](work, job)
    result.seconds, result.cpu_s = time.perf_counter() - started, cost.cpu_s() - cpu_before_s
    result.process = os.getpid()
    result.peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if job.kind == "chunk":
        return result
    result = journal.record(work.layout, work.seq, job.id, result, TaskResult)
    failpoint("task.journalled")
    return result


def read_task(work: Work, job: Job) -> TaskResult:
    """Read a split, name its records, run the first steps, stage the rest and what the barrier must see."""
    failed = {unit: UnitFailed(unit, "crash.worker", "a worker process died while it read it") for unit in job.deadly}
    for _ in range(len(job.split.units) + 1 if job.split else 1):
        found = dict(failed)
        try:
            return _Reading(work, job, found).run()
        except UnitFailed as error:
            if error.unit in failed:
                raise SourceError(f"source {job.source}: {error} (again, although it was set aside)") from error
            # Another one, as that holds all that its reading held for as long as it is kept.
            failed = found | {error.unit: UnitFailed(error.unit, error.code, error.detail, advance=error.advance)}
    raise SourceError(f"source {job.source}: no unit of split {job.id} could be read")


class _Reading:
    """One attempt at a read task, leaving out the units already found bad, and those that it finds before more than a batch of them is on its way."""

    def __init__(self, work: Work, job: Job, failed: dict[str, UnitFailed]) -> None:
        assert job.split is not None
        self.work, self.job, self.failed, self.split = work, job, failed, job.split
        self.bound = work.source(job.source)
        self.result = TaskResult(job.id, job.source)
        self.sides = open_sides(work, job)
        self.flow = Flow(
            work.segment(0, job.source), work.folder, self.sides, crash_of(work, job), work.config.run.retries
        )
        self.ranges: dict[str, list[int]] = {}
        self.ended: dict[str, Page] = {}  # by unit: the last page that says more than that it was read
        self.notes: dict[str, dict[str, Any]] = {}
        self.next_ord = first_ord(work.seq, job.number)
        self.limit = first_ord(work.seq, job.number + 1)

    def run(self) -> TaskResult:
        work, job, result = self.work, self.job, self.result
        names = [f"0/{job.number:06d}{end}" for end in (".arrow", ".ids.arrow", ".keys.arrow")]
        names.append(distributions.measured_name(0, job.number))
        barrier = work.barrier(0)
        measured = distributions.measured_schema(work.segment(0, job.source), first=True)
        with (
            StagedWriter(work.staged(names[0]), RECORD_SCHEMA) as rows_out,
            ObservedWriter(work.staged(names[1]), observed.ID_OBSERVED) as ids_out,
            ObservedWriter(work.staged(names[2]), OBSERVED) as keys_out,
            StagedWriter(work.staged(names[3]), measured) as measured_out,
        ):
            for pages in self._gather(ids_out):
                batch, ids = self._name(pages)
                ids_out.write(ids)
                came, batch = batch, self.flow.run(batch)
                measured_out.write(distributions.measured_rows(measured, came, self.flow.noted))
                rows_out.write(batch.rows)
                if barrier is not None and len(batch):
                    keys_out.write(observe(barrier.step, batch, work.seq))
        of_units = [self.failed[unit] for unit in self.split.units if unit in self.failed]
        self._reject([Reject(error.code, error.unit, error.detail) for error in of_units])
        failpoint("task.staged")
        result.staged = names + stage_sides(work, job, self.sides)
        result.steps, result.step_errors = self.flow.counts, self.flow.step_errors
        result.units = self._units()
        return result

    def _gather(self, ids_out: StagedWriter) -> Iterator[list[Page]]:
        """Give pages in groups of about one batch of text, so that a thousand small files make one batch."""
        aim = self.work.config.run.batch_bytes
        skip = frozenset(self.failed) | {read.unit for read in self.job.skip} | set(self.job.leave)
        context = ReadContext(folder=self.work.folder, batch_bytes=aim, skip=skip, go_on=True)
        held: list[Page] = []
        size = 0
        for page in self._whole(self._pages(context), aim):
            self._take(page)
            if page.rows.num_rows:
                held.append(page)
                size += page.rows.nbytes + PAGE_BYTES
            if size >= aim or (held and (page.deleted or page.present)):
                yield held  # the ords of a group's rows are consecutive
                held, size = [], 0
            if not self.job.replay:  # what a source said of an id besides was settled then
                self._notice(page, ids_out)
        if held:
            yield held

    def _whole(self, pages: Iterator[Page], aim: int) -> Iterator[Page]:
        """Give the pages of a unit once it has been read to its end, or a batch of it has; none of one that fails before that.

        So a thousand bad files among good ones cost what they are, and the good ones are not read again for each. Where that is
        no longer possible the rest of the split is read to its end, to know all units that must be left out: it is done
        again once, not once for each.

        Raises:
            UnitFailed: some of what came of a unit is on its way: all that came of the split is to be forgotten.
        """
        held: list[Page] = []
        size, begun = 0, ""
        spoiled: UnitFailed | None = None
        for page in pages:
            if held and held[0].unit != page.unit:
                yield from held
                held, size = [], 0
            if page.failed is not None:
                if spoiled is None and begun == page.unit:
                    spoiled = page.failed
                else:
                    self.failed[page.unit] = page.failed
                held, size = [], 0
            if page.failed is not None or spoiled is not None:
                continue
            held.append(page)
            size += page.rows.nbytes + REJECT_BYTES * len(page.rejects) + PAGE_BYTES
            if size >= aim:
                yield from held
                held, size, begun = [], 0, page.unit
        if spoiled is not None:
            raise spoiled
        yield from held

    def _pages(self, context: ReadContext) -> Iterator[Page]:
        if self.job.void:
            self.result.void = self.job.void
            return iter(())
        if self.job.replay == "landing":
            return landed(self.work.layout, self.job)
        if self.bound.source.LANDED:
            return Landing(self.work, self.job).pages(context)
        if self.job.marker and len(self.split.units):
            return self._one_by_one(context)
        return self.bound.source.read(self.split, context)

    def _one_by_one(self, context: ReadContext) -> Iterator[Page]:
        """Read unit by unit, each named in the marker while it is read."""
        marker, units = self.work.staged(f"{self.job.id}.marker"), set(self.split.units)
        for unit in self.split.units:
            if unit in context.skip:
                continue
            pages = iter(
                self.bound.source.read(self.split, msgspec.structs.replace(context, skip=frozenset(units - {unit})))
            )
            while True:
                mark(marker, unit, "read")
                if (page := next(pages, None)) is None:
                    break
                yield page
        marker.unlink(missing_ok=True)

    def _take(self, page: Page) -> None:
        """Count a page and give its rows their ords."""
        self.result.bytes_read += page.bytes_in
        add_into(self.result.warnings, page.warnings)
        self._reject(page.rejects)
        if page.outcome != "ok":
            if page.rows.num_rows or self.ranges.get(page.unit):
                raise SourceError(f"source {self.job.source}: {page.unit} is {page.outcome} and has records")
            self.ended[page.unit] = page
        if page.note:
            self.notes[page.unit] = page.note
        start, self.next_ord = self.next_ord, self.next_ord + page.rows.num_rows
        if page.outcome == "ok":
            self.ranges.setdefault(page.unit, [start, start])[1] = self.next_ord
        self._check_room()

    def _check_room(self) -> None:
        if self.next_ord > self.limit:
            raise SourceError(
                f"source {self.job.source}: split {self.split.id} holds over {1 << ROW_BITS} records; set a smaller split_bytes"
            )

    def _notice(self, page: Page, ids_out: StagedWriter) -> None:
        """Pass on which ids a page says are gone, or still there; like records they have a place in the total order."""
        for op, keys in ((identity.DELETE, page.deleted), (identity.PRESENT, page.present)):
            if keys:
                n = len(keys)
                ids = pa.array([f"{self.job.source}/{key}" for key in keys], pa.string())
                ords = np.arange(self.next_ord, self.next_ord + n, dtype=np.int64)
                self.next_ord += n
                self.ranges[page.unit][1] = self.next_ord
                self._check_room()
                nothing = np.zeros((n, 2), np.uint64)
                rows = (hash_columns([ids]), nothing, ords, ords.astype(np.uint64), np.zeros(n, bool))
                ids_out.write(observed.observe_ids(*rows, op))

    def _name(self, pages: list[Page]) -> tuple[Batch, pa.RecordBatch]:
        """Give the pages' rows their id, source, content hash and ord; and what the identity merge must see."""
        rows = pa.Table.from_batches([page.rows for page in pages]).combine_chunks().to_batches()[0]
        n = rows.num_rows
        self.result.counts.read += n
        low = self.next_ord - sum(page.rows.num_rows for page in pages)
        ords = np.arange(low, low + n, dtype=np.int64)
        keys = rows.column("key")
        names = pc.coalesce(keys, rows.column("origin"))
        ids = pc.binary_join_element_wise(pa.scalar(self.job.source), names, "/")
        content = hash_columns([rows.column(name) for name in HASHED_COLUMNS])
        licenses = rows.column("license")
        if self.bound.license:
            licenses = pc.fill_null(licenses, self.bound.license)
        batch = Batch(
            rows_of(
                RECORD_SCHEMA,
                n,
                {
                    **{
                        name: rows.column(name)
                        for name in ("text", "origin", "url", "time", "fetched_at", "lang", "meta")
                    },
                    "id": ids,
                    "source": self.job.source,
                    "license": licenses,
                    "content_hash": pa.Array.from_buffers(pa.binary(16), n, [None, pa.py_buffer(content)]).cast(
                        pa.binary()
                    ),
                    "ord": ords,
                },
            )
        )
        id_hash = hash_columns([ids])
        counts = [page.rows.num_rows for page in pages]
        # What several runs landed of one unit, each run read for itself.
        of_run = f"@{self.split.spec['run']}" if self.job.replay == "landing" else ""
        hashes = [merge.unit_hash(self.job.source, page.unit + of_run) for page in pages]
        versioned = np.repeat([page.versioned for page in pages], counts)
        # Where ids come in the order of their versions no record is in another's way: each is a unit of its own.
        units = np.where(versioned, ords.astype(np.uint64), np.repeat(np.array(hashes, np.uint64), counts))
        fresh = keys.is_null().to_numpy(zero_copy_only=False) if self.split.fresh else np.zeros(n, bool)
        op = REPLAY if self.job.replay else identity.PUT
        return batch, observed.observe_ids(id_hash, content, ords, units, fresh, op)

    def _reject(self, rejects: list[Reject]) -> None:
        if not rejects:
            return
        self.result.counts.read += len(rejects)
        told = {name: [getattr(reject, name) for reject in rejects] for name in ("origin", "code", "detail", "bytes")}
        row = {"source": self.job.source, "step": "read", **told}
        self.sides.quarantine.write(rows_of(QUARANTINE_SCHEMA, len(rejects), row))
        self.sides.quarantine.settle()  # there may be millions before the next record, and they come before it anyway

    def _units(self) -> list[UnitRead]:
        end = first_ord(self.work.seq, self.job.number)
        units = []
        bad = {read.unit: read for read in self.job.skip}
        # A replay changes nothing of what is known of its units.
        for unit in [] if self.job.void or self.job.replay else self.split.units:
            lo, hi = self.ranges.get(unit, [end, end])
            error, last, note = self.failed.get(unit), self.ended.get(unit), self.notes.get(unit, {})
            if unit in bad:
                units.append(msgspec.structs.replace(bad[unit], lo=end, hi=end, counted=False))
            elif error is not None:
                units.append(UnitRead(unit, end, end, "bad", error.code, error.advance))
            elif last is None:
                units.append(UnitRead(unit, lo, hi, note=note))
            else:
                code = last.rejects[0].code if last.rejects else None
                advance = last.outcome != "bad" or bool(note)
                units.append(UnitRead(unit, end, end, last.outcome, code, advance, note=note))
        return units


def stage_task(work: Work, job: Job) -> TaskResult:
    """Take a read task's rows on: apply what the barrier decided, run the next steps, stage or write the rest."""
    result = TaskResult(job.id, job.source)
    sides = open_sides(work, job)
    flow = Flow(work.segment(job.stage, job.source), work.folder, sides, crash_of(work, job), work.config.run.retries)
    decided = Decisions(work, job.stage - 1, first_ord(work.seq, job.number), first_ord(work.seq, job.number + 1))
    if job.stage == 1:
        result.sides = settle_first(work, job, decided, result.counts)
    counting = distributions.Counting(work, job, decided)
    batches = (
        counting.take(flow.run(apply_decisions(decided, Batch(rows), sides, result.counts)), flow.noted)
        for rows in stream_staged(work.staged(f"{job.stage - 1}/{job.number:06d}.arrow"))
    )
    if job.stage == work.stages - 1:
        assert job.split is not None
        writer = TableWriter(work, job.id, job.split.id)
        for batch in batches:
            writer.write(batch)
            counting.publish(batch)  # after writing, which has brought the text near
        result.shards = writer.close()
        result.counts.published = writer.rows
        result.staged = writer.save_hashes(f"{job.stage}/{job.number:06d}.hashes.npy")
    else:
        barrier = work.barrier(job.stage)
        assert barrier is not None
        result.staged = [f"{job.stage}/{job.number:06d}.arrow", f"{job.stage}/{job.number:06d}.keys.arrow"]
        result.staged.append(distributions.measured_name(job.stage, job.number))
        measured = distributions.measured_schema(work.segment(job.stage, job.source), first=False)
        with (
            StagedWriter(work.staged(result.staged[0]), RECORD_SCHEMA) as rows_out,
            ObservedWriter(work.staged(result.staged[1]), OBSERVED) as keys_out,
            StagedWriter(work.staged(result.staged[2]), measured) as measured_out,
        ):
            for batch in batches:
                rows_out.write(batch.rows)
                keys_out.write(observe(barrier.step, batch, work.seq))
                measured_out.write(distributions.measured_rows(measured, batch, flow.noted))
        failpoint("task.staged")
    result.staged.append(counting.save())
    add_into(result.counts.dropped, flow.dropped)
    add_into(result.counts.quarantined, flow.quarantined)
    result.steps, result.step_errors = flow.counts, flow.step_errors
    result.sides += close_sides(work, job, sides)
    return result


def crash_of(work: Work, job: Job) -> Crash:
    """Give what is known of worker deaths in this task, and how long its steps may take."""
    marker = work.staged(f"{job.id}.marker") if job.marker else None
    is_limited = work.expendable or alarm.raises()
    return Crash(marker, job.poison, work.config.run.step_timeout_s if is_limited else 0)
