"""Barriers: what is decided with all records of a run in view, one task a bucket.

At barrier 0 first the identity of every record (`engine.identity`), then, as at every barrier, the GlobalStep that
stands there. Not here: how a GlobalStep decides (`steps/`). Invariants: a bucket's outcome depends on the observed
rows, the parent snapshot's index and its tombstones alone; dead records (unchanged, superseded) never own a key.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
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
from gristmill.engine.sides import StagedWriter, read_staged, stream_staged
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import disk, index
from gristmill.store.index import IDS, Bucket, Tombstones

ID_BUCKET_BITS = 4
OBSERVED_ROWS = 1 << 16
MAX_RANGES = 256  # as many files are open at a time
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


class ObservedWriter(StagedWriter):
    """Writes what a barrier must see, in batches of many rows sorted by bucket and key.

    A merge maps the files of all tasks: this way the rows of its bucket, and of a range of its keys, lie together in few pages.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema)
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows."""
        self._held.append(rows)
        self._rows += rows.num_rows
        if self._rows >= OBSERVED_ROWS:
            self._flush()

    def _flush(self) -> None:
        rows = pa.Table.from_batches(self._held, self._schema).combine_chunks()
        by = np.lexsort((rows["k0"].to_numpy(), rows["bucket"].to_numpy()))  # stable: else they lie as they came
        for batch in rows.take(pa.array(by)).combine_chunks().to_batches():
            super().write(batch)
        self._held, self._rows = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            super().__exit__(kind, error, trace)


def observe(step: Any, batch: Batch, seq: int) -> pa.RecordBatch:
    """Let a GlobalStep observe a batch."""
    assert isinstance(step, GlobalStep)
    return step.observe(batch, seq)


def observe_ids(
    ids: UInt64s,
    content: UInt64s,
    ords: Int64s,
    units: UInt64s,
    fresh: npt.NDArray[np.bool_],
    op: int = identity.PUT,
) -> pa.RecordBatch:
    """Give what the identity merge must see of some records or notices. ids, content: uint64 (n, 2)."""
    bucket = (ids[:, 0] >> np.uint64(64 - ID_BUCKET_BITS)).astype(np.uint16)
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
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=ID_OBSERVED)


def observed(
    work: Work, stage: int, end: str, bucket: int, bits: int, schema: pa.Schema
) -> Iterator[tuple[int, int, pa.Table]]:
    """Gather one bucket from all tasks of a stage, in task order, a range of keys at a time: `key_ranges` and the rows in it.

    The files are let go of before rows are given, so memory holds the rows of one range. More than one are dealt to scratch files
    first, in one pass: the files are many.
    """
    paths = sorted(work.staged(str(stage)).glob(f"*{end}"))
    found, total = [], 0
    for rows in (rows for path in paths for rows in _of_bucket(path, bucket)):
        total += len(rows)
        if total <= work.config.run.merge_rows:
            found.append(rows.take(pa.array(np.arange(len(rows)))))
    ranges = key_ranges(bucket, bits, total, work.config.run.merge_rows)
    if len(ranges) == 1:
        yield *ranges[0], pa.Table.from_batches(found, schema)
        return
    found.clear()
    names = [f"{stage}/{bucket:04x}{end}.{disk.mark()}-{i}.range" for i in range(len(ranges))]
    scratch = [work.staged(name) for name in names]
    try:
        _deal(paths, bucket, [low for low, _ in ranges], scratch, schema)
        for (low, high), path in zip(ranges, scratch, strict=True):
            yield low, high, pa.Table.from_batches(list(stream_staged(path)), schema)
            path.unlink()
    finally:
        for path in scratch:
            path.unlink(missing_ok=True)


def _deal(paths: list[Path], bucket: int, lows: list[int], scratch: list[Path], schema: pa.Schema) -> None:
    """Write the rows of a bucket into a file for each range of keys, which begin at `lows`."""
    inner = np.array(lows[1:], np.uint64)
    with contextlib.ExitStack() as stack:
        outs = [stack.enter_context(StagedWriter(path, schema)) for path in scratch]
        for path in paths:
            for rows in _of_bucket(path, bucket):
                cuts = [0, *np.searchsorted(rows.column("k0").to_numpy(), inner).tolist(), len(rows)]
                for out, (first, last) in zip(outs, itertools.pairwise(cuts), strict=True):
                    out.write(rows.slice(first, last - first))


def _of_bucket(path: Path, bucket: int) -> Iterator[pa.RecordBatch]:
    """Give the rows of a bucket in a staged file, without reading them yet; each batch is sorted by key."""
    for rows in read_staged(path):
        lo, hi = np.searchsorted(rows.column("bucket").to_numpy(), [bucket, bucket + 1])
        if hi > lo:
            yield rows.slice(lo, hi - lo)


def buckets_seen(work: Work, stage: int, end: str) -> list[int]:
    """Give the buckets that any task of a stage observed something for."""
    seen: set[int] = set()
    for path in sorted(work.staged(str(stage)).glob(f"*{end}")):
        for rows in read_staged(path):
            seen.update(np.unique(rows.column("bucket").to_numpy()).tolist())
    return sorted(seen)


def key_ranges(bucket: int, bits: int, rows: int, max_rows: int) -> list[tuple[int, int]]:
    """Cut a bucket's keys (first 64 bits, inclusive bounds) into 2^n ranges so that each holds about max_rows of its rows.

    This bounds memory and changes nothing else: a key never lies in two ranges, and ranges ascend. There are at most `MAX_RANGES`.
    """
    parts = 1
    while rows > max_rows * parts and parts < MAX_RANGES:
        parts *= 2
    width = 1 << (64 - bits)  # buckets are the top bits of the key, so the ranges are cut from the bits below them
    step = width // parts
    return [(bucket * width + i * step, bucket * width + (i + 1) * step - 1) for i in range(parts)]


def identity_task(work: Work, job: Job) -> TaskResult:
    """Settle the identity of all records whose id falls into one bucket."""
    retired = load_retired(work)
    runs = runs_of(work, IDS, job.bucket)
    tombstones = load_tombstones(work, with_run=False)
    result = TaskResult(job.id)
    outcomes, moved = [], []
    for low, high, here in observed(work, 0, ".ids.arrow", job.bucket, ID_BUCKET_BITS, ID_OBSERVED):
        prior = Bucket(work.layout, runs, tombstones, low, high)
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
    _stage(work, result, f"0/ids-{job.bucket:04x}.decided", decided.sort_by("ord"), DECIDED)
    _stage(work, result, f"0/ids-{job.bucket:04x}.withdrawn", withdrawn.sort_by("ord"), WITHDRAWN)
    entries = pa.concat_tables(outcome.entries for outcome in outcomes)
    result.index = index.write_run(work.layout, IDS, job.bucket, work.seq, entries, runs)
    if moved:
        ranks = replay.with_ranks(work.layout, runs_of(work, replay.ORDER, job.bucket), pa.concat_tables(moved))
        _stage(work, result, f"0/ids-{job.bucket:04x}.moved", ranks, replay.MOVED)
        result.index += replay.write_ranks(work.layout, job.bucket, work.seq, ranks)
    return result


def merge_task(work: Work, job: Job) -> TaskResult:
    """Let the GlobalStep of a barrier decide one bucket."""
    bound = work.barrier(job.stage)
    assert bound is not None
    assert isinstance(bound.step, GlobalStep)
    dead = Decisions(work, 0, 0, np.iinfo(np.int64).max, only=("ids-",)) if job.stage == 0 else None
    fingerprint = index_name(bound)
    runs = runs_of(work, fingerprint, job.bucket)
    prior = Bucket(work.layout, runs, load_tombstones(work, with_run=True))
    moved = sorted(work.staged("0").glob("*.moved"))
    told, deltas = [], []
    bits = bound.step.BUCKET_BITS
    for _, _, rows in observed(work, job.stage, ".keys.arrow", job.bucket, bits, OBSERVED):
        here = rows if dead is None else rows.filter(pa.array(dead.of(rows["ord"].to_numpy())[0] == 0))
        order = replay.Order(here, moved)  # a record and the owner of its key lie in the same range
        merged = bound.step.merge(order.by_rank(here), prior)
        told.append(order.by_ord(merged.verdicts))
        deltas.append(order.by_ord(merged.delta))
    verdicts = pa.concat_tables(told)
    kinds = pa.array(np.full(verdicts.num_rows, DUPLICATE, np.uint8))
    decided = pa.table([verdicts["ord"], kinds, verdicts["dup_of"]], schema=DECIDED).sort_by("ord")
    result = TaskResult(job.id)
    _stage(work, result, f"{job.stage}/keys-{job.bucket:04x}.decided", decided, DECIDED)
    result.index = index.write_run(work.layout, fingerprint, job.bucket, work.seq, pa.concat_tables(deltas), runs)
    return result


def _stage(work: Work, result: TaskResult, name: str, rows: pa.Table, schema: pa.Schema) -> None:
    """Write what a bucket tells the tasks after it, of which each reads what all buckets have told: nothing where it is nothing."""
    if rows.num_rows == 0:
        return
    with StagedWriter(work.staged(name), schema) as out:
        for batch in rows.combine_chunks().to_batches():
            out.write(batch)
    result.staged.append(name)


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
    path = work.staged("retired.npz")
    with naming(path):
        content = io.BytesIO(path.read_bytes())  # `zipfile` takes a failed read for an archive without an end
    with np.load(content, allow_pickle=False) as arrays:
        return Retired(arrays["ranges"], arrays["units"], arrays["seqs"], arrays["again"])


def withdraws_within(work: Work, first: Int64s, end: Int64s) -> npt.NDArray[np.bool_]:
    """Tell of each range of ords if this run withdraws one from first to before end; what it withdraws is looked through once for all."""
    hit = np.zeros(len(first), np.bool_)
    for path in sorted(work.staged("0").glob("*.withdrawn")):
        for rows in read_staged(path):
            ords = rows.column("ord").to_numpy()
            hit |= np.searchsorted(ords, first) < np.searchsorted(ords, end)
    return hit


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
