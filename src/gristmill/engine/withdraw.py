"""Withdrawal: rewriting a shard of the table without the rows that no longer count.

Not here: which rows those are (`engine.identity`). Invariants: the old shard stays as it is for older snapshots; the
rewritten one goes live in the same commit as what replaces its rows.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gristmill.core import access
from gristmill.core.batch import Int64s
from gristmill.engine.merge import GONE, REVISED, load_withdrawn
from gristmill.engine.replay import REFRESHED
from gristmill.engine.sides import VERDICT_SCHEMA, Side, SideWriter, rows_of
from gristmill.engine.table import name_shard, shard_writer
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import disk
from gristmill.store.index import contains
from gristmill.store.rows import read_shard

WORDS = {GONE: "gone", REVISED: "revised", REFRESHED: "refreshed"}


def withdraw_task(work: Work, job: Job) -> TaskResult:
    """Rewrite one shard without its withdrawn rows; `shards` of the result is empty if nothing is left or changes."""
    assert job.shard is not None
    ords, reasons = load_withdrawn(work, job.shard.first_ord, job.shard.last_ord + 1)
    result = TaskResult(job.id)
    scratch = work.staged(f"shards/{job.id}-{disk.mark()}.parquet")
    access.make_folder(scratch.parent)
    side = SideWriter(work.staging / "sides" / f"{job.id}-{disk.mark()}.verdicts", "verdicts")
    writer = shard_writer(scratch)
    first, last, text_bytes, removed, gone_rows = -1, -1, 0, 0, 0
    for rows in read_shard(work.layout, job.shard):
        gone = contains(ords, rows.column("ord").to_numpy())
        removed += int(gone.sum())
        gone_rows += _gone(rows.column("ord").to_numpy()[gone], ords, reasons)
        _verdicts(side, rows.filter(pa.array(gone)), ords, reasons, result)
        side.settle()
        kept = rows.filter(pa.array(~gone))
        if kept.num_rows:
            first = kept.column("ord")[0].as_py() if first < 0 else first
            last = kept.column("ord")[-1].as_py()
            text_bytes += sum(len(value.as_buffer()) for value in kept.column("text"))
            writer.write(kept)
    left, _ = writer.close()
    side.close()
    result.counts.withdrawn = removed
    result.extra = {"replaces": job.shard.path, "changed": removed > 0, "gone": gone_rows}
    if side.rows:
        path = work.layout.side(work.seq, "verdicts", job.id)
        digest = disk.sha256_of(side.path)
        work.layout.files.adopt_file(side.path, path)
        result.sides = [Side("verdicts", work.layout.relative(path), side.rows, digest)]
    if removed and left:
        split = job.shard.path.rpartition("/")[2].partition("-")[0]
        result.shards = [name_shard(work.layout, scratch, split, left, (first, last), text_bytes)]
    else:
        scratch.unlink()
    return result


def _gone(here: Int64s, ords: Int64s, reasons: Int64s) -> int:
    return int((reasons[np.searchsorted(ords, here)] == GONE).sum()) if len(here) else 0


def _verdicts(side: SideWriter, rows: pa.RecordBatch, ords: Int64s, reasons: Int64s, result: TaskResult) -> None:
    if rows.num_rows == 0:
        return
    why = reasons[np.searchsorted(ords, rows.column("ord").to_numpy())]
    words = [WORDS[reason] for reason in why.tolist()]
    columns = {
        "ord": rows.column("ord"),
        "id": rows.column("id"),
        "step": "identity",
        "action": "withdraw",
        "reason": words,
    }
    side.write(rows_of(VERDICT_SCHEMA, rows.num_rows, columns))
    for name in rows.column("source").to_pylist():
        result.by_source[name] = result.by_source.get(name, 0) + 1
