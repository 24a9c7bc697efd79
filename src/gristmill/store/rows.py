"""Rows of the table: reading a shard, or the part of it that lies in an interval of `ord`.

Not here: writing shards (`engine.table`, `core.shards`). Invariant: what cannot be read is an error naming the shard, never fewer rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.batch import Int64s
from gristmill.core.errors import StoreError
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Shard


def read_shard(
    layout: Layout, shard: Shard, columns: list[str] | None = None, between: tuple[int, int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a shard's rows in order; `between` (first and last ord) leaves out what lies outside.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        with pq.ParquetFile(layout.absolute(shard.path), page_checksum_verification=True, pre_buffer=False) as file:
            at = file.schema_arrow.names.index("ord")
            for group in range(file.num_row_groups):
                bounds = file.metadata.row_group(group).column(at).statistics
                if between is not None and bounds is not None and (bounds.max < between[0] or bounds.min > between[1]):
                    continue
                for rows in file.read_row_group(group, columns=columns, use_threads=False).to_batches():
                    yield rows if between is None else _within(rows, between)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{shard.path} cannot be read ({type(error).__name__}); run `gristmill verify`") from error


def _within(rows: pa.RecordBatch, between: tuple[int, int]) -> pa.RecordBatch:
    ords: Int64s = rows.column("ord").to_numpy()
    lo, hi = np.searchsorted(ords, [between[0], between[1] + 1])
    return rows.slice(lo, hi - lo)
