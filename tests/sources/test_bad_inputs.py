"""Every bad input we know of, and the word it must get."""

import contextlib
import gzip
import io
import lzma
import os
import socket
import struct
import sys

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = b'{"text": "good"}'
DEEP = b'{"text": "t", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
CHECKED = {zstd.CompressionParameter.checksum_flag: 1}
LINES = b"".join(b'{"text": "line %d", "n": %d}\n' % (i, i * i) for i in range(20_000))
GZ = gzip.compress(LINES, mtime=0)
ZST = zstd.compress(LINES, options=CHECKED)
XZ = lzma.compress(LINES, preset=0)
SKIPPABLE = b"\x53\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def parquet_bytes(**options) -> bytes:
    out = io.BytesIO()
    table = pa.table({"text": [f"row {i}" * 20 for i in range(1000)], "n": range(1000)})
    pq.write_table(table, out, write_page_checksum=True, row_group_size=250, **options)
    return out.getvalue()


PARQUET = parquet_bytes()

# name of the case: (a piece that should be one record, its code)
PIECES = {
    "cut string": (b'{"text": "t', "json.syntax"),
    "trailing comma": (b'{"text": "t",}', "json.syntax"),
    "single quotes": (b"{'text': 't'}", "json.syntax"),
    "raw control character": (b'{"text": "a\tb"}', "json.syntax"),
    "bad escape": (rb'{"text": "\x41"}', "json.syntax"),
    "a word": (b"hello", "json.syntax"),
    "lone carriage return inside": (b'{"text": "a\rb"}', "json.syntax"),
    "invalid UTF-8": (b'{"text": "\xff"}', "text.encoding"),
    "overlong UTF-8": (b'{"text": "\xc0\x80"}', "text.encoding"),
    "surrogate bytes": (b'{"text": "\xed\xa0\x80"}', "text.encoding"),
    "latin-1": ('{"text": "caf\xe9"}'.encode("latin-1"), "text.encoding"),
    "lone high surrogate": (rb'{"text": "\ud800"}', "text.surrogate"),
    "lone low surrogate": (rb'{"text": "t", "a": "\udc00"}', "text.surrogate"),
    "surrogate in a key": (rb'{"text": "t", "\ud800": 1}', "text.surrogate"),
    "NaN": (b'{"text": "t", "a": NaN}', "json.nan"),
    "Infinity": (b'{"text": "t", "a": -Infinity}', "json.nan"),
    "1e999": (b'{"text": "t", "a": 1e999}', "json.nan"),
    "5000 digits": (b'{"text": "t", "a": ' + b"9" * 5000 + b"}", "json.nan"),
    "100,000 levels": (DEEP, "json.depth"),
    "100,000 open brackets": (b'{"text": "t", "a": ' + b"[" * 100_000, "json.depth"),
    "300 levels": (b'{"text": "t", "a": ' + b"[" * 300 + b"]" * 300 + b"}", "json.depth"),
    "an array": (b"[1, 2]", "json.not_object"),
    "a string": (b'"text"', "json.not_object"),
    "a number": (b"12", "json.not_object"),
    "null": (b"null", "json.not_object"),
    "no text": (b'{"body": "t"}', "field.missing"),
    "null text": (b'{"text": null}', "field.missing"),
    "number as text": (b'{"text": 5}', "field.type"),
    "list as text": (b'{"text": ["a"]}', "field.type"),
}
ONLY_LINES = {
    "two values": (GOOD + GOOD, "json.extra"),
    "two values with a comma": (GOOD + b"," + GOOD, "json.extra"),
    "word after the value": (GOOD + b" x", "json.extra"),
    "BOM on a later line": (b"\xef\xbb\xbf" + GOOD, "json.syntax"),
    "too long": (b'{"text": "' + b"x" * 300_000 + b'"}', "size.cap"),
}


@pytest.mark.parametrize(("piece", "code"), [*PIECES.values(), *ONLY_LINES.values()], ids=[*PIECES, *ONLY_LINES])
def test_bad_line_is_one_reject_and_its_neighbours_are_read(read, piece, code):
    data = GOOD + b"\n" + piece + b"\r\n\n" + GOOD
    out = read({"a.jsonl": data}, max_record_bytes=250_000)
    assert out.rejects == [(code, f"a.jsonl#{len(GOOD) + 1}")]
    assert [row["origin"] for row in out.rows] == ["a.jsonl#0", f"a.jsonl#{len(data) - len(GOOD)}"]
    assert out.bytes_in["a.jsonl"] == len(data)
    assert not out.failed


BALANCED = {name: case for name, case in PIECES.items() if name not in {"cut string", "100,000 open brackets"}}


@pytest.mark.parametrize(("piece", "code"), BALANCED.values(), ids=BALANCED)
def test_bad_element_is_one_reject_and_its_neighbours_are_read(read, piece, code):
    data = b"[" + GOOD + b", " + piece + b",\n" + GOOD + b"]\n"
    out = read({"a.json": data})
    assert out.rejects == [(code, f"a.json#{len(GOOD) + 3}")]
    assert [row["origin"] for row in out.rows] == ["a.json#1", f"a.json#{len(data) - len(GOOD) - 2}"]
    assert out.bytes_in["a.json"] == len(data)


ELEMENTS = {
    "trailing comma": (b"[%s,]" % GOOD, 1, ["json.syntax"]),
    "double comma": (b"[%s,,%s]" % (GOOD, GOOD), 2, ["json.syntax"]),
    "only a comma": (b"[,]", 0, ["json.syntax", "json.syntax"]),
    "crossed brackets": (b'[{"text": [}, %s]' % GOOD, 0, None),
    "empty array": (b" [ ] ", 0, []),
    "nothing but spaces": (b" \n\n ", 0, []),
    "only a BOM": (b"\xef\xbb\xbf", 0, []),
    "half a BOM": (b"\xef\xbb", 0, ["text.encoding"]),
    "one object over lines": (b'{\n"text":\n"t"}\n', 1, []),
    "values one after the other": (GOOD + GOOD + b"\n\n" + GOOD, 3, []),
    "stray closing bracket": (GOOD + b"}" + GOOD + GOOD, 3, ["json.syntax"]),
    "junk after the last value": (GOOD + b" x ", 1, ["json.syntax"]),
    "brackets and escapes in strings": (rb'[{"text": "]}\\\"[{,"}, {"text": "\\"}]', 2, []),
    "too long an element": (b'[%s, {"text": "%s"}, %s]' % (GOOD, b"x" * 3_000_000, GOOD), 2, ["size.cap"]),
    "too long a scalar": (b"[%s, %s]" % (GOOD, b"1" * 3_000_000), 1, ["size.cap"]),
}


@pytest.mark.parametrize(("data", "rows", "codes"), ELEMENTS.values(), ids=ELEMENTS)
def test_json_file(read, data, rows, codes):
    out = read({"a.json": data}, format="json", max_record_bytes=2_000_000)
    if codes is None:
        assert out.failed == {"a.json": ("file.truncated", True)}
    else:
        assert not out.failed
        assert (len(out.rows), [code for code, _ in out.rejects]) == (rows, codes)
        assert out.bytes_in["a.json"] == len(data)


UNITS = {
    "array cut in a string": ({"a.json": b"[" + GOOD + b', {"te'}, "file.truncated"),
    "array cut after an element": ({"a.json": b"[" + GOOD + b","}, "file.truncated"),
    "array cut before its bracket": ({"a.json": b"[" + GOOD}, "file.truncated"),
    "object cut": ({"a.json": b'{\n"text": "a'}, "file.truncated"),
    "second value cut": ({"a.json": GOOD + b'{"text": ['}, "file.truncated"),
    "array closed by a brace": ({"a.json": b"[" + GOOD + b"}"}, "json.syntax"),
    "garbage after the array": ({"a.json": b"[" + GOOD + b"] x"}, "file.trailing"),
    "two arrays": ({"a.json": b"[" + GOOD + b"][" + GOOD + b"]"}, "file.trailing"),
    "UTF-16 JSON lines": ({"a.jsonl": GOOD.decode().encode("utf-16")}, "text.encoding"),
    "UTF-16 JSON": ({"a.json": GOOD.decode().encode("utf-16-be")}, None),
    "gzip cut": ({"a.jsonl.gz": GZ[:-1]}, "file.truncated"),
    "gzip cut in the middle": ({"a.jsonl.gz": GZ[: len(GZ) // 2]}, "file.truncated"),
    "gzip cut in the header": ({"a.jsonl.gz": GZ[:5]}, "file.truncated"),
    "second gzip member cut": ({"a.jsonl.gz": GZ + GZ[:-3]}, "file.truncated"),
    "second gzip member is one byte": ({"a.jsonl.gz": GZ + GZ[:1]}, "file.truncated"),
    "gzip checksum": ({"a.jsonl.gz": flipped(GZ, len(GZ) - 6)}, "file.corrupt"),
    "gzip length": ({"a.jsonl.gz": flipped(GZ, len(GZ) - 3)}, "file.corrupt"),
    "gzip trailing": ({"a.jsonl.gz": GZ + b"garbage"}, "file.trailing"),
    "gzip padded, then garbage": ({"a.jsonl.gz": GZ + bytes(300_000) + b"x"}, "file.trailing"),
    "zstd cut": ({"a.jsonl.zst": ZST[:-1]}, "file.truncated"),
    "zstd cut in the middle": ({"a.jsonl.zst": ZST[: len(ZST) // 2]}, "file.truncated"),
    "zstd cut in the magic": ({"a.jsonl.zst": ZST + ZST[:3]}, "file.truncated"),
    "second zstd frame cut": ({"a.jsonl.zst": ZST + ZST[:-3]}, "file.truncated"),
    "zstd checksum": ({"a.jsonl.zst": flipped(ZST, len(ZST) - 1)}, "file.corrupt"),
    "zstd flip": ({"a.jsonl.zst": flipped(ZST, len(ZST) // 2)}, "file.corrupt"),
    "zstd trailing": ({"a.jsonl.zst": ZST + b"garbage"}, "file.trailing"),
    "zstd window of 2 GiB": ({"a.jsonl.zst": b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(20)}, "file.unsupported"),
    "xz padded by no multiple of four": ({"a.jsonl.xz": XZ + bytes(6)}, "file.trailing"),
    "xz padded by no multiple of four between streams": ({"a.jsonl.xz": XZ + bytes(3) + XZ}, "file.trailing"),
    "xz padded, then garbage": ({"a.jsonl.xz": XZ + bytes(300_000) + b"x"}, "file.trailing"),
    "zstd padded": ({"a.jsonl.zst": ZST + bytes(4)}, "file.trailing"),
    "Parquet cut": ({"a.parquet": PARQUET[:-100]}, "file.corrupt"),
    "Parquet magic only": ({"a.parquet": b"PAR1"}, "file.corrupt"),
    "Parquet without head": ({"a.parquet": PARQUET[4:20]}, "file.corrupt"),
    "Parquet footer length": ({"a.parquet": flipped(PARQUET, len(PARQUET) - 7)}, "file.corrupt"),
    "Parquet page": ({"a.parquet": flipped(PARQUET, 3000)}, "file.corrupt"),
}


@pytest.mark.parametrize(("files", "code"), UNITS.values(), ids=UNITS)
def test_damaged_file_fails_as_a_whole(read, files, code):
    out = read(files)
    if code is None:  # more than one answer is right, silence is not
        assert out.failed or out.rejects
    else:
        assert out.failed == {next(iter(files)): (code, True)}
        assert not out.rows


FINE = {
    "gzip members": {"a.jsonl.gz": GZ + gzip.compress(b"") + GZ},
    "gzip padding": {"a.jsonl.gz": GZ + bytes(300_000) + GZ + bytes(7)},
    "xz padding": {"a.jsonl.xz": XZ + bytes(300_000) + XZ + bytes(4)},
    "xz streams": {"a.jsonl.xz": XZ + XZ},
    "zstd frames": {"a.jsonl.zst": SKIPPABLE + ZST + SKIPPABLE + SKIPPABLE + ZST + SKIPPABLE},
    "BOM": {"a.jsonl": b"\xef\xbb\xbf" + LINES + LINES},
    "no final newline": {"a.jsonl": (LINES + LINES)[:-1]},
    "CRLF": {"a.jsonl": (LINES + LINES).replace(b"\n", b"\r\n")},
    "array": {"a.json": b"[" + (LINES + LINES).strip().replace(b"\n", b",\n") + b"]"},
    "values in a row": {"a.json": (LINES + LINES).replace(b"\n", b"")},
    "JSON lines called .json": {"a.json": LINES + LINES},
    "no extension": {"a": LINES + LINES},
    "tiny gzip members": {},  # made when they are read: it takes seconds
}


def fours(lines):
    """Cut after every fourth line."""
    each = lines.splitlines(keepends=True)
    return [b"".join(each[at : at + 4]) for at in range(0, len(each), 4)]


@pytest.mark.parametrize("files", FINE.values(), ids=FINE)
def test_odd_but_right_files_are_read_whole(read, files):
    out = read(files or {"a.jsonl.gz": b"".join(map(gzip.compress, fours(LINES + LINES)))})
    assert not out.failed
    assert not out.rejects
    assert not out.warnings
    assert len(out.rows) == 40_000
    assert out.rows[20_007]["text"] == "line 7"
    assert orjson.loads(out.rows[20_007]["meta"]) == {"n": 49}


CUT = {
    "gzip": ("a.jsonl.gz", GZ[: len(GZ) // 2], 2000),
    "gzip, a member and a half": ("a.jsonl.gz", GZ + GZ[: len(GZ) // 2], 22_000),
    "zstd": ("a.jsonl.zst", ZST[: len(ZST) // 2], 1),
    "xz": ("a.jsonl.xz", XZ[: len(XZ) // 2], 2000),
    "gzip, within the first block": ("a.jsonl.gz", gzip.compress(LINES[:2000])[:-9], 30),
    "an array": ("a.json.gz", gzip.compress(b"[" + LINES.strip().replace(b"\n", b",\n") + b"]")[:-20_000], 2000),
    "a table": (
        "a.csv.gz",
        gzip.compress(b"text,n\n" + b"".join(b'"line %d",%d\n' % (i, i) for i in range(20_000)))[:-30_000],
        2000,
    ),
}


@pytest.mark.parametrize("batch_bytes", [8 << 20, 20_000])
@pytest.mark.parametrize(("name", "data", "least"), CUT.values(), ids=CUT)
def test_of_a_file_that_is_cut_what_stands_before_the_cut_is_kept_on_request(read, name, data, least, batch_bytes):
    assert read({name: data}, batch_bytes).failed == {name: ("file.truncated", True)}
    out = read({name: data}, batch_bytes, incomplete="keep")
    assert not out.failed
    assert len(out.rows) >= least
    assert [row["text"] for row in out.rows] == [f"line {n % 20_000}" for n in range(len(out.rows))]
    (reject,) = out.rejects
    assert reject == ("file.truncated", f"{name}#{out.bytes_in[name]}")
    assert out.bytes_in[name] > sum(len(row["text"]) for row in out.rows)


SHIFT_JIS = "".join(f'{{"text": "線 {n}"}}\n' for n in range(20_000)).encode("shift_jis")


@pytest.mark.parametrize("batch_bytes", [8 << 20, 20_000])
def test_the_cut_of_a_file_in_a_declared_encoding_is_told_in_its_own_bytes(read, batch_bytes):
    data = gzip.compress(SHIFT_JIS)
    whole = read({"a.jsonl.gz": data}, batch_bytes, encoding="shift_jis").bytes_in["a.jsonl.gz"]
    out = read({"a.jsonl.gz": data[:-5000]}, batch_bytes, encoding="shift_jis", incomplete="keep")
    assert [row["text"] for row in out.rows] == [f"線 {n}" for n in range(len(out.rows))]
    (reject,) = out.rejects
    assert reject == ("file.truncated", f"a.jsonl.gz#{out.bytes_in['a.jsonl.gz']}")
    assert whole == len(SHIFT_JIS) > out.bytes_in["a.jsonl.gz"] > len(out.rows[-1]["text"]) * len(out.rows)


KEPT_BY_NONE = {
    "a flipped bit": {"a.jsonl.gz": flipped(GZ, len(GZ) // 2)},
    "junk behind": {"a.jsonl.gz": GZ + b"junk"},
    "cut before anything": {"a.jsonl.gz": GZ[:5]},
    "a stray quote": {"a.csv": b'text\n"a line\n' + b"a line\n" * 100},
    "a stray quote in a whole gzip": {"a.csv.gz": gzip.compress(b'text\n"a line\n' + b"a line\n" * 100)},
    "an array that does not end": {"a.json": b'[{"text": "a"}, {"text": "b"}'},
    "a text": {"a.txt.gz": gzip.compress(bytes(range(65, 90)) * 9000)[:-9]},
    "a page": {"a.html.gz": gzip.compress(b"<html><p>" + b"words " * 9000)[:-9]},
    "nothing but escapes": {"a.txt.gz": gzip.compress(b"\x1b$B") + b"junk"},
}


@pytest.mark.parametrize("files", KEPT_BY_NONE.values(), ids=KEPT_BY_NONE)
def test_what_may_be_no_cut_or_is_no_record_is_set_aside_all_the_same(read, files):
    encoding = "iso2022_jp" if "a.txt.gz" in files else "utf-8"
    assert list(read(files, incomplete="keep", encoding=encoding).failed) == list(files)
    assert list(read(files, encoding=encoding).failed) == list(files)


LIARS = {
    "plain called .gz": {"a.jsonl.gz": LINES},
    "gzip without extension": {"a.jsonl": GZ},
    "zstd called .gz": {"a.jsonl.gz": ZST},
    "array called .jsonl": {"a.jsonl": b"[" + LINES.strip().replace(b"\n", b",\n") + b"]"},
    "lines called .parquet": {"a.parquet": LINES},
    "zstd called .json.gz": {"a.json.gz": zstd.compress(b"[" + LINES.strip().replace(b"\n", b",\n") + b"]")},
}


@pytest.mark.parametrize("files", LIARS.values(), ids=LIARS)
def test_content_decides_and_a_lying_extension_is_counted(read, files):
    out = read(files)
    assert len(out.rows) == 20_000
    assert out.warnings == {"file.extension": 1}
    assert not out.failed


ARRAYS = {
    "part-0": (b'[]\n{"text": "first"}\n{"text": "second"}\n', ["first", "second"], 1),
    "part-1": (b"[[1],[2],[3]]", [], 3),
    "part-2": (b'[1]\n{"text": "third"}\n', ["third"], 1),
    "part-3": (b'[[true]]\n[1, "x"]\n', [], 2),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_values_that_begin_with_an_array_are_no_text(read, name):
    data, texts, rejects = ARRAYS[name]
    out = read({name: data})
    assert [row["text"] for row in out.rows] == texts
    assert [code for code, _ in out.rejects] == ["json.not_object"] * rejects


NO_ARRAYS = {
    "app.log": b"[2024-01-01] INFO begun\n[2024-01-02] INFO done\n",
    "README": b"[![build](https://example.org/b.svg)](https://example.org)\n\n# Mill\n",
    "notes": b"[1] Smith, 1990.\n[2] Jones, 1991.\n",
    "page": b"[[Category:Mills]]\n",
    "steps": b"[ ] one\n[x] two\n",
}


def test_a_text_without_an_extension_that_begins_with_a_bracket_is_no_array(read):
    out = read(NO_ARRAYS)
    assert {row["origin"]: row["text"] for row in out.rows} == {
        f"{name}#0": data.decode() for name, data in NO_ARRAYS.items()
    }
    assert (out.rejects, out.failed, out.warnings) == ([], {}, {})


@pytest.mark.parametrize("begin", [b"[\n ", b"[", b"[  "])
def test_an_array_is_one_whatever_its_file_is_called(read, begin):
    out = read({"a": begin + b'{"text": "one"}]', "b.log": begin + b"]", "c": begin + b'1, {"text": "two"}]'})
    assert [row["text"] for row in out.rows] == ["one", "two"]
    assert [code for code, _ in out.rejects] == ["json.not_object"]


ODD_TEXTS = {
    b"<!DOCTYPE html><html><body><p>This is a page.</p></body></html>": "text.like_html",
    b"\xef\xbb\xbf \n<HTML lang=de>": "text.like_html",
    b'{"text": "one"}\n{"text": "two"}': "text.like_json",
}


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("data", "code"), ODD_TEXTS.items())
def test_a_text_that_begins_as_a_page_or_as_lines_of_json_is_a_text_and_is_counted(read, data, code, lines):
    out = read({"a.txt": data}, lines=lines)
    assert (
        "".join(row["text"] for row in out.rows).strip()
        == data.decode("utf-8-sig").replace("\n", "" if lines else "\n").strip()
    )
    assert out.warnings == {code: 1}
    assert not read({"a.txt": data}, lines=lines, format="text").warnings, "it was asked for"


PROSE = [
    b"<p>a tag</p>", b'{"one": "object"}', b'{"one": 1}\nand prose', b"{a}\n{b}", b'{"a": 1\n{"b": 2}', b"<htmlx>",
    b"<html-loader> is a loader that exports HTML",
]  # fmt: skip


@pytest.mark.parametrize("data", PROSE)
def test_a_text_that_begins_like_something_else_is_a_text(read, data):
    out = read({"a.txt": data})
    assert [row["text"] for row in out.rows] == [data.decode()]
    assert not out.warnings


def test_lines_that_hold_carriage_returns_are_counted(read):
    out = read({"a.txt": b"one\rtwo\rthree\nfour\r\nfive\r"}, lines=True)
    assert [row["text"] for row in out.rows] == ["one\rtwo\rthree", "four", "five"]
    assert out.warnings == {"text.carriage_return": 1}


TEXTS = {
    "plain": (b"one\r\ntwo", ["one\r\ntwo"], []),
    "BOM": (b"\xef\xbb\xbfone", ["one"], []),
    "bracket first": (b"[link](there) and on", ["[link](there) and on"], []),
    "Latin-1": (b"caf\xe9", [], ["text.encoding"]),
    "UTF-16": ("hello".encode("utf-16"), [], ["text.encoding"]),
    "binary": (b"\x7fELF\x00\x01", [], ["type.mismatch"]),
    "late NUL": (b"x" * 10_000 + b"\0", ["x" * 10_000], []),
    "too big": (b"x" * 2_000_000, [], ["size.cap"]),
    "blank": (b"\n", ["\n"], []),
}


@pytest.mark.parametrize(("data", "texts", "codes"), TEXTS.values(), ids=TEXTS)
def test_text_file_is_one_record(read, data, texts, codes):
    out = read({"a.md": data}, max_record_bytes=1_000_000, id="nothing here has fields", url="u")
    assert [row["text"] for row in out.rows] == texts
    assert [code for code, _ in out.rejects] == codes
    assert all(row["origin"] == "a.md#0" and row["key"] is None and row["meta"] is None for row in out.rows)
    assert out.bytes_in["a.md"] == len(data)


def test_text_lines_are_records_with_their_offsets(read):
    out = read(
        {"a.txt": b"\xef\xbb\xbfone\r\n\n  \ntw\xffo\nthree" + b"x" * 100 + b"\nfour"}, lines=True, max_record_bytes=50
    )
    assert [(row["text"], row["origin"]) for row in out.rows] == [("one", "a.txt#0"), ("four", "a.txt#123")]
    assert out.rejects == [("text.encoding", "a.txt#12"), ("size.cap", "a.txt#17")]
    assert out.bytes_in["a.txt"] == 127


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_line_longer_than_what_is_read_at_once_costs_itself(read, name):
    long = 5 << 20
    data = b"one\n" + b"y" * long + b"\nlast"
    packed = gzip.compress(data, 1) if name.endswith(".gz") else data
    out = read({name: packed}, lines=True, max_record_bytes=50, max_ratio=10_000)
    assert [(row["text"], row["origin"]) for row in out.rows] == [("one", f"{name}#0"), ("last", f"{name}#{long + 5}")]
    assert out.rejects == [("size.cap", f"{name}#4")]
    assert out.bytes_in[name] == len(data)


NO_TEXT = {
    "a program": b"\x7fELF\2\1\1\0\0\0\nline\nline\n",
    "UTF-16 without a mark": "one\ntwo\n".encode("utf-16-le"),
    "UTF-16 the other way": "one\ntwo\n".encode("utf-16-be"),
}


@pytest.mark.parametrize("data", NO_TEXT.values(), ids=NO_TEXT)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_what_is_no_text_is_no_text_by_lines_either(read, data, pack):
    many = pack(data + b"and more lines\n" * 2000)
    out = read({"a.txt": many, "b.txt": b"fine\n"}, lines=True, split_bytes=1000)
    assert out.failed == {"a.txt": ("type.mismatch", True)}
    assert [row["text"] for row in out.rows] == ["fine"]
    assert [code for code, _ in read({"a.txt": many}).rejects] == ["type.mismatch"]


def test_a_nul_far_into_a_text_is_taken_out_by_lines_too(read):
    out = read({"a.txt": b"x" * (8 << 10) + b"\ny\0z\n"}, lines=True)
    assert ([row["text"] for row in out.rows][1], out.warnings, out.failed) == ("yz", {"text.nul": 1}, {})


@pytest.mark.parametrize("pack", [lambda d: gzip.compress(d, 9), lambda d: zstd.compress(d, 19)], ids=["gzip", "zstd"])
def test_bomb_is_stopped_and_an_honest_ratio_is_not(read, pack):
    bomb = pack(bytes(30_000_000))
    for caps in ({}, {"max_ratio": 100_000, "max_file_bytes": 10_000_000}):
        out = read({"bomb.jsonl": bomb}, format="jsonl", **caps)
        assert out.failed == {"bomb.jsonl": ("size.cap", True)}
    out = read({"bomb.jsonl": bomb}, max_ratio=100_000, format="jsonl")
    assert not out.failed
    assert out.bytes_in["bomb.jsonl"] == 30_000_000


def test_special_files_are_named_and_never_opened(read, tmp_path):
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        with contextlib.chdir(tmp_path):  # the path of a socket is short
            listener.bind("socket.jsonl")
        out = read({"good.jsonl": GOOD}, path="*.jsonl")
    unreadable = ("file.unreadable", False)
    names = ["dangling.jsonl", "folder.jsonl", "pipe.jsonl", "socket.jsonl"]
    assert out.failed == dict.fromkeys(names, unreadable)
    assert len(out.rows) == 1


def test_odd_names_are_read_and_impossible_ones_are_named(read, tmp_path):
    odd = ["new\nline.jsonl", "100%.jsonl", "%41.jsonl", "a..b.jsonl", "a#1.jsonl", " .jsonl", "[1].jsonl", "ü/x.jsonl"]
    (tmp_path / os.fsdecode(b"\xff.jsonl")).write_bytes(GOOD)
    out = read(dict.fromkeys(odd, GOOD), path="**/*.jsonl")
    assert sorted(row["origin"] for row in out.rows) == sorted(f"{name}#0" for name in odd)
    assert out.failed == {"\\xff.jsonl": ("file.name", False)}


def test_empty_files_are_listed_and_counted(read):
    out = read({"a.jsonl": b"", "b.parquet": b"", "c.txt": b"", "d.jsonl": GOOD})
    assert out.warnings == {"file.empty": 3}
    assert out.plan.listing["unit"].to_pylist() == ["a.jsonl", "b.parquet", "c.txt", "d.jsonl"]
    assert len(out.rows) == 1
