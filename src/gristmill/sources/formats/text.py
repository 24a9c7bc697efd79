"""Plain text: a whole file is one record, or each line is.

Not here: other encodings than UTF-8 (refused as `text.encoding`). Locator: 0, or the byte offset of the line. A file with a NUL
near its start is binary, or UTF-16, and no text in either way of reading. Only the
text is filled; there are no fields to map. Invariant: text is taken as it stands, byte for byte, except for a BOM, NUL
characters (counted) and, by lines, the line's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gristmill.core.encodings import UTF16, WIDE
from gristmill.core.errors import UnitFailed
from gristmill.core.files import lines
from gristmill.core.mapping import Rows
from gristmill.core.source import Page

_BOM = b"\xef\xbb\xbf"
_PROBE_BYTES = 8 << 10  # as far as git and grep look for a NUL to call a file binary
_BINARY = "NUL bytes near the start: not UTF-8 text"


def read(blocks: Iterable[bytes], rows: Rows, max_record_bytes: int) -> Iterator[Page]:
    """Read a whole file as one record."""
    held: list[bytes] = []
    size = 0
    for block in blocks:
        size += len(block)
        if size <= max_record_bytes:
            held.append(block)
        else:
            held.clear()
    data = b"".join(held)
    if size > max_record_bytes:
        rows.reject("size.cap", 0, f"a text of {size} bytes, over max_record_bytes", size)
    elif b"\0" in data[:_PROBE_BYTES]:
        code, why = ("text.encoding", WIDE) if data.startswith(UTF16) else ("type.mismatch", _BINARY)
        rows.reject(code, 0, why, size)
    elif size:
        _add(rows, data.removeprefix(_BOM), 0, size)
    yield rows.take(size)


def read_lines(blocks: Iterable[bytes], rows: Rows, head: bytes, start: int, max_record_bytes: int) -> Iterator[Page]:
    """Read whole lines, the first of which begins at byte `start` of the file, each as one record. head: of the whole file.

    Raises:
        UnitFailed: type.mismatch: the file is binary; each range of it says so.
    """
    if b"\0" in head[:_PROBE_BYTES]:
        raise UnitFailed(rows.place, "type.mismatch", _BINARY)
    done = start
    for group in lines(blocks, start, max_record_bytes):
        at = group.start
        if not group.lines:
            _too_long(rows, at, group.end)
        for line in group.lines:
            bare = (line if at else line.removeprefix(_BOM)).removesuffix(b"\r")
            if len(line) > max_record_bytes:
                _too_long(rows, at, min(at + len(line) + 1, group.end))
            elif bare and not bare.isspace():
                _add(rows, bare, at, len(line))
                if b"\r" in bare:  # perhaps the only line ends there are, as on the first Macintosh
                    rows.warn("text.carriage_return")
            at += len(line) + 1
            if rows.full:
                end = min(at, group.end)
                yield rows.take(end - done)
                done = end
        start = group.end
    if start != done or not rows.taken:
        yield rows.take(start - done)


def _add(rows: Rows, data: bytes, at: int, size: int) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        rows.reject("text.encoding", at, f"not UTF-8 at byte {error.start} of {size}", size)
    else:
        rows.add({"text": text}, at, size)


def _too_long(rows: Rows, at: int, end: int) -> None:
    rows.reject("size.cap", at, f"a line of {end - at} bytes, over max_record_bytes", end - at)
