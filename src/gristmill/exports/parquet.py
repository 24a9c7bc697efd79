"""Parquet: the rows of the table in zstd-compressed Parquet chunks with page checksums.

Not here: row groups and their options (`core.shards`), which rows a chunk holds (`core.export`).
Invariant: same rows, same bytes, however they are batched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar

import msgspec
import pyarrow as pa

from gristmill.core.batch import TABLE_SCHEMA, Int64s
from gristmill.core.export import FileExport, check_columns
from gristmill.core.shards import ShardWriter, count_rows, row_bytes


class Parquet(FileExport, frozen=True, kw_only=True):
    """The table's columns as Parquet.

    level: of zstd, 1-22. columns: the columns written, in order; null for all of the table.
    """

    FORMAT: ClassVar[str] = "parquet"

    level: Annotated[int, msgspec.Meta(ge=1, le=22)] = 1
    columns: list[str] | None = None

    def __post_init__(self) -> None:
        """Refuse columns that the table does not have."""
        super().__post_init__()
        check_columns(self.columns)

    @property
    def codec(self) -> str:
        """The compression by its one name."""
        return "zst"

    @property
    def suffix(self) -> str:
        """The end of a chunk's file name."""
        return ".parquet"

    def row_bytes(self, rows: pa.RecordBatch) -> Int64s:
        """Give the bytes of the values in each row."""
        return row_bytes(rows.select(self._schema().names).cast(self._schema()))

    def write(self, file: BinaryIO, rows: Iterator[pa.RecordBatch]) -> int:
        """Write one chunk; give its size before compression in bytes."""
        with ShardWriter(file, self._schema(), compression_level=self.level) as writer:
            for batch in rows:
                writer.write(batch)
            return writer.close()[1]

    def count(self, path: Path) -> int:
        """Read a finished chunk through to its end, page checksums verified, and give its rows."""
        return count_rows(path)

    def _schema(self) -> pa.Schema:
        if self.columns is None:
            return TABLE_SCHEMA
        return pa.schema([TABLE_SCHEMA.field(name) for name in self.columns])
