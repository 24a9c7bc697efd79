"""Files that are odd in ways no table foresaw: nothing of them goes by in silence."""

import base64
import gzip
import io
import json
import lzma
import struct
import zlib

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption
from tests.sources.test_files_archives import tarred

from gristmill.core.files import zstd


def stored(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def test_two_parquet_columns_of_one_name_are_refused_as_one_would_hide_the_other(read):
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    out = read({"a.parquet": stored(twice), "b.parquet": stored(pa.table({"text": ["c"]}))})
    assert out.failed == {"a.parquet": ("file.unsupported", True)}
    assert [row["text"] for row in out.rows] == ["c"]


def test_two_fields_of_one_name_within_a_column_are_refused_too(read):
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    out = read({"a.parquet": stored(pa.table({"text": ["t"], "s": twice}))})
    assert out.failed == {"a.parquet": ("file.unsupported", True)}


@pytest.mark.parametrize("beside", [pa.array([2**62, 1], pa.timestamp("us")), pa.array([1, 2], pa.timestamp("ns"))])
@pytest.mark.parametrize("within", [lambda inner: inner, lambda inner: pa.ListArray.from_arrays([0, 1, 2], inner)])
def test_so_are_two_fields_of_one_name_in_an_object_whatever_stands_beside_them(read, beside, within):
    twice = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["x", "y"]), beside], names=["k", "k", "t"])
    out = read({"a.parquet": stored(pa.table({"text": ["t", "u"], "s": within(twice)}))})
    assert out.failed == {"a.parquet": ("file.unsupported", True)}


BYTES = {
    "bytes": lambda values: pa.array(values, pa.binary()),
    "large": lambda values: pa.array(values, pa.large_binary()),
    "views": lambda values: pa.array(values, pa.binary_view()),
    "a dictionary": lambda values: pa.array(values, pa.binary()).dictionary_encode(),
}


@pytest.mark.parametrize("made", BYTES.values(), ids=BYTES)
def test_bytes_are_base64_in_meta_whatever_they_spell_and_text_where_the_config_says_so(read, made):
    """Of one value that is text and one that is its base64, both would come out alike."""
    values = [b"abc", b"\xff", b"/w=="]
    columns = {"text": made([b"one", b"two", b"three"]), "k": made([b"1", b"2", b"3"]), "raw": made(values)}
    columns["within"] = pa.array([{"b": value} for value in values])
    out = read({"a.parquet": stored(pa.table(columns))}, id="k", lang="raw")
    assert [(row["text"], row["key"], row["lang"]) for row in out.rows] == [
        ("one", "1", "abc"),
        ("two", "2", None),
        ("three", "3", "/w=="),
    ]
    out = read({"a.parquet": stored(pa.table(columns))}, id="k")
    metas = [json.loads(row["meta"]) for row in out.rows]
    assert [(meta["raw"], meta["within"]["b"]) for meta in metas] == [
        ("YWJj", "YWJj"),
        ("/w==", "/w=="),
        ("L3c9PQ==",) * 2,
    ]


@pytest.mark.parametrize("kind", [pa.binary(), pa.binary(3)])
def test_bytes_in_a_template_are_text_beside_its_other_fields(read, kind):
    columns = {"code": pa.array([b"abc", b"de\xff", b"fgh"], kind), "body": ["one", "two", "three"]}
    out = read({"a.parquet": stored(pa.table(columns))}, text="{code} {body}")
    assert [row["text"] for row in out.rows] == ["abc one", "fgh three"]
    assert out.rejects == [("text.encoding", "a.parquet#1")]


def test_parquet_files_of_other_schemas_are_read_by_their_names(read):
    """Columns may be missing, added, or of another type; only the text must be there."""
    files = {
        "a.parquet": stored(pa.table({"text": ["a"], "n": [1]})),
        "b.parquet": stored(pa.table({"m": [2.5], "n": ["x"], "text": pa.array(["b"]).dictionary_encode()})),
        "c.parquet": stored(pa.table({"body": ["c"]})),
    }
    out = read(files)
    assert [(row["text"], orjson.loads(row["meta"])) for row in out.rows] == [
        ("a", {"n": 1}),
        ("b", {"m": 2.5, "n": "x"}),
    ]
    assert out.failed == {"c.parquet": ("field.missing", True)}


def test_numbers_that_json_has_no_word_for_are_null_and_counted(read):
    nan, inf = float("nan"), float("inf")
    columns = {
        "text": ["t", "u"],
        "x": [nan, 1.0],
        "half": pa.array([inf, None], pa.float16()),
        "list": [[nan, 2.0, -inf], None],
        "deep": [{"a": [{"b": nan}]}, {"a": []}],
        "map": pa.array([[("k", inf)], []], pa.map_(pa.string(), pa.float64())),
        "kinds": pa.array([inf, 1.0]).dictionary_encode(),
    }
    out = read({"a.parquet": stored(pa.table(columns))})
    assert out.warnings == {"field.not_finite": 7}
    meta = orjson.loads(out.rows[0]["meta"])
    assert (meta["x"], meta["half"], meta["list"], meta["map"]) == (None, None, [None, 2.0, None], [["k", None]])
    assert orjson.loads(out.rows[1]["meta"])["x"] == 1.0


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_time_that_is_out_of_range_becomes_no_other_time(read, unit):
    """In microseconds it would go round the end of 64 bits, and may come to lie in our days."""
    wraps = {"ms": 2**61, "us": 2**62, "ns": 2**62}[unit]
    table = pa.table({"text": ["a", "b"], "at": pa.array([wraps, 0], pa.timestamp(unit))})
    out = read({"a.parquet": stored(table)}, time="at")
    first, second = out.rows
    assert str(second["time"]) == "1970-01-01 00:00:00+00:00"
    if unit == "ns":
        assert str(first["time"]).startswith("2116-02-20")
    else:
        assert (first["time"], out.warnings) == (None, {"time.unparsed": 1})
        told = {"ms": "73071226-02-26 19:48:13.952", "us": "148108-07-06 14:00:27.387904"}[unit]
        assert orjson.loads(first["meta"]) == {"at": told}


def test_a_row_group_that_one_worker_must_read_alone_is_told(read, monkeypatch):
    monkeypatch.setattr("gristmill.sources.formats.parquet._LARGE_GROUP_BYTES", 10_000)
    table = pa.table({"text": [f"{n} " * 50 for n in range(300)]})
    out = read({"a.parquet": stored(table, row_group_size=200, use_dictionary=False)})
    assert (len(out.rows), out.warnings) == (300, {"file.large_group": 2})


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_file_with_nothing_in_it_is_counted_whether_compressed_or_not(read, pack):
    out = read({"a.jsonl.gz": pack(b""), "b.jsonl": b"", "c.jsonl": b'{"text": "t"}'})
    assert out.warnings["file.empty"] == 2
    assert len(out.rows) == 1


def test_what_is_compressed_twice_is_refused_and_not_unpacked_again(read):
    out = read({"a.jsonl.gz": gzip.compress(gzip.compress(b'{"text": "t"}\n' * 100))})
    assert not out.rows
    assert {code for code, _ in out.rejects} <= {"text.encoding", "json.syntax"}
    assert out.rejects


class Keys(encryption.KmsClient):
    """Gives the keys it is given."""

    def wrap_key(self, key_bytes, master_key_identifier):
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key, master_key_identifier):
        return base64.b64decode(wrapped_key)


def encrypted(*, plaintext_footer):
    factory = encryption.CryptoFactory(lambda _: Keys())
    configuration = encryption.EncryptionConfiguration(
        footer_key="a", column_keys={"b": ["text"]}, plaintext_footer=plaintext_footer
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    return stored(pa.table({"text": ["a"] * 9}), encryption_properties=properties)


def nested(levels):
    column = pa.array(["x"])
    for _ in range(levels):
        column = pa.StructArray.from_arrays([column], ["a"])
    return stored(pa.table({"text": ["t"], "m": column}))


def wide_xz():
    """Make xz whose header asks for a dictionary of 3 GiB."""
    data = bytearray(lzma.compress(b"text", preset=0))
    end = 12 + (data[12] + 1) * 4
    data[data.index(b"\x21\x01", 12, end) + 2] = 39
    data[end - 4 : end] = struct.pack("<L", zlib.crc32(data[12 : end - 4]))
    return bytes(data)


def wide_zstd():
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    return packer.compress(b"text") + packer.flush()


def with_dictionary():
    known = zstd.train_dict([b"record number %d of many" % n for n in range(2000)], 2000)
    return zstd.compress(b"record number 7 of many", zstd_dict=known)


WHOLE_BUT_OURS_NOT = {
    "zstd with a window of 1 GiB": ("a.txt.zst", wide_zstd()),
    "zstd with a dictionary that is not there": ("a.txt.zst", with_dictionary()),
    "xz with a dictionary of 3 GiB": ("a.txt.xz", wide_xz()),
    "Parquet of over 100 levels": ("a.parquet", nested(110)),
    "Parquet with an encrypted footer": ("a.parquet", encrypted(plaintext_footer=False)),
    "Parquet with an encrypted footer and no name": ("a", encrypted(plaintext_footer=False)),
    "Parquet with encrypted columns": ("a.parquet", encrypted(plaintext_footer=True)),
}


@pytest.mark.parametrize(("name", "data"), WHOLE_BUT_OURS_NOT.values(), ids=WHOLE_BUT_OURS_NOT)
def test_what_is_whole_and_cannot_be_read_is_not_called_broken(read, name, data):
    out = read({name: data, "b.tar": tarred({name: data, "good.txt": b"good"})})
    assert out.failed == {name: ("file.unsupported", True)}
    assert out.rejects == [("file.unsupported", f"b.tar!/{name}")]
    assert [row["text"] for row in out.rows] == ["good"]
