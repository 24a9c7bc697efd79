"""Writing and reading rows of the table: shards of a task's last stage, and the rows of an ord interval.

Not here: the bytes of a shard (`core.shards`), its visibility (`store.snapshot`). Invariants: a shard's name holds a
digest of its content, so a late or repeated writer can never change a file somebody reads; where shards are cut
depends on the rows alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core import access
from gristmill.core.batch import TABLE_SCHEMA, Batch, utf8_buffers
from gristmill.core.errors import naming
from gristmill.core.failpoints import failpoint
from gristmill.core.shards import Cutter, ShardWriter
from gristmill.engine import gate
from gristmill.engine.sides import constant
from gristmill.engine.work import Work
from gristmill.kernels.columns import hash_columns
from gristmill.store import disk
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Shard

SHARD_TEXT_BYTES = 768 << 20  # about 256 MiB compressed
ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = (
    8 << 20
)  # whoever writes or reads a group holds it a few times over; long documents do not change that


def shard_writer(scratch: Path) -> ShardWriter:
    """Begin a shard of the table."""
    return ShardWriter(scratch, TABLE_SCHEMA, max_rows=ROW_GROUP_ROWS, max_bytes=ROW_GROUP_BYTES)


class TableWriter:
    """Writes the rows one task publishes as shards under `table/`, where no reader looks before the commit."""

    def __init__(self, work: Work, task: str, split: str) -> None:
        self.work = work
        self.task = task
        self.split = split
        self.rows = 0
        self.shards: list[Shard] = []
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._cutter = Cutter(None, SHARD_TEXT_BYTES)
        self._writer: ShardWriter | None = None
        self._first = self._last = -1
        self._text_bytes = 0

    @property
    def _scratch(self) -> Path:
        return self.work.staged(f"shards/{self.task}-{len(self.shards)}-{disk.mark()}.parquet")

    def write(self, batch: Batch) -> None:
        """Add rows, `RECORD_SCHEMA`; `seq` is added here."""
        n = len(batch)
        if n == 0:
            return
        self.rows += n
        _, offsets = utf8_buffers(batch.text)
        self._hashes.append(hash_columns([batch.text]))
        rows = pa.RecordBatch.from_arrays(
            [*batch.rows.columns, constant(self.work.seq, pa.int64(), n)], schema=TABLE_SCHEMA
        )
        sizes = np.diff(offsets).astype(np.int64)
        start = 0
        for cut in [*self._cutter.cuts(n, sizes), n]:
            self._write(rows.slice(start, cut - start), int(sizes[start:cut].sum()))
            if cut < n:
                self._finish()
            start = cut

    def _write(self, rows: pa.RecordBatch, text_bytes: int) -> None:
        if rows.num_rows == 0:
            return
        if self._writer is None:
            access.make_folder(self._scratch.parent)
            self._writer = shard_writer(self._scratch)
            self._first = rows.column("ord")[0].as_py()
        self._writer.write(rows)
        self._last = rows.column("ord")[-1].as_py()
        self._text_bytes += text_bytes

    def _finish(self) -> None:
        if self._writer is None:
            return
        rows, _ = self._writer.close()
        self.shards.append(
            name_shard(self.work.layout, self._scratch, self.split, rows, (self._first, self._last), self._text_bytes)
        )
        self._writer, self._text_bytes = None, 0

    def close(self) -> list[Shard]:
        """Finish the last shard; give all."""
        self._finish()
        return self.shards

    def save_hashes(self, name: str) -> list[str]:
        """Stage the 128-bit hashes of the texts written, for the quality count; give the staged names."""
        path = self.work.staged(name)
        access.make_folder(path.parent)
        scratch = path.with_name(f".{path.name}.{disk.mark()}.npy")
        with naming(scratch):
            np.save(scratch, gate.as_hashes(self._hashes))
        scratch.replace(path)
        return [name]


def name_shard(layout: Layout, scratch: Path, split: str, rows: int, ords: tuple[int, int], text_bytes: int) -> Shard:
    """Give a finished scratch file its lasting name under `table/`, durably."""
    failpoint("task.shard_written")
    size, digest = scratch.stat().st_size, disk.sha256_of(scratch)
    path = layout.table / f"{split[:16]}-{digest[:8]}.parquet"
    layout.files.adopt_file(scratch, path)
    failpoint("task.shard_renamed")
    return Shard(layout.relative(path), rows, size, digest, ords[0], ords[1], text_bytes)
