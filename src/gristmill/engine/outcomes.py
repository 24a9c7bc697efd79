"""Outcomes: what became of a task's records, in files and counts, once a barrier has decided.

The first steps judge a record before its identity is known. What they said is staged, and gets its lasting place in the next stage: a
record that turns out unchanged or superseded is that, whatever they said of it.
Not here: deciding (`engine.merge`), what steps say (`engine.flow`). Invariant: a record has exactly one outcome, in the counts and in the files.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core import access
from gristmill.core.batch import Batch
from gristmill.core.counts import Counts, add_into
from gristmill.core.errors import naming
from gristmill.core.failpoints import failpoint
from gristmill.engine import merge
from gristmill.engine.flow import Sides
from gristmill.engine.merge import Decisions
from gristmill.engine.sides import QUARANTINE_SCHEMA, VERDICT_SCHEMA, Side, SideWriter, rows_of
from gristmill.engine.work import Job, Work
from gristmill.store import disk


def stage_sides(work: Work, job: Job, sides: Sides) -> list[str]:
    """Stage what the first steps said: what of it lasts is known when identity is settled. Gives the staged names."""
    names = []
    for kind in Sides.__struct_fields__:
        writer: SideWriter = getattr(sides, kind)
        writer.close()
        path = work.staged(f"0/{job.number:06d}.{kind}.parquet")
        path.unlink(missing_ok=True)  # of an earlier try, which saw other units fail
        if writer.rows:
            writer.path.replace(path)
            names.append(f"0/{path.name}")
    return names


def settle_first(work: Work, job: Job, decided: Decisions, counts: Counts) -> list[Side]:
    """Give what the first steps said its lasting place, and count it.

    A record that is unchanged or superseded is that, whatever they said of it; one in conflict that they dropped stays so.
    """
    first = msgspec.structs.replace(job, id=f"r-{job.number:06d}")
    sides = open_sides(work, first)
    for kind in Sides.__struct_fields__:
        path = work.staged(f"0/{job.number:06d}.{kind}.parquet")
        if not path.exists():
            continue
        writer: SideWriter = getattr(sides, kind)
        with naming(path), pq.ParquetFile(path) as file:
            for rows in file.iter_batches(use_threads=False):
                kinds, _ = decided.of(pc.fill_null(rows.column("ord"), -1).to_numpy())
                known = (kinds == merge.UNCHANGED) | (kinds == merge.SUPERSEDED)
                lasting = rows if kind == "signals" else rows.filter(pa.array(~known))
                writer.write(lasting)
                if kind == "verdicts":
                    _count_known(rows, kinds, writer, counts)
                    drops = lasting.filter(pc.equal(lasting.column("action"), "drop"))
                    add_into(counts.dropped, Counter(_keys_of(drops)))
                elif kind == "quarantine":
                    add_into(counts.quarantined, Counter(lasting.column("code").to_pylist()))
                writer.settle()
    return close_sides(work, first, sides)


def _count_known(rows: pa.RecordBatch, kinds: npt.NDArray[np.uint8], writer: SideWriter, counts: Counts) -> None:
    counts.unchanged += int((kinds == merge.UNCHANGED).sum())
    overtaken = rows.filter(pa.array(kinds == merge.SUPERSEDED))
    n = overtaken.num_rows
    counts.superseded += n
    ords = overtaken.column("ord")
    said = {"step": "identity", "action": "supersede", "reason": "newer_content", "dup_of": ords}
    writer.write(rows_of(VERDICT_SCHEMA, n, {"ord": ords, "id": overtaken.column("id"), **said}))


def _keys_of(drops: pa.RecordBatch) -> list[str]:
    pairs = zip(drops.column("step").to_pylist(), drops.column("reason").to_pylist(), strict=True)
    return [f"{step}:{reason}" for step, reason in pairs]


def apply_decisions(decided: Decisions, batch: Batch, sides: Sides, counts: Counts) -> Batch:
    """Take out the rows that a barrier decided against, with a verdict each."""
    kinds, other = decided.of(batch.ords)
    if not kinds.any():
        return batch
    counts.unchanged += int((kinds == merge.UNCHANGED).sum())
    counts.superseded += int((kinds == merge.SUPERSEDED).sum())
    for kind, action, step, reason in (
        (merge.SUPERSEDED, "supersede", "identity", "newer_content"),
        (merge.CONFLICT, "quarantine", "identity", "id.conflict"),
        (merge.DUPLICATE, "duplicate", decided.step, "duplicate"),
    ):
        hit = kinds == kind
        n = int(hit.sum())
        if n == 0:
            continue
        rows = batch.rows.filter(pa.array(hit))
        ids, ords = rows.column("id"), rows.column("ord")
        columns = {"ord": ords, "id": ids, "step": step, "action": action, "reason": reason, "dup_of": other[hit]}
        sides.verdicts.write(rows_of(VERDICT_SCHEMA, n, columns))
        if kind == merge.DUPLICATE:
            counts.duplicates[step] = counts.duplicates.get(step, 0) + n
        if kind == merge.CONFLICT:
            counts.quarantined[reason] = counts.quarantined.get(reason, 0) + n
            detail = "another content under the same id stands earlier in this unit"
            columns = {
                "source": rows.column("source"),
                "origin": rows.column("origin"),
                "code": reason,
                "detail": detail,
            }
            sides.quarantine.write(rows_of(QUARANTINE_SCHEMA, n, {"ord": ords, "id": ids, "step": step, **columns}))
    return batch.keep(kinds == 0)


def open_sides(work: Work, job: Job) -> Sides:
    """Open the side files of a task under scratch names."""
    scratch = work.staging / "sides"
    return Sides(*(SideWriter(scratch / f"{job.id}-{disk.mark()}.{kind}", kind) for kind in Sides.__struct_fields__))


def close_sides(work: Work, job: Job, sides: Sides) -> list[Side]:
    """Finish the side files and give them their lasting names."""
    written = []
    for kind in Sides.__struct_fields__:
        writer: SideWriter = getattr(sides, kind)
        writer.close()
        path = work.layout.side(work.seq, kind, job.id)
        # Replaced, and never removed (`candidate` does, of an earlier try): one that wakes when the run is over, and finds nothing
        # of what it was to work on, would take away what the others have published.
        if writer.rows:
            digest = disk.sha256_of(writer.path)
            work.layout.files.adopt_file(
                writer.path, path, mode=access.PRIVATE if kind == "quarantine" else access.SHARED
            )
            written.append(Side(kind, work.layout.relative(path), writer.rows, digest))
    failpoint("task.sides_written")
    return written
