"""What the pages of Parquet become is known before pyarrow makes it of them."""

import io
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.parquetfooter import Chunk, Compact, chunks
from gristmill.core.parquetpages import Column, PageWatch, page_bytes

CODECS = ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]
TEXTS = st.lists(st.none() | st.text("ab", max_size=9) | st.integers(0, 400).map("ab".__mul__), max_size=300)


def stored(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, use_dictionary=False, **options)
    return out


def columns(raw):
    schema = pq.ParquetFile(raw).schema
    return [
        Column(schema.column(i).max_repetition_level, schema.column(i).max_definition_level) for i in range(len(schema))
    ]


def told(raw):
    """Give of each chunk what its pages are said to become."""
    data = raw.getvalue()
    return [
        [
            list(page_bytes(memoryview(data)[chunk.start :], chunk, column))
            for chunk, column in zip(group, columns(raw), strict=True)
        ]
        for group in chunks(raw)
    ]


@settings(max_examples=examples(24), deadline=None)
@given(TEXTS, st.sampled_from(CODECS), st.sampled_from(["1.0", "2.0"]), st.sampled_from([64, 1 << 20]), st.booleans())
def test_the_bytes_of_values_that_share_their_begin_are_known_to_the_byte(texts, codec, version, page_bytes_, in_lists):
    column = pa.array(
        [[text, "x"] for text in texts] if in_lists else texts, pa.list_(pa.string()) if in_lists else pa.string()
    )
    path = "text.list.element" if in_lists else "text"
    raw = stored(
        pa.table({"text": column}),
        compression=codec,
        data_page_version=version,
        data_page_size=page_bytes_,
        write_batch_size=50,
        column_encoding={path: "DELTA_BYTE_ARRAY"},
    )
    values = column.flatten() if in_lists else column
    whole = sum(len(value) for value in values.to_pylist() if value is not None)
    assert sum(sum(pages[1::2]) for group in told(raw) for pages in group) == whole


@pytest.mark.parametrize("codec", CODECS)
def test_the_sizes_of_all_pages_are_what_the_footer_says_without_their_heads(codec):
    table = pa.table({"text": [f"text {i}" * 9 for i in range(5000)], "n": range(5000)})
    raw = stored(table, compression=codec, data_page_size=4096, write_batch_size=100, row_group_size=2000)
    footer = pq.ParquetFile(raw).metadata
    for g, group in enumerate(told(raw)):
        for c, pages in enumerate(group):
            said = footer.row_group(g).column(c).total_uncompressed_size
            assert len(pages) > 1
            assert said - 250 * len(pages) <= sum(pages) < said


# --- by hand: what pyarrow does not write ----------------------------------------------------------------------------


def number(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def head(unpacked, stored_bytes, values, levels):
    """Give the head of a data page of the first kind: its fields are all i32, one after the other."""
    i32 = [b"\x15" + number(2 * field) for field in (0, unpacked, stored_bytes)]
    about = [b"\x15" + number(2 * field) for field in (values, 7, levels, levels)]
    return b"".join(i32) + b"\x2c" + b"".join(about) + b"\0" + b"\0"


def packed(numbers):
    """Pack numbers of one value after another by DELTA_BINARY_PACKED: the first, and a block of no bits with one delta."""
    first, step = numbers[0], numbers[1] - numbers[0]
    zigzag = number(2 * step if step >= 0 else -2 * step - 1)
    return number(128) + number(4) + number(len(numbers)) + number(2 * first) + zigzag + bytes(4)


VALUES = packed([0, 9, 18]) + packed([9, 9, 9]) + b"123456789" * 3  # 9, 18 and 27 bytes


def framed(data):
    half = len(data) // 2
    parts = [data[:half], data[half:]]
    packs = [pa.compress(part, codec="lz4_raw", asbytes=True) for part in parts]
    return b"".join(struct.pack(">II", len(part), len(pack)) + pack for part, pack in zip(parts, packs, strict=True))


@pytest.mark.parametrize("pack", [framed, lambda data: pa.compress(data, codec="lz4_raw", asbytes=True)])
def test_lz4_is_unpacked_with_and_without_the_frames_of_hadoop(pack):
    data = pack(VALUES)
    chunk = Chunk(values=3, start=0, stored_bytes=999, codec=5)
    assert list(page_bytes(memoryview(head(len(VALUES), len(data), 3, 3) + data), chunk, Column(0, 0))) == [
        len(VALUES),
        54,
    ]


def test_levels_packed_by_bits_have_no_length_before_them():
    data = bytes(1) + VALUES  # five levels of one bit
    chunk = Chunk(values=5, start=0, stored_bytes=999, codec=0)
    assert list(page_bytes(memoryview(head(len(data), len(data), 5, 4) + data), chunk, Column(0, 1))) == [len(data), 54]


BAD = {
    "nothing in it": b"",
    "a number without end": b"\x80" * 30,
    "blocks of nothing": number(0) + number(0) + number(3) + number(2),
    "more values than the page": packed([1, 1, 1]).replace(b"\x03", b"\x7f", 1) * 2,
    "no widths": number(128) + number(4) + number(3) + number(2) + number(0),
    "widths without bits": number(128) + number(4) + number(3) + number(2) + number(0) + b"\x20" * 4,
    "bits beyond all numbers": number(128) + number(4) + number(3) + number(2) + number(0) + b"\xff" * 400,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_an_error_of_the_value_and_takes_no_memory(data):
    chunk = Chunk(values=3, start=0, stored_bytes=999, codec=0)
    found = page_bytes(memoryview(head(len(data), len(data), 3, 3) + data), chunk, Column(0, 0))
    assert next(found) == len(data)
    if data:
        with pytest.raises(ValueError, match=r"number|page|blocks|widths"):
            list(found)


@pytest.mark.parametrize("levels", [-1, 10])
def test_levels_that_are_longer_than_their_page_are_an_error_of_the_value(levels):
    """A data page of the second kind says how long its levels are (fields 5 and 6), which stand before the values."""
    fields = b"".join(b"\x15" + number(2 * field) for field in (3, 9, 9))
    about = b"\x15" + number(2 * 3) + b"\x15\0" + b"\x15\0" + b"\x15" + number(2 * 7)
    lengths = b"\x15" + number(2 * levels if levels >= 0 else -2 * levels - 1) + b"\x15\0"
    data = fields + b"\x5c" + about + lengths + b"\0\0" + bytes(9)
    found = page_bytes(memoryview(data), Chunk(values=3, start=0, stored_bytes=999, codec=0), Column(0, 1))
    with pytest.raises(ValueError, match="levels"):
        list(found)


def test_a_map_in_a_footer_is_passed_over():
    """No field of Parquet is one yet; a reader must pass over what it does not know (Thrift's compact protocol, maps)."""
    two = b"\x1b\2\x85" + number(1) + b"a" + number(2 * 5) + number(0) + number(2 * 6)
    empty = b"\x1b\0"
    read = Compact(two + empty + b"\x15" + number(2 * 7) + b"\0")
    assert read.fields() == {1: [(1, 5), (0, 6)], 2: [], 3: 7}
    with pytest.raises(ValueError, match="list"):
        Compact(two, is_flat=True).fields()


def test_pages_without_values_come_to_an_end():
    chunk = Chunk(values=3, start=0, stored_bytes=1 << 20, codec=0)
    with pytest.raises(ValueError, match="no end"):
        list(page_bytes(memoryview(head(0, 0, 0, 3) * 5000), chunk, Column(0, 0)))


def test_what_is_read_is_counted_once_and_before_it_is_handed_on():
    raw = stored(pa.table({"text": ["a", "b"], "n": [1, 2]}))
    watch, counted = PageWatch(raw), []
    file = pq.ParquetFile(watch, pre_buffer=False)
    watch.watch(dict(enumerate(chunks(raw))), columns(raw), lambda group, made: counted.append((group, made)))
    assert file.read() == file.read()
    assert len(counted) == 2
    assert {group for group, _ in counted} == {0}
    watch.watch(dict(enumerate(chunks(raw))), columns(raw), lambda group, made: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        file.read()
