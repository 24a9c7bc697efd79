"""JSON lines: one compact JSON object a line, in chunks compressed with zstd or gzip.

Not here: escaping (`kernels.jsonl`), blocks and checksums (`core.jsonlines`), which rows a chunk holds (`core.export`).
A line has the keys in the order of `columns`, null values left out; `meta` is the JSON it holds, not a string of it;
times are ISO 8601 in UTC, `content_hash` is hex. UTF-8, non-ASCII not escaped, every line ends in a newline.
Invariant: same rows, same bytes, however they are batched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.batch import TABLE_SCHEMA, TIME, Bytes, Int32s, Int64s, utf8_buffers
from gristmill.core.export import FileExport, check_columns
from gristmill.core.jsonlines import Codec, LineWriter, count_lines

if TYPE_CHECKING:
    from gristmill.kernels.jsonl import Column

# What belongs to the record; what belongs to the dataset (content_hash, ord, seq) is there for the asking.
_COLUMNS = tuple(name for name in TABLE_SCHEMA.names if name not in {"content_hash", "ord", "seq"})
_CODECS: dict[str, Codec] = {"zst": "zst", "zstd": "zst", "gz": "gz", "gzip": "gz", "none": "none"}
_LEVELS: dict[Codec, range] = {"zst": range(1, 23), "gz": range(4), "none": range(0)}
_PIECE_BYTES = 1 << 19  # encoded at a time: stays in the cache until it is compressed
_HEX_PAIRS = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)


class Jsonl(FileExport, frozen=True, kw_only=True):
    """One JSON object a line.

    compression: zst (also zstd), gz (also gzip) or none. level: 1-22 for zst (default 1), 0-3 for gz (default 1).
    columns: the keys of a line, in order; null for all of the record's own.
    """

    FORMAT: ClassVar[str] = "jsonl"

    compression: Literal["zst", "zstd", "gz", "gzip", "none"] = "zst"
    level: int | None = None
    columns: list[str] | None = None

    def __post_init__(self) -> None:
        """Bring two spellings of a codec to one, and refuse what cannot be written."""
        super().__post_init__()
        msgspec.structs.force_setattr(self, "compression", self.codec)
        levels = _LEVELS[self.codec]
        if self.level is not None and self.level not in levels:
            allowed = f"{levels[0]} to {levels[-1]}" if levels else "null only"
            raise ValueError(f"level: {self.level} does not go with compression: {self.codec}; use {allowed}")
        check_columns(self.columns)

    @property
    def codec(self) -> Codec:
        """The compression by its one name: zst, gz or none."""
        return _CODECS[self.compression]

    @property
    def suffix(self) -> str:
        """The end of a chunk's file name."""
        return ".jsonl" if self.codec == "none" else f".jsonl.{self.codec}"

    def row_bytes(self, rows: pa.RecordBatch) -> Int64s:
        """Give the bytes of each line, its newline included."""
        from gristmill.kernels.jsonl import measure

        return measure(self._columns(rows), rows.num_rows)

    def write(self, file: BinaryIO, rows: Iterator[pa.RecordBatch]) -> int:
        """Write one chunk; give its size before compression in bytes."""
        from gristmill.kernels.jsonl import encode

        writer = LineWriter(file, self.codec, self.level)
        for batch in rows:
            columns = self._columns(batch)
            step = max(1, batch.num_rows * _PIECE_BYTES // max(1, batch.nbytes))
            for start in range(0, batch.num_rows, step):
                writer.write(encode(columns, start, min(start + step, batch.num_rows)))
        return writer.close()

    def count(self, path: Path) -> int:
        """Read a finished chunk through to its end and give its lines."""
        return count_lines(path, self.codec)

    def _columns(self, rows: pa.RecordBatch) -> list[Column]:
        return [_column(name, rows.column(name)) for name in (_COLUMNS if self.columns is None else self.columns)]


def _column(name: str, values: pa.Array) -> Column:
    """Make a column of the table ready for the kernel."""
    from gristmill.kernels.jsonl import Column

    kind = TABLE_SCHEMA.field(name).type
    if values.type != kind:
        values = values.cast(kind)
    if kind == pa.float32():
        values = _numbers(values)
    valid = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else np.ones(len(values), np.bool_)
    data, offsets = _texts(values, kind)
    head = np.frombuffer(f',"{name}":'.encode(), np.uint8)
    return Column(head, data, offsets, valid, name != "meta" and kind not in {pa.int64(), pa.float32()})


def _texts(values: pa.Array, kind: pa.DataType) -> tuple[Bytes, Int32s]:
    if kind == TIME:
        from gristmill.kernels.jsonl import iso_times

        return iso_times(pc.fill_null(values.view(pa.int64()), 0).to_numpy())
    if kind == pa.binary():
        data, offsets = utf8_buffers(values)
        first = offsets[0]
        return _HEX_PAIRS[data[first : offsets[-1]]].reshape(-1), (offsets - first) * np.int32(2)
    return utf8_buffers(values.cast(pa.string()))


def _numbers(values: pa.Array) -> pa.Array:
    """Write floats by their shortest digits, always as a float; what JSON has no word for becomes null."""
    finite = pc.if_else(pc.is_finite(values), values, None)
    texts = finite.cast(pa.string())
    whole = pc.invert(pc.match_substring_regex(texts, "[.e]"))
    return pc.if_else(whole, pc.binary_join_element_wise(texts, ".0", ""), texts)
