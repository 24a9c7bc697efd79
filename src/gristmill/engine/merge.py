"""Barriers: what is decided with all records of a run in view, by tasks of a bucket each, or of several that are small.

At barrier 0 first the identity of every record (`engine.identity`), then, as at every barrier, the GlobalStep that
stands there. Not here: how a GlobalStep decides (`steps/`). Invariants: a bucket's outcome depends on the observed
rows, the parent snapshot's index and its tombstones alone; dead records (unchanged, superseded) never own a key.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core import access
from gristmill.core.batch import Int64s, UInt64s
from gristmill.core.errors import naming
from gristmill.core.step import BoundStep, GlobalStep
from gristmill.engine import identity, replay
from gristmill.engine.observed import ID_BUCKET_BITS, ID_OBSERVED, OBSERVED, gathered, of_buckets
from gristmill.engine.sides import StagedWriter, read_staged
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import disk, index
from gristmill.store.index import IDS, Bucket, Tombstones

PACKED_ROWS = 1 << 16  # so many go through a merge in about the time that having another task takes, some milliseconds
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


def packed(work: Work, fingerprint: str, seen: Mapping[int, int]) -> list[list[int]]:
    """Deal the buckets to tasks: neighbours share one for as long as they hold at most `PACKED_ROWS` rows together.

    What counts are the rows of this run (`seen`) and those of the index, which are looked through. Buckets lie in the same files whoever settles
    them; and how they are dealt follows from the frozen plan alone, so that a run that is gone on with finds the same tasks.
    """
    known: Counter[int] = Counter()
    for run in work.parent.index:
        if run.fingerprint == fingerprint and not _is_left(work, fingerprint):
            known[run.bucket] += run.rows
    packs: list[list[int]] = []
    held = 0
    for bucket in sorted(seen):
        rows = seen[bucket] + known[bucket]
        if packs and held + rows <= PACKED_ROWS:
            packs[-1].append(bucket)
            held += rows
        else:
            packs.append([bucket])
            held = rows
    return packs


def identity_task(work: Work, job: Job) -> TaskResult:
    """Settle the identity of all records whose id falls into the buckets of the job."""
    retired = load_retired(work)
    runs = {bucket: runs_of(work, IDS, bucket) for bucket in job.buckets}
    known = [run for each in runs.values() for run in each]
    tombstones = load_tombstones(work, with_run=False)
    result = TaskResult(job.id)
    outcomes, moved = [], []
    for low, high, here in gathered(work, 0, ".ids.arrow", job.buckets, ID_BUCKET_BITS, ID_OBSERVED):
        prior = Bucket(work.layout, known, tombstones, low, high)
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
    name = of_buckets(job.buckets)
    _stage(work, result, f"0/ids-{name}.decided", decided.sort_by("ord"), DECIDED)
    _stage(work, result, f"0/ids-{name}.withdrawn", withdrawn.sort_by("ord"), WITHDRAWN)
    entries = pa.concat_tables(outcome.entries for outcome in outcomes)
    for bucket, rows in by_bucket(entries, job.buckets, ID_BUCKET_BITS):
        result.index += index.write_run(work.layout, IDS, bucket, work.seq, rows, runs[bucket])
    if moved:
        ranks = [replay.MOVED.empty_table()]
        for bucket, rows in by_bucket(pa.concat_tables(moved), job.buckets, ID_BUCKET_BITS):
            ranks.append(replay.with_ranks(work.layout, runs_of(work, replay.ORDER, bucket), rows))
            result.index += replay.write_ranks(work.layout, bucket, work.seq, ranks[-1])
        _stage(work, result, f"0/ids-{name}.moved", pa.concat_tables(ranks).sort_by("ord"), replay.MOVED)
    return result


def by_bucket(rows: pa.Table, buckets: Sequence[int], bits: int) -> Iterator[tuple[int, pa.Table]]:
    """Give, of each bucket, the rows whose key (`k0`) lies in it, in their order."""
    if len(buckets) == 1:
        yield buckets[0], rows
        return
    of = rows["k0"].to_numpy() >> np.uint64(64 - bits)
    for bucket in buckets:
        yield bucket, rows.filter(pa.array(of == bucket))


def merge_task(work: Work, job: Job) -> TaskResult:
    """Let the GlobalStep of a barrier decide about the keys of some buckets."""
    bound = work.barrier(job.stage)
    assert bound is not None
    assert isinstance(bound.step, GlobalStep)
    dead = Decisions(work, 0, 0, np.iinfo(np.int64).max, only=("ids-",)) if job.stage == 0 else None
    fingerprint = index_name(bound)
    runs = {bucket: runs_of(work, fingerprint, bucket) for bucket in job.buckets}
    known = [run for each in runs.values() for run in each]
    prior = Bucket(work.layout, known, load_tombstones(work, with_run=True))
    moved = sorted(work.staged("0").glob("*.moved"))
    told, deltas = [], []
    bits = bound.step.BUCKET_BITS
    for _, _, rows in gathered(work, job.stage, ".keys.arrow", job.buckets, bits, OBSERVED):
        here = rows if dead is None else rows.filter(pa.array(dead.of(rows["ord"].to_numpy())[0] == 0))
        order = replay.Order(here, moved)  # a record and the owner of its key lie in the same range
        merged = bound.step.merge(order.by_rank(here), prior)
        told.append(order.by_ord(merged.verdicts))
        deltas.append(order.by_ord(merged.delta))
    verdicts = pa.concat_tables(told)
    kinds = pa.array(np.full(verdicts.num_rows, DUPLICATE, np.uint8))
    decided = pa.table([verdicts["ord"], kinds, verdicts["dup_of"]], schema=DECIDED).sort_by("ord")
    result = TaskResult(job.id)
    _stage(work, result, f"{job.stage}/keys-{of_buckets(job.buckets)}.decided", decided, DECIDED)
    for bucket, rows in by_bucket(pa.concat_tables(deltas), job.buckets, bits):
        result.index += index.write_run(work.layout, fingerprint, bucket, work.seq, rows, runs[bucket])
    return result


def _stage(work: Work, result: TaskResult, name: str, rows: pa.Table, schema: pa.Schema) -> None:
    """Write what a task tells those after it, of which each reads what all have told: nothing where it is nothing."""
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
    if _is_left(work, fingerprint):
        return []
    return [run for run in work.parent.index if run.fingerprint == fingerprint and run.bucket == bucket]


def _is_left(work: Work, fingerprint: str) -> bool:
    return work.afresh and fingerprint not in (IDS, replay.ORDER)


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
