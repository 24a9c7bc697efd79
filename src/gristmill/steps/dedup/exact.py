"""dedup.exact: drops a record whose text (or other column) an earlier record had already.

Earlier means smaller `ord`, in this run or any snapshot before, dropped since or not; a withdrawn owner no longer
counts. Not here: near-duplicates; cleaning, which belongs before this step: the text is compared as the steps before
left it. Invariant: first owner wins by `ord` alone, so increments equal one full run.

Reads: `key` (default text), and the column of `scope`.
Drops: duplicate (the verdict names the owner).
Cost: one 128-bit hash a record, one sort and merge a bucket.
Source: DESIGN section 6; the rule R_all of the dedup study (reference/science.md 3.2).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.batch import RECORD_SCHEMA, Batch, UInt64s
from gristmill.core.step import GlobalStep, Merged, Prior
from gristmill.kernels.columns import hash_columns

VERDICTS = pa.schema([("ord", pa.int64()), ("dup_of", pa.int64())])
KEYS = pa.schema([("k0", pa.uint64()), ("k1", pa.uint64()), ("ord", pa.int64())])
SCOPES = {"dataset": None, "source": "source", "language": "lang"}


class Exact(GlobalStep, frozen=True, kw_only=True):
    """Drop exact duplicates.

    key: the column compared. scope: where a duplicate counts: dataset, source, language, snapshot, or any column.
    A record whose key is null is never a duplicate.
    """

    VERSION: ClassVar[int] = 1

    key: str = "text"
    scope: str = "dataset"

    def __post_init__(self) -> None:
        if self.key not in RECORD_SCHEMA.names:
            raise ValueError(f"key: {self.key!r} is no column; the columns are {', '.join(RECORD_SCHEMA.names)}")
        if self.scope not in (*SCOPES, "snapshot", *RECORD_SCHEMA.names):
            known = ", ".join([*SCOPES, "snapshot", *RECORD_SCHEMA.names])
            raise ValueError(f"scope: {self.scope!r} is no scope; use one of {known}")

    def observe(self, batch: Batch, seq: int) -> pa.RecordBatch:
        """Give the key of each row, salted with its scope; bucket: the key's top bits."""
        columns = [batch.rows.column(self.key)]
        if self.scope == "snapshot":
            columns.append(pa.array([str(seq)] * len(batch)))
        elif SCOPES.get(self.scope, self.scope) is not None:
            columns.append(batch.rows.column(SCOPES.get(self.scope, self.scope)))
        keys = hash_columns(columns)
        bucket = (keys[:, 0] >> np.uint64(64 - self.BUCKET_BITS)).astype(np.uint16)
        rows = pa.RecordBatch.from_arrays(
            [pa.array(bucket), pa.array(keys[:, 0]), pa.array(keys[:, 1]), batch.rows.column("ord")],
            names=["bucket", *KEYS.names],
        )
        return rows.filter(pc.is_valid(columns[0])) if columns[0].null_count else rows

    def merge(self, observed: pa.Table, prior: Prior) -> Merged:
        """Give every row but the first of its key a verdict; the first of a new key becomes its owner."""
        k0, k1, ords = (observed[name].to_numpy() for name in KEYS.names)
        by = np.lexsort((ords, k1, k0))
        k0, k1, ords = k0[by], k1[by], ords[by]
        n = len(ords)
        starts = np.ones(n, bool)
        starts[1:] = (k0[1:] != k0[:-1]) | (k1[1:] != k1[:-1])
        keys: UInt64s = np.stack([k0[starts], k1[starts]], axis=1)
        owners = prior.owners(keys)
        new = owners < 0
        owners = np.where(new, ords[starts], owners)
        owner = owners[np.cumsum(starts) - 1] if n else ords
        lost = owner != ords
        verdicts = pa.table([pa.array(ords[lost]), pa.array(owner[lost])], schema=VERDICTS)
        delta = pa.table([pa.array(keys[new, 0]), pa.array(keys[new, 1]), pa.array(owners[new])], schema=KEYS)
        return Merged(verdicts, delta)
