"""Side files of a run: verdicts, signals and quarantine rows, and the staged files that tasks hand to each other.

Not here: the table's shards (`core.shards`). Invariants: the rows of a side file stand in reading order and its bytes
depend on the rows alone; no document text is ever written to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core import access
from gristmill.core.errors import naming
from gristmill.store import disk

VERDICT_SCHEMA = pa.schema(
    [
        ("ord", pa.int64()),
        ("id", pa.string()),
        ("step", pa.string()),
        ("action", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("dup_of", pa.int64()),
        ("spans", pa.string()),
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        ("ord", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("step", pa.string()),
        ("code", pa.string()),
        ("detail", pa.string()),
        ("bytes", pa.int64()),
    ]
)
SIGNAL_SCHEMA = pa.schema(
    [("ord", pa.int64()), ("step", pa.string()), ("signal", pa.string()), ("value", pa.float64())]
)
SIDES = {"verdicts": VERDICT_SCHEMA, "quarantine": QUARANTINE_SCHEMA, "signals": SIGNAL_SCHEMA}
ROW_GROUP_ROWS = 1 << 16


class Side(msgspec.Struct, frozen=True):
    """A written side file. path: relative to the dataset."""

    kind: str
    path: str
    rows: int
    sha256: str


def constant(value: object, kind: pa.DataType, n: int) -> pa.Array:
    """Give a column of n times `value`."""
    return pa.repeat(pa.scalar(value, kind), n)


def rows_of(schema: pa.Schema, n: int, columns: dict[str, Any]) -> pa.RecordBatch:
    """Make n rows of `schema`; a column is an Arrow array, a list, or one value for all rows; absent ones are null."""
    arrays = []
    for field in schema:
        value = columns.get(field.name)
        if isinstance(value, pa.Array):
            arrays.append(value.cast(field.type) if value.type != field.type else value)
        elif isinstance(value, list) or hasattr(value, "__array__"):
            arrays.append(pa.array(value, field.type))
        else:
            arrays.append(constant(value, field.type, n))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class SideWriter:
    """Writes one side file, in row groups of a fixed number of rows; makes no file when there are no rows.

    What is said of the records of one batch comes step by step; `settle` puts it into the order of the records, so that
    the file does not depend on where batches end.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.schema = SIDES[kind]
        self.rows = 0
        self._said: list[pa.RecordBatch] = []
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows."""
        if rows.num_rows == 0:
            return
        self.rows += rows.num_rows
        self._said.append(rows)

    def settle(self) -> None:
        """Take what was written since the last time, in order of `ord` (none: first); all of that batch is said."""
        if not self._said:
            return
        said = pa.Table.from_batches(self._said, self.schema).combine_chunks()
        ords = pc.fill_null(said["ord"], -1).to_numpy()
        if (ords[1:] < ords[:-1]).any():
            said = said.take(pa.array(np.argsort(ords, kind="stable")))
        self._said = []
        self._held += said.to_batches()
        self._held_rows += said.num_rows
        if self._held_rows >= ROW_GROUP_ROWS:
            self._flush(whole=False)

    def _flush(self, *, whole: bool) -> None:
        table = pa.Table.from_batches(self._held, self.schema).combine_chunks()
        if self._writer is None:
            access.make_folder(self.path.parent)
            self.path.unlink(missing_ok=True)  # a writer left behind by a failed attempt still writes its end into it
            with naming(self.path):
                self._writer = pq.ParquetWriter(
                    self.path,
                    self.schema,
                    compression="zstd",
                    compression_level=1,
                    write_page_checksum=True,
                    store_schema=False,
                )
        start = 0
        while table.num_rows - start >= ROW_GROUP_ROWS or (whole and start < table.num_rows):
            with naming(self.path):
                self._writer.write_table(table.slice(start, ROW_GROUP_ROWS), row_group_size=ROW_GROUP_ROWS)
            start += ROW_GROUP_ROWS
        rest = table.slice(start) if start < table.num_rows else None
        self._held = rest.to_batches() if rest is not None else []
        self._held_rows = rest.num_rows if rest is not None else 0

    def close(self) -> None:
        """Write what is held and finish the file."""
        self.settle()
        if self._held_rows:
            self._flush(whole=True)
        if self._writer is not None:
            with naming(self.path):
                self._writer.close()


class StagedWriter:
    """Writes a staged Arrow file under a scratch name and names it when it is whole. Used as a context."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.bytes = 0
        access.make_folder(path.parent)
        self._scratch = path.with_name(f".{path.name}.{disk.mark()}")
        self._file = pa.OSFile(str(self._scratch), "wb")
        with naming(path):
            self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows."""
        if rows.num_rows:
            with naming(self.path):
                self._writer.write_batch(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self.path):
            self._writer.close()
            self._file.close()
        if kind is None:
            self._scratch.replace(self.path)
        else:
            self._scratch.unlink(missing_ok=True)


def read_staged(path: Path) -> list[pa.RecordBatch]:
    """Map a staged file into memory and give its batches, without reading them yet."""
    with naming(path), pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]


def stream_staged(path: Path) -> Iterator[pa.RecordBatch]:
    """Read a staged file from its beginning to its end, one batch in memory at a time.

    For rows that are all needed once: a map of them would count as this process's memory until the last one is let go.
    """
    with pa.OSFile(str(path)) as file:
        with naming(path):
            reader = pa.ipc.open_file(file)
        for i in range(reader.num_record_batches):
            with naming(path):
                rows = reader.get_batch(i)
            yield rows
