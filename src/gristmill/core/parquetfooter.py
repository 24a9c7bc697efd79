"""Where the column chunks of a Parquet file lie and what they say of themselves, from its footer.

pyarrow's own view of a single column ends the process where the footer is damaged (26.0, tried), so it is read here: Thrift's compact
protocol (thrift-compact-protocol.md) as far as parquet.thrift needs it. Not here: schemas, statistics, pages (`core/parquetpages.py`).
Invariant: a footer that cannot be read raises ValueError, whatever it holds.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

_GROUPS, _COLUMNS, _META = 4, 1, 3  # fields of FileMetaData, RowGroup, ColumnChunk
_CODEC, _VALUES, _STORED, _DATA, _DICTIONARY = 4, 5, 7, 9, 11  # fields of ColumnMetaData
_WIDTHS = {3: 1, 7: 8, 13: 16}  # bytes of what has a fixed width: byte, double, UUID
_MOST_BITS = 70  # of a number: ten bytes of seven bits hold 64


class Chunk(NamedTuple):
    """A column of a row group, as the footer has it: `values`, nulls among them, in pages from `start` on; codec: its number in parquet.thrift."""

    values: int
    start: int
    stored_bytes: int
    codec: int


def chunks(raw: BinaryIO) -> list[list[Chunk]]:
    """Give the column chunks by row group, in the order of the schema's leaves.

    Raises:
        ValueError: the footer cannot be read.
    """
    end = raw.seek(-8, os.SEEK_END)
    length = int.from_bytes(raw.read(8)[:4], "little")
    raw.seek(max(end - length, 0))
    return _chunks(raw.read(length))


@lru_cache(maxsize=4)  # the pieces of a large file have one footer
def _chunks(footer: bytes) -> list[list[Chunk]]:
    try:
        groups = Compact(footer).fields()[_GROUPS]
        return [[_chunk(column[_META]) for column in group[_COLUMNS]] for group in groups]
    except (LookupError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"a footer that cannot be read ({type(error).__name__})") from None


def _chunk(meta: dict[int, Any]) -> Chunk:
    """As Arrow's reader does, a dictionary's page counts as the first only where it lies before the data (SerializedRowGroup)."""
    data, dictionary = int(meta[_DATA]), int(meta.get(_DICTIONARY, 0))
    start = dictionary if 0 < dictionary < data else data
    return Chunk(int(meta[_VALUES]), start, int(meta[_STORED]), int(meta[_CODEC]))


class Compact:
    """A reader of Thrift's compact protocol, from `at` on; of texts and bytes it gives the length alone.

    is_flat: lists and maps are refused. Raises ValueError, LookupError, TypeError or RecursionError for what cannot be read.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0, *, is_flat: bool = False) -> None:
        self._data, self.at, self._is_flat = data, at, is_flat

    def fields(self) -> dict[int, Any]:
        """Read a struct: its fields by number."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.signed()
            kind = head & 15
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        return found

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def unsigned(self) -> int:
        """Read a number as a varint (ULEB128)."""
        value = shift = 0
        while shift < _MOST_BITS:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number without end")

    def signed(self) -> int:
        """Read a number in zigzag."""
        value = self.unsigned()
        return value >> 1 ^ -(value & 1)

    def _value(self, kind: int) -> Any:
        if kind in (4, 5, 6):
            return self.signed()
        if kind == 8:
            length = self.unsigned()
            self.at += length
            return length
        if self._is_flat and kind in (9, 10, 11):
            raise ValueError("a list where there is none")
        if kind in (9, 10):
            head = self._byte()
            n = self.unsigned() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15 if head & 15 > 2 else 3) for _ in range(n)]
        if kind == 11:
            n = self.unsigned()
            kinds = self._byte() if n else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(n)]
        if kind == 12:
            return self.fields()
        self.at += _WIDTHS[kind]
        return None
