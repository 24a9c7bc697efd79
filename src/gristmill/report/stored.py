"""Stored: what a page takes from the files of a run beside `report.json`: examples, owners of duplicates, quarantined places.

It looks at the first rows only, whatever the size of the run, and says how many it saw. Not here: what a page makes of it (`model`).
Invariants: the same files give the same answer; a file that is gone (gc) or cannot be read gives less, never a failure; of a text only
its shape is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core.errors import StoreError
from gristmill.report import words
from gristmill.store.layout import Layout
from gristmill.store.rows import read_shard
from gristmill.store.snapshot import Manifest, read_manifest

Json = dict[str, Any]

ROWS_SEEN = 1 << 17  # rows of side files looked at for one page
PER_REASON = 3
REASONS = 12
OWNERS = 10
KEPT = 5
PLACES = 3  # of each quarantine code
SEQ_SHIFT, ROW_BITS = 45, 26


class Duplicates(NamedTuple):
    """Groups of duplicates of one owner. sizes: records in a group -> groups; owners: (who, how many repeat it)."""

    seen: int
    sizes: dict[int, int]
    owners: list[tuple[str, int]]


class Stored(NamedTuple):
    """What was found. whole: nothing was left out; dropped: by `step:reason`; quarantined: by code."""

    manifest: Manifest | None
    parent: Json | None
    dropped: dict[str, list[Json]]
    duplicates: Duplicates
    quarantined: dict[str, list[Json]]
    kept: list[Json]
    distributions: Json
    before: Json
    whole: bool


def gather(layout: Layout, report: Json) -> Stored:
    """Look through what run `report["run"]` left."""
    seq = report["run"]
    manifest = _manifest(layout, seq)
    verdicts, all_verdicts = _rows(layout, seq, "verdicts", ["ord", "id", "step", "action", "reason", "value", "threshold", "dup_of"])  # fmt: skip
    held, all_held = _rows(layout, seq, "quarantine", ["source", "origin", "step", "code", "detail", "bytes"])
    parent = report.get("parent")
    before = report_of(layout, parent) if parent else None
    return Stored(
        manifest,
        before,
        _dropped(verdicts, report["counts"]["dropped"]),
        _duplicates(layout, manifest, verdicts),
        _quarantined(held),
        _kept(layout, manifest, seq),
        _json(layout.distributions(seq)) or {},
        (_json(layout.distributions(parent)) or {}) if parent else {},
        all_verdicts and all_held,
    )


def report_of(layout: Layout, seq: int) -> Json | None:
    """Give the report of run `seq`, None if there is none."""
    return _json(layout.report(seq))


def _json(path: Path) -> Json | None:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) else None


def _manifest(layout: Layout, seq: int) -> Manifest | None:
    for path in (layout.manifest(seq), layout.candidate(seq)):
        if path.exists():
            try:
                return read_manifest(path)
            except StoreError:
                return None
    return None


def _rows(layout: Layout, seq: int, kind: str, columns: list[str]) -> tuple[pa.Table | None, bool]:
    """Give the first rows of the side files of one kind, and whether they are all there are."""
    tables: list[pa.Table] = []
    room = ROWS_SEEN
    for path in layout.files.fetched(layout.run(seq) / kind, "*.parquet"):
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    if room <= 0:
                        return pa.concat_tables(tables), False
                    tables.append(file.read_row_group(group, columns=columns, use_threads=False).slice(0, room))
                    room -= file.metadata.row_group(group).num_rows
        except (OSError, pa.ArrowException):
            continue
    return (pa.concat_tables(tables) if tables else None), room >= 0


def _dropped(verdicts: pa.Table | None, counted: dict[str, int]) -> dict[str, list[Json]]:
    """Give a few records for each of the commonest reasons."""
    found: dict[str, list[Json]] = {}
    if verdicts is None:
        return found
    drops = verdicts.filter(pc.equal(verdicts["action"], "drop")).combine_chunks()
    names = pc.binary_join_element_wise(drops["step"], drops["reason"], ":", null_handling="replace").combine_chunks()
    coded = names.dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    known, places = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    for key, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:REASONS]:
        if key in known:
            hits = np.flatnonzero(places == known.index(key))[:PER_REASON]
            found[key] = drops.select(["id", "value", "threshold"]).take(pa.array(hits)).to_pylist()
    return found


def _duplicates(layout: Layout, manifest: Manifest | None, verdicts: pa.Table | None) -> Duplicates:
    if verdicts is None:
        return Duplicates(0, {}, [])
    owners = verdicts.filter(pc.equal(verdicts["action"], "duplicate"))["dup_of"]
    owners = owners.filter(pc.greater_equal(owners, 0))
    grouped = owners.value_counts()
    ords, counts = grouped.field("values").to_numpy(), grouped.field("counts").to_numpy()
    sizes, groups = np.unique(counts + 1, return_counts=True)
    top = np.lexsort((ords, -counts))[:OWNERS].tolist()
    told = [(_who(layout, manifest, int(ords[i])), int(counts[i])) for i in top]
    return Duplicates(len(owners), dict(zip(sizes.tolist(), groups.tolist(), strict=True)), told)


def _who(layout: Layout, manifest: Manifest | None, ord_: int) -> str:
    """Give the id of a published record; else its place in the order."""
    for shard in manifest.shards if manifest is not None else []:
        if shard.first_ord <= ord_ <= shard.last_ord:
            try:
                for rows in read_shard(layout, shard, ["id", "ord"], (ord_, ord_)):
                    if rows.num_rows:
                        return str(rows.column("id")[0])
            except StoreError:
                break
    task = ord_ >> ROW_BITS & ((1 << (SEQ_SHIFT - ROW_BITS)) - 1)
    return f"not published: run {ord_ >> SEQ_SHIFT}, task {task}, row {ord_ & ((1 << ROW_BITS) - 1)}"


def _quarantined(held: pa.Table | None) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    if held is None:
        return found
    for code in sorted(held["code"].unique().to_pylist()):
        rows = held.filter(pc.equal(held["code"], code)).slice(0, PLACES)
        found[code] = rows.select(["source", "origin", "detail", "bytes"]).to_pylist()
    return found


def _kept(layout: Layout, manifest: Manifest | None, seq: int) -> list[Json]:
    """Give the shape of the first records that this run published."""
    found: list[Json] = []
    for shard in _mine(manifest, seq):
        for rows in _first_rows(layout.absolute(shard), KEPT - len(found)):
            for row in rows.to_pylist():
                text = row.pop("text")
                found.append(row | {"chars": len(text), "shape": words.masked(text)})
        if len(found) >= KEPT:
            break
    return found


def _mine(manifest: Manifest | None, seq: int) -> list[str]:
    return [s.path for s in manifest.shards if s.last_ord >> SEQ_SHIFT == seq] if manifest is not None else []


def _first_rows(path: Path, n: int) -> Iterator[pa.RecordBatch]:
    """Give the first n rows of a shard, reading no more of it than they need."""
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16) as file:
            batches = file.iter_batches(n, row_groups=[0], columns=["id", "source", "lang", "text"], use_threads=False)
            yield next(batches)
    except (OSError, StopIteration, pa.ArrowException):
        return
