"""The difference of two snapshots: which records came, went or changed.

Only shards that one of them does not hold are read. Not here: why (`explain`, the reports of the runs between). Invariants: nothing is
written; a record that merely moved to another shard is no difference; more rows than fit are counted and not compared.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core.errors import StoreError
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest, Shard

What = Literal["added", "gone", "changed"]
Json = dict[str, Any]

MOST_ROWS = 4_000_000  # of shards that differ, on both sides together: about 1 GB of memory
_COLUMNS = ["id", "source", "ord"]


class Difference(NamedTuple):
    """tables: by what happened; None where there are too many rows to compare. rows: documents in each."""

    rows: tuple[int, int]
    tables: dict[What, pa.Table] | None

    def counts(self) -> dict[str, int]:
        """Give how many records came, went and changed."""
        return {what: table.num_rows for what, table in (self.tables or {}).items()}

    def by_source(self) -> list[tuple[str, list[int]]]:
        """Give the same by source."""
        found: dict[str, list[int]] = {}
        for i, table in enumerate((self.tables or {}).values()):
            for row in table["source"].value_counts().to_pylist():
                found.setdefault(row["values"], [0, 0, 0])[i] = row["counts"]
        return sorted(found.items())


def difference(layout: Layout, old: Manifest, new: Manifest) -> Difference:
    """Compare two snapshots of a dataset.

    Raises:
        StoreError: a shard is gone (gc) or damaged.
    """
    known = [{shard.path for shard in each.shards} for each in (old, new)]
    sides = [[s for s in old.shards if s.path not in known[1]], [s for s in new.shards if s.path not in known[0]]]
    if sum(shard.rows for side in sides for shard in side) > MOST_ROWS:
        return Difference((old.rows, new.rows), None)
    before, after = (_read(layout, side) for side in sides)
    came = _without(after, before)
    went = _without(before, after)
    both = pc.is_in(came["id"], went["id"])
    return Difference(
        (old.rows, new.rows),
        {
            "added": came.filter(pc.invert(both)).sort_by("ord"),
            "gone": went.filter(pc.invert(pc.is_in(went["id"], came["id"]))).sort_by("ord"),
            "changed": came.filter(both).sort_by("ord"),
        },
    )


def _read(layout: Layout, shards: list[Shard]) -> pa.Table:
    try:
        tables = [pq.read_table(layout.absolute(shard.path), columns=_COLUMNS, use_threads=False) for shard in shards]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"a shard of these snapshots cannot be read ({type(error).__name__}); it may be removed by gc, else run `gristmill verify`") from error  # fmt: skip
    types = [pa.string(), pa.string(), pa.int64()]
    schema = pa.schema(list(zip(_COLUMNS, types, strict=True)))
    return pa.concat_tables(
        [pa.Table.from_batches([], schema), *(table.cast(schema) for table in tables)]
    ).combine_chunks()


def _without(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Give the rows whose `ord` the others do not hold: an `ord` is given once, so a row that moved is the same row."""
    return rows.filter(pc.invert(pc.is_in(rows["ord"], others["ord"].combine_chunks())))
