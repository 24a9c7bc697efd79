"""Barriers: what is decided with all records of a run in view, one task a bucket.

At barrier 0 first the identity of every record (`engine.identity`), then, as at every barrier, the GlobalStep that
stands there. Not here: how a GlobalStep decides (`steps/`). Invariants: a bucket's outcome depends on the observed
rows, the parent snapshot's index and its tombstones alone; dead records (unchanged, superseded) never own a key.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core import access
from gristmill.core.batch import Batch, Int64s, UInt64s
from gristmill.core.errors import naming
from gristmill.core.step import BoundStep, GlobalStep
from gristmill.engine import identity, replay
from gristmill.engine.sides import StagedWriter, read_staged
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import disk, index
from gristmill.store.index import IDS, Bucket, Tombstones

ID_BUCKET_BITS = 4
OBSERVED = pa.schema([("bucket", pa.uint16()), ("k0", pa.uint64()), ("k1", pa.uint64()), ("ord", pa.int64())])
ID_OBSERVED = pa.schema(
    [
        ("bucket", pa.uint16()),
        ("k0", pa.uint64()),
        ("k1", pa.uint64()),
        ("h0", pa.uint64()),
        ("h1", pa.uint64()),
        ("ord", pa.int64()),
        ("unit", pa.uint64()),
        ("fresh", pa.bool_()),
        ("op", pa.uint8()),
    ]
)
DECIDED = pa.schema([("ord", pa.int64()), ("kind", pa.uint8()), ("other", pa.int64())])
WITHDRAWN = pa.schema([("ord", pa.int64()), ("reason", pa.uint8())])
UNCHANGED, SUPERSEDED, CONFLICT, DUPLICATE = identity.UNCHANGED, identity.SUPERSEDED, identity.CONFLICT, 4
REVISED, GONE = identity.REVISED, identity.GONE


class Retired(msgspec.Struct, frozen=True):
    """What barrier 0 must know of units: ord ranges whose ids may have gone, and which run last read each live unit.

    ranges: int64 (n, 2), half-open, sorted, disjoint. units: uint64 sorted; seqs: int64, the run that last read each. again: int64
    sorted, the ords of quarantined records that a retry lets go on if they come again.
    """

    ranges: Int64s
    units: UInt64s
    seqs: Int64s
    again: Int64s


def unit_hash(source: str, unit: str) -> int:
    """Give the 64-bit name of a unit in the id index (blake2b; part of the index format)."""
    return int.from_bytes(
        hashlib.blake2b(f"{source}/{unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def observe(step: Any, batch: Batch, seq: int) -> pa.RecordBatch:
    """Let a GlobalStep observe a batch; give the rows sorted by bucket."""
    assert isinstance(step, GlobalStep)
    rows = step.observe(batch, seq)
    return rows.take(pa.array(np.argsort(rows.column("bucket").to_numpy(), kind="stable")))


def observe_ids(
    ids: UInt64s,
    content: UInt64s,
    ords: Int64s,
    units: UInt64s,
    fresh: npt.NDArray[np.bool_],
    op: int = identity.PUT,
) -> pa.RecordBatch:
    """Give what the identity merge must see of some records or notices, sorted by bucket. ids, content: uint64 (n, 2)."""
    bucket = (ids[:, 0] >> np.uint64(64 - ID_BUCKET_BITS)).astype(np.uint16)
    by = np.argsort(bucket, kind="stable")
    ops = np.full(len(ords), op, np.uint8)
    columns: list[npt.NDArray[Any]] = [
        bucket,
        ids[:, 0],
        ids[:, 1],
        content[:, 0],
        content[:, 1],
        ords,
        units,
        fresh,
        ops,
    ]
    return pa.RecordBatch.from_arrays([pa.array(column[by]) for column in columns], schema=ID_OBSERVED)


def observed(work: Work, stage: int, end: str, bucket: int, schema: pa.Schema) -> pa.Table:
    """Gather one bucket from all tasks of a stage, in task order."""
    found = []
    for path in sorted(work.staged(str(stage)).glob(f"*{end}")):
        for rows in read_staged(path):
            buckets = rows.column("bucket").to_numpy()
            lo, hi = np.searchsorted(buckets, [bucket, bucket + 1])
            if hi > lo:
                found.append(rows.slice(lo, hi - lo))
    return pa.Table.from_batches(found, schema)


def buckets_seen(work: Work, stage: int, end: str) -> list[int]:
    """Give the buckets that any task of a stage observed something for."""
    seen: set[int] = set()
    for path in sorted(work.staged(str(stage)).glob(f"*{end}")):
        for rows in read_staged(path):
            seen.update(np.unique(rows.column("bucket").to_numpy()).tolist())
    return sorted(seen)


def key_ranges(rows: pa.Table, max_rows: int) -> list[tuple[int, int]]:
    """Cut the key space (first 64 bits, inclusive bounds) into 2^n ranges so that each holds about max_rows rows.

    This bounds memory and changes nothing else: a key never lies in two ranges, and ranges ascend.
    """
    parts = 1
    while rows.num_rows > max_rows * parts:
        parts *= 2
    # Buckets are the top bits of the key, so the ranges are cut from the bits below them; 16 bits are plenty.
    step = (1 << 64) // (16 * parts)
    if parts == 1 or rows.num_rows == 0:
        return [(0, (1 << 64) - 1)]
    start = int(rows["k0"][0].as_py()) // (step * parts) * step * parts
    return [(start + i * step, start + (i + 1) * step - 1) for i in range(parts)]


def _within(rows: pa.Table, low: int, high: int) -> pa.Table:
    if (low, high) == (0, (1 << 64) - 1):
        return rows
    keys = rows["k0"].to_numpy()
    return rows.filter(pa.array((keys >= np.uint64(low)) & (keys <= np.uint64(high))))


def identity_task(work: Work, job: Job) -> TaskResult:
    """Settle the identity of all records whose id falls into one bucket."""
    rows = observed(work, 0, ".ids.arrow", job.bucket, ID_OBSERVED)
    retired = load_retired(work)
    runs = runs_of(work, IDS, job.bucket)
    tombstones = load_tombstones(work, with_run=False)
    result = TaskResult(job.id, staged=[f"0/ids-{job.bucket:04x}.decided", f"0/ids-{job.bucket:04x}.withdrawn"])
    outcomes, moved = [], []
    for low, high in key_ranges(rows, work.config.run.merge_rows):
        prior = Bucket(work.layout, runs, tombstones, low, high)
        here = _within(rows, low, high)
        new = here.filter(pc.not_equal(here["op"], replay.REPLAY)) if work.setup.mode != "forward" else here
        outcome = identity.resolve(new, prior, retired.ranges, retired.units, retired.seqs, retired.again)
        if work.setup.mode != "forward":
            replayed = replay.resolve(here, prior, outcome, work.redecided)
            outcome = replayed.outcome
            moved.append(replayed.moved)
        outcomes.append(outcome)
    decided, withdrawn = (
        pa.concat_tables(tables) for tables in zip(*((o.decided, o.withdrawn) for o in outcomes), strict=True)
    )
    _stage(work, result.staged[0], decided.sort_by("ord"), DECIDED)
    _stage(work, result.staged[1], withdrawn.sort_by("ord"), WITHDRAWN)
    entries = pa.concat_tables(outcome.entries for outcome in outcomes)
    result.index = index.write_run(work.layout, IDS, job.bucket, work.seq, entries, runs)
    if moved:
        ranks = replay.with_ranks(work.layout, runs_of(work, replay.ORDER, job.bucket), pa.concat_tables(moved))
        result.staged.append(f"0/ids-{job.bucket:04x}.moved")
        _stage(work, result.staged[-1], ranks, replay.MOVED)
        result.index += replay.write_ranks(work.layout, job.bucket, work.seq, ranks)
    return result


def merge_task(work: Work, job: Job) -> TaskResult:
    """Let the GlobalStep of a barrier decide one bucket."""
    bound = work.barrier(job.stage)
    assert bound is not None
    assert isinstance(bound.step, GlobalStep)
    rows = observed(work, job.stage, ".keys.arrow", job.bucket, OBSERVED)
    if job.stage == 0:
        dead = Decisions(work, 0, 0, np.iinfo(np.int64).max, only=("ids-",))
        rows = rows.filter(pa.array(dead.of(rows["ord"].to_numpy())[0] == 0))
    fingerprint = index_name(bound)
    runs = runs_of(work, fingerprint, job.bucket)
    prior = Bucket(work.layout, runs, load_tombstones(work, with_run=True))
    order = replay.Order(rows, sorted(work.staged("0").glob("*.moved")))
    rows = order.by_rank(rows)
    merged = [bound.step.merge(_within(rows, *span), prior) for span in key_ranges(rows, work.config.run.merge_rows)]
    verdicts = order.by_ord(pa.concat_tables(part.verdicts for part in merged))
    kinds = pa.array(np.full(verdicts.num_rows, DUPLICATE, np.uint8))
    decided = pa.table([verdicts["ord"], kinds, verdicts["dup_of"]], schema=DECIDED).sort_by("ord")
    result = TaskResult(job.id, staged=[f"{job.stage}/keys-{job.bucket:04x}.decided"])
    _stage(work, result.staged[0], decided, DECIDED)
    delta = order.by_ord(pa.concat_tables(part.delta for part in merged))
    result.index = index.write_run(work.layout, fingerprint, job.bucket, work.seq, delta, runs)
    return result


def _stage(work: Work, name: str, rows: pa.Table, schema: pa.Schema) -> None:
    with StagedWriter(work.staged(name), schema) as out:
        for batch in rows.combine_chunks().to_batches():
            out.write(batch)


class Decisions:
    """What a barrier decided against the records of one ord range."""

    def __init__(self, work: Work, stage: int, lo: int, hi: int, only: tuple[str, ...] = ("ids-", "keys-")) -> None:
        parts = []
        for path in sorted(work.staged(str(stage)).glob("*.decided")):
            if path.name.startswith(only):
                for rows in read_staged(path):
                    start, end = np.searchsorted(rows.column("ord").to_numpy(), [lo, hi])
                    parts.append(rows.slice(start, end - start))
        table = pa.Table.from_batches(parts, DECIDED)
        by = np.argsort(table["ord"].to_numpy(), kind="stable")
        self._ords, self._kinds, self._others = (table[name].to_numpy()[by] for name in DECIDED.names)
        bound = work.barrier(stage)
        self.step = bound.name if bound is not None else ""

    def of(self, ords: Int64s) -> tuple[npt.NDArray[np.uint8], Int64s]:
        """Give the kind (0: goes on) and the other record's ord, for each ord."""
        kinds = np.zeros(len(ords), np.uint8)
        others = np.full(len(ords), -1, np.int64)
        if len(self._ords):
            at = np.minimum(np.searchsorted(self._ords, ords), len(self._ords) - 1)
            hit = self._ords[at] == ords
            kinds[hit], others[hit] = self._kinds[at[hit]], self._others[at[hit]]
        return kinds, others


def index_name(bound: BoundStep) -> str:
    """Give the folder name of a GlobalStep's index: its part and a digest of what makes its keys."""
    made_of = msgspec.json.encode([bound.part, bound.step.VERSION, msgspec.to_builtins(bound.step)], order="sorted")
    return f"{bound.name.replace('#', '-')}-{hashlib.blake2b(made_of, digest_size=6).hexdigest()}"


def runs_of(work: Work, fingerprint: str, bucket: int) -> list[index.IndexRun]:
    """Give the parent's runs of one bucket of an index; none of a GlobalStep's where all is decided afresh."""
    if work.afresh and fingerprint not in (IDS, replay.ORDER):
        return []
    return [run for run in work.parent.index if run.fingerprint == fingerprint and run.bucket == bucket]


def load_tombstones(work: Work, *, with_run: bool) -> Tombstones:
    """Give the ords withdrawn up to the parent snapshot, and by this run too."""
    paths = list(work.parent.tombstones)
    own = work.layout.tombstones(work.seq)
    if with_run and own.exists():
        paths.append(work.layout.relative(own))
    return index.read_tombstones(work.layout, paths)


def save_retired(work: Work, retired: Retired) -> None:
    """Stage what barrier 0 must know of units."""
    access.make_folder(work.staging)
    scratch = work.staged(f"retired.{disk.mark()}.tmp.npz")  # several may do so at once
    with naming(scratch):
        np.savez(scratch, ranges=retired.ranges, units=retired.units, seqs=retired.seqs, again=retired.again)
    scratch.replace(work.staged("retired.npz"))


def load_retired(work: Work) -> Retired:
    """Read what `save_retired` staged."""
    with np.load(work.staged("retired.npz"), allow_pickle=False) as arrays:
        return Retired(arrays["ranges"], arrays["units"], arrays["seqs"], arrays["again"])


def load_withdrawn(work: Work, first: int = 0, end: int = np.iinfo(np.int64).max) -> tuple[Int64s, Int64s]:
    """Give the ords from first to before end that this run withdraws, sorted, and the reason of each (REVISED, GONE or REFRESHED)."""
    parts = [WITHDRAWN.empty_table()]
    for path in sorted(work.staged("0").glob("*.withdrawn")):
        for rows in read_staged(path):
            lo, hi = np.searchsorted(rows.column("ord").to_numpy(), [first, end])
            parts.append(pa.Table.from_batches([rows.slice(lo, hi - lo)]))
    table = pa.concat_tables(parts)
    ords, reasons = table["ord"].to_numpy(), table["reason"].to_numpy()
    by = np.argsort(ords, kind="stable")
    return ords[by], reasons[by].astype(np.int64)
