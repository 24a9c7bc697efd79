r"""JSON lines: one object a line, lines end with "\n" and nothing else.

Not here: the cutting into lines and byte ranges (`core.files`), the mapping of fields (`core.mapping`). Locator: byte
offset of the line. Blank lines count as bytes and are nothing else. Invariant: one bad line costs one reject, never
the file, and each line is decoded by one strict parser from bytes (other readers change values or crash).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import accumulate

import orjson

from gristmill.core.files import lines
from gristmill.core.mapping import PACK_ROWS, Rows, why_malformed
from gristmill.core.oddities import oddities, oddities_of_one
from gristmill.core.source import Page

_BOM = b"\xef\xbb\xbf"


def read(blocks: Iterable[bytes], rows: Rows, start: int, max_record_bytes: int) -> Iterator[Page]:
    """Read whole lines, the first of which begins at byte `start` of the file, into pages."""
    done = start
    for group in lines(blocks, start, max_record_bytes):
        at = group.start
        if not group.lines:
            _too_long(rows, at, group.end)
        for first in range(0, len(group.lines), PACK_ROWS):
            part = group.lines[first : first + PACK_ROWS]
            sizes = list(map(len, part))
            starts = list(accumulate(sizes, lambda so_far, size: so_far + size + 1, initial=at))
            _add(rows, part, starts, min(starts[-1], group.end), max_record_bytes)
            at = starts[-1]
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


def _add(rows: Rows, part: list[bytes], starts: list[int], end: int, max_record_bytes: int) -> None:
    """Decode some lines, which begin at `starts` and end at `end`: together where all are well-formed, else each alone."""
    loads, sizes = orjson.loads, list(map(len, part))
    if starts[0] and max(sizes) <= max_record_bytes:
        with contextlib.suppress(orjson.JSONDecodeError):
            records = list(map(loads, part))
            rows.warn_all(oddities(part, records))
            return rows.extend(records, starts[:-1], sizes)
    for line, at, size in zip(part, starts, sizes, strict=False):
        if size > max_record_bytes:
            _too_long(rows, at, min(at + size + 1, end))
            continue
        bare = line if at else line.removeprefix(_BOM)
        try:
            record = loads(bare)
            rows.warn_all(oddities_of_one(bare, record))
            rows.add(record, at, size)
        except orjson.JSONDecodeError as error:
            if bare.strip():  # a blank line is no record; looked at only here because parsing refuses it too
                rows.reject(*_place(why_malformed(bare, error), at), size)
    return None


def _place(why: tuple[str, str], at: int) -> tuple[str, int, str]:
    return why[0], at, why[1]


def _too_long(rows: Rows, at: int, end: int) -> None:
    rows.reject("size.cap", at, f"a line of {end - at} bytes, over max_record_bytes", end - at)
