"""Batch: some records as one Arrow record batch, and the signals measured on their text.

Not here: what a step does with it (`core.step`), or where it is written. Invariants: the columns are exactly
`RECORD_SCHEMA`, one row a record, in reading order; `text` is valid UTF-8 and never null; signals are dropped as soon
as the text changes and follow the rows when they are filtered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int32s: TypeAlias = npt.NDArray[np.int32]
Int64s: TypeAlias = npt.NDArray[np.int64]
UInt64s: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]

TIME = pa.timestamp("us", tz="UTC")

# One row a document; `seq` (the snapshot that published the row) is added when a shard is written.
RECORD_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("origin", pa.string()),
        pa.field("url", pa.string()),
        pa.field("time", TIME),
        pa.field("fetched_at", TIME),
        pa.field("lang", pa.string()),
        pa.field("script", pa.string()),
        pa.field("lang_score", pa.float32()),
        pa.field("license", pa.string()),
        pa.field("meta", pa.string()),
        pa.field("content_hash", pa.binary(), nullable=False),
        pa.field("ord", pa.int64(), nullable=False),
    ]
)
TABLE_SCHEMA = RECORD_SCHEMA.append(pa.field("seq", pa.int64(), nullable=False))


def utf8_buffers(column: pa.Array) -> tuple[Bytes, Int32s]:
    """Give the UTF-8 data and the offsets of a string or binary column, without a copy.

    Args:
        column: n strings (int32 offsets), sliced or not; nulls have length 0.

    Returns:
        data: uint8, all bytes of the underlying buffer; offsets: int32, n + 1, into data. Both read-only borrowed views.
    """
    if len(column) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int32)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return (np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)), ends


def utf8_column(data: Bytes, offsets: Int32s) -> pa.Array:
    """Make a string column of valid UTF-8 `data` (uint8) cut at `offsets` (int32, n + 1, starting at 0)."""
    n = len(offsets) - 1
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(data))


class Batch:
    """Some records, and what has been measured on their text so far.

    `errors` is None, or one string a row: null is fine, a word quarantines the row under this code (set by a
    Transform, cleared by the engine).
    """

    __slots__ = ("_signals", "errors", "rows")

    def __init__(self, rows: pa.RecordBatch, errors: pa.Array | None = None) -> None:
        self.rows = rows
        self.errors = errors
        self._signals: dict[str, npt.NDArray[np.generic]] = {}

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def text(self) -> pa.Array:
        """The text column."""
        return self.rows.column("text")

    @property
    def ords(self) -> Int64s:
        """The `ord` of each row, int64."""
        ords: Int64s = self.rows.column("ord").to_numpy()
        return ords

    def with_text(self, text: pa.Array, errors: pa.Array | None = None) -> Batch:
        """Give the same records with another text (same length, no nulls); signals are forgotten."""
        return self.with_column("text", text, errors)

    def with_column(self, name: str, values: pa.Array, errors: pa.Array | None = None) -> Batch:
        """Give the same records with the column `name` replaced; signals stay unless it is the text."""
        at = self.rows.schema.get_field_index(name)
        changed = Batch(self.rows.set_column(at, self.rows.schema.field(at), values), errors)
        if name != "text":
            changed._signals = self._signals
        return changed

    def keep(self, mask: Mask) -> Batch:
        """Give the rows where `mask` (bool, one a row) is true, with their signals."""
        kept = Batch(self.rows.filter(pa.array(mask)))
        kept._signals = {name: values[mask] for name, values in self._signals.items()}
        return kept

    def slice(self, start: int, rows: int) -> Batch:
        """Give `rows` rows from `start` on, without signals."""
        return Batch(self.rows.slice(start, rows))

    def signal(
        self, name: str, measure: Callable[[pa.Array], dict[str, npt.NDArray[np.generic]]]
    ) -> npt.NDArray[np.generic]:
        """Give the signal `name`, one number a row; `measure(text)` is called at most once until the text changes."""
        if name not in self._signals:
            self._signals.update(measure(self.text))
        return self._signals[name]

    @property
    def signals(self) -> dict[str, npt.NDArray[np.generic]]:
        """All signals measured on the present text."""
        return self._signals
