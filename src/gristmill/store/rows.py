"""Rows of the table: reading a shard, the part of it that lies in an interval of `ord`, or what differs from other shards.

Not here: writing shards (`engine.table`, `core.shards`). Invariant: what cannot be read is an error naming the file, never fewer rows; so it
is for the side files of runs, which others read (`named`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.batch import Int64s, Mask
from gristmill.core.errors import StoreError, raise_of_system
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Shard

_PLACE = ("ord", "seq")


@contextmanager
def named(layout: Layout, path: Path) -> Iterator[None]:
    """Let what Arrow says within, of a Parquet file of the dataset that cannot be read, be an error that names the file.

    Raises:
        StoreError: it is missing or damaged.
        OSError: the disk does not give it now.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise_of_system(error, path)
        relative = layout.relative(path)
        found = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({type(error).__name__})"
        told = (
            "run `gristmill verify`" if relative.startswith("table/") else "restore it from a copy; no snapshot is lost"
        )
        raise StoreError(f"{relative} {found}; {told}") from error


def read_shard(
    layout: Layout, shard: Shard, columns: list[str] | None = None, between: tuple[int, int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a shard's rows in order; `between` (first and last ord) leaves out what lies outside.

    Raises:
        StoreError: the file is missing or damaged.
        OSError: the disk does not give it now.
    """
    path = layout.absolute(shard.path)
    with named(layout, path), pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        at = file.schema_arrow.names.index("ord")
        for group in range(file.num_row_groups):
            bounds = file.metadata.row_group(group).column(at).statistics
            if between is not None and bounds is not None and (bounds.max < between[0] or bounds.min > between[1]):
                continue
            for rows in file.read_row_group(group, columns=columns, use_threads=False).to_batches():
                yield rows if between is None else _within(rows, between)


def differing(layout: Layout, shards: list[Shard], others: list[Shard], columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Give some columns of the rows of `shards` that are in none of `others`, told by `ord` and `seq`.

    What stands in a row never changes under both. Memory holds the places of what overlaps one shard.
    """
    wanted = list(dict.fromkeys([*columns, *_PLACE]))
    for shard in shards:
        beside = [o for o in others if o.first_ord <= shard.last_ord and o.last_ord >= shard.first_ord]
        places = _places(layout, beside)
        for rows in read_shard(layout, shard, wanted):
            differ = _differ(rows.column("ord").to_numpy(), rows.column("seq").to_numpy(), places)
            if differ.any():
                yield (rows if differ.all() else rows.filter(pa.array(differ))).select(columns)


def _places(layout: Layout, shards: list[Shard]) -> tuple[Int64s, Int64s]:
    """Give the ords of some shards, sorted, and the seq of each."""
    batches = [rows for shard in shards for rows in read_shard(layout, shard, list(_PLACE))]
    none = np.zeros(0, np.int64)
    ords: Int64s = np.concatenate([none, *(rows.column("ord").to_numpy() for rows in batches)])
    seqs: Int64s = np.concatenate([none, *(rows.column("seq").to_numpy() for rows in batches)])
    order = np.argsort(ords, kind="stable")
    return ords[order], seqs[order]


def _differ(ords: Int64s, seqs: Int64s, places: tuple[Int64s, Int64s]) -> Mask:
    """Tell for each row whether it is not among `places`."""
    known, known_seqs = places
    if not len(known):
        return np.ones(len(ords), np.bool_)
    at = np.minimum(np.searchsorted(known, ords), len(known) - 1)
    same: Mask = (known[at] == ords) & (known_seqs[at] == seqs)
    return ~same


def _within(rows: pa.RecordBatch, between: tuple[int, int]) -> pa.RecordBatch:
    ords: Int64s = rows.column("ord").to_numpy()
    lo, hi = np.searchsorted(ords, [between[0], between[1] + 1])
    return rows.slice(lo, hi - lo)
