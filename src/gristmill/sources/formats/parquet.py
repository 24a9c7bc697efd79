"""Parquet: row groups in order, a batch of rows at a time.

Not here: which row groups (`sources/files.py`), the mapping of fields (`core.mapping`). Locator: row number in the
file. `bytes_in` is the share of the stored size that the rows are of the file's rows, so that it adds up to the size.
Invariants: page checksums are verified wherever a file has them (else a flipped bit is read as text); a file that
cannot be decoded, or has two columns of one name, fails as a whole; a row group that gives fewer rows than it promised
fails it too. Warnings: `field.not_finite` (a number that JSON has no word for is null in `meta`), `file.large_group`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.errors import UnitFailed
from gristmill.core.mapping import Rows
from gristmill.core.objects import UNDECODABLE, must_differ, not_finite, objects
from gristmill.core.source import Page

_MAX_BATCH_ROWS = 1024  # dictionary pages make rows larger in memory than the file tells
_LARGE_GROUP_BYTES = 1 << 30  # of one row group, decoded: it is read by one worker, from its begin


def row_groups(raw: BinaryIO, piece_bytes: int, size: int) -> list[tuple[int, int]]:
    """Cut a file of `size` bytes into ranges of row groups of about `piece_bytes`; none if it cannot be read."""
    try:
        footer = pq.ParquetFile(raw, pre_buffer=False).metadata
        counts = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    except (*UNDECODABLE, OSError):
        return []
    total = max(sum(counts), 1)
    ranges, first, rows = [], 0, 0
    for i, count in enumerate(counts):
        rows += count
        if size * rows // total >= piece_bytes or i + 1 == len(counts):
            ranges.append((first, i + 1))
            first, rows = i + 1, 0
    return ranges


def read(
    raw: BinaryIO, rows: Rows, groups: tuple[int, int] | None, size: int, limits: tuple[int, int]
) -> Iterator[Page]:
    """Read row groups [first, last), or all, of an open file of `size` bytes. limits: batch_bytes, max_record_bytes.

    Raises:
        UnitFailed: file.corrupt, file.unsupported, size.cap or field.missing; file.unreadable when memory or the disk failed.
    """
    try:
        file = pq.ParquetFile(raw, page_checksum_verification=True, pre_buffer=False)
        footer = file.metadata
        names = set(file.schema_arrow.names)
        counts = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    except (*UNDECODABLE, OSError, MemoryError) as error:
        raise _failed(rows.place, error) from None
    try:
        must_differ(file.schema_arrow.names)
    except ValueError as error:
        raise UnitFailed(rows.place, "file.unsupported", f"Parquet with {error}") from None
    if rows.text.missing(names):
        raise UnitFailed(
            rows.place,
            "field.missing",
            f"no column {'/'.join(rows.text.names)}; found {', '.join(sorted(names))[:500]}",
        )
    first, last = groups or (0, len(counts))
    total = sum(counts)
    at = sum(counts[:first])
    done = size * at // total if total else 0
    for group in range(first, last):
        begin = at
        if footer.row_group(group).total_byte_size > limits[1] * max(counts[group], 1):
            # The decoder has no limit of its own: this is the only moment to keep a bomb out of the memory.
            raise UnitFailed(rows.place, "size.cap", f"the rows of group {group} are over max_record_bytes on average")
        if footer.row_group(group).total_byte_size > _LARGE_GROUP_BYTES:
            rows.warn("file.large_group")
        for batch in _batches(file, group, limits[0], rows.place):
            row_bytes = batch.nbytes // max(batch.num_rows, 1)
            if odd := sum(map(not_finite, batch.columns)):
                rows.warn_all({"field.not_finite": odd})
            for record in _records(batch, rows.place):
                text = rows.text.get(record)
                if isinstance(text, (str, bytes)) and len(text) > limits[1]:
                    rows.reject("size.cap", at, f"a text of {len(text)} characters, over max_record_bytes", len(text))
                else:
                    rows.add(record, at, row_bytes)
                at += 1
                if rows.full:
                    end = size * min(at, total) // total
                    yield rows.take(end - done)
                    done = end
        if at - begin != counts[group]:
            detail = f"row group {group} promised {counts[group]} rows and gave {at - begin}"
            raise UnitFailed(rows.place, "file.corrupt", detail)
    end = size * at // total if total else size
    if end != done or not rows.taken:
        yield rows.take(end - done)


def _batches(file: Any, group: int, batch_bytes: int, unit: str) -> Iterator[pa.RecordBatch]:
    try:
        stored = file.metadata.row_group(group)
        fit = batch_bytes * stored.num_rows // max(stored.total_byte_size, 1)
        size = max(1, min(_MAX_BATCH_ROWS, fit))
        yield from file.iter_batches(batch_size=size, row_groups=[group], use_threads=False)
    except (*UNDECODABLE, OSError, MemoryError) as error:
        raise _failed(unit, error) from None


def _failed(unit: str, error: Exception) -> UnitFailed:
    """Tell a bad file from a bad disk (has an errno), from too little memory, from what pyarrow cannot do."""
    words = str(error).partition("\n")[0][:200]
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
        return UnitFailed(unit, "file.unreadable", f"{type(error).__name__}: {words}", advance=False)
    code = "file.unsupported" if isinstance(error, pa.ArrowNotImplementedError) else "file.corrupt"
    return UnitFailed(unit, code, f"Parquet: {words}")


def _records(batch: pa.RecordBatch, unit: str) -> Iterator[dict[str, Any]]:
    """Give the rows as objects."""
    try:
        yield from objects(batch)
    except (*UNDECODABLE, MemoryError) as error:
        raise _failed(unit, error) from None
