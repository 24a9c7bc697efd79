"""Rows of Arrow as Python objects: what strangers' files and programs put into Arrow, taken out without a crash or another value.

Not here: which columns are meant (`core.mapping`), reading Parquet (`sources/formats/parquet.py`). Invariants: a text that is not
UTF-8 comes out as bytes, for the caller to refuse; bytes are bytes, whatever they spell; a time that Python has no word for comes out as text, and never as another
time, whatever stands beside it; two columns, or fields of an object, of one name are refused, as one would hide the other. How many bytes a row has is told before it is taken out
(`row_bytes`): a dictionary can make much of little.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_VIEWS = (pa.types.is_list_view, pa.types.is_large_list_view)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  of a time that names no zone
_FIRST_DAY, _LAST_DAY = (day.toordinal() - _EPOCH.toordinal() for day in (date.min, date.max))
_DAY_S = 86_400
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MICROSECONDS_OF_NANOSECONDS = (1 << 63) // 1000
_FIXED = pa.types.is_fixed_size_list
_LISTS: list[tuple[Any, Any]] = [
    (_FIXED, pa.list_),
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
]
UNDECODABLE = (pa.ArrowException, ValueError, OverflowError, KeyError, TypeError)


def must_differ(schema: pa.Schema) -> None:
    """Raise ValueError if two columns, or fields of an object in one, have one name."""
    if len(set(schema.names)) < len(schema.names):
        raise ValueError("several columns of one name")
    todo = list(schema.types)
    while todo:
        kind = todo.pop()
        if isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
            todo.append(kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type)
            continue
        fields = [kind.field(at) for at in range(kind.num_fields)]
        if len({field.name for field in fields}) < len(fields):
            raise ValueError("several fields of one name in an object")
        todo += [field.type for field in fields]


def objects(batch: pa.RecordBatch, texts: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Give the rows of a batch. texts: columns whose bytes are read as text, each value that is UTF-8.

    Raises:
        UNDECODABLE: a column cannot be taken out, or two have one name.
    """
    names = batch.schema.names
    must_differ(batch.schema)
    columns = [
        _decoded(values(column)) if name in texts and _is_bytes(column.type) else values(column)
        for name, column in zip(names, batch.columns, strict=True)
    ]
    if not columns:
        yield from ({} for _ in range(batch.num_rows))
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def values(column: pa.Array) -> list[Any]:
    """Give a column as Python values: text as str, or as bytes where it is not UTF-8; times in UTC."""
    if pa.types.is_dictionary(column.type):  # each value once, however many rows have it
        used = column.indices.unique().drop_null()
        inner = dict(zip(used.to_pylist(), values(column.dictionary.take(used)), strict=True))
        return [inner.get(at) for at in column.indices.to_pylist()]
    kind = column.type
    if _is_any(_VIEWS, kind):  # pyarrow cannot cast them, or what is in them (26.0)
        return _taken_apart(column)
    if (coarse := _changed(kind, _plain)) != kind:
        # Python's own times have microseconds; pyarrow would give pandas' for more, where that is installed.
        try:
            fitting = column.cast(coarse)
        except pa.ArrowInvalid:
            numbers = column.cast(_changed(kind, _number)).to_pylist()
            rounded = values(column.cast(coarse, safe=False))
            return [_exact(value, number, kind) for value, number in zip(rounded, numbers, strict=True)]
        return values(fitting)
    if _has_strange(column):
        return _worded(column) if pa.types.is_temporal(kind) else _taken_apart(column)
    if pa.types.is_timestamp(kind):  # odd zone names have no Python value
        column = column.cast(pa.timestamp("us", "UTC" if kind.tz else None))
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        if pa.types.is_nested(kind):
            raise
        return _decoded(column.cast(pa.large_binary()).to_pylist())
    except (ValueError, OverflowError) as error:
        raise pa.ArrowNotImplementedError(str(error)) from None


def _span(kind: pa.DataType) -> tuple[int, int] | None:
    """Give the least and the greatest number of a type of dates or times that Python has a value for; None for any other type."""
    if pa.types.is_date32(kind):
        return _FIRST_DAY, _LAST_DAY
    if pa.types.is_time32(kind) or pa.types.is_time64(kind):
        return 0, _DAY_S * _PER_SECOND[kind.unit] - 1
    if pa.types.is_duration(kind):
        day = _DAY_S * _PER_SECOND[kind.unit]
        return timedelta.min.days * day, (timedelta.max.days + 1) * day - 1
    if pa.types.is_date64(kind) or pa.types.is_timestamp(kind):
        per = _PER_SECOND["ms" if pa.types.is_date64(kind) else kind.unit]
        return _FIRST_DAY * _DAY_S * per, (_LAST_DAY + 1) * _DAY_S * per - 1
    return None


def _numbers(column: pa.Array) -> pa.Array:
    """Give dates or times as the numbers that they are stored as."""
    return column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())


def _has_strange(column: pa.Array) -> bool:
    """Tell if a date or time in a column, in lists and objects too, is none of Python's: it would be refused, or taken for another."""
    span = _span(column.type)
    if span is None:
        return any(map(_has_strange, _inner(column)))
    ends = pc.min_max(_numbers(column)).as_py()
    return ends["min"] is not None and not span[0] <= ends["min"] <= ends["max"] <= span[1]


def _worded(column: pa.Array) -> list[Any]:
    """Give dates or times, those as text that are none of Python's, as Arrow writes it but with the year it is."""
    span, kind = _span(column.type), column.type
    assert span is not None
    numbers = _numbers(column).to_pylist()
    strange = [number is not None and not span[0] <= number <= span[1] for number in numbers]
    others = iter(values(column.filter(pa.array([not odd for odd in strange]))))
    return [_word(number, kind) if odd else next(others) for number, odd in zip(numbers, strange, strict=True)]


def _word(number: int, kind: pa.DataType) -> str:
    """Write a date or time whose number is beyond what Python has a value for; a duration as that number."""
    if pa.types.is_duration(kind):
        return str(number)
    if pa.types.is_date32(kind):
        return _day(number)
    if pa.types.is_date64(kind):
        return _day(number // (_DAY_S * 1000))
    per = _PER_SECOND[kind.unit]
    if not pa.types.is_timestamp(kind):
        return ("-" if number < 0 else "") + _clock(abs(number), per)
    day, of_day = divmod(number, _DAY_S * per)
    return f"{_day(day)} {_clock(of_day, per)}{'Z' if kind.tz else ''}"


def _day(number: int) -> str:
    """Write a day, counted from 1970, of any year: 400 years have 146,097 days."""
    cycles, within = divmod(number, 146_097)
    day = _EPOCH + timedelta(days=within)
    year = day.year + 400 * cycles
    return f"{'-' if year < 0 else ''}{abs(year):04}-{day.month:02}-{day.day:02}"


def _clock(number: int, per: int) -> str:
    """Write a time of day, with as many digits as its unit has."""
    seconds, rest = divmod(number, per)
    digits = len(str(per)) - 1
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{rest:0{digits}}" if digits else "")


def _taken_apart(column: pa.Array) -> list[Any]:
    """Give lists and objects as pyarrow gives them, with what lies in them taken out by `values`."""
    there = column.is_valid().to_pylist()
    if pa.types.is_struct(column.type):
        names = [field.name for field in column.type]
        rows = zip(*map(values, column.flatten()), strict=True)
        return [
            dict(zip(names, row, strict=True)) if is_there else None for row, is_there in zip(rows, there, strict=True)
        ]
    if pa.types.is_map(column.type):
        borders = column.offsets.to_pylist()
        begin, count = borders[0], borders[-1] - borders[0]
        keys, items = (values(part.slice(begin, count)) for part in (column.keys, column.items))
        pairs = list(zip(keys, items, strict=True))
        spans = zip(borders[:-1], borders[1:], there, strict=True)
        return [pairs[low - begin : high - begin] if is_there else None for low, high, is_there in spans]
    inner = iter(values(column.flatten()))
    sizes = pc.list_value_length(column).to_pylist()
    return [None if size is None else list(islice(inner, size)) for size in sizes]


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if not _is_finer(kind):
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def _number(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _number(kind.value_type)
    return pa.int64() if _is_finer(kind) else kind


def _is_finer(kind: pa.DataType) -> bool:
    """Tell the times with nanoseconds."""
    timed = pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind)
    return bool(timed and kind.unit == "ns")


def _exact(value: Any, number: Any, kind: pa.DataType) -> Any:
    """Give a value whose times are texts, as Python writes them but with nanoseconds, where they have any; number: the value, with its times as numbers."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if value is None or number is None:
        return value
    if pa.types.is_struct(kind):
        return {field.name: _exact(value[field.name], number[field.name], field.type) for field in kind}
    if pa.types.is_map(kind):
        pairs = zip(value, number, strict=True)
        return [(_exact(k, at, kind.key_type), _exact(v, n, kind.item_type)) for (k, v), (at, n) in pairs]
    if any(is_list(kind) for is_list, _ in _LISTS):
        return [_exact(one, n, kind.value_type) for one, n in zip(value, number, strict=True)]
    if not _is_finer(kind) or number % 1000 == 0:
        return value
    whole = timedelta(microseconds=number // 1000)
    if pa.types.is_duration(kind):
        return f"{whole}{'' if whole.microseconds else '.000000'}{number % 1000:03}"
    if pa.types.is_time64(kind):
        return ("-" if number < 0 else "") + _clock(abs(number), _PER_SECOND["ns"])
    moment = (_EPOCH + whole).isoformat(timespec="microseconds") + f"{number % 1000:03}"
    return moment + "+00:00" if kind.tz else moment


def _changed(kind: pa.DataType, leaf: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Give a type with another one in the place of each that is no list, object or map."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_changed(field.type, leaf)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_changed(kind.key_type, leaf), kind.item_field.with_type(_changed(kind.item_type, leaf)))
    for is_list, make in _LISTS:
        if is_list(kind):
            inner = kind.value_field.with_type(_changed(kind.value_type, leaf))
            return make(inner, kind.list_size) if is_list is _FIXED else make(inner)
    return leaf(kind)


def not_finite(column: pa.Array) -> int:
    """Count the infinities and NaNs in a column, and in what lies in it."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return not_finite(column.storage)
    if pa.types.is_dictionary(kind):
        return not_finite(column.dictionary_decode()) if pa.types.is_floating(kind.value_type) else 0
    if pa.types.is_floating(kind):
        return int(pc.sum(pc.invert(pc.is_finite(column.cast(pa.float64()))), min_count=0).as_py())
    return sum(map(not_finite, _inner(column)))


def sound(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Tell for each row if all texts in it are UTF-8, those in lists and objects too."""
    if all(map(_is_sound, batch.columns)):
        return np.ones(batch.num_rows, np.bool_)
    rows = (batch.take(pa.array([at])) for at in range(batch.num_rows))  # a slice still has what others had
    return np.array([all(map(_is_sound, row.columns)) for row in rows], np.bool_)


def _is_sound(column: pa.Array) -> bool:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _is_sound(column.storage)
    if pa.types.is_dictionary(kind):
        return _is_sound(column.dictionary.take(column.indices.unique().drop_null()))
    if not _is_any(_TEXTS, kind):
        return all(map(_is_sound, _inner(column)))
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def beyond_nanoseconds(column: pa.Array) -> bool:
    """Tell if times in a column, in lists and objects too, are further from 1970 than nanoseconds reach in 64 bits."""
    if not pa.types.is_timestamp(column.type):
        return any(map(beyond_nanoseconds, _inner(column)))
    ends = pc.min_max(column.cast(pa.timestamp("us")).cast(pa.int64())).as_py()
    return any(end is not None and abs(end) >= _MICROSECONDS_OF_NANOSECONDS for end in ends.values())


def _inner(column: pa.Array) -> list[pa.Array]:
    """Give what lies in a column of objects or lists; nothing of any other."""
    if pa.types.is_struct(column.type):
        return column.flatten()  # type: ignore[no-any-return]
    if pa.types.is_map(column.type):
        return [column.keys, column.items]
    is_list = any(is_it(column.type) for is_it, _ in _LISTS) or _is_any(_VIEWS, column.type)
    return [column.flatten()] if is_list else []


def _is_bytes(kind: pa.DataType) -> bool:
    """Tell a column of bytes."""
    if pa.types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    return _is_any(_BYTES, kind)


def _is_any(tests: tuple[Any, ...], kind: pa.DataType) -> bool:
    return any(is_it(kind) for is_it in tests)


def _decoded(values: list[bytes | None]) -> list[str | bytes | None]:
    """Decode each value that is UTF-8."""
    out: list[str | bytes | None] = []
    for value in values:
        try:
            out.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            out.append(value)
    return out


def row_bytes(column: pa.Array) -> NDArray[np.int64]:
    """Give how many bytes each row of a column holds when it is taken out: of texts and one more, and of numbers at their width.

    Raises:
        pa.ArrowInvalid: a place in a dictionary is none: pyarrow (26.0) gives such ones of damaged pages.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return row_bytes(column.storage)
    if pa.types.is_dictionary(kind):
        of_value = np.append(row_bytes(column.dictionary), 0)  # -1, which stands for null, is the last
        places = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        if len(places) and (places.min() < -1 or places.max() >= len(column.dictionary)):
            raise pa.ArrowInvalid("a value's place in the dictionary is behind its end")
        return of_value[places]  # type: ignore[no-any-return]
    if pa.types.is_struct(kind):
        return sum(map(row_bytes, column.flatten()), np.ones(len(column), np.int64))
    if pa.types.is_fixed_size_list(kind):
        inner = row_bytes(column.values.slice(column.offset * kind.list_size, len(column) * kind.list_size))
        return inner.reshape(len(column), kind.list_size).sum(axis=1)  # type: ignore[no-any-return]
    if pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        borders = column.offsets.to_numpy()
        begin, count = borders[0], borders[-1] - borders[0]
        parts = [column.keys, column.items] if pa.types.is_map(kind) else [column.values]
        inner = sum((row_bytes(part.slice(begin, count)) for part in parts), np.zeros(count, np.int64))
        ends = np.concatenate([[0], np.cumsum(inner)])
        return ends[borders[1:] - begin] - ends[borders[:-1] - begin]  # type: ignore[no-any-return]
    if _is_any(_VIEWS, kind):
        ends = np.concatenate([[0], np.cumsum(row_bytes(column.values))])
        begins = column.offsets.to_numpy()
        sizes = pc.list_value_length(column).fill_null(0).to_numpy()
        return ends[begins + sizes] - ends[begins]  # type: ignore[no-any-return]
    try:
        return np.full(len(column), max(kind.bit_width // 8, 1), np.int64)
    except ValueError:  # of no fixed width
        pass
    if pa.types.is_null(kind):
        return np.ones(len(column), np.int64)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        column = column.cast(pa.large_binary())
    return pc.binary_length(column).cast(pa.int64()).fill_null(0).to_numpy() + 1  # type: ignore[no-any-return]
