"""JSON lines read by the kernel are those that orjson reads: the same rows, rejects and warnings, whatever stands in a line."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.sources.test_third_party import unpack

from gristmill.core.mapping import Mapping, Rows
from gristmill.sources.formats import jsonl

MAPPINGS = [
    Mapping(text="text"),
    Mapping(text="text", id="id"),
    Mapping(text="text", id="id", url="url", time="time", lang="lang", license="license"),
    Mapping(text="body", id="text", time="id"),
]
STRINGS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet='"\\/\b\f\n\r\t\0\x1f\x7f aé漢😀\u2028', max_size=40),
    st.text(alphabet="ab", min_size=25, max_size=90),
)
PLAIN = st.one_of(
    STRINGS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 10**17, 10**18 - 1, 10**18, 2**63 - 1, 2**63, 2**64, 10**30]),
    st.floats(allow_nan=True),
    st.sampled_from(["2024-01-02T03:04:05Z", "2024-01-02", "never", "1700000000"]),
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3))
KEYS = st.one_of(st.sampled_from(["text", "id", "url", "time", "lang", "license", "body", "tex", "text2", ""]), STRINGS)
SPACES = st.sampled_from(["", "", "", " ", "\t", "\r", "  "])
ODD_LINES = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b"\xef\xbb\xbf{}",
    b'{"text":"a",}',
    b'{,"text":"a"}',
    b'{"text":"a" "id":"b"}',
    b'{"text":"a","id":"b"}}',
    b'{"text":"a","id":"b"} {"text":"c"}',
    b'{"text":"a","id":"b","x":01}',
    b'{"text":"a","id":-0,"x":-0}',
    b'{"text":"a","id":1e2,"x":+1}',
    b'{"text":"a","id":"b","x":.5,"y":1.}',
    b'{"text":"a","id":"b","x":tru}',
    b'{"text":"a","id":"b","x":truex}',
    b'{"text":"a","id":"b","x":nul',
    b'{"text":"a\\ud83d","id":"b"}',
    b'{"text":"\\ud83d\\ude00 \\uDE00","id":"b"}',
    b'{"text":"\\u00e9\\u0041\\u20ac\\ud83d\\uDE00","id":"\\u0062"}',
    b'{"text":"a\\u0000","id":"b"}',
    b'{"text":"\\x41","id":"b"}',
    b'{"text":"\\u12g4","id":"b"}',
    b'{"text":"a","id":"b","x":"\\ud800"}',
    b'{"text":"a","id":"b","x":"\\u0061\\/"}',
    b'{"text":"a","id":"b","x":{"k":1,"k":2}}',
    b'{"text":"a","id":"b","x":1,"x":2}',
    b'{"text":"a","text":"b","id":"b"}',
    b'{"te\\u0078t":"a","id":"b"}',
    b'{"text":"a","id":"b","x":[1,2}',
    b'{"text":"a","id":"b","x":{"]":"}"}}',
    b'{"text":"\xff","id":"b"}',
    b'{"text":"tab\there","id":"b"}',
    b'{"text":"a","id":"b","time":[1]}',
    b'{"text":"a","id":""}',
]
ODD = st.sampled_from(ODD_LINES)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Give the line of an object: keys may repeat, and white space stands anywhere."""
    members = draw(st.lists(st.tuples(KEYS, VALUES), max_size=7))
    members += draw(st.sampled_from([[], [("text", "a text"), ("id", "1")], [("id", 7), ("text", 'with "quotes"')]]))
    ascii_only = draw(st.booleans())
    written = [
        f"{draw(SPACES)}{json.dumps(key, ensure_ascii=ascii_only)}{draw(SPACES)}:"
        f"{draw(SPACES)}{json.dumps(value, ensure_ascii=ascii_only)}{draw(SPACES)}"
        for key, value in members
    ]
    return (draw(SPACES) + "{" + ",".join(written) + "}" + draw(SPACES)).encode("utf-8", "replace")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Give an object with a byte changed, taken away or put in."""
    line = bytearray(draw(objects()))
    at = draw(st.integers(0, len(line) - 1))
    byte = draw(st.one_of(st.sampled_from(b'{}[]:,"\\ 0e\n\r\0\x80'), st.integers(0, 255)))
    line[at : at + draw(st.integers(0, 1))] = bytes([byte]) * draw(st.integers(0, 1))
    return bytes(line)


def pages(monkeypatch, blocks, mapping, kernel_from, start=1000, max_record_bytes=1 << 20):
    """Give all that comes of some blocks: rows, rejects, warnings, bytes."""
    monkeypatch.setattr(jsonl, "_KERNEL_BYTES", kernel_from)
    got = list(jsonl.read(blocks, Rows("a/b.jsonl", mapping, 300), start, max_record_bytes))
    warnings: dict[str, int] = {}
    for page in got:
        for code, n in page.warnings.items():
            warnings[code] = warnings.get(code, 0) + n
    rows = [row for page in got for row in page.rows.to_pylist()]
    for page in got:
        page.rows.validate(full=True)
    return rows, [reject for page in got for reject in page.rejects], warnings, sum(page.bytes_in for page in got)


@settings(max_examples=examples(40), deadline=None)
@given(
    lines=st.lists(st.one_of(objects(), objects(), damaged(), ODD), max_size=12),
    mapping=st.sampled_from(MAPPINGS),
    end=st.booleans(),
    cut=st.integers(1, 400),
    start=st.sampled_from([0, 1000]),
    cap=st.sampled_from([60, 1 << 20]),
)
def test_lines_are_the_same_either_way(lines, mapping, end, cut, start, cap):
    data = b"\n".join(lines) + (b"\n" if end else b"")
    blocks = [data[at : at + cut] for at in range(0, len(data), cut)]
    with pytest.MonkeyPatch.context() as patch:
        by_line = pages(patch, blocks, mapping, 1 << 40, start, cap)
        by_kernel = pages(patch, blocks, mapping, 0, start, cap)
    assert by_kernel == by_line
    assert by_kernel[3] == len(data)


@pytest.mark.parametrize("line", ODD_LINES)
def test_an_odd_line_among_good_ones_is_the_same_either_way(line):
    good = b'{"text":"before \\n","id":"x","n":1}\n{"id":2,"text":"b","n":[1.50]}\n'
    data = good + line + b"\n" + good.replace(b"x", b"y")
    with pytest.MonkeyPatch.context() as patch:
        by_line = pages(patch, [data], MAPPINGS[1], 1 << 40)
        assert pages(patch, [data], MAPPINGS[1], 0) == by_line


def test_what_the_kernel_reads_is_right():
    data = b'{"id": 5, "text": "a\\u00e9\\ud83d\\ude00\\\\", "time": 1700000000, "lang": null, "k": [1.0, {"a": "\\/"}], "s": "q"}\n'
    with pytest.MonkeyPatch.context() as patch:
        (row,), rejects, warnings, _ = pages(patch, [data], MAPPINGS[2], 0)
    assert (row["key"], row["text"], row["origin"], row["lang"]) == ("5", "aé😀\\", "a/b.jsonl#1000", None)
    assert row["meta"] == '{"k":[1.0,{"a":"/"}],"s":"q"}'
    assert row["time"].isoformat() == "2023-11-14T22:13:20+00:00"
    assert not rejects
    assert not warnings


def test_a_mapping_by_path_or_template_goes_line_by_line():
    for spec in ("a.b", "{a}", "a\\b", 'a"b'):
        assert Rows("u", Mapping(text=spec), 1).plain_columns() is None
    assert Rows("u", Mapping(text="a", url="a"), 1).plain_columns() is None
    assert Rows("u", Mapping(text="é", id="a b"), 1).plain_columns() == {"text": "é", "key": "a b"}


def test_many_refused_lines_in_a_block_change_nothing():
    rng = random.Random(5)
    good, bad = b'{"text":"t","id":"%d"}', b'{"text":%d}'
    data = b"\n".join(rng.choice([good, good, bad]) % number for number in range(2000))
    with pytest.MonkeyPatch.context() as patch:
        assert pages(patch, [data], MAPPINGS[1], 0) == pages(patch, [data], MAPPINGS[1], 1 << 40)


def test_other_peoples_values_are_the_same_either_way(shared):
    suite = unpack(shared / "malformed" / "json_test_suite.tar.zst")
    pieces = [data.replace(b"\n", b" ") for data in suite.values() if len(data) < 5000]
    assert len(pieces) > 150
    lines = [b'{"text":"a","id":"%d","x":%b}' % (number, piece) for number, piece in enumerate(pieces)]
    lines += [b'{"id":"%d","text":%b}' % (number, piece) for number, piece in enumerate(pieces)] + pieces
    with pytest.MonkeyPatch.context() as patch:
        for line in lines:
            assert pages(patch, [line + b"\n"], MAPPINGS[1], 0) == pages(patch, [line + b"\n"], MAPPINGS[1], 1 << 40), (
                re.sub(rb"[^ -~]", b"?", line)[:80]
            )
