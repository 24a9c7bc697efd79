"""Shards: Parquet files whose bytes depend on the sequence of rows alone, and the rule that cuts such a sequence.

Not here: names, digests, fsync and renames of the files (`store`, `engine`), which rows go in (`engine.task`). Words: a
*group* is a run of rows that belongs together (a Parquet row group here, a chunk in `core.export`).
Invariants: the same rows give the same bytes, however they are batched, sliced or chunked (one `write_table` a row
group, of combined chunks); every page carries a checksum; a file is complete only after `close`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core.batch import Int64s
from gristmill.core.errors import StoreError, naming

# Few values in many rows: a dictionary pays. Elsewhere (text, ids, hashes) it costs time and is thrown away.
DICTIONARY_COLUMNS = ("source", "lang", "script", "lang_score", "license", "seq")
# Min and max help a reader skip row groups; on text they would only copy documents into the footer.
STATISTICS_COLUMNS = ("id", "source", "time", "lang", "ord", "seq")


class Cutter:
    """Cuts a sequence of rows into groups of at most `max_rows` rows and `max_bytes` bytes (None: no limit).

    A group closes before the row that would push it over; a row bigger than `max_bytes` stands alone. Where it cuts
    depends on the rows alone, not on how they are batched.
    """

    __slots__ = ("_bytes", "_max_bytes", "_max_rows", "_rows")

    def __init__(self, max_rows: int | None, max_bytes: int | None) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows = 0
        self._bytes = 0

    def cuts(self, rows: int, sizes: Int64s | None) -> list[int]:
        """Give the positions in the next `rows` rows (0 to rows - 1) before which a new group starts.

        Args:
            rows: how many rows follow.
            sizes: the bytes of each, int64; may be None when only rows are limited.
        """
        if sizes is None and self._max_bytes is not None:
            raise ValueError("bytes are limited, so the size of each row must be given")
        ends = np.zeros(rows + 1, np.int64)
        if sizes is not None:
            np.cumsum(sizes, out=ends[1:])
        found: list[int] = []
        at = 0
        while at < rows:
            stop = rows
            if self._max_rows is not None:
                stop = min(stop, at + self._max_rows - self._rows)
            if self._max_bytes is not None:
                fits = int(np.searchsorted(ends, ends[at] + self._max_bytes - self._bytes, side="right")) - 1
                stop = max(at, min(stop, fits))
            if stop == at and self._rows == 0:
                stop = at + 1
            self._rows += stop - at
            self._bytes += int(ends[stop] - ends[at])
            if stop < rows:
                found.append(stop)
                self._rows = self._bytes = 0
            at = stop
        return found


def row_bytes(rows: pa.RecordBatch) -> Int64s:
    """Give the bytes of the values in each row: strings by their UTF-8 length, others by their width; nulls are 0."""
    total = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        kind = column.type
        if pa.types.is_primitive(kind):
            total += column.is_valid().to_numpy(zero_copy_only=False).astype(np.int64) * max(1, kind.bit_width // 8)
        else:
            total += pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    return total


class ShardWriter:
    """Writes batches as one Parquet file, cutting row groups by a fixed rule on the sequence of rows.

    One row group is held in memory (at most `max_bytes`, or one row). A writer that is dropped without `close` may
    leave a file that looks whole: give a file its final name only after `close` has returned.
    """

    def __init__(
        self,
        file: str | Path | BinaryIO,
        schema: pa.Schema,
        *,
        max_rows: int = 16_384,
        max_bytes: int = 32 << 20,
        compression_level: int = 1,
    ) -> None:
        self._schema = schema.remove_metadata()
        names = set(schema.names)
        options: dict[str, Any] = {
            "compression": "zstd",
            "compression_level": compression_level,
            "use_dictionary": [name for name in DICTIONARY_COLUMNS if name in names] or False,
            "write_statistics": [name for name in STATISTICS_COLUMNS if name in names] or False,
            "write_page_checksum": True,
            "store_schema": False,
            "data_page_version": "1.0",
        }
        named = file if isinstance(file, str | Path) else getattr(file, "name", None)
        self._name = str(named) if isinstance(named, str | Path) else ""  # of a file opened by its number the number
        with self._naming():
            self._writer = pq.ParquetWriter(str(file) if isinstance(file, Path) else file, self._schema, **options)
        self._cutter = Cutter(max_rows, max_bytes)
        self._held: list[pa.RecordBatch] = []
        self._rows = 0
        self._raw_bytes = 0

    def _naming(self) -> AbstractContextManager[None]:
        return naming(self._name) if self._name else nullcontext()

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows; their columns are taken by name and cast to the schema."""
        if rows.schema.names != self._schema.names:
            rows = rows.select(self._schema.names)
        rows = rows.cast(self._schema)
        sizes = row_bytes(rows)
        self._rows += rows.num_rows
        self._raw_bytes += int(sizes.sum())
        start = 0
        for cut in self._cutter.cuts(rows.num_rows, sizes):
            self._held.append(rows.slice(start, cut - start))
            self._flush()
            start = cut
        self._held.append(rows.slice(start))

    def close(self) -> tuple[int, int]:
        """Finish the file; give its rows and the bytes of their values (`row_bytes`)."""
        with self:
            self._flush()
            with self._naming():
                self._writer.close()
        return self._rows, self._raw_bytes

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of a file that was not finished while it is open: Arrow writes its end when the writer is collected, and complains if it cannot."""
        if self._writer.is_open:
            with suppress(Exception):
                self._writer.close()
            self._writer.is_open = False

    def _flush(self) -> None:
        group = pa.Table.from_batches(self._held, self._schema).combine_chunks()
        self._held = []
        if group.num_rows:
            with self._naming():
                self._writer.write_table(group, row_group_size=group.num_rows)


def count_rows(path: Path) -> int:
    """Read a Parquet file to its end, every page checksum verified; give its rows.

    The checksums cover the values. Names and statistics in the footer have none: only a file's digest vouches for them.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = range(file.metadata.num_row_groups)
            rows = sum(int(file.read_row_group(group, use_threads=False).num_rows) for group in groups)
            said = int(file.metadata.num_rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not a whole Parquet file ({type(error).__name__}); make it anew") from error
    if rows != said:
        raise StoreError(f"{path}: holds {rows} rows where its footer says {said}; make it anew")
    return rows
