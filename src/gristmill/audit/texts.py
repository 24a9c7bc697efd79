"""Texts: whole published records, and looking for some by id, address, source or words.

The one place of the audit that gives out the text of documents, because it was asked for: on this machine, to who may read the files
anyway. Not here: verdicts (`explain`), texts that were dropped (`again`). Invariants: nothing is written; a search looks at a bounded
part of a snapshot and says where to go on; the same question gives the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.errors import StoreError
from gristmill.store.layout import Layout
from gristmill.store.rows import read_shard
from gristmill.store.snapshot import Manifest, Shard

Json = dict[str, Any]
By = Literal["id", "url", "source", "text"]

SECONDS = 2.0
AROUND = 60  # characters shown on each side of a hit
_LAST = "\U0010ffff"
_SHOWN = ["id", "source", "url", "lang", "ord"]


class Hits(NamedTuple):
    """What a search found. after: where to go on, None at the end; looked: rows that were looked at."""

    rows: list[Json]
    after: int | None
    looked: int


def record(layout: Layout, manifest: Manifest, ord_: int) -> Json | None:
    """Give the published record with this `ord`, text and all; None if the snapshot does not hold it."""
    for shard in manifest.shards:
        if shard.first_ord <= ord_ <= shard.last_ord:
            for rows in read_shard(layout, shard, None, (ord_, ord_)):
                if rows.num_rows:
                    return _plain(rows)[0]
    return None


def search(layout: Layout, manifest: Manifest, by: By, wanted: str, after: int, n: int) -> Hits:
    """Look for up to `n` records from the row `after` of a snapshot on, for so long at most.

    by: the beginning of an id, a part of a URL, a whole source name, or words of the text (their case does not matter).
    """
    found: list[Json] = []
    looked, deadline = 0, time.monotonic() + SECONDS
    columns = [*_SHOWN, "text"] if by == "text" else _SHOWN
    for start, group in _groups(layout, manifest, by, wanted, after):
        rows = group(columns).slice(max(0, after - start))
        first = max(start, after)
        looked += rows.num_rows
        hits = pc.indices_nonzero(_hit(rows, by, wanted)).to_pylist()
        for at in hits:
            if len(found) == n:
                return Hits(found, first + at, looked)
            row = _plain(rows.slice(at, 1))[0]
            text = row.pop("text", None)
            found.append(row | ({"around": around(text, wanted)} if text is not None else {}))
        if time.monotonic() > deadline:
            return Hits(found, first + rows.num_rows, looked)
    return Hits(found, None, looked)


def _groups(layout: Layout, manifest: Manifest, by: By, wanted: str, after: int) -> Iterator[tuple[int, Any]]:
    """Give the row groups that may hold a hit, each with the number of its first row and how to read it."""
    start = 0
    for shard in sorted(manifest.shards, key=lambda shard: shard.first_ord):
        if start + shard.rows <= after:
            start += shard.rows
            continue
        try:
            with pq.ParquetFile(layout.absolute(shard.path), page_checksum_verification=True, pre_buffer=False) as file:
                for at in range(file.num_row_groups):
                    rows = file.metadata.row_group(at).num_rows
                    if start + rows > after and _may_hold(file, at, by, wanted):
                        yield (
                            start,
                            lambda columns, file=file, at=at: file.read_row_group(at, columns, use_threads=False),
                        )
                    start += rows
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{shard.path} cannot be read ({type(error).__name__}); run `gristmill verify`") from error


def _may_hold(file: pq.ParquetFile, group: int, by: By, wanted: str) -> bool:
    """Tell by its smallest and greatest value if a row group may hold a hit."""
    if by not in {"id", "source"}:
        return True
    bounds = file.metadata.row_group(group).column(file.schema_arrow.names.index(by)).statistics
    if bounds is None or not bounds.has_min_max:
        return True
    return bool(bounds.min <= (wanted + _LAST if by == "id" else wanted) and bounds.max >= wanted)


def _hit(rows: pa.Table, by: By, wanted: str) -> pa.Array:
    column = rows[by].cast(pa.string())
    if by == "id":
        hits = pc.starts_with(column, wanted)
    elif by == "source":
        hits = pc.equal(column, wanted)
    else:
        hits = pc.match_substring(column, wanted, ignore_case=by == "text")
    return pc.fill_null(hits, fill_value=False)


def around(text: str, wanted: str) -> tuple[str, str, str]:
    """Give what stands before a hit, the hit, and what stands after; nothing of it where the case folds to another length."""
    at = text.lower().find(wanted.lower())
    if at < 0 or len(text.lower()) != len(text):
        return text[: 2 * AROUND], "", ""
    end = at + len(wanted)
    lead, tail = "…" if at > AROUND else "", "…" if end + AROUND < len(text) else ""
    return lead + text[max(0, at - AROUND) : at], text[at:end], text[end : end + AROUND] + tail


def first_rows(layout: Layout, shards: list[Shard], after: int, n: int) -> tuple[list[Json], int | None]:
    """Give `n` records of some shards from row `after` on, with the beginning of their texts; and where to go on."""
    found: list[Json] = []
    start = 0
    for shard in shards:
        if start + shard.rows <= after:
            start += shard.rows
            continue
        for rows in read_shard(layout, shard, [*_SHOWN, "text"]):
            part = (
                rows.slice(max(0, after - start), n - len(found)) if start + rows.num_rows > after else rows.slice(0, 0)
            )
            start += rows.num_rows
            for row in _plain(part):
                text = row.pop("text")
                found.append(row | {"chars": len(text), "begins": text[: 2 * AROUND]})
            if len(found) == n:
                more = after + n < sum(shard.rows for shard in shards)
                return found, after + n if more else None
    return found, None


def _plain(rows: pa.RecordBatch | pa.Table) -> list[Json]:
    plain: list[Json] = rows.to_pylist()
    for row in plain:
        for name, value in row.items():
            if hasattr(value, "isoformat"):
                row[name] = value.isoformat()
            elif isinstance(value, bytes):
                row[name] = value.hex()
    return plain


assert all(name in TABLE_SCHEMA.names for name in _SHOWN)
