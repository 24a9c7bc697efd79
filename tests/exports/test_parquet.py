"""Parquet chunks: same bytes however batched, readable by everyone, damage is seen."""

import io
import os
from itertools import pairwise

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.errors import StoreError, naming
from gristmill.core.shards import ShardWriter, row_bytes
from gristmill.exports.parquet import Parquet


def table(count: int, text: str = "grist and mill é\n") -> pa.RecordBatch:
    blank = dict.fromkeys(TABLE_SCHEMA.names)
    rows = [
        {
            **blank,
            "id": f"a/{i}",
            "text": f"{i} " + text * (i % 37),
            "source": "a",
            "lang": "en" if i % 3 else None,
            "content_hash": bytes([i % 256] * 16),
            "ord": i,
            "seq": 1,
            "fetched_at": 1767322445000000 + i,
        }
        for i in range(count)
    ]
    return pa.RecordBatch.from_pylist(rows, TABLE_SCHEMA)


def written(export: Parquet, batches: list[pa.RecordBatch]) -> bytes:
    file = io.BytesIO()
    export.write(file, iter(batches))
    return file.getvalue()


def sharded(batches: list[pa.RecordBatch], max_rows: int, max_bytes: int) -> bytes:
    file = io.BytesIO()
    writer = ShardWriter(file, TABLE_SCHEMA, max_rows=max_rows, max_bytes=max_bytes)
    for batch in batches:
        writer.write(batch)
    writer.close()
    return file.getvalue()


@given(st.lists(st.integers(0, 99), max_size=8), st.integers(7, 120), st.integers(1, 9_000))
@settings(max_examples=examples(10), deadline=None)
def test_same_rows_give_same_bytes_however_batched_and_in_groups_within_both_limits(cuts, max_rows, max_bytes):
    whole = table(99)
    edges = sorted({0, 99, *cuts})
    batches = [whole.slice(start, end - start) for start, end in pairwise(edges)]
    chunked = [batch.filter(pa.array([True] * len(batch))) for batch in batches]
    data = sharded([whole], max_rows, max_bytes)
    assert data == sharded(batches, max_rows, max_bytes) == sharded([whole.slice(9, 0), *chunked], max_rows, max_bytes)
    file = pq.ParquetFile(io.BytesIO(data))
    groups = [file.read_row_group(i) for i in range(file.metadata.num_row_groups)]
    for group, after in zip(groups, [*groups[1:], None], strict=True):
        rows = [*group.to_batches(), *([] if after is None else after.slice(0, 1).to_batches())]
        sizes = [int(size) for batch in rows for size in row_bytes(batch.cast(TABLE_SCHEMA))]
        assert len(group) == 1 or sum(sizes[: len(group)]) <= max_bytes
        assert len(group) <= max_rows
        # Greedy: the next row would not have fitted.
        assert after is None or len(group) == max_rows or sum(sizes) > max_bytes
    assert pa.concat_tables(groups).cast(TABLE_SCHEMA) == pa.Table.from_batches([whole])


def test_the_size_of_a_row_is_the_bytes_of_its_values():
    assert row_bytes(table(2)).tolist() == [3 + 2 + 1 + 8 + 16 + 8 + 8, 3 + 20 + 1 + 2 + 8 + 16 + 8 + 8]


def test_a_shard_tells_its_rows_and_raw_bytes(tmp_path):
    writer = ShardWriter(tmp_path / "shard.parquet", TABLE_SCHEMA)
    writer.write(table(100))
    writer.write(table(50).slice(20))
    assert writer.close() == (130, int(row_bytes(table(100)).sum() + row_bytes(table(50).slice(20)).sum()))
    assert pq.read_metadata(tmp_path / "shard.parquet").num_rows == 130


def test_columns_may_come_in_another_order_and_of_wider_types():
    rows = table(20)
    other = rows.select(TABLE_SCHEMA.names[::-1])
    at = other.schema.get_field_index("text")
    other = other.set_column(at, "text", other.column("text").cast(pa.large_string()))
    assert sharded([other], 10, 10_000) == sharded([rows], 10, 10_000)


def test_only_repeating_columns_have_dictionaries_and_text_has_no_statistics():
    meta = pq.read_metadata(io.BytesIO(sharded([table(100)], 1000, 1 << 20))).row_group(0)
    columns = {meta.column(i).path_in_schema: meta.column(i) for i in range(meta.num_columns)}
    assert {name for name, column in columns.items() if column.has_dictionary_page} == {
        "source",
        "lang",
        "script",
        "lang_score",
        "license",
        "seq",
    }
    assert columns["ord"].statistics.max == 99
    assert not columns["text"].is_stats_set
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_every_reader_reads_it(tmp_path):
    import datasets
    import deltalake
    import polars as pl

    path = tmp_path / "chunk.parquet"
    path.write_bytes(written(Parquet(path="out"), [table(40)]))
    texts = table(40).column("text").to_pylist()
    frame = pl.scan_parquet(path).collect()
    assert frame["text"].to_list() == texts
    assert frame.schema["text"] == pl.String
    assert str(frame.schema["fetched_at"]) == "Datetime(time_unit='us', time_zone='UTC')"
    read = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert read["text"][:] == texts
    deltalake.write_deltalake(tmp_path / "delta", pq.read_table(path))
    assert deltalake.DeltaTable(tmp_path / "delta").to_pyarrow_table()["text"].to_pylist() == texts
    assert pq.read_schema(path).equals(TABLE_SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_chunk_is_counted(tmp_path, count):
    export = Parquet(path="out", columns=["text", "id"])
    path = tmp_path / export.name(0)
    path.write_bytes(written(export, [table(count)]))
    assert export.count(path) == count
    assert pq.read_schema(path).names == ["text", "id"]


def test_raw_bytes_are_the_sum_of_the_row_bytes():
    export = Parquet(path="out", columns=["text", "ord"])
    assert export.write(io.BytesIO(), iter([table(70)])) == export.row_bytes(table(70)).sum()


def test_any_flipped_byte_of_a_page_is_found(tmp_path):
    export = Parquet(path="out", columns=["text", "id", "ord"])
    good = written(export, [table(40)])
    path = tmp_path / "chunk.parquet"
    path.write_bytes(good)
    group = pq.read_metadata(path).row_group(0)
    whole = pq.read_table(path)
    for column in range(3):
        place = group.column(column)
        start = place.data_page_offset
        for at in range(start + 40, start + place.total_compressed_size, 3):
            bad = bytearray(good)
            bad[at] ^= 1 << at % 8
            path.write_bytes(bad)
            try:
                export.count(path)
            except StoreError as error:
                assert str(path) in str(error)  # noqa: PT017
            else:
                assert pq.read_table(path) == whole


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data[:100], lambda data: b"", lambda data: data + b"\0"]
)
def test_a_chunk_cut_short_or_grown_is_damaged(tmp_path, change):
    path = tmp_path / "chunk.parquet"
    path.write_bytes(change(written(Parquet(path="out"), [table(50)])))
    with pytest.raises(StoreError, match=r"chunk\.parquet: not a whole"):
        Parquet(path="out").count(path)


def test_a_footer_with_a_broken_name_is_damage(tmp_path):
    path = tmp_path / "chunk.parquet"
    path.write_bytes(written(Parquet(path="out"), [table(3)]).replace(b"content_hash", b"content\xffhash"))
    with pytest.raises(StoreError, match="UnicodeDecodeError"):
        Parquet(path="out").count(path)


def test_a_missing_chunk_is_damage(tmp_path):
    with pytest.raises(StoreError, match="FileNotFoundError"):
        Parquet(path="out").count(tmp_path / "none")


def test_wrong_parameters_are_refused():
    with pytest.raises(msgspec.ValidationError, match="'body' is none of"):
        msgspec.convert({"path": "out", "columns": ["body"]}, Parquet)
    with pytest.raises(msgspec.ValidationError, match="<= 22"):
        msgspec.convert({"path": "out", "level": 99}, Parquet)


def test_a_write_that_fails_tells_the_chunk_and_not_the_number_of_its_open_file():
    with (
        os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", 0) as file,
        pytest.raises(OSError, match="No space left") as caught,
        naming("chunk_00001.parquet"),
    ):
        ShardWriter(file, TABLE_SCHEMA)
    assert caught.value.filename == "chunk_00001.parquet"


def test_rows_that_end_in_an_error_leave_no_writer_behind(tmp_path):
    """Arrow's would write the end of its file when it is collected, find that closed, and put a traceback before the user."""

    def rows():
        yield table(4)
        raise OSError(5, "Input/output error", "table/x.parquet")

    with pytest.raises(OSError, match=r"table/x\.parquet"), (tmp_path / ".chunk.tmp").open("wb") as file:
        Parquet(path="out").write(file, rows())
