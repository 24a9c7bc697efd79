"""Samples: what was dropped, repeated or quarantined in a run, page by page.

Not here: a record's whole path (`explain`), texts (`texts`, `again`). Invariants: nothing is written; one page costs a bounded part of the
side files and says where to go on; the same question gives the same answer.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.audit.explain import ACTIONS, Kind, sides
from gristmill.store.layout import Layout
from gristmill.store.rows import named

Json = dict[str, Any]

SECONDS = 2.0


class Sample(NamedTuple):
    """Rows of side files. after: the row of all side files of this kind to go on from, None at the end."""

    rows: list[Json]
    after: int | None


def sample(layout: Layout, seq: int, kind: Kind, step: str, reason: str, after: int, n: int) -> Sample:
    """Give up to `n` rows from row `after` on, of one step and reason (or code) if they are given."""
    found: list[Json] = []
    start, deadline = 0, time.monotonic() + SECONDS
    for path in sides(layout, seq, "quarantine" if kind == "quarantined" else "verdicts"):
        with named(layout, path), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start + rows > after:
                    table = file.read_row_group(group, use_threads=False)
                    hits = pc.indices_nonzero(_wanted(table, kind, step, reason)).to_pylist()
                    for at in (at for at in hits if start + at >= after):
                        if len(found) == n:
                            return Sample(found, start + at)
                        found += table.slice(at, 1).to_pylist()
                    if time.monotonic() > deadline:
                        return Sample(found, start + rows)
                start += rows
    return Sample(found, None)


def _wanted(table: pa.Table, kind: Kind, step: str, reason: str) -> pa.Array:
    mask = pc.is_valid(table["step"])
    if kind != "quarantined":
        mask = pc.and_(mask, pc.equal(table["action"], ACTIONS[kind]))
    if step:
        mask = pc.and_(mask, pc.equal(table["step"], step))
    if reason:
        mask = pc.and_(mask, pc.equal(table["code" if kind == "quarantined" else "reason"], reason))
    return pc.fill_null(mask, fill_value=False)
