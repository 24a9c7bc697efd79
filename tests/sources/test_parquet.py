"""Parquet columns of every kind become text, columns and meta."""

import datetime as dt
import decimal
import io

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import memory
from tests.examples import some
from tests.malformed import parquet


def stored(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return {"a.parquet": out.getvalue()}


TEXTS = {
    "string": pa.array(["ä", "b"]),
    "large_string": pa.array(["ä", "b"], pa.large_string()),
    "dictionary": pa.array(["ä", "b"]).dictionary_encode(),
    "binary": pa.array([b"\xc3\xa4", b"b"]),
    "large_binary": pa.array([b"\xc3\xa4", b"b"], pa.large_binary()),
    "string_view": pa.array(["ä", "b"], pa.string_view()),
}


@pytest.mark.parametrize("column", TEXTS.values(), ids=TEXTS)
def test_text_of_any_string_type_is_read(read, column):
    out = read(stored(pa.table({"text": column})))
    assert [(row["text"], row["origin"]) for row in out.rows] == [("ä", "a.parquet#0"), ("b", "a.parquet#1")]


REFUSED = {
    "null": (pa.array(["a", None]), "field.missing"),
    "bad UTF-8": (pa.array([b"a", b"\xff"]), "text.encoding"),
    "bad UTF-8 called a string": (
        pa.StringArray.from_buffers(2, pa.array([b"a", b"\xff"]).buffers()[1], pa.py_buffer(b"a\xff")),
        "text.encoding",
    ),
    "too long": (pa.array(["a", "x" * 1600]), "size.cap"),
}


@pytest.mark.parametrize(("column", "code"), REFUSED.values(), ids=REFUSED)
def test_row_without_text_is_a_reject_and_its_neighbour_is_read(read, column, code):
    out = read(stored(pa.table({"text": column}), write_statistics=False), max_record_bytes=1500)
    assert out.rejects == [(code, "a.parquet#1")]
    assert [row["text"] for row in out.rows] == ["a"]


def test_numbers_are_no_text(read):
    assert read(stored(pa.table({"text": [1, 2]}))).rejects == [("field.type", f"a.parquet#{i}") for i in range(2)]


def test_file_without_the_text_column_fails(read):
    assert read(stored(pa.table({"body": ["a"]}))).failed == {"a.parquet": ("field.missing", True)}
    assert read(stored(pa.table({"body": ["a"]})), text="{title}{body}").rows[0]["text"] == "a"
    nested = pa.table({"doc": [{"text": "deep", "n": 1}]})
    assert read(stored(nested), text="doc.text").rows[0]["meta"] == '{"doc":{"n":1}}'


def test_a_large_group_of_rows_over_the_cap_is_not_decoded(read):
    table = pa.table({"text": ["x" * (23 << 20)] * 3})
    out = read(stored(table, use_dictionary=False, compression="zstd"), max_record_bytes=1 << 20)
    assert out.failed == {"a.parquet": ("size.cap", True)}


@pytest.mark.slice
@pytest.mark.parametrize("bomb", some([pytest.param(bomb, id=name) for name, bomb in parquet.BOMBS.items()], 1))
def test_pages_that_become_far_more_than_they_are_cost_the_file_before_they_do(read, bomb):
    data = bomb(200)
    assert len(data) < 100_000
    with memory.grown() as most:
        assert read({"a.parquet": data}).failed == {"a.parquet": ("size.cap", True)}
    assert most.bytes < 64 << 20


def test_texts_that_share_their_begin_are_read(read):
    texts = [f"https://example.org/{i:06}/page" for i in range(3000)]
    table = pa.table({"text": texts})
    out = read(stored(table, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}))
    assert [row["text"] for row in out.rows] == texts


WHERE = {
    "column": lambda value: value,
    "list": lambda value: [value],
    "object": lambda value: {"q": {"r": value}},
    "map": lambda value: [("k", value)],
}


@pytest.mark.parametrize("put", WHERE.values(), ids=WHERE)
def test_the_cap_of_a_record_is_over_all_its_columns_in_bytes_and_costs_that_record_alone(read, put):
    kind = pa.map_(pa.string(), pa.string()) if put("x") == [("k", "x")] else None
    column = pa.array([put(value) for value in ("é" * 400, "é" * 600, "x" * 1100)], kind)
    out = read(stored(pa.table({"text": ["a", "b", "c"], "m": column})), max_record_bytes=1000)
    assert out.rejects == [("size.cap", "a.parquet#1"), ("size.cap", "a.parquet#2")]
    assert [row["text"] for row in out.rows] == ["a"]


def test_other_columns_go_to_meta_as_json(read):
    moment = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
    table = pa.table(
        {
            "text": ["t"],
            "id": pa.array([7], pa.uint64()),
            "when": pa.array([1_709_208_000_000_000_001], pa.timestamp("ns", "Europe/Berlin")),
            "day": [dt.date(2024, 2, 29)],
            "price": [decimal.Decimal("1.50")],
            "raw": [b"\xff\x00"],
            "far": pa.array([10**15], pa.timestamp("s")),
            "nan": [float("nan")],
            "list": [[1, None]],
            "took": pa.array([1], pa.duration("us")),
        }
    )
    row = read(stored(table), id="id", time="when").rows[0]
    assert (row["key"], row["time"]) == ("7", moment)
    meta = orjson.loads(row["meta"])
    assert list(meta) == ["day", "price", "raw", "far", "nan", "list", "took"]
    assert (meta["day"], meta["price"], meta["raw"], meta["nan"]) == ("2024-02-29", "1.50", "/wA=", None)
    assert (meta["list"], meta["took"]) == ([1, None], "0:00:00.000001")
    assert meta["far"]


def test_empty_tables_are_read(read):
    for table in (pa.table({"text": pa.array([], pa.string())}), pa.table({"text": ["a"]}).slice(1)):
        out = read(stored(table))
        assert (out.rows, out.rejects, out.failed) == ([], [], {})
        assert out.bytes_in["a.parquet"] > 0
