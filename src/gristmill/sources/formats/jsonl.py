r"""JSON lines: one object a line, lines end with "\n" and nothing else.

Not here: decompression and byte ranges (`core.files`), the mapping of fields (`core.mapping`). Locator: byte offset of the
line. Blank lines count as bytes and are nothing else. Whole blocks of lines go through a kernel (`kernels.parse`); what it
refuses, short input, and mappings by paths or templates go line by line through orjson and `core.mapping`.
Invariants: one bad line costs one reject, never the file; each line is decoded by one strict parser from bytes (other
readers change values or crash); both ways give the same rows, rejects and warnings, to the byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from gristmill.core.malformed import why_malformed
from gristmill.core.mapping import PACK_ROWS, Rows, microseconds, plain
from gristmill.core.oddities import oddities, oddities_of_one
from gristmill.core.pages import is_utf8
from gristmill.core.source import PAGE_SCHEMA, Page

if TYPE_CHECKING:
    from gristmill.kernels.parse import Parsed

_BOM = b"\xef\xbb\xbf"
_KERNEL_BYTES = 256 << 10  # for less it is not worth loading the compiler's library (0.4 s, once a process)
_PADDING = bytes(64)  # `kernels.parse.PADDING`, which is not asked because it loads that library
_MAX_BYTES = 8 << 20  # of one call: each column has room for all of it, and one long line needs no kernel
_MAX_REFUSED_RUNS = 64  # stretches of lines in a block that the kernel refuses; with more it saves nothing


class _Stretch(NamedTuple):
    """Whole lines from byte `start` to `end` of the file, `_PADDING` behind them; empty: one line too long to be held."""

    start: int
    padded: bytes
    end: int


def read(blocks: Iterable[bytes], rows: Rows, start: int, max_record_bytes: int) -> Iterator[Page]:
    """Read whole lines, the first of which begins at byte `start` of the file, into pages."""
    done = start
    columns = rows.plain_columns()
    for stretch in _stretches(blocks, start, max_record_bytes):
        size = len(stretch.padded) - len(_PADDING)
        if size < 0:
            _too_long(rows, stretch.start, stretch.end)
            ends = iter((stretch.end,))
        elif columns and _KERNEL_BYTES <= size < _MAX_BYTES:
            ends = _by_kernel(rows, columns, stretch, max_record_bytes)
        else:
            ends = _by_line(rows, stretch.padded[:size].split(b"\n"), stretch.start, stretch.end, max_record_bytes)
        for at in ends:
            if rows.full:
                yield rows.take(at - done)
                done = at
        start = stretch.end
    if start != done or not rows.taken:
        yield rows.take(start - done)


def _stretches(blocks: Iterable[bytes], start: int, max_bytes: int) -> Iterator[_Stretch]:
    """Cut blocks behind their last newline. A line over `max_bytes` that spans blocks is thrown away while it passes by."""
    held: list[bytes] = []
    held_bytes = 0
    for block in blocks:
        begin, cut = 0, block.rfind(b"\n") + 1
        if cut and held_bytes > max_bytes:
            begin = block.index(b"\n") + 1
            yield _Stretch(start, b"", start + held_bytes + begin)
            start, held_bytes = start + held_bytes + begin, 0
        if begin < cut:
            end = start + held_bytes + cut - begin
            yield _Stretch(start, b"".join([*held, memoryview(block)[begin:cut], _PADDING]), end)
            start, held_bytes = end, 0
        if cut:
            held.clear()
        held_bytes += len(block) - cut
        if held_bytes > max_bytes:
            held.clear()
        elif cut < len(block):
            held.append(block[cut:])
    if held_bytes:
        padded = b"".join([*held, _PADDING]) if held_bytes <= max_bytes else b""
        yield _Stretch(start, padded, start + held_bytes)


def _by_line(rows: Rows, lines: list[bytes], at: int, end: int, max_record_bytes: int) -> Iterator[int]:
    """Read lines, which begin at byte `at` and end at `end`, some at a time; give where each lot of them ends."""
    if not lines[-1]:
        lines.pop()
    for first in range(0, len(lines), PACK_ROWS):
        part = lines[first : first + PACK_ROWS]
        starts = list(accumulate(map(len, part), lambda so_far, size: so_far + size + 1, initial=at))
        at = min(starts[-1], end)
        _add(rows, part, starts, at, max_record_bytes)
        yield at


def _add(rows: Rows, part: list[bytes], starts: list[int], end: int, max_record_bytes: int) -> None:
    """Decode some lines, which begin at `starts` and end at `end`: together where all are well-formed, else each alone."""
    if not all(part):  # empty lines, of which a file may have millions
        full = [number for number, line in enumerate(part) if line]
        if not full:
            return None
        part, starts = [part[number] for number in full], [*(starts[number] for number in full), starts[-1]]
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


def _by_kernel(rows: Rows, columns: dict[str, str], stretch: _Stretch, max_record_bytes: int) -> Iterator[int]:
    """Read lines by the kernel, and those it refuses one by one, in their order; give where some of them end."""
    from gristmill.kernels import parse

    start, padded, end = stretch
    kinds = {"text": parse.TEXT, "key": parse.KEY, "time": parse.SPAN}
    found = parse.parse(
        padded,
        start,
        max_record_bytes,
        list(columns.values()),
        [kinds.get(name, parse.STRING) for name in columns],
        f"{rows.place}#",
    )
    batch, good = _batch(rows, list(columns), found, padded) if is_utf8(padded) else (None, np.zeros(0, np.int64))
    read = np.zeros(len(found.starts) - 1, np.bool_)
    read[good] = True
    turns = np.flatnonzero(np.diff(read, prepend=not read[0]))  # where lines that were read and refused ones take turns
    if batch is None or len(turns) > 2 * _MAX_REFUSED_RUNS:
        turns, read = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    bounds = [*turns.tolist(), len(found.starts) - 1]
    done = 0
    for first, last in pairwise(bounds):
        begin, stop = int(found.starts[first]), min(int(found.starts[last]), end - start)
        if batch is not None and read[first]:
            rows.extend_batch(batch.slice(done, last - first), stop - begin)
            done += last - first
            yield start + stop
        else:
            yield from _by_line(rows, padded[begin:stop].split(b"\n"), start + begin, start + stop, max_record_bytes)


def _batch(
    rows: Rows, columns: list[str], found: Parsed, padded: bytes
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """Give the rows that hold, and the line of each. Warns of what is odd in them."""
    n, good = found.rows, np.ones(found.rows, np.bool_)
    arrays = {name: _strings(found, at) for at, name in enumerate([*columns, "meta", "origin"]) if name != "time"}
    if found.loose[:n].any():
        arrays["meta"] = _tightened(rows, found, len(columns), good)
    if "time" in columns:
        arrays["time"] = _times(found, padded, good)
    made = [arrays[field.name] if field.name in arrays else pa.nulls(n, field.type) for field in PAGE_SCHEMA]
    batch = pa.RecordBatch.from_arrays(made, schema=PAGE_SCHEMA)
    return batch if good.all() else batch.filter(pa.array(good)), found.line[:n][good]


def _strings(found: Parsed, column: int) -> pa.Array:
    """Give a column that the kernel wrote, in memory of its own."""
    n, begin = found.rows, column * found.region
    ends = found.ends[column, : n + 1]
    data = found.data[begin : begin + int(ends[n])].tobytes()
    bits = _bitmap(found.valid[column, :n])
    return pa.Array.from_buffers(pa.string(), n, [bits, pa.py_buffer(ends.tobytes()), pa.py_buffer(data)])


def _bitmap(valid: npt.NDArray[np.bool_]) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())


def _tightened(rows: Rows, found: Parsed, column: int, good: npt.NDArray[np.bool_]) -> pa.Array:
    """Give the column `meta` with what is loose parsed and written again; a row where that fails is not good."""
    n, begin = found.rows, column * found.region
    ends = (found.ends[column, : n + 1] + np.int64(begin)).tolist()
    pieces = [found.data[ends[row] : ends[row + 1]].tobytes() for row in range(n)]
    written: dict[int, bytes] = {}
    kept, records = [], []
    for row in np.flatnonzero(found.loose[:n]).tolist():
        try:
            record = orjson.loads(pieces[row])
            written[row] = orjson.dumps(record, default=plain)
        except (orjson.JSONDecodeError, TypeError):
            good[row] = False
            continue
        kept.append(pieces[row])
        records.append(record)
    rows.warn_all(oddities(kept, records))
    for row, piece in written.items():
        pieces[row] = piece
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    bits = _bitmap(found.valid[column, :n])
    return pa.Array.from_buffers(
        pa.string(), n, [bits, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(pieces))]
    )


def _times(found: Parsed, padded: bytes, good: npt.NDArray[np.bool_]) -> pa.Array:
    """Give the column `time`; a row whose time is not understood is not good."""
    n = found.rows
    micros, valid = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for row, (begin, end) in enumerate(found.spans[:n].tolist()):
        if begin < 0:
            continue
        try:
            value = orjson.loads(memoryview(padded)[begin:end])
        except orjson.JSONDecodeError:
            good[row] = False
            continue
        moment = None if value is None else microseconds(value)
        good[row] &= value is None or moment is not None
        if moment is not None:
            micros[row], valid[row] = moment, True
    return pa.Array.from_buffers(PAGE_SCHEMA.field("time").type, n, [_bitmap(valid), pa.py_buffer(micros.tobytes())])
