"""Two snapshots beside each other: what came, went and changed, by source and by reason, how long it is, and which runs did it.

Only shards that one of them does not hold are read, in as many passes as keep `PASS_ROWS` ids in memory: each pass takes the ids of one
part of the hash space. Not here: rows on pages (`audit.difference`). Invariants: nothing is written; a record that merely moved to another
shard is no difference; no text is kept, only its length; reversing the two reverses the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.config import changes
from gristmill.core import histogram
from gristmill.core.batch import Int64s, UInt64s
from gristmill.core.counts import add_into
from gristmill.engine.identity import unique_keys
from gristmill.kernels.columns import hash_columns
from gristmill.store.index import find_keys
from gristmill.store.layout import Layout
from gristmill.store.rows import differing, named
from gristmill.store.snapshot import Manifest, Shard

What: TypeAlias = Literal["added", "gone", "changed"]
Json: TypeAlias = dict[str, Any]

WHATS: tuple[What, ...] = ("added", "gone", "changed")
PASS_ROWS = 4_000_000  # ids in memory at once, of both snapshots together: 16 bytes each, and as much again while they are sorted
CHARS = "chars"
_COLUMNS = ["id", "source", "text"]


class Side(msgspec.Struct):
    """What is told of the records that came, went or changed: how many, by source, the first ids, how long they are (characters)."""

    records: int = 0
    sources: dict[str, int] = {}
    ids: list[str] = []
    chars: Json = {}


def compare(layout: Layout, old: Manifest, new: Manifest, between: list[Manifest], n: int = 20) -> Json:
    """Give the difference of two snapshots as plain values.

    between: the snapshots after the earlier of them up to the later one, which made it.

    Raises:
        StoreError: a shard cannot be read.
    """
    known = [{shard.path for shard in each.shards} for each in (old, new)]
    went = _in_order(shard for shard in old.shards if shard.path not in known[1])
    came = _in_order(shard for shard in new.shards if shard.path not in known[0])
    counting = _Counting(layout, came, went, n)
    rows = sum(shard.rows for shard in [*came, *went])
    passes = max(1, -(-rows // PASS_ROWS))
    for part in range(passes):
        counting.take(part, passes)
    return {
        "old": {"snapshot": old.seq, "rows": old.rows, "bytes": sum(shard.bytes for shard in old.shards)},
        "new": {"snapshot": new.seq, "rows": new.rows, "bytes": sum(shard.bytes for shard in new.shards)},
        "shards": {"same": len(known[0] & known[1]), "only_old": len(went), "only_new": len(came)},
        **{what: msgspec.to_builtins(side) for what, side in counting.done().items()},
        "reasons": _reasons(layout, between),
        "runs": [_run(each) for each in between],
        "config": changes.changes(old.pipeline, new.pipeline),
    }


def _in_order(shards: Iterator[Shard]) -> list[Shard]:
    return sorted(shards, key=lambda shard: shard.first_ord)


class _Counting:
    """Counts what differs, part by part of the hash space."""

    def __init__(self, layout: Layout, came: list[Shard], went: list[Shard], n: int) -> None:
        self.layout, self.came, self.went, self.n = layout, came, went, n
        self.sides = {what: Side() for what in WHATS}
        self.bins: dict[What, Int64s] = {what: np.zeros(256, np.int64) for what in WHATS}
        self.firsts: dict[What, list[tuple[int, str]]] = {what: [] for what in WHATS}

    def take(self, part: int, parts: int) -> None:
        """Count the ids of one part of so many."""
        gone = self._ids(self.went, self.came, part, parts)
        arrived = self._ids(self.came, self.went, part, parts)
        for rows, keys in self._rows(self.came, self.went, part, parts, [*_COLUMNS, "ord"]):
            known = find_keys(gone, keys[:, 0], keys[:, 1]) >= 0
            self._count("changed", rows.filter(pa.array(known)))
            self._count("added", rows.filter(pa.array(~known)))
        for rows, keys in self._rows(self.went, self.came, part, parts, [*_COLUMNS, "ord"]):
            self._count("gone", rows.filter(pa.array(find_keys(arrived, keys[:, 0], keys[:, 1]) < 0)))

    def _ids(self, shards: list[Shard], others: list[Shard], part: int, parts: int) -> UInt64s:
        found = [keys for _, keys in self._rows(shards, others, part, parts, ["id"])]
        keys = np.concatenate([np.zeros((0, 2), np.uint64), *found])
        return unique_keys(keys[:, 0], keys[:, 1])

    def _rows(
        self, shards: list[Shard], others: list[Shard], part: int, parts: int, columns: list[str]
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.uint64]]]:
        for rows in differing(self.layout, shards, others, columns):
            keys = hash_columns([rows.column("id")])
            mine = keys[:, 0] % np.uint64(parts) == part
            yield (rows, keys) if mine.all() else (rows.filter(pa.array(mine)), keys[mine])

    def _count(self, what: What, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        side = self.sides[what]
        side.records += rows.num_rows
        names, counts = rows.column("source").value_counts().flatten()
        add_into(side.sources, dict(zip(names.to_pylist(), counts.to_pylist(), strict=True)))
        lengths = pc.utf8_length(rows.column("text")).to_numpy(zero_copy_only=False)
        self.bins[what] += histogram.counted(histogram.bins(CHARS, lengths))
        few = rows.slice(0, self.n)
        ords, ids = few.column("ord").to_pylist(), few.column("id").to_pylist()
        self.firsts[what] = sorted([*self.firsts[what], *zip(ords, ids, strict=True)])[: self.n]

    def done(self) -> dict[What, Side]:
        """Give what was counted."""
        for what, side in self.sides.items():
            side.ids = [id_ for _, id_ in self.firsts[what]]
            side.sources = dict(sorted(side.sources.items()))
            side.chars = _shape(self.bins[what]) if side.records else {}
        return self.sides


def _shape(bins: Int64s) -> Json:
    """Give a histogram without its empty bins (`[from, below, how many]`), and about where a tenth, half and nine tenths lie below."""
    found = histogram.of_numbers(CHARS, bins)
    edges = [0, *found.edges, None]
    filled = [[edges[i], edges[i + 1], n] for i, n in enumerate(found.counts) if n]
    reached = np.cumsum(found.counts)
    at = {
        name: int(np.searchsorted(reached, share * found.total))
        for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
    }
    return {name: edges[i] for name, i in at.items()} | {"histogram": filled}


def _reasons(layout: Layout, between: list[Manifest]) -> Json:
    """Give what became of records in the runs between, by reason; why rows left the table is read off the verdicts."""
    told: dict[str, dict[str, int]] = {
        name: {} for name in ("dropped", "duplicates", "quarantined", "withdrawn", "restored")
    }
    for manifest in between:
        for name in ("dropped", "duplicates", "quarantined"):
            add_into(told[name], getattr(manifest.counts, name))
        if manifest.counts.withdrawn or manifest.counts.published:
            for path in layout.files.fetched(layout.run(manifest.seq) / "verdicts", "*.parquet"):
                _verdicts(layout, path, told)
    return told


def _verdicts(layout: Layout, path: Path, told: dict[str, dict[str, int]]) -> None:
    names = {"withdraw": "withdrawn", "restore": "restored"}
    with named(layout, path), pq.ParquetFile(path) as file:
        for rows in file.iter_batches(1 << 16, columns=["action", "reason"], use_threads=False):
            for action, name in names.items():
                reasons = rows.filter(pc.equal(rows.column("action"), action)).column("reason")
                words, counts = reasons.value_counts().flatten()
                add_into(told[name], dict(zip(words.to_pylist(), counts.to_pylist(), strict=True)))


def _run(manifest: Manifest) -> Json:
    counts = manifest.counts
    numbers = {name: getattr(counts, name) for name in ("read", "published", "unchanged", "superseded", "withdrawn")}
    return {"run": manifest.seq, **numbers, "lineage": manifest.lineage}
