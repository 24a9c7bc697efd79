"""Pages in the making, for sources that make their rows themselves (`core.mapping` makes them of decoded records).

Not here: what a row holds. Invariants: a page is given once, with all that was added since the last; NULs leave the text and
are counted; what is null in `meta` is left out of it, the rest keeps its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from gristmill.core.source import PAGE_SCHEMA, Page, Reject

_ROW_BYTES = 64  # what a row or reject costs besides its bytes; keeps pages of tiny records small


class PageMaker:
    """Gathers rows and rejects of one unit. versioned: as `Page.versioned`."""

    def __init__(self, unit: str, batch_bytes: int, *, versioned: bool = False) -> None:
        self.unit = unit
        self._batch_bytes, self._versioned = batch_bytes, versioned
        self.taken = False
        self._clear()

    def _clear(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[Reject] = []
        self._warnings: Counter[str] = Counter()
        self._held_bytes = 0
        self._bytes_in = 0

    @property
    def full(self) -> bool:
        """Tell if the page has its size."""
        return self._held_bytes >= self._batch_bytes

    @property
    def due(self) -> bool:
        """Tell if there is something to give, or no page was given yet."""
        return not self.taken or bool(self._rows or self._rejects or self._warnings or self._bytes_in)

    def passed(self, bytes_in: int, warnings: Iterable[str] = ()) -> None:
        """Count bytes that were read, and oddities."""
        self._bytes_in += bytes_in
        self._warnings.update(warnings)

    def reject(self, reject: Reject) -> None:
        """Add a piece that is no record."""
        self._rejects.append(reject)
        self._held_bytes += _ROW_BYTES

    def add(self, row: dict[str, Any], locator: int | str) -> None:
        """Add a row: values by the names of `PAGE_SCHEMA`, and `meta` as an object.

        `text` must be there, as UTF-8 (`is_utf8` tells), in bytes or in a memoryview, or as a string; UTF-8 is neither decoded nor
        copied on its way to the page.
        """
        text, meta = row["text"], row.get("meta") or {}
        if isinstance(text, str):
            text = text.encode()
        known = {name: value for name, value in meta.items() if value is not None}
        written = orjson.dumps(known).decode() if known else None
        self._held_bytes += len(text) + len(written or "") + _ROW_BYTES
        self._rows.append(row | {"text": text, "meta": written, "origin": f"{self.unit}#{locator}"})

    def take(self) -> Page:
        """Give the page, and begin the next one."""
        texts = [row["text"] for row in self._rows]
        data = b"".join(texts)
        if b"\0" in data:
            self._warnings["text.nul"] += sum(b"\0" in bytes(text) for text in texts)
            texts = [bytes(text).replace(b"\0", b"") for text in texts]
            data = b"".join(texts)
        columns = [
            _strings(data, [len(text) for text in texts])
            if field.name == "text"
            else pa.array([row.get(field.name) for row in self._rows], field.type, size=len(self._rows))
            for field in PAGE_SCHEMA
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=PAGE_SCHEMA)
        page = Page(self.unit, rows, self._rejects, self._bytes_in, dict(self._warnings), versioned=self._versioned)
        self.taken = True
        self._clear()
        return page


def is_utf8(data: bytes | memoryview) -> bool:
    """Tell if bytes are UTF-8, at the speed of Arrow's check and without decoding them; no surrogate is."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _strings(data: bytes, lengths: list[int]) -> pa.Array:
    """Give joined texts, checked before, as a string array without a copy."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.string(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
