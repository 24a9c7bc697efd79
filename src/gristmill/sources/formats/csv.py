r"""CSV and TSV: a header, then a record a row; cells in quotes may hold delimiters, doubled quotes and line ends (RFC 4180).

Not here: guessing: every cell is a string, the delimiter is told (or a tab, if the file is called .tsv), the first row is the
header. Locator: byte offset of the row. Blank lines count as bytes and are nothing else. The cutting into rows is our own: the
standard library's reader takes a quote that is not closed for a cell that goes on to the end of the file, gives up at the
first bad row when it is strict, and cannot say where a row lay. Invariants: a row with other columns than the header, or with
quotes that fit nowhere, costs itself alone; a quote that is never closed fails the file; memory is bounded by the largest
record allowed, whatever a cell holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from gristmill.core.errors import UnitFailed
from gristmill.core.mapping import Rows
from gristmill.core.source import Page

_BOM = b"\xef\xbb\xbf"
_LINE_END_BYTES = 2
# Where one is between two bytes of a row: at the beginning of a cell, in a bare one, in a quoted one, behind a quote in it (which may
# be half of a doubled one), behind its end.
_START, _BARE, _QUOTED, _QUOTE, _ENDED = range(5)

_QUOTED_CELL = re.compile(rb'"(?:[^"]|"")*+"')
_INSIDE = re.compile(rb'(?:[^"]++|"")*+')


class Row(NamedTuple):
    """The bytes [start, end) of the input with one row in them, line end included. No data: too long, thrown away."""

    start: int
    data: bytes | None
    end: int


class Cutter:
    """Cuts blocks into rows. is_open: the input has ended inside a quoted cell."""

    def __init__(self, delimiter: bytes, max_bytes: int) -> None:
        self._delimiter, self._max = delimiter, max_bytes
        self._state = _START

    @property
    def is_open(self) -> bool:
        """Tell if the last row is still in a quoted cell."""
        return self._state == _QUOTED

    def rows(self, blocks: Iterable[bytes]) -> Iterator[Row]:
        """Give the rows; what no line end ended comes last."""
        held: list[bytes] = []
        start = held_bytes = 0
        mark = _BOM  # no part of the first cell, which may be in quotes
        for block in _marked(blocks):
            pieces = block.split(b"\n")
            last = len(pieces) - 1
            for number, piece in enumerate(pieces):
                self._pass(piece.removeprefix(mark))
                mark = b""
                ends = number < last
                part = piece + b"\n" if ends else piece
                held_bytes += len(part)
                if held_bytes <= self._max + _LINE_END_BYTES:
                    held.append(part)
                else:
                    held.clear()
                if ends and self._state != _QUOTED:
                    yield Row(start, self._whole(held, held_bytes), start + held_bytes)
                    start += held_bytes
                    held, held_bytes, self._state = [], 0, _START
        if held_bytes:
            yield Row(start, self._whole(held, held_bytes), start + held_bytes)

    def _whole(self, held: list[bytes], size: int) -> bytes | None:
        """Give a row of `size` bytes; None if it is over the limit without its line end, which the last one need not have."""
        row = b"".join(held) if size <= self._max + _LINE_END_BYTES else None
        return row if row is not None and len(_bare(row)) <= self._max else None

    def _pass(self, piece: bytes) -> None:
        """Go over some bytes without a line end."""
        state, at, size = self._state, 0, len(piece)
        while at < size:
            if state == _QUOTED:
                found = _INSIDE.match(piece, at).end()  # type: ignore[union-attr]
                state, at = (_QUOTED, size) if found == size else (_QUOTE, found + 1)
            elif state in {_START, _QUOTE} and piece.startswith(b'"', at):
                state, at = _QUOTED, at + 1
            else:
                found = piece.find(self._delimiter, at)
                state, at = (_START, found + 1) if found >= 0 else (_BARE if state in {_START, _BARE} else _ENDED, size)
                if state == _START and piece.find(b'"', at) < 0:  # as in most rows: no other cell is quoted
                    state, at = (_START if piece.endswith(self._delimiter) else _BARE), size
        self._state = state


def _bare(row: bytes) -> bytes:
    """Give a row without its line end."""
    return row.removesuffix(b"\n").removesuffix(b"\r")


def _marked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Give the blocks, the first of them with a whole byte order mark if there is one."""
    rest, head = iter(blocks), b""
    while _BOM.startswith(head) and len(head) < len(_BOM) and (block := next(rest, b"")):
        head += block
    yield head
    yield from rest


@lru_cache
def _cell(delimiter: bytes) -> re.Pattern[bytes]:
    mark = re.escape(delimiter)
    return re.compile(rb'(?:"((?:[^"]|"")*+)"|([^"%s]*+))(?:%s|\Z)' % (mark, mark))


def cells(row: bytes, delimiter: bytes) -> list[bytes] | None:
    """Take a row, without its line end, apart; None if a quote stands where none may."""
    if b'"' not in row:
        return row.split(delimiter)
    found: list[bytes] = []
    at, cell = 0, _cell(delimiter)
    while match := cell.match(row, at):
        found.append(match[1].replace(b'""', b'"') if match[1] is not None else match[2])
        at = match.end()
        if at == len(row):
            if row.endswith(delimiter) and match[0].endswith(delimiter):
                found.append(b"")
            return found
    return None


def read(blocks: Iterable[bytes], rows: Rows, delimiter: str, max_record_bytes: int) -> Iterator[Page]:
    """Read a whole file into pages.

    Raises:
        UnitFailed: csv.header, text.encoding or field.missing (the header cannot be used), size.cap (it is over the limit),
            file.truncated (a quote is not closed).
    """
    mark = delimiter.encode()
    cutter = Cutter(mark, max_record_bytes)
    names: list[str] = []
    done = end = 0
    for row in cutter.rows(blocks):
        end = row.end
        if cutter.is_open:
            raise UnitFailed(rows.place, "file.truncated", f"a quote in the row at byte {row.start} is not closed")
        bare = None if row.data is None else _bare(row.data)
        if bare is not None and row.start == 0:
            bare = bare.removeprefix(_BOM)
        if not names and bare != b"":
            names = _header(bare, rows, mark)
        elif bare is None:
            rows.reject(
                "size.cap", row.start, f"a row of {end - row.start} bytes, over max_record_bytes", end - row.start
            )
        elif bare:
            _add(bare, row.start, rows, names, mark)
        if rows.full:
            yield rows.take(end - done)
            done = end
    if not rows.taken or end != done:
        yield rows.take(end - done)


def _header(row: bytes | None, rows: Rows, delimiter: bytes) -> list[str]:
    """Give the names of the columns. No message quotes them: a file without a header begins with a record."""
    if row is None:
        raise UnitFailed(rows.place, "size.cap", "the first row, the header, is over max_record_bytes")
    try:
        names = [cell.decode() for cell in cells(row, delimiter) or ()]
    except UnicodeDecodeError as error:
        raise UnitFailed(rows.place, "text.encoding", f"the header is not UTF-8 at byte {error.start}") from None
    told = f"the header, of {len(names)} columns cut at {delimiter.decode()!r},"
    if any("\0" in name for name in names):
        detail = "the header holds NUL characters: UTF-16 or UTF-32 without a mark? Then name its encoding"
        raise UnitFailed(rows.place, "text.encoding", detail)
    first, end, _ = row.partition(b"\r")
    if any("\r" in name for name in names) or (not names and end and cells(first, delimiter) is not None):
        raise UnitFailed(rows.place, "csv.header", f"{told} has a carriage return in it; end lines with a line feed")
    if not all(name.strip() for name in names) or not names:
        raise UnitFailed(
            rows.place, "csv.header", f"{told} has a column without a name, or a quote where none may stand"
        )
    if len(set(names)) < len(names):
        raise UnitFailed(rows.place, "csv.header", f"{told} has several columns of one name")
    if rows.text.missing(set(names)):
        wanted = "/".join(rows.text.names)
        raise UnitFailed(
            rows.place, "field.missing", f"{told} has no {wanted}; see text, delimiter, and that there is a header"
        )
    return names


def _add(row: bytes, at: int, rows: Rows, names: list[str], delimiter: bytes) -> None:
    size = len(row)
    found = cells(row, delimiter)
    if found is None:
        return rows.reject(
            "csv.quote", at, "a quote stands inside a cell that does not begin with one, or behind its end", size
        )
    if len(found) != len(names):
        return rows.reject("csv.columns", at, f"{len(found)} columns; the header has {len(names)}", size)
    try:
        record = {name: cell.decode() for name, cell in zip(names, found, strict=True)}
    except UnicodeDecodeError as error:
        return rows.reject("text.encoding", at, f"a cell is not UTF-8 at its byte {error.start}", size)
    if b"\r" in row and b"\r" in _QUOTED_CELL.sub(b"", row):  # perhaps it is to end rows, as in spreadsheets of old
        rows.warn("text.carriage_return")
    return rows.add(record, at, size)
