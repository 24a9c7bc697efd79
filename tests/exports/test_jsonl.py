"""JSON lines: a plain-Python definition of a line, and the promises on bytes and damage."""

import gzip
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core import jsonlines
from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.errors import StoreError
from gristmill.exports.jsonl import Jsonl
from gristmill.kernels import jsonl as kernel

KEYS = [name for name in TABLE_SCHEMA.names if name not in {"content_hash", "ord", "seq"}]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CODECS = ["zst", "gz", "none"]

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n\r\t\b\f\0\x1f\x7f\u2028é漢😀'), max_size=40)
TIMES = st.integers(-62135596800_000_000, 253402300799_999_999).map(
    lambda micros: EPOCH + timedelta(microseconds=micros)
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | TEXTS, lambda v: st.dictionaries(TEXTS, v, max_size=3)
)
ROWS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("id", "text", "source"), TEXTS),
        **{name: st.none() | TEXTS for name in ("origin", "url", "lang", "script", "license")},
        **{name: st.none() | TIMES for name in ("time", "fetched_at")},
        "lang_score": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        "meta": st.none() | st.dictionaries(TEXTS, JSONS, max_size=3).map(lambda value: orjson.dumps(value).decode()),
        "content_hash": st.binary(min_size=16, max_size=16),
        "ord": st.integers(-(2**63), 2**63 - 1),
        "seq": st.integers(0, 2**18),
    }
)


def table(rows: list[dict]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, TABLE_SCHEMA)


def some_rows(count: int, letters: str = 'grist, "mill"\n') -> list[dict]:
    blank = dict.fromkeys(TABLE_SCHEMA.names)
    return [
        {
            **blank,
            "id": f"a/{i}",
            "text": f"{i} " + letters * (i % 37),
            "source": "a",
            "content_hash": bytes(16),
            "ord": i,
            "seq": 1,
        }
        for i in range(count)
    ]


def line(row: dict, keys: list[str]) -> bytes:
    """The definition: what a line of the export is."""
    record = {}
    for key in keys:
        value = row[key]
        if value is None:
            continue
        if isinstance(value, datetime):
            value = value.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + f".{value:%f}".replace(".000000", "") + "Z"
        elif isinstance(value, float):
            text = str(np.float32(value))
            value = orjson.Fragment(text)
        elif isinstance(value, bytes):
            value = value.hex()
        elif key == "meta":
            value = orjson.Fragment(value)
        record[key] = value
    return orjson.dumps(record) + b"\n"


def parsed(data: bytes) -> list[dict]:
    """Lines with numbers as float32 sees them: how a float is spelled is its own test."""
    return [json.loads(each, parse_float=lambda digits: np.float32(digits)) for each in data.split(b"\n")[:-1]]


def written(export: Jsonl, batches: list[pa.RecordBatch]) -> bytes:
    file = io.BytesIO()
    export.write(file, iter(batches))
    return file.getvalue()


PLAIN = Jsonl(path="out", compression="none")


@given(st.lists(ROWS, max_size=6), st.integers(0, 3))
@settings(max_examples=examples(60), deadline=None)
def test_lines_equal_the_plain_definition_on_any_unicode(rows, skipped):
    batch = table(rows).slice(skipped)
    data = written(PLAIN, [batch])
    assert parsed(data) == parsed(b"".join(line(row, KEYS) for row in rows[skipped:]))
    assert [len(each) + 1 for each in data.split(b"\n")[:-1]] == PLAIN.row_bytes(batch).tolist()


@given(
    st.lists(ROWS.map(lambda row: {**row, "lang_score": None}), max_size=4),
    st.permutations(TABLE_SCHEMA.names),
    st.integers(1, 15),
)
@settings(max_examples=examples(40), deadline=None)
def test_chosen_columns_are_written_to_the_byte_as_the_definition_says(rows, names, count):
    export = Jsonl(path="out", compression="none", columns=list(names[:count]))
    assert written(export, [table(rows)]) == b"".join(line(row, list(names[:count])) for row in rows)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=examples(120), deadline=None)
def test_a_number_is_the_shortest_that_gives_the_same_float_back(value):
    row = {**some_rows(1)[0], "lang_score": value}
    export = Jsonl(path="out", compression="none", columns=["lang_score"])
    found = json.loads(written(export, [table([row])]))["lang_score"]
    assert isinstance(found, float)
    assert np.float32(found) == np.float32(value)
    assert len(f"{found:e}".rstrip("0")) <= len(f"{float(value):.17e}".rstrip("0"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_json_has_no_word_for_is_left_out(value):
    export = Jsonl(path="out", compression="none", columns=["lang_score", "seq"])
    assert written(export, [table([{**some_rows(1)[0], "lang_score": value}])]) == b'{"seq":1}\n'


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**17), 3 * 10**17))
@settings(max_examples=examples(120), deadline=None)
def test_any_time_is_iso_8601(micros):
    data, offsets = kernel.iso_times(np.array([micros]))
    text = bytes(data[: offsets[1]]).decode()
    date, _, clock = text.rstrip("Z").partition("T")
    year, month, day = (int(part) for part in date.rsplit("-", 2))
    # datetime knows the years 1 to 9999; the calendar repeats every 400 years.
    cycles = (year - 2000) // 400
    moment = datetime.fromisoformat(f"{year - 400 * cycles}-{month:02}-{day:02}T{clock}+00:00")
    assert (moment - EPOCH) // timedelta(microseconds=1) + cycles * 146_097 * 86_400_000_000 == micros
    assert len(date) == (10 if 0 <= year <= 9999 else 13)
    assert ("." in clock) == (micros % 1_000_000 != 0)


@pytest.mark.parametrize("size", [1, 7, 15, 31, 32, 33, 63, 64, 65, 80])
@pytest.mark.parametrize("sign", ['"', "\\", "\n", "\x00", "é"])
def test_a_special_character_at_any_place_of_a_word_is_seen(size, sign):
    texts = ["x" * at + sign + "y" * (size - at) for at in range(size)]
    rows = [{**row, "text": text} for row, text in zip(some_rows(size), texts, strict=True)]
    assert [found["text"] for found in parsed(written(PLAIN, [table(rows)]))] == texts


def test_every_code_point_survives():
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    data = written(PLAIN, [table([{**some_rows(1)[0], "text": every}])])
    assert orjson.loads(data)["text"] == every
    assert data == line({**some_rows(1)[0], "text": every}, KEYS)


def test_a_line_separator_of_unicode_stays_as_it_is():
    assert "a\u2028b".encode() in written(PLAIN, [table([{**some_rows(1)[0], "text": "a\u2028b"}])])


def test_spread_out_json_in_meta_cannot_break_a_line():
    data = written(PLAIN, [table([{**some_rows(1)[0], "meta": '{\r\n\t"a": [1,\n2]}'}])])
    assert data.count(b"\n") == 1
    assert json.loads(data)["meta"] == {"a": [1, 2]}


def test_a_row_without_values_is_an_empty_object():
    export = Jsonl(path="out", compression="none", columns=["url"])
    assert written(export, [table(some_rows(2))]) == b"{}\n{}\n"


def test_columns_of_other_string_types_are_taken():
    batch = table(some_rows(9))
    other = batch.set_column(1, "text", batch.column("text").cast(pa.large_string()))
    other = other.set_column(2, "source", other.column("source").dictionary_encode())
    assert written(PLAIN, [other]) == written(PLAIN, [batch])


@pytest.mark.parametrize("codec", CODECS)
@given(cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=examples(10), deadline=None)
def test_same_rows_give_same_bytes_however_batched(codec, cuts):
    export = Jsonl(path="out", compression=codec)
    whole = table(some_rows(400, "grist and mill " * 90))
    edges = sorted({0, 400, *cuts})
    batches = [whole.slice(start, end - start) for start, end in pairwise(edges)]
    assert written(export, [whole]) == written(export, [batches[0].slice(0, 0), *batches])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_chunk_is_read_back_and_counted(tmp_path, codec, count):
    export = Jsonl(path="out", compression=codec)
    rows = some_rows(count)
    path = tmp_path / export.name(0)
    with path.open("wb") as file:
        raw = export.write(file, iter([table(rows)]))
    assert export.count(path) == count
    data = b"".join(line(row, KEYS) for row in rows)
    assert raw == len(data) == export.row_bytes(table(rows)).sum()
    read = {"gz": gzip.decompress, "zst": jsonlines.zstd.decompress, "none": bytes}[codec]
    assert read(path.read_bytes()) == data


def test_gzip_holds_no_time_and_no_name():
    header = written(Jsonl(path="out", compression="gz"), [table(some_rows(3))])[:10]
    assert header[:9] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00"


def test_zstd_carries_a_checksum():
    assert written(Jsonl(path="out"), [table(some_rows(3))])[4] & 0b100


@pytest.mark.parametrize("codec", ["zst", "gz"])
def test_any_flipped_byte_is_found_or_harmless(tmp_path, codec):
    export = Jsonl(path="out", compression=codec)
    good = written(export, [table(some_rows(60, "x\\y"))])
    data = b"".join(line(row, KEYS) for row in some_rows(60, "x\\y"))
    path = tmp_path / "chunk"
    harmless = 0
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        path.write_bytes(bad)
        try:
            export.count(path)
        except StoreError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:  # a bit that says nothing about the content: a time, a system, padding
            harmless += 1
            with path.open("rb") as file:
                assert b"".join(jsonlines._pieces(file, export.codec)) == data
    assert harmless < 12


@pytest.mark.parametrize("codec", ["zst", "gz"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data + b"\0",
        lambda data: data * 2,
    ],
)
def test_a_chunk_cut_short_or_grown_is_damaged(tmp_path, codec, change):
    export = Jsonl(path="out", compression=codec)
    path = tmp_path / "chunk"
    path.write_bytes(change(written(export, [table(some_rows(50))])))
    with pytest.raises(StoreError, match="chunk: not a whole"):
        export.count(path)


def test_a_plain_chunk_that_ends_inside_a_line_is_damaged(tmp_path):
    path = tmp_path / "chunk"
    path.write_bytes(written(PLAIN, [table(some_rows(5))])[:-1])
    with pytest.raises(StoreError, match="inside a line"):
        PLAIN.count(path)


def test_a_missing_chunk_is_damage(tmp_path):
    with pytest.raises(StoreError, match="FileNotFoundError"):
        PLAIN.count(tmp_path / "none")


@pytest.mark.parametrize(
    ("spelled", "codec", "suffix"),
    [("zstd", "zst", ".jsonl.zst"), ("gzip", "gz", ".jsonl.gz"), ("none", "none", ".jsonl")],
)
def test_two_spellings_of_a_codec_are_one(spelled, codec, suffix):
    export = msgspec.convert({"path": "out", "compression": spelled}, Jsonl)
    assert export == Jsonl(path="out", compression=codec)
    assert export.suffix == suffix
    assert export.fingerprint() == Jsonl(path="elsewhere", compression=codec, docs_per_chunk=3).fingerprint()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"compression": "gz", "level": 9}, "0 to 3"),
        ({"level": 0}, "1 to 22"),
        ({"compression": "none", "level": 1}, "null only"),
        ({"compression": "lzma"}, "lzma"),
        ({"columns": ["text", "body"]}, "'body' is none of"),
        ({"columns": []}, "empty"),
        ({"columns": ["text", "text"]}, "twice"),
    ],
)
def test_parameters_that_cannot_be_written_are_refused(wrong, word):
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert({"path": "out", **wrong}, Jsonl)


def test_levels_change_size_not_content():
    words = np.random.default_rng(1).permutation(2000).astype(str)
    rows = table([{**row, "text": " ".join(words[i : i + 200])} for i, row in enumerate(some_rows(1000))])
    sizes = []
    for level in (1, 19):
        data = written(Jsonl(path="out", level=level), [rows])
        assert jsonlines.zstd.decompress(data) == written(PLAIN, [rows])
        sizes.append(len(data))
    assert sizes[0] > sizes[1]


UNCHECKED = """
import numpy as np
from gristmill.kernels.jsonl import Column, encode
head, text = np.frombuffer(b',"a":', np.uint8), np.frombuffer(b'plain and "quoted" text', np.uint8)
offsets, valid = np.array([0, 0, 10, 23], np.int32), np.ones(3, np.bool_)
lines = bytes(encode([Column(head, text, offsets, valid, True), Column(head, text, offsets, valid, False)], 0, 3))
assert lines.count(b"\\n") == 3, lines
for end in (24, 35, 100):
    try:
        encode([Column(head, text, np.array([0, 0, 10, end], np.int32), valid, True)], 0, 3)
    except IndexError:
        continue
    raise SystemExit(f"offset {end} was not checked")
"""


def test_no_kernel_leaves_its_buffers_when_bounds_are_checked(tmp_path):
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", UNCHECKED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
