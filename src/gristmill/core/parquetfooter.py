"""How many values the columns of a Parquet file hold, from its footer.

pyarrow's own view of a single column ends the process where the footer is damaged (26.0, tried), so it is read here: Thrift's compact
protocol (thrift-compact-protocol.md) as far as parquet.thrift needs it. Not here: schemas, statistics, pages. Invariant: a footer
that cannot be read raises ValueError, whatever it holds.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, BinaryIO

_GROUPS, _COLUMNS, _META, _VALUES = 4, 1, 3, 5  # fields of FileMetaData, RowGroup, ColumnChunk, ColumnMetaData
_WIDTHS = {3: 1, 7: 8, 13: 16}  # bytes of what has a fixed width: byte, double, UUID


def value_counts(raw: BinaryIO) -> list[list[int]]:
    """Give the number of values, nulls among them, of each column chunk, by row group.

    Raises:
        ValueError: the footer cannot be read.
    """
    end = raw.seek(-8, os.SEEK_END)
    length = int.from_bytes(raw.read(8)[:4], "little")
    raw.seek(max(end - length, 0))
    return _counted(raw.read(length))


@lru_cache(maxsize=4)  # the pieces of a large file have one footer
def _counted(footer: bytes) -> list[list[int]]:
    try:
        groups = _Compact(footer).fields()[_GROUPS]
        return [[int(chunk[_META][_VALUES]) for chunk in group[_COLUMNS]] for group in groups]
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"a footer that cannot be read ({type(error).__name__})") from None


class _Compact:
    """A reader of Thrift's compact protocol; of texts and bytes it gives the length alone."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def fields(self) -> dict[int, Any]:
        """Read a struct: its fields by number."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        return found

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def _value(self, kind: int) -> Any:
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 8:
            length = self._unsigned()
            self._at += length
            return length
        if kind in (9, 10):
            head = self._byte()
            n = self._unsigned() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15 if head & 15 > 2 else 3) for _ in range(n)]
        if kind == 11:
            n = self._unsigned()
            kinds = self._byte() if n else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(n)]
        if kind == 12:
            return self.fields()
        self._at += _WIDTHS[kind]
        return None
