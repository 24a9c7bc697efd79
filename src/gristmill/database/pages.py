"""Arrow batches of a statement become pages: by column where columns are mapped by name, by row where a mapping digs into them.

Not here: the statement (`compose`), reading on (`keyset`). Labels of a batch: k0.. the key, c the cursor, gone, big (bytes
of a row over the cap), text, url, time, lang, license, meta (JSON text), odd (cells JSON has no word for). Invariants:
every row of a batch becomes a row, a reject or a deleted key; the same row gives the same key whatever batch it came in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core import tombstones
from gristmill.core.malformed import MAX_DEPTH as READ_DEPTH
from gristmill.core.malformed import text_deeper_than
from gristmill.core.mapping import MAX_DEPTH, Field, Mapping, Rows, Where
from gristmill.core.source import PAGE_SCHEMA, Page, Reject
from gristmill.database import cells, refused
from gristmill.database.relation import ROLES

UNIT = "rows"
NO_ROWS = PAGE_SCHEMA.empty_table().to_batches(max_chunksize=1)
_INFINITE = b"e+999"  # SQLite writes infinity as 9.0e+999
_KEY_FIELD = "\0key"  # no column has such a name


Extract: TypeAlias = Callable[[list[bytes]], Iterable[Any]]  # gives `gristmill.extract.Extracted`


class Shape(msgspec.Struct, frozen=True):
    """How batches become pages.

    keys: columns of the key. mapping: of a record, None where columns are mapped by name. trusted: the database vouches
    for its UTF-8 and holds no NUL. extract: takes the text out of documents (HTML, PDF), one result each, in order.
    max_depth: of objects and lists in each other in a record, where a mapping digs into it: a cell alone is text.
    null_is_large: a text or `meta` that is NULL stands for a cell over the cap (`compose`); else `big` tells of such.
    """

    keys: int
    mapping: Mapping | None
    trusted: bool
    max_cell_bytes: int
    extract: Extract | None = None
    max_depth: int = MAX_DEPTH
    null_is_large: bool = False


def empty() -> pa.RecordBatch:
    """Give a batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in PAGE_SCHEMA], schema=PAGE_SCHEMA)


def page(batch: pa.RecordBatch, shape: Shape, first: int = 0) -> Page:
    """Make a page of a batch. first: rows of the part before it."""
    columns = {name: _text_or_self(name, batch.column(at)) for at, name in enumerate(batch.schema.names)}
    size = batch.nbytes
    found = _Sorted(columns, shape, len(batch), first)
    found.sort_out(may_be_large=size > shape.max_cell_bytes)
    columns = found.kept()
    warnings = found.warnings
    odd = columns.pop("odd", None)
    if odd is not None and (n := pc.sum(odd).as_py()):
        warnings["sql.not_finite"] = n
    if shape.mapping is None:
        rows = _by_column(columns, warnings)
        rejects = found.rejects
    else:
        made = _by_row(columns, shape.mapping, warnings, shape.max_depth)
        rows, rejects = made.rows, found.rejects + made.rejects
    return Page(UNIT, rows, rejects, size, warnings, deleted=found.deleted, present=found.present)


def keys_only(batch: pa.RecordBatch, shape: Shape) -> Page:
    """Make a page that tells which keys are there, and not known to be deleted."""
    columns = {name: batch.column(at) for at, name in enumerate(batch.schema.names)}
    if "gone" in columns:
        there = pc.invert(cells.gone(columns.pop("gone"))[0])
        batch = batch.filter(there)
        columns = {name: column.filter(there) for name, column in columns.items()}
    bad = set() if shape.trusted else {at for k in range(shape.keys) for at in cells.not_utf8(columns[f"k{k}"])}
    if bad:
        keep = pa.array([at not in bad for at in range(len(batch))])
        columns = {name: column.filter(keep) for name, column in columns.items()}
    return Page(UNIT, empty(), bytes_in=batch.nbytes, present=key_text(columns, shape.keys).to_pylist())


def key_text(columns: dict[str, pa.Array], n: int) -> pa.Array:
    """Give the key of each row as text: the value, or for a key of several columns the values with a / between.

    A % or / within one of several is written %25 or %2F, so that no two keys have the same text.
    """
    parts = [_spelled(columns[f"k{at}"]) for at in range(n)]
    if n == 1:
        return parts[0]
    escaped = [pc.replace_substring(pc.replace_substring(part, "%", "%25"), "/", "%2F") for part in parts]
    return pc.binary_join_element_wise(*escaped, "/")


def _spelled(column: pa.Array) -> pa.Array:
    """Spell key values: numbers and text as they are, times in ISO 8601, bytes in hexadecimal."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        form = "%Y-%m-%dT%H:%M:%S" + ("Z" if kind.tz else "")
        return pc.strftime(column, form)
    if pa.types.is_binary(kind):
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    return column if pa.types.is_string(kind) else column.cast(pa.string())


def _text_or_self(name: str, column: pa.Array) -> pa.Array:
    """Give mapped columns and meta as text or bytes (a column of nulls comes with any type), others as they are."""
    kind = column.type
    if name in ROLES or name == "meta":
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            return column
        if name != "time" or pa.types.is_null(kind) or column.null_count == len(column):
            return column.cast(pa.string()) if column.null_count < len(column) else pa.nulls(len(column), pa.string())
    return column


class _Sorted:
    """The rows of a batch, and what of them becomes no row."""

    def __init__(self, columns: dict[str, pa.Array], shape: Shape, n: int, first: int) -> None:
        self._columns = columns
        self._shape = shape
        self._n = n
        self._first = first
        self._bad: dict[int, tuple[str, str, int]] = {}
        self._raw_keys: dict[int, bytes] = {}
        self._gone: pa.Array | None = None
        self.rejects: list[Reject] = []
        self.deleted: list[str] = []
        self.present: list[str] = []
        self.warnings: dict[str, int] = {}

    def sort_out(self, *, may_be_large: bool) -> None:
        """Find rejects and deleted rows; take out NUL characters and marks of NULL."""
        shape, columns = self._shape, self._columns
        if not shape.trusted:
            self._check_text()
        keys = [columns[f"k{at}"] for at in range(shape.keys)]
        for key in keys:
            if key.null_count:
                self._reject(pc.is_null(key), "id.missing", "the key is NULL")
            if pa.types.is_string(key.type) and len(keys) == 1:
                self._reject(pc.equal(key, ""), "id.missing", "the key is empty")
        big = columns.pop("big", None)
        if big is not None and big.null_count < self._n:
            for at, size in enumerate(big.to_pylist()):
                if size is not None:
                    why = f"the cells of this row have {size} bytes, over max_cell_bytes"
                    self._bad.setdefault(at, ("size.cap", why, size))
        if shape.null_is_large:
            for name in ("text", "meta"):
                if name in columns and columns[name].null_count:
                    self._reject(pc.is_null(columns[name]), "size.cap", "a cell of this row is over max_cell_bytes")
        if may_be_large:
            self._check_sizes()
        self._columns["key"] = key_text(columns, shape.keys)
        gone = columns.pop("gone", None)
        if gone is not None:
            self._gone, neither = cells.gone(gone)
            for at in neither:
                self._bad.setdefault(at, (tombstones.CODE, tombstones.DETAIL, 0))
        if "text" in columns and columns["text"].null_count:
            self._reject(pc.is_null(columns["text"]), "field.missing", "the text is NULL")

    def _check_sizes(self) -> None:
        """Refuse large cells that the database was not asked about."""
        for name in (*ROLES, "meta"):
            column = self._columns.get(name)
            if column is None or not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
                continue
            if column.nbytes > self._shape.max_cell_bytes:
                sizes = pc.binary_length(column).fill_null(0).to_numpy()
                for at in np.flatnonzero(sizes > self._shape.max_cell_bytes).tolist():
                    why = f"a cell of {sizes[at]} bytes, over max_cell_bytes"
                    self._bad.setdefault(at, ("size.cap", why, int(sizes[at])))

    def _check_text(self) -> None:
        """Refuse what is not UTF-8 and take out NUL."""
        for name, column in self._columns.items():
            raw = name == "text" and self._shape.extract is not None
            if raw or not pa.types.is_string(column.type) or cells.is_plain(column):
                continue
            wrong = cells.not_utf8(column)
            for at in wrong:
                code = "id.invalid" if name[0] == "k" else "text.encoding"
                self._bad.setdefault(at, (code, "a cell is not UTF-8", 0))
                if name[0] == "k":
                    self._raw_keys[at] = column[at].cast(pa.binary()).as_py()
            good = cells.without(column, wrong) if wrong else column
            self._columns[name] = self._without_nul(name, good) if cells.has_nul(good) else good
        meta = self._columns.get("meta")
        if meta is not None and _INFINITE in cells.bytes_of(meta):
            self._columns["meta"] = self._finite(meta)

    def _finite(self, meta: pa.Array) -> pa.Array:
        """Give JSON text with null for numbers that are infinite, and count them."""
        cells = meta.to_pylist()
        for at, cell in enumerate(cells):
            if cell is not None and _INFINITE.decode() in cell:
                record = json.loads(cell)
                endless = [name for name, value in record.items() if isinstance(value, float) and math.isinf(value)]
                if endless:
                    cells[at] = orjson.dumps(record | dict.fromkeys(endless)).decode()
                    self.warnings["sql.not_finite"] = self.warnings.get("sql.not_finite", 0) + len(endless)
        return pa.array(cells, pa.string())

    def _without_nul(self, name: str, column: pa.Array) -> pa.Array:
        if name[0] == "k":
            self._reject(pc.match_substring(column, "\0"), "id.invalid", "the key holds a NUL character")
            return column
        if name == "text" and (n := pc.sum(pc.match_substring(column, "\0")).as_py()):
            self.warnings["text.nul"] = n
        return pc.replace_substring(column, "\0", "") if name != "c" else column

    def _reject(self, mask: pa.Array, code: str, why: str) -> None:
        for at in np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)).tolist():
            self._bad.setdefault(at, (code, why, 0))

    def kept(self) -> dict[str, pa.Array]:
        """Give the columns of the rows that stay; the others become rejects and deleted keys."""
        text = self._columns.get("text")
        if text is not None and self._shape.extract is not None:
            self._extract(text, self._shape.extract)
        elif text is not None and pa.types.is_binary(text.type):
            self._decode(text)
        keep = None
        if self._gone is not None and pc.any(self._gone).as_py():
            deleted = set(np.flatnonzero(self._gone.to_numpy(zero_copy_only=False)).tolist())
            nameless = {at for at, (code, _, _) in self._bad.items() if code.startswith("id.")}
            self.deleted = self._columns["key"].take(pa.array(sorted(deleted - nameless), pa.int64())).to_pylist()
            self._bad = {at: why for at, why in self._bad.items() if at not in deleted - nameless}
            keep = pc.invert(self._gone)
        if self._bad:
            self.rejects = refused.rejects(
                UNIT, self._columns, self._shape.keys, self._bad, self._raw_keys, self._first
            )
            doubtful = [at for at, (code, _, _) in sorted(self._bad.items()) if code == tombstones.CODE]
            self.present = self._columns["key"].take(pa.array(doubtful, pa.int64())).to_pylist()
            good = np.ones(self._n, bool)
            good[list(self._bad)] = False
            keep = pa.array(good) if keep is None else pc.and_(keep, pa.array(good))
        if keep is None:
            return self._columns
        return {name: column.filter(keep) for name, column in self._columns.items()}

    def _extract(self, text: pa.Array, extract: Extract) -> None:
        """Put in the place of documents their texts; what else they say of themselves goes to `meta`, under `document`."""
        data = text.cast(pa.binary()).to_pylist()
        gone = self._gone.to_pylist() if self._gone is not None else [False] * self._n
        places = [at for at in range(self._n) if at not in self._bad and not gone[at]]
        texts, langs = [""] * self._n, [None] * self._n
        metas: list[Any] = self._columns["meta"].to_pylist() if "meta" in self._columns else [None] * self._n
        for at, found in zip(places, extract([data[at] for at in places]), strict=True):
            if found.code:
                self._bad[at] = (found.code, found.detail, len(data[at]))
                continue
            texts[at], langs[at] = found.text, found.lang
            for code in found.warnings:
                self.warnings[code] = self.warnings.get(code, 0) + 1
            says = {"title": found.title, "time": found.time} | found.meta
            document = {name: value for name, value in says.items() if value is not None}
            record = orjson.loads(metas[at]) if metas[at] else {}
            metas[at] = orjson.dumps(record | {"document": document}).decode()
        self._columns |= {"text": pa.array(texts, pa.string()), "meta": pa.array(metas, pa.string())}
        if "lang" not in self._columns:
            self._columns["lang"] = pa.array(langs, pa.string())

    def _decode(self, text: pa.Array) -> None:
        """Take binary text for UTF-8."""
        wrong = cells.not_utf8(text.view(pa.string()))
        for at in wrong:
            self._bad.setdefault(at, ("text.encoding", "the text is not UTF-8", 0))
        column = cells.without(text.view(pa.string()), wrong) if wrong else text.view(pa.string())
        if cells.has_nul(column):
            self.warnings["text.nul"] = pc.sum(pc.match_substring(column, "\0")).as_py()
            column = pc.replace_substring(column, "\0", "")
        self._columns["text"] = column


def _by_column(columns: dict[str, pa.Array], warnings: dict[str, int]) -> pa.RecordBatch:
    n = len(columns["key"])
    made: dict[str, pa.Array] = {"key": columns["key"], "text": columns["text"]}
    made["origin"] = pc.binary_replace_slice(columns["key"], 0, 0, f"{UNIT}#")  # three times as fast as joining
    meta = columns.get("meta")
    if meta is not None:
        made["meta"] = meta
    for name in ("url", "lang", "license"):
        if name in columns:
            column = columns[name]
            if pa.types.is_binary(column.type):
                column = column.view(pa.string())
                wrong = cells.not_utf8(column)
                column = cells.without(column, wrong, None) if wrong else column
                if wrong:
                    warnings[f"{name}.type"] = len(wrong)
            made[name] = column
    if "time" in columns:
        made["time"], left = cells.times(columns["time"])
        endless = made["time"].null_count - columns["time"].null_count - len(left)
        if endless:
            warnings["sql.not_finite"] = warnings.get("sql.not_finite", 0) + endless
        if left:
            warnings["time.unparsed"] = len(left)
            made["meta"] = _with_times(made.get("meta"), left, n)
    arrays = [made[field.name] if field.name in made else _nulls(n, field.type) for field in PAGE_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=PAGE_SCHEMA)


@lru_cache(64)
def _nulls(n: int, kind: pa.DataType) -> pa.Array:
    """Give a column of nulls; pages of one part have the same number of rows."""
    return pa.nulls(n, kind)


def _with_times(meta: pa.Array | None, left: dict[int, str], n: int) -> pa.Array:
    """Keep times that were not understood under `time` in meta."""
    cells: list[Any] = meta.to_pylist() if meta is not None else [None] * n
    for at, text in left.items():
        record = orjson.loads(cells[at]) if cells[at] else {}
        cells[at] = orjson.dumps({"time": text} | record).decode()
    return pa.array(cells, pa.string())


def _by_row(columns: dict[str, pa.Array], mapping: Mapping, warnings: dict[str, int], max_depth: int) -> Page:
    """Map records with paths and templates, each from its JSON."""
    keys = columns["key"].to_pylist()
    specs = [spec for name in ROLES if (spec := getattr(mapping, name))]
    bases = {name.partition(".")[0] for spec in specs for name in Field(spec).names if "." in name}
    rows = Rows(UNIT, msgspec.structs.replace(mapping, id=_KEY_FIELD), 1 << 62, Where(max_depth=max_depth))
    for at, (key, cell) in enumerate(zip(keys, columns["meta"].to_pylist(), strict=True)):
        record = orjson.loads(cell)
        for base in bases:
            if isinstance(value := record.get(base), str):
                record[base] = _json_or_text(value)
        record[_KEY_FIELD] = key
        if any(_is_too_deep(record.get(base)) for base in bases):
            rows.reject("json.depth", at, f"nested more than {max_depth} levels deep", len(cell))
        else:
            rows.add(record, at, len(cell))
    made = rows.take(0)
    warnings.update(made.warnings)
    places = pc.cast(pc.utf8_slice_codeunits(made.rows.column("origin"), len(UNIT) + 1), pa.int64())
    origin = pc.binary_join_element_wise(f"{UNIT}#", columns["key"].take(places), "")
    arrays = [origin if field.name == "origin" else made.rows.column(field.name) for field in PAGE_SCHEMA]
    rejects = [
        msgspec.structs.replace(each, origin=f"{UNIT}#{keys[int(each.origin.rpartition('#')[2])]}")
        for each in made.rejects
    ]
    return Page(UNIT, pa.RecordBatch.from_arrays(arrays, schema=PAGE_SCHEMA), rejects)


def _is_too_deep(value: Any) -> bool:
    """Tell whether a cell is JSON that is nested deeper than is read: such is text to `_json_or_text`."""
    return isinstance(value, str) and value.lstrip()[:1] in {"[", "{"} and text_deeper_than(value, READ_DEPTH)


def _json_or_text(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
