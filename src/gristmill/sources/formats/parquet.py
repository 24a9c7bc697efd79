"""Parquet: row groups in order, a batch of rows at a time.

Not here: which row groups (`sources/files.py`), the mapping of fields (`core.mapping`). Locator: row number in the
file. `bytes_in` is the share of the stored size that the rows are of the file's rows, so that it adds up to the size.
Invariants: page checksums are verified wherever a file has them (else a flipped bit is read as text); a file that
cannot be decoded, or has two columns of one name, fails as a whole; a row group that gives fewer rows than it promised
fails it too; a text that is not UTF-8, in lists and objects too, costs its row; a time is that time or text, never another one; a row is made an object of only when all its values, as they are in memory, are within `max_record_bytes`, and
no more rows at a time than come to a batch. Warnings: `field.not_finite` (a number that JSON has no word for is null in `meta`), `file.large_group`,
`field.retyped` (a column holds something else than in files before: it is read as it is).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.core.errors import UnitFailed
from gristmill.core.files import Allowance, Expansion
from gristmill.core.mapping import Rows
from gristmill.core.objects import UNDECODABLE, beyond_nanoseconds, must_differ, not_finite, objects, row_bytes, sound
from gristmill.core.parquetfooter import Chunk, chunks
from gristmill.core.parquetpages import Column, PageWatch
from gristmill.core.source import Page

_MAX_BATCH_ROWS = 1024  # dictionary pages make rows larger in memory than the file tells
_FEW_ROWS = 16  # where they do, and cannot be read as dictionaries
_WIDTHS = {
    "BOOLEAN": 1,
    "INT32": 4,
    "FLOAT": 4,
    "INT64": 8,
    "DOUBLE": 8,
    "INT96": 12,
    "BYTE_ARRAY": 4,
}  # the last as a place in a dictionary
_KINDS: list[tuple[str, Callable[[Any], bool]]] = [
    ("text", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)),
    ("boolean", pa.types.is_boolean),
    ("integer", pa.types.is_integer),
    ("number", lambda kind: pa.types.is_floating(kind) or pa.types.is_decimal(kind)),
    ("time", pa.types.is_temporal),
    ("map", pa.types.is_map),
    ("object", pa.types.is_struct),
    ("list", pa.types.is_nested),
    ("bytes", lambda kind: "binary" in str(kind)),
]
# What pyarrow says, as of a broken file, of ones that it cannot read (26.0, tried): over 100 levels of schema; keys are needed.
_UNABLE = ("schema too deeply nested", "encrypted metadata", "Cannot decrypt")
_FEW_BYTES = 64  # of a value, on average as it is stored
_SMALL_GROUP_BYTES = 64 << 20  # of one row group, decoded: can be decoded whatever its rows are
_LARGE_GROUP_BYTES = 1 << 30  # of one row group, decoded: it is read by one worker, from its begin


class _Opened(NamedTuple):
    """An open file; dictionaries: the columns that are read as such."""

    raw: Any
    file: Any
    dictionaries: list[str]

    @classmethod
    def of(cls, raw: Any, dictionaries: Sequence[str] = (), int96: str | None = None) -> _Opened:
        """Open a file. int96: the unit of its oldest kind of times. Raises what is in `UNDECODABLE`, and OSError."""
        named = list(dictionaries)
        file = pq.ParquetFile(
            raw,
            page_checksum_verification=True,
            pre_buffer=False,
            read_dictionary=named,
            coerce_int96_timestamp_unit=int96,
        )
        return cls(raw, file, named)

    def reader(self, group: int) -> Any:
        """Give what reads a row group: INT96 times in nanoseconds if all fit them, else in microseconds.

        pyarrow makes another time of one before 1677 or after 2262 and says nothing (26.0): 9999-12-31, which means never, is 1816.
        """
        leaves = (self.file.schema.column(i) for i in range(len(self.file.schema)))
        names = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
        if not names:
            return self.file
        coarse = _Opened.of(self.raw, self.dictionaries, "us").file
        rows = coarse.iter_batches(batch_size=_MAX_BATCH_ROWS, row_groups=[group], columns=names, use_threads=False)
        return coarse if any(beyond_nanoseconds(column) for batch in rows for column in batch.columns) else self.file


class _Held:
    """Holds row groups to their limits before they are decoded: pyarrow has none of its own.

    most: bytes in memory of each, that its rows come to when all are as large as they may be.
    """

    def __init__(self, unit: str, limits: Expansion, size: int, most: list[int]) -> None:
        self._unit, self._limits, self._size, self._most = unit, limits, size, most
        self._made = [0] * len(most)

    def add(self, group: int, made: int) -> None:
        """Add what is about to be decoded. Raises UnitFailed: size.cap."""
        self._made[group] += made
        self.check(group, self._made[group])

    def check(self, group: int, made: int) -> None:
        """Check what a row group comes to in memory. Raises UnitFailed: size.cap."""
        if why := self._limits.broken(made, self._size):
            raise UnitFailed(self._unit, "size.cap", f"Parquet, row group {group}: {why}")
        if made > self._most[group]:
            detail = f"the rows of group {group} are over max_record_bytes on average"
            raise UnitFailed(self._unit, "size.cap", detail)


class _Batch(NamedTuple):
    """Rows; sizes: the bytes of each; texts: if those of each are UTF-8; not_finite: how many numbers JSON has no word for."""

    rows: pa.RecordBatch
    sizes: NDArray[np.int64]
    texts: NDArray[np.bool_]
    not_finite: int


def row_groups(raw: BinaryIO, piece_bytes: int, size: int) -> list[tuple[int, int]]:
    """Cut a file of `size` bytes into ranges of row groups of about `piece_bytes`; none if it cannot be read."""
    try:
        footer = pq.ParquetFile(raw, pre_buffer=False).metadata
        counts = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    except (*UNDECODABLE, OSError):
        return []
    total = max(sum(counts), 1)
    ranges, first, rows = [], 0, 0
    for i, count in enumerate(counts):
        rows += count
        if size * rows // total >= piece_bytes or i + 1 == len(counts):
            ranges.append((first, i + 1))
            first, rows = i + 1, 0
    return ranges


def read(
    raw: BinaryIO,
    rows: Rows,
    groups: tuple[int, int] | None,
    size: int,
    limits: tuple[int, int],
    allowance: Allowance,
    known: dict[str, str] | None = None,
) -> Iterator[Page]:
    """Read row groups [first, last), or all, of an open file of `size` bytes. limits: batch_bytes, max_record_bytes.

    allowance: of the outermost file this one lies in; against its limits this one is held by itself, too: dictionaries can make much of little. known: what columns of these names were in files before (a number, a text, a list); new ones are added. Each page has those of this
    file as its note.

    Raises:
        UnitFailed: file.corrupt, file.unsupported, size.cap or field.missing; file.unreadable when memory or the disk failed.
    """
    try:
        watch = PageWatch(raw)
        opened = _Opened.of(watch)
        file = opened.file
        footer = file.metadata
        names = set(file.schema_arrow.names)
        counts = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        first, last = groups or (0, len(counts))
        held = _Held(rows.place, allowance.limits, size, [max(limits[1] * n, _SMALL_GROUP_BYTES) for n in counts])
        told = chunks(raw)
        decoded = _decoded_bytes(told, file)
        for group in range(first, last):
            held.check(group, max(footer.row_group(group).total_byte_size, decoded[group]))
        watch.watch({i: told[i] for i in range(first, last)}, _leaves(file), held.add)
        most_rows = _MAX_BATCH_ROWS
        if repeated := _repeated(file, counts):
            by_values = _by_values(watch, repeated, range(first, last))
            opened, most_rows = by_values or opened, _MAX_BATCH_ROWS if by_values else _FEW_ROWS
    except (*UNDECODABLE, OSError, MemoryError) as error:
        raise _failed(rows.place, error) from None
    try:
        must_differ(file.schema_arrow)
    except ValueError as error:
        raise UnitFailed(rows.place, "file.unsupported", f"Parquet with {error}") from None
    if rows.text.missing(names):
        raise UnitFailed(
            rows.place,
            "field.missing",
            f"no column {'/'.join(rows.text.names)}; found {', '.join(sorted(names))[:500]}",
        )
    note = _compared(file.schema_arrow, rows, {} if known is None else known, is_first=groups is None or groups[0] == 0)
    total = sum(counts)
    at = sum(counts[:first])
    done = size * at // total if total else 0
    allowances = (allowance, Allowance(allowance.limits, size, rows.place))
    made = 0  # bytes of values, what a dictionary can multiply, that are not counted yet
    for group in range(first, last):
        begin, group_bytes = at, max(footer.row_group(group).total_byte_size, decoded[group])
        if group_bytes > _LARGE_GROUP_BYTES:
            rows.warn("file.large_group")
        few = max(1, min(most_rows, limits[0] * counts[group] // max(group_bytes, 1)))
        for batch, sizes, texts, odd in _batches(opened, group, few, limits[0], rows.place):
            if odd:
                rows.warn_all({"field.not_finite": odd})
            fit = sizes <= limits[1]
            good = fit & texts
            records = _records(batch if good.all() else batch.filter(pa.array(good)), rows)
            for size_bytes, fits, is_good in zip(sizes.tolist(), fit.tolist(), good.tolist(), strict=True):
                made += size_bytes
                if is_good:
                    rows.add(next(records), at, size_bytes)
                elif fits:
                    rows.reject("text.encoding", at, "a text in one of its columns is not UTF-8", size_bytes)
                else:
                    rows.reject("size.cap", at, f"a row of {size_bytes} bytes, over max_record_bytes", size_bytes)
                at += 1
                if rows.full:
                    made = _count(made, allowances)
                    end = size * min(at, total) // total
                    yield msgspec.structs.replace(rows.take(end - done), note=note)
                    done = end
            made = _count(made, allowances)
        if at - begin != counts[group]:
            detail = f"row group {group} promised {counts[group]} rows and gave {at - begin}"
            raise UnitFailed(rows.place, "file.corrupt", detail)
    end = size * at // total if total else size
    if end != done or not rows.taken:
        yield msgspec.structs.replace(rows.take(end - done), note=note)


def _count(made: int, allowances: tuple[Allowance, ...]) -> int:
    """Count so many bytes against each; give how many are left to count: none."""
    for each in allowances:
        each.count(made)
    return 0


def _repeated(file: Any, counts: list[int]) -> list[str]:
    """Give the columns of texts and bytes, in lists and objects too, of a file whose few stored bytes stand for many values.

    They are read as dictionaries, each value once.

    By the row groups' sizes: pyarrow's view of a single column's ends the process where the footer is damaged (26.0, tried).
    """
    footer = file.metadata
    values = sum(counts) * footer.num_columns
    if sum(footer.row_group(i).total_byte_size for i in range(len(counts))) >= _FEW_BYTES * values:
        return []
    leaves = (file.schema.column(i) for i in range(len(file.schema)))
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _decoded_bytes(told: list[list[Chunk]], file: Any) -> list[int]:
    """Give how many bytes each row group has in memory at the least: a list can hold more values than the file has bytes."""
    leaves = [file.schema.column(i) for i in range(len(file.schema))]
    widths = [_WIDTHS.get(leaf.physical_type, leaf.length) for leaf in leaves]
    if len(told) != file.metadata.num_row_groups:
        raise ValueError(f"a footer of {len(told)} row groups, where {file.metadata.num_row_groups} were read")
    return [sum(chunk.values * width for chunk, width in zip(group, widths, strict=True)) for group in told]


def _leaves(file: Any) -> list[Column]:
    """Give what the levels of each leaf of the schema go up to."""
    leaves = (file.schema.column(i) for i in range(len(file.schema)))
    return [Column(leaf.max_repetition_level, leaf.max_definition_level) for leaf in leaves]


def _by_values(raw: PageWatch, names: list[str], groups: range) -> _Opened | None:
    """Open a file with these columns as dictionaries; None where their encoding cannot be read as such (the delta ones)."""
    try:
        opened = _Opened.of(raw, names)
        for group in groups:
            next(opened.file.iter_batches(batch_size=1, row_groups=[group], columns=names, use_threads=False), None)
    except (*UNDECODABLE, OSError, MemoryError):
        return None
    return opened


def _compared(schema: pa.Schema, rows: Rows, known: dict[str, str], *, is_first: bool) -> dict[str, Any]:
    """Count the columns that are of another kind than in files before; give the kinds of all, as a note."""
    kinds = {field.name: kind for field in schema if (kind := _kind(field.type))}
    changed = sum(known.setdefault(name, kind) != kind for name, kind in kinds.items())
    if changed and is_first:
        rows.warn_all({"field.retyped": changed})
    return {"columns": kinds}


def _kind(found: pa.DataType) -> str:
    """Say what a column holds as far as it makes a difference in JSON; nothing where all of it is null."""
    if isinstance(found, pa.BaseExtensionType):
        return _kind(found.storage_type)
    if pa.types.is_dictionary(found):
        return _kind(found.value_type)
    return next((kind for kind, is_it in _KINDS if is_it(found)), "" if pa.types.is_null(found) else str(found.id))


def _batches(opened: _Opened, group: int, batch_rows: int, batch_bytes: int, unit: str) -> Iterator[_Batch]:
    """Give the rows of a group in batches of no more than `batch_bytes` (or one row)."""
    try:
        file = opened.reader(group)
        for batch in file.iter_batches(batch_size=batch_rows, row_groups=[group], use_threads=False):
            sizes = sum(map(row_bytes, batch.columns), np.zeros(batch.num_rows, np.int64))
            ends, at = np.cumsum(sizes), 0
            while at < batch.num_rows:
                end = max(at + 1, int(np.searchsorted(ends, ends[at] - sizes[at] + batch_bytes, "right")))
                # taken, not sliced: what is cast below a sliced list is all that the list had
                whole = end - at == batch.num_rows
                part = batch if whole else batch.take(pa.array(np.arange(at, end)))
                yield _Batch(part, sizes[at:end], sound(part), sum(map(not_finite, part.columns)))
                at = end
    except (*UNDECODABLE, OSError, MemoryError) as error:
        raise _failed(unit, error) from None


def _failed(unit: str, error: Exception) -> UnitFailed:
    """Tell a bad file from a bad disk (has an errno), from too little memory, from what pyarrow cannot do."""
    words = str(error).partition("\n")[0][:200]
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
        return UnitFailed(unit, "file.unreadable", f"{type(error).__name__}: {words}", advance=False)
    unable = isinstance(error, pa.ArrowNotImplementedError) or any(said in words for said in _UNABLE)
    code = "file.unsupported" if unable else "file.corrupt"
    return UnitFailed(unit, code, f"Parquet: {words}")


def _records(batch: pa.RecordBatch, rows: Rows) -> Iterator[dict[str, Any]]:
    """Give the rows as objects. Old writers call texts bytes: what the mapping names is text, any other column of bytes is not."""
    try:
        yield from objects(batch, rows.names)
    except (*UNDECODABLE, MemoryError) as error:
        raise _failed(rows.place, error) from None
