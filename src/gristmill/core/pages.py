"""Pages in the making, for sources that make their rows themselves (`core.mapping` makes them of decoded records).

Not here: what a row holds. Invariants: a page is given once, with all that was added since the last; NULs leave the text and
are counted; what is null in `meta` is left out of it, the rest keeps its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from gristmill.core.source import PAGE_SCHEMA, Page, Reject

_TEXT_BYTES = 1 << 16  # room for texts at first
_ROW_BYTES = 64  # what a row or reject costs besides its bytes; keeps pages of tiny records small


class PageMaker:
    """Gathers rows and rejects of one unit. versioned: as `Page.versioned`."""

    def __init__(self, unit: str, batch_bytes: int, *, versioned: bool = False) -> None:
        self.unit = unit
        self._batch_bytes, self._versioned = batch_bytes, versioned
        self.taken = False
        self._texts = _Texts()
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

        `text` must be there, as UTF-8 (`is_utf8` tells), in bytes or in a memoryview, or as a string; UTF-8 is not decoded on its way.
        """
        text, meta = row["text"], row.get("meta") or {}
        if isinstance(text, str):
            text = text.encode()
        data = np.frombuffer(text, np.uint8)
        if not data.view(np.bool_).all():  # four times as fast as of numbers
            data = data[data != 0]
            self._warnings["text.nul"] += 1
        self._texts.add(data)
        known = {name: value for name, value in meta.items() if value is not None}
        written = orjson.dumps(known).decode() if known else None
        self._held_bytes += len(data) + len(written or "") + _ROW_BYTES
        self._rows.append(row | {"text": None, "meta": written, "origin": f"{self.unit}#{locator}"})

    def take(self) -> Page:
        """Give the page, and begin the next one."""
        columns = [
            self._texts.take()
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


class _Texts:
    """A string column in the making: a text is copied once, while it lies in the processor's cache, and then let go."""

    def __init__(self) -> None:
        self._data = np.empty(_TEXT_BYTES, np.uint8)
        self._ends = [0]

    def add(self, text: npt.NDArray[np.uint8]) -> None:
        """Add a text in UTF-8, which was checked before."""
        start, end = self._ends[-1], self._ends[-1] + len(text)
        if end > len(self._data):
            larger = np.empty(max(end, 2 * len(self._data)), np.uint8)
            larger[:start] = self._data[:start]
            self._data = larger
        self._data[start:end] = text
        self._ends.append(end)

    def take(self) -> pa.Array:
        """Give the column, and begin the next one, as large as this one was."""
        data, ends = self._data, np.array(self._ends, np.int32)
        used = int(ends[-1])
        if used < len(data) // 2:
            data = data[:used].copy()
        self._data = np.empty(max(_TEXT_BYTES, used + used // 8), np.uint8)
        self._ends = [0]
        return pa.Array.from_buffers(pa.string(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(data)])
