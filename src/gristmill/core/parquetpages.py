"""How large the pages of a Parquet file become, told from themselves, before pyarrow makes them so.

A footer may say what it likes: 15 kB, by their footer 2,000 bytes of values, were 600 MB in memory (pyarrow 26.0, tried). What is
allocated is what the head of each page asks for, and the encoding DELTA_BYTE_ARRAY, where a value is named by what it shares with
the one before, makes texts of any length out of nothing. `PageWatch` lies between pyarrow and the file, and looks at the very bytes
that are decoded next, so nothing is read twice. Not here: what is too much (its caller knows), dictionaries (`sources/formats/parquet.py`
reads each value of them once), checksums (pyarrow). Invariant: a column chunk is handed on only when all its pages have been counted.

By the format's own text: parquet.thrift (PageHeader), Encodings.md (DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY), Data pages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.core.parquetfooter import Chunk, Compact

_DATA_V2 = 3  # a page type
_ABOUT = {0: 5, _DATA_V2: 8}  # the field of what is said of the values, by the type of page
_ENCODING = {0: 2, _DATA_V2: 4}  # and that of their encoding, in there
_BIT_PACKED, _DELTA_BYTE_ARRAY = 4, 7  # encodings
_PLAIN = 0  # codecs
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 5: "lz4_raw", 6: "zstd", 7: "lz4_raw"}
_HADOOP_LZ4 = 5  # the same, in frames of two lengths of 4 bytes, big-endian; some wrote it without
_FEW_EMPTY = 1000  # pages without a value, which no writer makes and which would never end


class Column(NamedTuple):
    """A leaf of the schema: how often a value may be repeated in it, and how far down it may be missing."""

    max_repetition_level: int
    max_definition_level: int


class PageWatch:
    """A file for pyarrow, that counts what it is about to decode.

    Until `watch` is called it hands on what is read.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._end = raw, raw.seek(0, os.SEEK_END)
        self._chunks: dict[int, list[tuple[Chunk, Column, int]]] = {}
        self._count: Callable[[int, int], None] = lambda group, made: None

    def watch(
        self, chunks: dict[int, list[Chunk]], columns: Sequence[Column], count: Callable[[int, int], None]
    ) -> None:
        """Look at each of these chunks, by row group, when it is read first. count(row group, bytes): may raise, and nothing is made."""
        self._count = count
        for group, found in chunks.items():
            for chunk, column in zip(found, columns, strict=True):
                self._chunks.setdefault(chunk.start, []).append((chunk, column, group))

    @property
    def closed(self) -> bool:
        """Tell if the file is closed."""
        return self._raw.closed

    def close(self) -> None:
        """Leave the file open: it is the caller's."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._raw.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move."""
        return self._raw.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Give `size` bytes, fewer only at the end. No more room is made than the file has bytes, whatever its footer promises.

        Raises:
            ValueError: a page among them cannot be read. What the count raises, and what reading raises.
        """
        at = self._raw.tell()
        left = max(self._end - at, 0)
        data = self._raw.read(left if size < 0 else min(size, left))
        for chunk, column, group in self._chunks.pop(at, []):
            for made in page_bytes(memoryview(data), chunk, column):
                self._count(group, made)
        return data


def page_bytes(data: memoryview, chunk: Chunk, column: Column) -> Iterator[int]:
    """Give what becomes of the pages of a column chunk: of each what it is unpacked, then what its values are beyond that.

    The values of a page are looked at after its size has been given, so who finds it too large need not go on.

    Raises:
        ValueError: a page cannot be read.
    """
    at = seen = empty = 0
    while seen < chunk.values and at < len(data):
        try:
            head = Compact(data, at, is_flat=True)
            page = head.fields()
            kind, unpacked, stored = page[1], page[2], page[3]
            begin, at = head.at, head.at + stored
            about = page[_ABOUT[kind]] if kind in _ABOUT else {}
            values = about.get(1, 0)
            if not (0 <= stored <= len(data) - begin and unpacked >= 0 and 0 <= values <= chunk.values - seen):
                raise ValueError(f"a page of {stored} bytes for {values} values")
            yield unpacked
            if about and about[_ENCODING[kind]] == _DELTA_BYTE_ARRAY:
                body = data[begin:at]
                yield _delta_bytes(
                    _second(body, page, chunk.codec) if kind == _DATA_V2 else _first(body, page, chunk.codec, column),
                    values,
                )
        except (
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            OverflowError,
            pa.ArrowException,
            OSError,
        ) as error:
            raise ValueError(f"a page that cannot be read ({type(error).__name__})") from None
        seen += values
        empty += not values
        if empty > _FEW_EMPTY:
            raise ValueError("pages without values, and no end of them")


def _first(body: memoryview, page: dict[int, Any], codec: int, column: Column) -> memoryview:
    """Give the values of a data page of the first kind, where the levels are packed with them."""
    data = _unpacked(body, page[2], codec)
    values, about, at = page[5][1], page[5], 0
    for most, encoding in ((column.max_repetition_level, about[4]), (column.max_definition_level, about[3])):
        if most and encoding == _BIT_PACKED:
            at += (values * most.bit_length() + 7) // 8
        elif most:
            at += 4 + int.from_bytes(data[at : at + 4], "little")
    return data[at:]


def _second(body: memoryview, page: dict[int, Any], codec: int) -> memoryview:
    """Give the values of a data page of the second kind, where the levels stand before them."""
    about = page[8]
    levels = about[5] + about[6]
    if not 0 <= levels <= min(len(body), page[2]):
        raise ValueError("levels that are longer than their page")
    return _unpacked(body[levels:], page[2] - levels, codec) if about.get(7, True) else body[levels:]


def _unpacked(data: memoryview, size: int, codec: int) -> memoryview:
    """Unpack a page to `size` bytes."""
    if codec == _PLAIN or not size:
        return data[:size]
    if codec == _HADOOP_LZ4 and (framed := _frames(data, size)) is not None:
        return framed
    return memoryview(pa.decompress(data, decompressed_size=size, codec=_CODECS[codec])).cast("B")  # Arrow's are signed


def _frames(data: memoryview, size: int) -> memoryview | None:
    """Unpack LZ4 in Hadoop's frames; None where there are none, as of writers that did not know of them."""
    parts, at = [], 0
    while at < len(data):
        unpacked, stored = (int.from_bytes(data[at + i : at + i + 4], "big") for i in (0, 4))
        at += 8
        if not stored or stored > len(data) - at or unpacked > size:
            return None
        parts.append(pa.decompress(data[at : at + stored], decompressed_size=unpacked, codec="lz4_raw", asbytes=True))
        at, size = at + stored, size - unpacked
    return None if size else memoryview(b"".join(parts))


def _delta_bytes(data: memoryview, most: int) -> int:
    """Give how many bytes the values have together: what each shares with the one before, and what it adds. most: of values."""
    if not len(data):
        return 0
    shared, at = _delta_packed(data, 0, most)
    added, _ = _delta_packed(data, at, most)
    return int(np.maximum(shared, 0).sum() + np.maximum(added, 0).sum())


def _delta_packed(data: memoryview, at: int, most: int) -> tuple[NDArray[np.int64], int]:
    """Read the numbers (int32, as int64) that are packed as DELTA_BINARY_PACKED from `at` on, and where they end."""
    reader = Compact(data, at)
    block, minis, count, first = reader.unsigned(), reader.unsigned(), reader.unsigned(), reader.signed()
    if count > most or not minis or block % minis or block // minis % 8:
        raise ValueError(f"{count} numbers in blocks of {block}, in {minis} parts")
    per = block // minis
    if not count:
        return np.zeros(0, np.int64), reader.at
    deltas = [np.array([_wrapped(first)], np.int64)]
    left = count - 1
    while left > 0:
        least = _wrapped(reader.signed())
        widths = bytes(data[reader.at : reader.at + minis])
        reader.at += minis
        for width in widths:
            if left <= 0:
                break
            n = min(per, left)
            packed, reader.at = data[reader.at : reader.at + per * width // 8], reader.at + per * width // 8
            deltas.append(_unpack(packed, n, width) + least if width else np.full(n, least, np.int64))
            left -= n
        if not widths:
            raise ValueError("a block without its widths")
    return np.cumsum(np.concatenate(deltas)).astype(np.int32).astype(np.int64), reader.at


def _wrapped(number: int) -> int:
    """Give a number as 32 bits have it: sums of deltas go round."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def _unpack(packed: memoryview, n: int, width: int) -> NDArray[np.int64]:
    """Give the first n numbers of so many bits each, the lowest first."""
    if width > 32 or len(packed) * 8 < n * width:
        raise ValueError(f"{n} numbers of {width} bits in {len(packed)} bytes")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=n * width, bitorder="little").reshape(n, width)
    return bits @ (np.int64(1) << np.arange(width, dtype=np.int64))
