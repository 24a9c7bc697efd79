"""JSON files: one array of objects, one object, or values one after the other.

Not here: JSON lines (`jsonl.py`), the strict parser's answers (`core.mapping`). Locator: byte offset of the value. A
scanner finds where the values end without parsing them, so that a bad one costs one reject and the others are read.
Invariants: memory is bounded by the largest record allowed (by what it is as objects: 35 times its bytes at the worst); time is linear whatever the input; an array that does not
end, or is followed by something else, fails the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from gristmill.core.errors import UnitFailed
from gristmill.core.malformed import why_malformed
from gristmill.core.mapping import Rows
from gristmill.core.oddities import oddities_of_one
from gristmill.core.source import Page

_BOM = b"\xef\xbb\xbf"
_QUOTE, _SLASH, _COMMA, _BRACE = b'"\\,}'
_STEP = np.zeros(256, np.int8)  # what a byte outside of strings does to the depth
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1
_MARK = _STEP != 0
_MARK_OR_COMMA = _MARK.copy()
_MARK_OR_COMMA[_COMMA] = True


class Scan:
    """Finds the ends of top-level values, block by block.

    array: the input is the inside of an array (after its bracket), else values one after the other.
    """

    def __init__(self, *, array: bool) -> None:
        self._array = array
        self._escape = False  # the next byte is escaped
        self.in_string = False
        self.depth = int(array)

    def ends(self, block: bytes) -> list[int]:
        """Give the offsets just after each value (in an array: after its comma, or its closing bracket) of a block."""
        shift = int(self._escape)
        data = np.frombuffer(b"\\" + block if shift else block, np.uint8)
        quotes = self._quotes(data)
        marks = np.flatnonzero((_MARK_OR_COMMA if self._array else _MARK)[data])
        before = np.searchsorted(quotes, marks)
        marks = marks[(before + self.in_string) % 2 == 0]
        self.in_string = (len(quotes) + self.in_string) % 2 == 1
        if not len(marks):
            return []
        steps = _STEP[data[marks]]
        depth = self.depth + np.cumsum(steps, dtype=np.int64)
        if not self._array:  # a stray closing bracket must not put all that follows one level off
            depth -= np.minimum(np.minimum.accumulate(depth), 0)
        self.depth = int(depth[-1])
        is_end = (steps == -1) & (depth <= 0)
        if self._array:
            is_end |= (steps == 0) & (depth == 1)
        ends: list[int] = (marks[is_end] + 1 - shift).tolist()
        return ends

    def _quotes(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Give the positions of the quotes that no backslash escapes."""
        quotes = np.flatnonzero(data == _QUOTE)
        slashes = np.flatnonzero(data == _SLASH)
        self._escape = False
        if len(slashes):
            fresh = np.ones(len(slashes), bool)
            fresh[1:] = np.diff(slashes) != 1
            run_start = np.maximum.accumulate(np.where(fresh, slashes, 0))
            odd = (slashes - run_start) % 2 == 0  # an odd number of backslashes up to and with this one
            self._escape = bool(odd[-1]) and int(slashes[-1]) == len(data) - 1
            escaped = np.zeros(len(data) + 1, bool)
            escaped[slashes[odd] + 1] = True
            quotes = quotes[~escaped[quotes]]
        return quotes


class Value(NamedTuple):
    """The bytes [start, end) of the input with one value in them. No data: too long, thrown away.

    mark: the byte that ended it, still in `data`; 0 for what was left at the end of the input.
    """

    start: int
    data: bytes | None
    end: int
    mark: int


def values(blocks: Iterable[bytes], scan: Scan, start: int, max_bytes: int) -> Iterator[Value]:
    """Cut blocks into values; what no mark ended comes last."""
    held: list[bytes] = []
    held_bytes = 0
    for block in blocks:
        at = 0
        for end in scan.ends(block):
            size = end - at
            data: bytes | None = block[at:end]
            if held_bytes:
                size += held_bytes
                data = b"".join([*held, block[at:end]]) if size <= max_bytes else None
                held, held_bytes = [], 0
            yield Value(start, data if size <= max_bytes else None, start + size, block[end - 1])
            start += size
            at = end
        held_bytes += len(block) - at
        if held_bytes > max_bytes:
            held.clear()
        elif len(block) > at:
            held.append(block[at:])
    if held_bytes:
        yield Value(start, b"".join(held) if held_bytes <= max_bytes else None, start + held_bytes, 0)


def read(blocks: Iterator[bytes], rows: Rows, max_record_bytes: int) -> Iterator[Page]:
    """Read a whole file into pages.

    Raises:
        UnitFailed: file.truncated (a value or the array does not end) or file.trailing (more follows the array).
    """
    start, head = _lead(blocks)
    array = head.startswith(b"[")
    scan = Scan(array=array)
    done = 0
    closed, first = False, True
    blocks = chain([head[array:]], blocks)
    for value in values(blocks, scan, start + array, max_record_bytes):
        start = value.end
        if closed:
            if value.data is None or value.data.strip():
                raise UnitFailed(rows.place, "file.trailing", f"more follows the array that ends at byte {value.start}")
        elif not array:
            _add(rows, value, scan if not value.mark else None)
        elif not value.mark:
            break
        else:
            closed = value.mark != _COMMA
            if value.mark == _BRACE:
                raise UnitFailed(rows.place, "json.syntax", f"the array is closed by a brace at byte {value.end - 1}")
            empty = closed and first and value.data is not None and not value.data[:-1].strip()
            if not empty:
                _add(rows, value, None, cut=1)
            first = False
        if rows.full:
            yield rows.take(start - done)
            done = start
    if array and not closed:
        raise UnitFailed(rows.place, "file.truncated", f"the array does not end; {start} bytes read")
    if start != done or not rows.taken:
        yield rows.take(start - done)


def _lead(blocks: Iterator[bytes]) -> tuple[int, bytes]:
    """Skip BOM and white space; give where the first value begins and the bytes from there that are at hand."""
    at, head = 0, b""
    for block in blocks:
        head += block
        if at == 0 and len(head) < len(_BOM) and _BOM.startswith(head):
            continue
        inner = (head if at else head.removeprefix(_BOM)).lstrip()
        at += len(head) - len(inner)
        head = inner
        if inner:
            break
    return at, head


def _add(rows: Rows, value: Value, scan: Scan | None, cut: int = 0) -> None:
    """Decode one value, without its last `cut` bytes, into a row or a reject. `scan` is given for the file's last bytes."""
    size = value.end - value.start
    if scan and (scan.depth or scan.in_string):
        raise UnitFailed(rows.place, "file.truncated", f"the value at byte {value.start} does not end")
    if value.data is None:
        rows.reject("size.cap", value.start, f"a value of {size} bytes, over max_record_bytes", size)
        return
    data = value.data[: len(value.data) - cut].lstrip()
    at = value.start + len(value.data) - cut - len(data)
    if scan and not data:
        return
    try:
        record = orjson.loads(data)
        rows.warn_all(oddities_of_one(data, record))
        rows.add(record, at, size)
    except orjson.JSONDecodeError as error:
        code, detail = why_malformed(data, error)
        rows.reject(code, at, detail, size)
