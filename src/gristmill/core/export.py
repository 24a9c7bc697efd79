"""Export: a derived copy of a snapshot in chunks, and the ledger that says which chunk holds which records.

Not here: file formats (`exports/`), when exports are made (`engine.export`). Words: a *chunk* is one file holding the
live records of one interval of `ord`; the *ledger* is the list of chunks of one snapshot, kept in its manifest.
Invariants: the ledger is a function of the previous ledger, the records added and the records withdrawn; a chunk whose
records change gets a new name (`chunk_00003.r7.jsonl.zst`), so no published file ever changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal

import msgspec
import numpy as np
import pyarrow as pa

from gristmill.core.batch import Int64s
from gristmill.core.errors import ConfigError


class Chunk(msgspec.Struct, frozen=True):
    """One file of an export. Its records: the live ones with first_ord <= ord <= last_ord."""

    name: str
    docs: int
    first_ord: int
    last_ord: int


class Ledger(msgspec.Struct, frozen=True):
    """All chunks of an export of one snapshot, in order of `ord`; `next_index` numbers the next new chunk."""

    chunks: list[Chunk] = []
    next_index: int = 0


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all chunked exports.

    docs_per_chunk: records a file, null for one file. bytes_per_chunk: cut by serialised bytes before compression
    instead. mode: append keeps finished chunks and adds new ones; full deals all records out anew.
    """

    VERSION: ClassVar[int] = 1

    path: str
    docs_per_chunk: Annotated[int, msgspec.Meta(ge=1)] | None = 10_000
    bytes_per_chunk: Annotated[int, msgspec.Meta(ge=1)] | None = None
    prefix: str = "chunk_"
    digits: Annotated[int, msgspec.Meta(ge=1, le=12)] = 5
    mode: Literal["append", "full"] = "append"

    @property
    def suffix(self) -> str:
        """The end of a chunk's file name, such as `.jsonl.zst`."""
        raise NotImplementedError

    def row_bytes(self, rows: pa.RecordBatch) -> Int64s:
        """Give the serialised size of each row before compression, in bytes."""
        raise NotImplementedError

    def write(self, file: BinaryIO, rows: Iterator[pa.RecordBatch]) -> int:
        """Write one chunk; give its size before compression in bytes. Same rows, same bytes, however they are batched."""
        raise NotImplementedError

    def count(self, path: Path) -> int:
        """Read a finished chunk through to its end and give its records.

        Raises:
            StoreError: the file is damaged.
        """
        raise NotImplementedError

    def name(self, index: int, revision: int | None = None) -> str:
        """Give the file name of chunk `index`; `revision` is the snapshot that changed it.

        Raises:
            ConfigError: the index does not fit into `digits`.
        """
        if index >= 10**self.digits:
            raise ConfigError(
                f"export {self.path!r}: chunk number {index} does not fit into digits: {self.digits}; "
                f"set digits: {len(str(index))} (or larger chunks) and export to a new path"
            )
        middle = "" if revision is None else f".r{revision}"
        return f"{self.prefix}{index:0{self.digits}d}{middle}{self.suffix}"
