"""What barriers see: rows that tasks leave for them, and the rows of some buckets of all tasks, gathered.

Not here: what is decided about them (`engine.merge`). Invariants: a bucket is the top bits of a key, so that neighbouring buckets are one
range of keys; in a file the rows lie by bucket and key, batch by batch; memory holds the rows of one range.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.batch import Batch, Int64s, UInt64s
from gristmill.core.step import GlobalStep
from gristmill.engine import identity
from gristmill.engine.sides import StagedWriter, read_staged, stream_staged
from gristmill.engine.work import Work
from gristmill.store import disk

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


def gathered(
    work: Work, stage: int, end: str, buckets: Sequence[int], bits: int, schema: pa.Schema
) -> Iterator[tuple[int, int, pa.Table]]:
    """Gather neighbouring buckets from all tasks of a stage, in task order, a range of keys at a time: `key_ranges` and the rows in it.

    The files are let go of before rows are given, so memory holds the rows of one range. More than one are dealt to scratch files
    first, in one pass: the files are many.
    """
    paths = sorted(work.staged(str(stage)).glob(f"*{end}"))
    found, total = [], 0
    for rows in (rows for path in paths for rows in _of_buckets(path, buckets)):
        total += len(rows)
        if total <= work.config.run.merge_rows:
            found.append(rows.take(pa.array(np.arange(len(rows)))))
    ranges = key_ranges(buckets, bits, total, work.config.run.merge_rows)
    if len(ranges) == 1:
        yield *ranges[0], pa.Table.from_batches(found, schema)
        return
    found.clear()
    names = [f"{stage}/{buckets[0]:04x}{end}.{disk.mark()}-{i}.range" for i in range(len(ranges))]
    scratch = [work.staged(name) for name in names]
    try:
        _deal(paths, buckets, [low for low, _ in ranges], scratch, schema)
        for (low, high), path in zip(ranges, scratch, strict=True):
            yield low, high, pa.Table.from_batches(list(stream_staged(path)), schema)
            path.unlink()
    finally:
        for path in scratch:
            path.unlink(missing_ok=True)


def _deal(paths: list[Path], buckets: Sequence[int], lows: list[int], scratch: list[Path], schema: pa.Schema) -> None:
    """Write the rows of some buckets into a file for each range of keys, which begin at `lows`."""
    inner = np.array(lows[1:], np.uint64)
    with contextlib.ExitStack() as stack:
        outs = [stack.enter_context(StagedWriter(path, schema)) for path in scratch]
        for path in paths:
            for rows in _of_buckets(path, buckets):
                cuts = [0, *np.searchsorted(rows.column("k0").to_numpy(), inner).tolist(), len(rows)]
                for out, (first, last) in zip(outs, itertools.pairwise(cuts), strict=True):
                    out.write(rows.slice(first, last - first))


def _of_buckets(path: Path, buckets: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Give the rows of neighbouring buckets in a staged file, without reading them yet; each batch is sorted by key."""
    for rows in read_staged(path):
        lo, hi = np.searchsorted(rows.column("bucket").to_numpy(), [buckets[0], buckets[-1] + 1])
        if hi > lo:
            yield rows.slice(lo, hi - lo)


def rows_seen(work: Work, stage: int, end: str) -> dict[int, int]:
    """Give how many rows the tasks of a stage observed, by bucket; buckets without any are left out."""
    seen: Counter[int] = Counter()
    for path in sorted(work.staged(str(stage)).glob(f"*{end}")):
        for rows in read_staged(path):
            buckets, counts = np.unique(rows.column("bucket").to_numpy(), return_counts=True)
            seen.update(dict(zip(buckets.tolist(), counts.tolist(), strict=True)))
    return dict(seen)


def of_buckets(buckets: Sequence[int]) -> str:
    """Give a name for what is done with neighbouring buckets: the first and, if it is another, the last."""
    return "-".join(f"{bucket:04x}" for bucket in dict.fromkeys([buckets[0], buckets[-1]]))


def key_ranges(buckets: Sequence[int], bits: int, rows: int, max_rows: int) -> list[tuple[int, int]]:
    """Cut the keys of neighbouring buckets (first 64 bits, inclusive bounds) into 2^n ranges so that each holds about max_rows of their rows.

    This bounds memory and changes nothing else: a key never lies in two ranges, and ranges ascend. There are at most `MAX_RANGES`.
    """
    parts = 1
    while rows > max_rows * parts and parts < MAX_RANGES:
        parts *= 2
    low, end = buckets[0] << (64 - bits), (buckets[-1] + 1) << (64 - bits)  # buckets are the top bits of the key
    cuts = [low + (end - low) * i // parts for i in range(parts + 1)]
    return [(first, after - 1) for first, after in itertools.pairwise(cuts)]
