"""Field mapping: decoded objects become pages of `PAGE_SCHEMA`, and what is no record becomes a reject with a code.

Not here: cutting bytes into objects (`sources/formats/`), which file is read (`sources/files.py`), what is no JSON
(`core.malformed`). Invariants: only
mapped fields leave `meta`, everything else goes there as JSON text with its key order kept; a row or a reject comes of
every object, never nothing; no detail quotes document text. Known and accepted: the last of duplicate keys wins, and
integers beyond 64 bits are read as floats (orjson does both, `core.oddities` counts it; as an id such a number is refused).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from operator import methodcaller
from typing import Any, NamedTuple, TypeAlias

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.malformed import deeper_than
from gristmill.core.source import PAGE_SCHEMA, REJECT_BYTES, Page, Reject

Record: TypeAlias = dict[str, Any]

MAX_DEPTH = 254  # as far as orjson writes; it reads 1024 levels
_ROW_BYTES = 64  # what a row costs besides its bytes; keeps pages of tiny records small
PACK_ROWS = 256  # as Python values at a time: they stay in the processor's cache (twice as fast on short records)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECONDS_FROM = 1e11  # as seconds that is the year 5138, as milliseconds 1973
_TEMPLATE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_STRINGS = ("url", "lang", "license")
_DECLARED = "bytes that the encoding, which the config or a mark at the begin names, has no character for"


class Mapping(msgspec.Struct, frozen=True):
    """Which field of an object becomes which column: a name, a dotted path, or a template such as "{a}: {b}"."""

    text: str = "text"
    id: str | None = None
    url: str | None = None
    time: str | None = None
    lang: str | None = None
    license: str | None = None

    def problems(self) -> list[str]:
        """Give a sentence for each template that cannot be understood."""
        return [
            f'{name}: "{spec}" has a stray brace; write {{{{ or }}}} for a brace, {{name}} for a field'
            for name in self.__struct_fields__
            if (spec := getattr(self, name)) and re.search(r"[{}]", _TEMPLATE.sub("", spec))
        ]


class Where(NamedTuple):
    """Where records stand, if not simply in their unit.

    place: what origins begin with, "" for the unit. stored: gives the offset in the file for one that a reader tells, where
    that reads other bytes than are stored. max_depth: of objects and lists in each other.
    """

    place: str = ""
    stored: Callable[[int], int] | None = None
    max_depth: int = MAX_DEPTH


class Field:
    """One mapped column: how to get its value out of an object, and what to take away from `meta`."""

    def __init__(self, spec: str) -> None:
        self._pieces: list[tuple[str, str | None]] = []
        if "{" in spec or "}" in spec:
            at = 0
            for hole in _TEMPLATE.finditer(spec):
                literal = spec[at : hole.start()] + ("" if hole[1] else hole[0][0])
                self._pieces.append((literal, hole[1]))
                at = hole.end()
            self._pieces.append((spec[at:], None))
            self.names = [name for _, name in self._pieces if name]
            self.get: Callable[[Record], Any] = self._fill
        else:
            self.names = [spec]
            self.get = (lambda record: _dig(record, spec)) if "." in spec else methodcaller("get", spec)

    def _fill(self, record: Record) -> Any:
        """Fill the template; None when it has fields and all are missing or null."""
        parts, found = [], not self.names
        for literal, name in self._pieces:
            parts.append(literal)
            value = None if name is None else _dig(record, name)
            if value is None:
                continue
            found = True
            if type(value) is bytes:  # of a column of bytes, read as one that is mapped alone
                try:
                    value = value.decode()
                except UnicodeDecodeError:
                    return value  # not text: the caller refuses it by its bytes
            if type(value) is str:
                parts.append(value)
            elif isinstance(value, (bool, int, float)):
                parts.append(json.dumps(value))
            else:
                return value  # not text: the caller refuses it by its type
        return "".join(parts) if found else None

    @property
    def is_plain(self) -> bool:
        """Tell if it is one key, without a path or template, that JSON writes as it is."""
        key = self.names[0] if self.names and not self._pieces else "."
        return "." not in key and orjson.dumps(key) == f'"{key}"'.encode()

    def missing(self, names: set[str]) -> bool:
        """Tell if none of these column names can give this field a value."""
        return bool(self.names) and not any(name in names or name.partition(".")[0] in names for name in self.names)


def _dig(record: Record, name: str) -> Any:
    """Give `record[name]`; without such a key, walk the dotted path."""
    if name in record or "." not in name:
        return record.get(name)
    inner: Any = record
    for key in name.split("."):
        if not isinstance(inner, dict):
            return None
        inner = inner.get(key)
    return inner


def _leave(record: Record, name: str) -> None:
    """Take away what `_dig` gives."""
    if name in record or "." not in name:
        record.pop(name, None)
        return
    *above, last = name.split(".")
    inner: Any = record
    for key in above:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if isinstance(inner, dict):
        inner.pop(last, None)


class Rows:
    """The page in the making of one unit. A reader adds rows and rejects, and takes the page when it is `full`."""

    def __init__(self, unit: str, mapping: Mapping, batch_bytes: int, where: Where | None = None) -> None:
        self.unit, self.place = unit, where.place if where is not None and where.place else unit
        self._stored = where.stored if where is not None else None
        self._max_depth = where.max_depth if where is not None else MAX_DEPTH
        self.told = 0  # bytes that pages were taken for, as they were read
        self.text = Field(mapping.text)
        self._id = Field(mapping.id) if mapping.id else None
        self._time = Field(mapping.time) if mapping.time else None
        self._strings = [(name, Field(spec)) for name in _STRINGS if (spec := getattr(mapping, name))]
        always = [self.text, self._id] if self._id else [self.text]
        names = [name for field in always for name in field.names]
        self._plain_names = [name for name in names if "." not in name]
        self._nested = [name for name in names if "." in name]
        self._leaving = self._nested  # of the record at hand, besides the plain names
        optional = [field for _, field in self._strings] + ([self._time] if self._time else [])
        self.names = frozenset(name for field in [*always, *optional] for name in field.names)
        self._dotted = any("." in name for name in self.names)
        self._batch_bytes = batch_bytes
        self.taken = False
        self._packed: list[pa.RecordBatch] = []
        self._rejects: list[Reject] = []
        self._warnings: dict[str, int] = {}
        self._held_bytes = 0
        self._clear()

    def _clear(self) -> None:
        self._keys: list[str | None] = []
        self._texts: list[str] = []
        self._locators: list[int] = []
        self._metas: list[bytes | None] = []
        self._others: dict[str, list[Any]] = {name: [] for name, _ in self._strings}
        if self._time:
            self._others["time"] = []

    @property
    def full(self) -> bool:
        """Tell if the page has its size."""
        return self._held_bytes >= self._batch_bytes

    def warn(self, code: str) -> None:
        """Count an oddity that costs no record."""
        self._warnings[code] = self._warnings.get(code, 0) + 1

    def warn_all(self, counted: dict[str, int]) -> None:
        """Count oddities that cost no record."""
        for code, count in counted.items():
            self._warnings[code] = self._warnings.get(code, 0) + count

    def reject(self, code: str, locator: int, detail: str, size: int) -> None:
        """Add a piece of `size` bytes that is no record."""
        self._held_bytes += REJECT_BYTES
        if self._stored is not None:
            locator, end = self._stored(locator), self._stored(locator + size)
            size, detail = end - locator, _DECLARED if code == "text.encoding" else detail
        self._rejects.append(Reject(code, f"{self.place}#{locator}", detail, size))

    def add(self, record: Any, locator: int, size: int) -> None:
        """Add a decoded object of `size` input bytes as a row, or as a reject. Changes `record`."""
        if type(record) is not dict:
            return self.reject("json.not_object", locator, f"found {_kind(record)}, expected an object", size)
        if self._max_depth < MAX_DEPTH and deeper_than(record, self._max_depth):
            return self.reject("json.depth", locator, f"nested more than {self._max_depth} levels deep", size)
        text = self.text.get(record)
        if type(text) is bytes:  # a binary column: text only if it is valid
            try:
                text = text.decode()
            except UnicodeDecodeError as error:
                return self.reject("text.encoding", locator, f"not UTF-8 at byte {error.start} of the text", size)
        if type(text) is not str:
            code = "field.missing" if text is None else "field.type"
            return self.reject(code, locator, f"{'/'.join(self.text.names)} is {_kind(text)}, expected a string", size)
        key = None
        if self._id:
            key = self._id.get(record)
            if key is None or key == "":
                return self.reject("id.missing", locator, f"{'/'.join(self._id.names)} is missing, null or empty", size)
            if type(key) is int:
                key = str(key)
            elif type(key) is not str or "\0" in key:
                found = (
                    "holds a NUL character" if type(key) is str else f"is {_kind(key)}, expected a string or integer"
                )
                return self.reject("id.invalid", locator, f"the id {found}", size)
        if self._strings or self._time:
            self._optional(record)
        for name in self._plain_names:  # after all are read: two columns may come from one field
            record.pop(name, None)
        for name in dict.fromkeys(self._leaving):  # once: `a.b` may be a key and a path, of which one was read
            _leave(record, name)
        try:
            meta = orjson.dumps(record, default=plain) if record else None
        except TypeError:  # orjson reads 1024 levels but writes 254
            for values in self._others.values():
                values.pop()
            return self.reject("json.depth", locator, "fields are nested too deeply to be kept as meta", size)
        if "\0" in text:
            text = text.replace("\0", "")
            self.warn("text.nul")
        self._keys.append(key)
        self._texts.append(text)
        self._locators.append(self._stored(locator) if self._stored is not None else locator)
        self._metas.append(meta)
        made = len(text) + len(meta or b"")  # a dictionary of Parquet makes large values of few bytes
        self._held_bytes += max(size, made) + _ROW_BYTES
        if len(self._keys) >= PACK_ROWS:
            self._pack()
        return None

    def plain_columns(self) -> dict[str, str] | None:
        """Give the key of each mapped column, where each is one top-level key of its own; None where any is more than that."""
        if self._stored is not None or self._max_depth < MAX_DEPTH:
            return None
        fields = dict(self._strings) | {"text": self.text}
        fields |= {name: field for name, field in (("key", self._id), ("time", self._time)) if field}
        keys = {name: field.names[0] for name, field in fields.items() if field.is_plain}
        return keys if len(set(keys.values())) == len(fields) else None

    def extend_batch(self, batch: pa.RecordBatch, size: int) -> None:
        """Add rows of `PAGE_SCHEMA` that were made of `size` bytes, behind those there are."""
        if self._keys:
            self._pack()
        self._packed.append(batch)
        self._held_bytes += size + _ROW_BYTES * batch.num_rows

    def extend(self, records: list[Any], locators: list[int], sizes: list[int]) -> None:
        """Add decoded objects, as `add` does one by one; a column at a time where all of them are as they should be."""
        if not self._extend(records, locators, sizes):
            for record, locator, size in zip(records, locators, sizes, strict=True):
                self.add(record, locator, size)

    def _extend(self, records: list[Any], locators: list[int], sizes: list[int]) -> bool:
        """Try it by column; False, with nothing changed, if any record needs a closer look."""
        if self._dotted or self._max_depth < MAX_DEPTH or set(map(type, records)) != {dict}:
            return False
        texts = list(map(self.text.get, records))
        if set(map(type, texts)) != {str} or any("\0" in text for text in texts):
            return False
        keys: list[Any] = list(map(self._id.get, records)) if self._id else [None] * len(records)
        if self._id and (set(map(type, keys)) != {str} or not all(keys) or any("\0" in key for key in keys)):
            return False
        others = {name: list(map(field.get, records)) for name, field in self._strings}
        if any(set(map(type, values)) - {str, type(None)} for values in others.values()):
            return False
        if self._time:
            times = list(map(self._time.get, records))
            others["time"] = [None if value is None else microseconds(value) for value in times]
            if others["time"].count(None) != times.count(None):
                return False
        try:
            rests = [{key: value for key, value in record.items() if key not in self.names} for record in records]
            metas = [orjson.dumps(rest, default=plain) if rest else None for rest in rests]
        except TypeError:
            return False
        self._metas += metas
        self._keys += keys
        self._texts += texts
        self._locators += locators if self._stored is None else map(self._stored, locators)
        for name, values in others.items():
            self._others[name] += values
        self._held_bytes += sum(sizes) + _ROW_BYTES * len(records)
        if len(self._keys) >= PACK_ROWS:
            self._pack()
        return True

    def _optional(self, record: Record) -> None:
        """Read time, url, lang and license; what is not understood stays in meta and is counted."""
        self._leaving = self._nested[:]
        for name, field in self._strings:
            value = field.get(record)
            if value is None or type(value) is str:
                self._leaving += field.names
            else:
                self.warn(f"{name}.type")
                value = None
            self._others[name].append(value)
        if self._time:
            value = self._time.get(record)
            moment = None if value is None else microseconds(value)
            if value is not None and moment is None:
                self.warn("time.unparsed")
            else:
                self._leaving += self._time.names
            self._others["time"].append(moment)

    def _pack(self) -> None:
        """Turn the rows held as Python values into Arrow."""
        prefix = f"{self.place}#"
        columns: dict[str, Any] = {"key": self._keys, "text": self._texts, "meta": self._metas} | self._others
        columns["origin"] = [f"{prefix}{locator}" for locator in self._locators]
        arrays = [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(len(self._texts), field.type)
            for field in PAGE_SCHEMA
        ]
        self._packed.append(pa.RecordBatch.from_arrays(arrays, schema=PAGE_SCHEMA))
        self._clear()

    def take(self, bytes_in: int) -> Page:
        """Give the page, for which `bytes_in` bytes were read, and begin the next one."""
        before, self.told = self.told, self.told + bytes_in
        if self._stored is not None:
            bytes_in = self._stored(self.told) - self._stored(before)
        if self._keys or not self._packed:
            self._pack()
        rows = pa.concat_batches(self._packed) if len(self._packed) > 1 else self._packed[0]
        page = Page(self.unit, rows, self._rejects, bytes_in, self._warnings)
        self.taken = True
        self._packed, self._rejects, self._warnings, self._held_bytes = [], [], {}, 0
        return page


def microseconds(value: Any) -> int | None:
    """Give a time as microseconds since 1970 UTC, or None: ISO 8601, epoch seconds or milliseconds, a date, a datetime."""
    try:
        if type(value) in {int, float}:
            scale = 1_000 if abs(value) > _MILLISECONDS_FROM else 1_000_000
            value = _EPOCH + timedelta(microseconds=round(value * scale))
        elif type(value) is str:
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        elif not isinstance(value, datetime):
            return None
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        return (value - _EPOCH) // _MICROSECOND  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        return None


def _kind(value: Any) -> str:
    names = {type(None): "missing or null", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    if type(value) in names:
        return names[type(value)]
    others: dict[type[Any], str] = {
        list: "a list",
        dict: "an object",
        bytes: "binary",
    }  # else what only Parquet has, such as a date
    return others.get(type(value), f"of the type {type(value).__name__.lower()}")


def plain(value: Any) -> Any:
    """Give what orjson cannot write as something it can (only Parquet has such values)."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value)
