"""CSV: every cell comes out as it went in, a bad row costs itself, and what would swallow the file fails it."""

import csv
import gzip
import io
import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.errors import UnitFailed
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files
from gristmill.sources.formats.csv import Cutter, cells

HEAD = b"id,text,note\n"
FINE = b"1,first,a\n"
LAST = b"9,last,z\n"


def test_rows_are_records_of_strings_with_their_offsets(read):
    data = b'\xef\xbb\xbfid,text,n,when\r\n007,one,1.50,2026-01-02\r\n\r\n8,"two, ""2""\nlines",,x'
    out = read({"a.csv": data}, id="id", time="when")
    assert [(row["key"], row["text"]) for row in out.rows] == [("007", "one"), ("8", 'two, "2"\nlines')]
    assert [row["origin"] for row in out.rows] == ["a.csv#19", "a.csv#46"]
    assert orjson.loads(out.rows[0]["meta"]) == {"n": "1.50"}
    assert str(out.rows[0]["time"]) == "2026-01-02 00:00:00+00:00"
    assert orjson.loads(out.rows[1]["meta"]) == {"n": "", "when": "x"}
    assert (out.rejects, out.warnings, out.bytes_in["a.csv"]) == ([], {"time.unparsed": 1}, len(data))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_first_name_may_be_in_quotes_with_a_line_end_in_it_behind_a_byte_order_mark(read, encoding):
    data = '"a, ""long""\nname",text\r\n1,one\r\n'.encode(encoding)
    at = len('"a, ""long""\nname",text\r\n'.encode(encoding))
    out = read({"a.csv": data}, encoding=encoding.removesuffix("-sig"))
    assert [(row["origin"], row["text"]) for row in out.rows] == [(f"a.csv#{at}", "one")]
    assert orjson.loads(out.rows[0]["meta"]) == {'a, "long"\nname': "1"}
    assert (out.rejects, out.failed, out.bytes_in["a.csv"]) == ([], {}, len(data))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_cap_is_of_a_row_without_its_line_end(read, end):
    data = b"id,text\n1,12345678" + end
    assert [row["text"] for row in read({"a.csv": data}, max_record_bytes=10).rows] == ["12345678"]
    assert read({"a.csv": data}, max_record_bytes=9).rejects == [("size.cap", "a.csv#8")]


def test_delimiters_are_told_and_tabs_are_those_of_tsv(read):
    files = {"a.tsv": b"id\ttext\n1\ta,b\n", "b.tsv.gz": gzip.compress(b'id\ttext\n2\t"c\td"\n')}
    assert [row["text"] for row in read(files).rows] == ["a,b", "c\td"]
    out = read({"c.csv": b"id;text\n1;a,b\n", "d.dat": b"id;text\n2;c\n"}, path="[cd].*", delimiter=";", format="csv")
    assert [row["text"] for row in out.rows] == ["a,b", "c"]


BAD_ROWS = {
    "short": (b"2,only two\n", "csv.columns"),
    "long": (b"2,one,two,three\n", "csv.columns"),
    "a comma at the end": (b"2,one,two,\n", "csv.columns"),
    "a quote inside": (b'2,5" pipe,x\n', "csv.quote"),
    "text behind a quote": (b'2,"one" two,x\n', "csv.quote"),
    "spaces before a quote": (b'2, "one",x\n', "csv.quote"),
    "not UTF-8": (b"2,caf\xe9,x\n", "text.encoding"),
    "surrogates as bytes": (b"2,\xed\xa0\x80,x\n", "text.encoding"),
    "no id": (b",text,x\n", "id.missing"),
    "a giant cell": (b"2," + b"x" * 3_000_000 + b",y\n", "size.cap"),
    "a giant cell in quotes": (b'2,"' + b'x,""\n' * 400_000 + b'",y\n', "size.cap"),
    "a giant row of many cells": (b"2" + b"," * 3_000_000 + b"\n", "size.cap"),
}


@pytest.mark.parametrize(("row", "code"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_one_reject_and_its_neighbours_are_read(read, row, code):
    data = HEAD + FINE + row + LAST
    out = read({"a.csv": data}, id="id", max_record_bytes=2_000_000)
    assert [row["text"] for row in out.rows] == ["first", "last"]
    assert out.rejects == [(code, f"a.csv#{len(HEAD + FINE)}")]
    assert (out.failed, out.bytes_in["a.csv"]) == ({}, len(data))


BAD_FILES = {
    "a quote that is not closed": (HEAD + FINE + b'2,"open,x\n' + LAST, "file.truncated"),
    "a quote that is not closed, and much behind it": (HEAD + b'2,"open,x\n' + LAST * 300_000, "file.truncated"),
    "cut in a quoted cell": (HEAD + FINE + b'2,"cut', "file.truncated"),
    "a quote in the header": (b'id,"text,note\n' + FINE, "file.truncated"),
    "a column twice": (b"id,text,text\n" + FINE, "csv.header"),
    "a column without a name": (b"id,text,\n" + FINE, "csv.header"),
    "a column of spaces": (b"id,text,  \n" + FINE, "csv.header"),
    "lone carriage returns": (b"id,text\r1,a\r2,b\r", "csv.header"),
    "lone carriage returns and quotes": (b'"id","text"\r"1","a"\r', "csv.header"),
    "a quote where none may stand": (b'a"b,"x\r\ny"\n', "csv.header"),
    "UTF-16 without a mark": ((HEAD + FINE).decode().encode("utf-16-le"), "text.encoding"),
    "UTF-32 without a mark": ((HEAD + FINE).decode().encode("utf-32-be"), "text.encoding"),
    "no header": (FINE + LAST, "field.missing"),
    "another delimiter": (HEAD.replace(b",", b";") + FINE.replace(b",", b";"), "field.missing"),
    "a page in its place": (b"<!doctype html><html><body>Log in</body></html>\n", "field.missing"),
    "UTF-16": ((HEAD + FINE).decode().encode("utf-16"), "text.encoding"),
    "a header that is not UTF-8": (b"id,text,caf\xe9\n" + FINE, "text.encoding"),
    "gzip cut": (gzip.compress(HEAD + FINE * 1000)[:-9], "file.truncated"),
}


@pytest.mark.parametrize(("data", "code"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_a_table_fails_and_no_detail_quotes_it(read, data, code):
    out = read({"a.csv": data, "b.csv": HEAD + FINE}, max_record_bytes=2_000_000)
    assert out.failed == {"a.csv": (code, True)}
    assert [row["text"] for row in out.rows] == ["first"]


@pytest.mark.parametrize("header", [b"id,text\r1,a\r", b'"id","text"\r"1","a"\r'])
def test_of_a_header_with_carriage_returns_it_is_told_that_they_end_no_line(header, tmp_path):
    (tmp_path / "a.csv").write_bytes(header)
    source = Files(path="*")
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    with pytest.raises(UnitFailed, match="carriage return in it; end lines with a line feed"):
        list(source.read(split, ReadContext(folder=tmp_path)))


def test_a_carriage_return_that_ends_no_row_is_counted_unless_it_is_quoted(read):
    rows = [b"1,one\r2,two\r\n", b'2,"a\rb ""c\rd"""\r\n', b"3,three\r\n", b"4,four\r\r\n", b'5,"a\r"\r\n']
    out = read({"a.csv": b"id,text\r\n" + b"".join(rows[1:])})
    assert [row["text"] for row in out.rows] == ['a\rb "c\rd"', "three", "four\r", "a\r"]
    assert (out.warnings, out.rejects) == ({"text.carriage_return": 1}, [])
    out = read({"a.csv": b"id,text,more\r\n" + rows[0]})
    assert [row["text"] for row in out.rows] == ["one\r2"]
    assert out.warnings == {"text.carriage_return": 1}


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"\n\n", []),
        (HEAD, []),
        (HEAD.rstrip(), []),
        (b"\r\n" + HEAD + b"\r\n" + FINE, ["first"]),
        (HEAD + FINE.rstrip(), ["first"]),
        (HEAD.replace(b"\n", b"\r\n") + FINE.replace(b"\n", b"\r\n") + LAST, ["first", "last"]),
        (b'"id","text","note"\n"1","first\r\nline",""\n', ["first\r\nline"]),
        (b"text\n[1]\n", ["[1]"]),
        (b'text\n""\n"x"\n', ["", "x"]),
    ],
)
def test_odd_but_right_files_are_read_whole(read, data, texts):
    out = read({"a.csv": data})
    assert ([row["text"] for row in out.rows], out.rejects, out.failed) == (texts, [], {})
    assert out.bytes_in["a.csv"] == len(data)


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "\0", "§", "\x80", "、", "\u2028"])
def test_a_delimiter_that_cannot_be_one_is_refused(read, delimiter):
    with pytest.raises(ValueError, match="delimiter: give one ASCII character"):
        read({"a.csv": HEAD}, delimiter=delimiter)


@pytest.mark.parametrize("members", ["", ["a", ""]])
def test_members_without_a_glob_are_refused(read, members):
    with pytest.raises(ValueError, match="members: empty; give a glob"):
        read({"a.csv": HEAD}, members=members)


def test_real_files_are_read_as_their_authors_say(read, shared):
    folder = shared / "malformed" / "csv_spectrum"
    for path in sorted(folder.glob("*.csv")):
        said = json.loads(path.with_suffix(".json").read_text("utf-8"))
        out = read({path.name: path.read_bytes()}, path=path.name, text=f"{{{next(iter(said[0]))}}}")
        found = [{next(iter(said[0])): row["text"]} | json.loads(row["meta"] or "{}") for row in out.rows]
        assert (found, out.rejects) == (said, []), path.name
    data = (shared / "evals" / "truthfulqa.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    out = read({"t.csv": data}, path="t.csv", text="Question")
    assert [row["text"] for row in out.rows] == [row["Question"] for row in rows]


CELL = st.text(st.sampled_from('ab,;"\n\r\té '), max_size=8)


@settings(max_examples=examples(120), deadline=None)
@given(
    rows=st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t"),
    ends=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    size=st.integers(1, 20),
)
def test_what_is_written_comes_out_however_it_is_cut_into_blocks(rows, delimiter, ends, quoting, size):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=ends, quoting=quoting).writerows(rows)
    data = out.getvalue().encode()
    cut = list(Cutter(delimiter.encode(), 10_000).rows(data[at : at + size] for at in range(0, len(data), size)))
    assert b"".join(row.data for row in cut) == data
    assert [row.start for row in cut[1:]] == [row.end for row in cut[:-1]]
    found = [cells(row.data.removesuffix(ends.encode()), delimiter.encode()) for row in cut]
    assert [[cell.decode() for cell in row] for row in found] == rows


@settings(max_examples=examples(120), deadline=None)
@given(st.binary(max_size=60) | st.text(st.sampled_from('a,"\n\r'), max_size=40).map(str.encode), st.integers(1, 9))
def test_any_bytes_are_covered_once_and_rows_do_not_depend_on_blocks(data, size):
    whole = list(Cutter(b",", 1000).rows([data]))
    cut = list(Cutter(b",", 1000).rows(data[at : at + size] for at in range(0, len(data), size)))
    assert whole == cut
    assert b"".join(row.data for row in whole) == data
    for row in whole:
        cells(row.data, b",")


def test_pages_do_not_change_what_is_read(read):
    data = HEAD + b"".join(b'%d,"text, %d\n",note\n' % (n, n) for n in range(3000)) + b"bad\n"
    whole, paged = read({"a.csv": data}), read({"a.csv": data}, batch_bytes=500)
    assert whole.rows == paged.rows
    assert (len(paged.rows), paged.rejects, paged.bytes_in) == (3000, whole.rejects, whole.bytes_in)
