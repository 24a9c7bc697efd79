r"""JSON lines: one object a line, lines end with "\n" and nothing else.

Not here: the cutting into lines and byte ranges (`core.files`), the mapping of fields (`core.mapping`). Locator: byte
offset of the line. Blank lines count as bytes and are nothing else. Invariant: one bad line costs one reject, never
the file, and each line is decoded by one strict parser from bytes (other readers change values or crash).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from gristmill.core.files import lines
from gristmill.core.mapping import Rows, why_malformed
from gristmill.core.source import Page

_BOM = b"\xef\xbb\xbf"


def read(blocks: Iterable[bytes], rows: Rows, start: int, max_record_bytes: int) -> Iterator[Page]:
    """Read whole lines, the first of which begins at byte `start` of the file, into pages."""
    loads, add = orjson.loads, rows.add
    done = start
    for group in lines(blocks, start, max_record_bytes):
        at = group.start
        if not group.lines:
            _too_long(rows, at, group.end)
        for line in group.lines:
            size = len(line)
            if size > max_record_bytes:
                _too_long(rows, at, min(at + size + 1, group.end))
            else:
                try:
                    add(loads(line if at else line.removeprefix(_BOM)), at, size)
                except orjson.JSONDecodeError as error:
                    bare = line if at else line.removeprefix(_BOM)
                    if bare.strip():  # a blank line is no record; looked at only here because parsing refuses it too
                        rows.reject(*_place(why_malformed(bare, error), at), size)
            at += size + 1
            if rows.full:
                end = min(at, group.end)
                yield rows.take(end - done)
                done = end
        if group.end != done and rows.full:
            yield rows.take(group.end - done)
            done = group.end
        start = group.end
    if start != done or not rows.taken:
        yield rows.take(start - done)


def _place(why: tuple[str, str], at: int) -> tuple[str, int, str]:
    return why[0], at, why[1]


def _too_long(rows: Rows, at: int, end: int) -> None:
    rows.reject("size.cap", at, f"a line of {end - at} bytes, over max_record_bytes", end - at)
