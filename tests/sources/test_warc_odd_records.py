"""Records of web archives that are odd inside: a row, a code or a warning comes of each, and none hides another."""

import gzip
import random
import zlib

import pytest
from backports import zstd
from tests.sources.warcs import PROSE, framed, html, http, page, read, record, wet

TEXTS = {"records": ["conversion"]}


def put(folder, data, name="a.warc"):
    (folder / name).write_bytes(data)
    return folder


def packed(data):
    return gzip.compress(data, mtime=0)


def chunked(data):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def raw_deflated(data):
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


# --- responses -----------------------------------------------------------------------------------------------------

BODY = html(PROSE)
RESPONSES = {
    "chunks around gzip": (http(chunked(packed(BODY)), Content_Encoding="gzip", Transfer_Encoding="chunked"), "", []),
    "gzip around chunks": (
        http(packed(chunked(BODY)), Content_Encoding="gzip", Transfer_Encoding="chunked"),
        "",
        ["warc.not_chunked"],
    ),
    "the transfer in gzip": (http(chunked(packed(BODY)), Transfer_Encoding="gzip, chunked"), "", []),
    "the transfer and the content in gzip": (
        http(chunked(packed(packed(BODY))), Content_Encoding="gzip", Transfer_Encoding="gzip, chunked"),
        "",
        [],
    ),
    "the transfer in gzip, cut": (
        http(chunked(packed(BODY)[:-9]), Transfer_Encoding="gzip, chunked"),
        "warc.encoding",
        [],
    ),
    "a transfer in gzip that is the content": (
        http(chunked(packed(BODY)), Content_Encoding="gzip", Transfer_Encoding="gzip, chunked"),
        "",
        ["warc.not_encoded"],
    ),
    "a transfer that is called something else than the content": (
        http(chunked(packed(BODY)), Content_Encoding="gzip", Transfer_Encoding="deflate, chunked"),
        "",
        ["warc.not_encoded"],
    ),
    "a transfer in gzip that is deflated content": (
        http(chunked(zlib.compress(BODY)), Content_Encoding="deflate", Transfer_Encoding="gzip, chunked"),
        "",
        ["warc.not_encoded"],
    ),
    "a transfer that was never deflated": (http(BODY, Transfer_Encoding="deflate"), "", ["warc.not_encoded"]),
    "a deflated transfer": (http(zlib.compress(BODY), Transfer_Encoding="deflate"), "", []),
    "words for a transfer that are none": (http(BODY, Transfer_Encoding="utf-8, binary, none, br"), "", []),
    "chunks with a parameter": (http(chunked(BODY), Transfer_Encoding='"chunked"; q=1'), "", []),
    "gzip twice": (http(packed(packed(BODY)), Content_Encoding="gzip, gzip"), "", []),
    "gzip twice, told once": (http(packed(packed(BODY)), Content_Encoding="gzip"), "type.mismatch", []),
    "gzip, not told": (http(packed(BODY)), "type.mismatch", []),
    "deflate without its head": (http(raw_deflated(BODY), Content_Encoding="deflate"), "", []),
    "an encoding nobody knows": (http(BODY, Content_Encoding="sdch"), "warc.encoding", []),
    "an encoding that is none": (http(BODY, Content_Encoding=""), "", []),
    "chunks and junk behind": (http(chunked(BODY) + b"junk", Transfer_Encoding="chunked"), "", []),
    "a chunk of 2**64": (http(b"ffffffffffffffff\r\n" + BODY, Transfer_Encoding="chunked"), "", ["warc.not_chunked"]),
    "a chunk that is cut": (http(b"ffff\r\n" + BODY, Transfer_Encoding="chunked"), "warc.encoding", []),
    "HTTP/2": (b"HTTP/2 200\r\nContent-Type: text/html\r\n\r\n" + BODY, "", []),
    "SHOUTcast": (b"ICY 200 OK\r\nContent-Type: text/html\r\n\r\n" + BODY, "warc.http", []),
    "headers that do not end": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + BODY, "warc.http", []),
    "headers that end in the page": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n<html>\n\n" + BODY,
        "warc.http",
        [],
    ),
    "a page that is called PDF": (http(BODY, kind="application/pdf"), "type.mismatch", []),
    "a PDF that is called a page": (http(b"%PDF-1.7 cut"), "type.mismatch", []),
}


@pytest.mark.parametrize(("block", "code", "warnings"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_a_row_or_has_a_code_and_its_neighbours_are_read(tmp_path, block, code, warnings):
    out = read(put(tmp_path, page(1) + record("response", block, 2) + page(3)))
    assert [code for code, _ in out.rejects] == ([code] if code else [])
    assert {name for name in out.warnings if name.startswith("warc.")} == set(warnings)
    assert [row["url"][-1] for row in out.rows] == (["1", "3"] if code else ["1", "2", "3"])


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "utf-7", "idna", "no\0ne", "rot13"])
def test_a_text_in_a_charset_that_is_none_of_texts_is_one_reject(tmp_path, charset):
    block = http(b"a plain text", kind=f"text/plain; charset={charset}")
    plain = {"mime": ["text/html", "text/plain"]}
    out = read(put(tmp_path, page(1) + record("response", block, 2) + page(3)), **plain)
    assert [code for code, _ in out.rejects] == ["text.encoding"]
    assert [row["url"][-1] for row in out.rows] == ["1", "3"]


EMPTY = {
    "no body": http(b""),
    "headers alone": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n",
    "spaces": http(b" \r\n "),
    "a page with nothing on it": http(b"<html><head><title>t</title></head><body></body></html>"),
}


@pytest.mark.parametrize("block", EMPTY.values(), ids=EMPTY)
def test_an_empty_page_is_counted_and_no_record(tmp_path, block):
    out = read(put(tmp_path, record("response", block, 1) + page(2)))
    assert ([row["url"][-1] for row in out.rows], out.rejects) == (["2"], [])
    assert out.warnings["html.empty"] == 1
    assert out.warnings["warc.cut_headers"] == int(block is EMPTY["headers alone"])


@pytest.mark.parametrize("data", [packed(b""), packed(b"") * 2, b"\x50\x2a\x4d\x18\x04\0\0\0abcd"])
def test_a_file_of_members_with_nothing_in_them_is_counted_as_empty(tmp_path, data):
    out = read(put(tmp_path, data, "a.warc.zst" if data.startswith(b"P") else "a.warc.gz"))
    assert (out.rows, out.rejects, out.warnings) == ([], [], {"file.empty": 1})


def test_an_empty_text_is_counted_and_no_record(tmp_path):
    out = read(put(tmp_path, record("conversion", b"", 1) + record("conversion", b"\xef\xbb\xbf", 2) + wet(3)), **TEXTS)
    assert ([row["url"][-1] for row in out.rows], out.warnings) == (["3"], {"warc.empty": 2})


def test_addresses_that_are_not_utf8_stay_apart(tmp_path):
    """A crawler that writes them as they came: each byte is written as addresses write one."""
    at = wet(1).index(b"WARC-Target-URI: ") + len(b"WARC-Target-URI: ")
    end = wet(1).index(b"\r\n", at)
    data = b"".join(
        wet(n)[:at] + url + wet(n)[end:] for n, url in ((1, b"http://e.com/?q=\xe9"), (2, "http://e.com/?q=é\xe8".encode("latin-1")), (3, "http://e.com/?q=é".encode()))
    )  # fmt: skip
    out = read(put(tmp_path, data), id="url", **TEXTS)
    assert [row["url"] for row in out.rows] == ["http://e.com/?q=%E9", "http://e.com/?q=%E9%E8", "http://e.com/?q=é"]
    assert [row["key"] for row in out.rows] == [row["url"] for row in out.rows]


# --- members and headers -------------------------------------------------------------------------------------------

ONE, TWO, THREE = (packed(wet(n)) for n in (1, 2, 3))
FILES = {
    "a member cut among others": (ONE + TWO[:-30] + THREE, ["1", "3"], ["file.corrupt"]),
    "an empty member among others": (ONE + packed(b"") + TWO, ["1", "2"], []),
    "a record over two members": (
        packed(wet(1)[:300]) + packed(wet(1)[300:]) + TWO,
        ["2"],
        ["warc.length", "warc.header"],
    ),
    "a member that ends in its second record": (packed(wet(1) + wet(2)[:200]) + THREE, ["1", "3"], ["warc.length"]),
    "a member with all fields of gzip": (
        ONE
        + b"\x1f\x8b\x08\x0c\0\0\0\0\0\xff\x06\0ab\x02\0xyname\0"
        + raw_deflated(wet(2))
        + zlib.crc32(wet(2)).to_bytes(4, "little")
        + len(wet(2)).to_bytes(4, "little")
        + THREE,
        ["1", "2", "3"],
        [],
    ),
    "many marks of members that are none": (ONE + b"\x1f\x8b\x08" * 3000 + TWO, ["1", "2"], ["file.corrupt"]),
    "no empty lines between": (wet(1)[:-4] + wet(2), ["1", "2"], []),
    "a version that is none": (wet(1).replace(b"WARC/1.0", b"WARC/one") + wet(2), ["2"], ["warc.header"]),
    "versions of other years": (
        wet(1).replace(b"WARC/1.0", b"WARC/0.18") + wet(2).replace(b"WARC/1.0", b"WARC/1.1"),
        ["1", "2"],
        [],
    ),
    "a header of 70 KB": (record("conversion", b"abc", 1, X_Big="a" * 70_000) + wet(2), ["2"], ["warc.header"]),
    "a folded header": (wet(1).replace(b"WARC-Date: ", b"WARC-Date:\r\n "), ["1"], []),
    "a length with zeros": (wet(1).replace(b"Content-Length: ", b"Content-Length: 00"), ["1"], []),
    "a second length": (wet(1).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1), ["1"], []),
    "a byte order mark": (b"\xef\xbb\xbf" + wet(1) + wet(2), ["2"], ["warc.header"]),
    "a megabyte of junk first": (b"x" * 1_000_000 + b"\n" + wet(1), ["1"], ["warc.header"]),
    "a hundred thousand beginnings": (b"WARC/1.0\r\n\r\n" * 100_000 + wet(1), ["1"], ["warc.header"]),
}


@pytest.mark.parametrize(("data", "there", "codes"), FILES.values(), ids=FILES)
def test_odd_files_lose_what_is_damaged_and_say_so(tmp_path, data, there, codes):
    out = read(put(tmp_path, data), **TEXTS)
    assert [row["url"][-1] for row in out.rows] == there
    assert [code for code, _ in out.rejects] == codes
    assert not out.failed


LARGE = record("conversion", random.Random(1).randbytes(100_000).hex().encode(), 1, WARC_Block_Digest=None)
SMALL = {"max_record_bytes": 50_000, **TEXTS}


@pytest.mark.parametrize("pack", [bytes, packed], ids=["plain", "gzip"])
def test_a_record_over_the_limit_costs_itself_also_where_its_length_is_wrong(tmp_path, pack):
    out = read(put(tmp_path, pack(LARGE + wet(2))), **SMALL)
    assert ([row["url"][-1] for row in out.rows], out.codes) == (["2"], {"size.cap": 1})
    short = LARGE.replace(b"Content-Length: 200000", b"Content-Length: 150000")
    out = read(put(tmp_path, pack(short + wet(2))), **SMALL)
    assert ([row["url"][-1] for row in out.rows], out.codes) == (["2"], {"warc.length": 1})
    assert out.bytes_in == len(short + wet(2))


def test_a_record_over_the_limit_that_is_cut_leaves_its_file_cut(tmp_path):
    put(tmp_path, wet(2) + LARGE[:100_000])
    assert read(tmp_path, **SMALL).failed == {"a.warc": "file.truncated"}
    out = read(tmp_path, **SMALL, incomplete="keep")
    assert ([row["url"][-1] for row in out.rows], out.codes) == (["2"], {"file.truncated": 1})


def test_members_behind_two_megabytes_of_other_bytes_are_found(tmp_path):
    out = read(put(tmp_path, ONE + b"no member " * 210_000 + TWO, "a.warc.gz"), **TEXTS)
    assert ([row["url"][-1] for row in out.rows], out.codes) == (["1", "2"], {"file.trailing": 1})


def behind(content):
    """Give the skippable frame that a zstd WARC has its dictionary in."""
    return b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


DICTIONARY = zstd.train_dict([page(n) for n in range(200)], 4096)


def test_a_dictionary_may_be_compressed_itself(tmp_path):
    records = [wet(n) for n in range(3)]
    frames = b"".join(framed(each, DICTIONARY) for each in records)
    for content in (DICTIONARY.dict_content, zstd.compress(DICTIONARY.dict_content)):
        out = read(put(tmp_path, behind(content) + frames, "a.warc.zst"), **TEXTS)
        assert ([row["url"][-1] for row in out.rows], out.codes) == (["0", "1", "2"], {})


@pytest.mark.parametrize("content", [zstd.compress(DICTIONARY.dict_content)[:-9], b"(\xb5/\xfd no frame", b""])
def test_members_whose_dictionary_is_damaged_cannot_be_read_and_the_others_are(tmp_path, content):
    frames = framed(wet(1), DICTIONARY) + framed(wet(2))
    out = read(put(tmp_path, behind(content) + frames, "a.warc.zst"), **TEXTS)
    assert ([row["url"][-1] for row in out.rows], out.codes) == (["2"], {"file.unsupported": 1})
    assert not out.failed
