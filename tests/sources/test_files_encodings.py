"""Declared encodings: the text comes out, places and sizes are those of the stored bytes, what cannot be decoded has a code."""

import csv
import io
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.sources.conftest import read_everything

from gristmill.core.encodings import Stored
from gristmill.core.errors import UnitFailed
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files

TEXTS = ["plain", "Füße", "Ĳ", "日本語", "😀 and 𝄞", "a\u2028b"]
NARROW = {
    "latin-1": TEXTS[:2],
    "cp1252": TEXTS[:2],
    "shift_jis": ["plain", "日本語"],
    "euc_jp": ["plain", "日本語"],
    "gb18030": TEXTS,
}
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
ENCODINGS = [*WIDE, *NARROW]


def lines_of(texts, encoding, bom=""):
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    return [line.encode(encoding) for line in [bom + lines[0], *lines[1:]]]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lines_come_out_and_their_places_are_those_of_the_stored_bytes(read, encoding):
    texts = NARROW.get(encoding, TEXTS) * 300
    lines = lines_of(texts, encoding)
    out = read({"a.jsonl": b"".join(lines)}, batch_bytes=5000, encoding=encoding, split_bytes=1000)
    assert [row["text"] for row in out.rows] == texts
    places = [0]
    for line in lines:
        places.append(places[-1] + len(line))
    assert [row["origin"] for row in out.rows] == [f"a.jsonl#{at}" for at in places[:-1]]
    assert (out.bytes_in["a.jsonl"], out.rejects, out.failed) == (places[-1], [], {})


@pytest.mark.parametrize("encoding", WIDE)
def test_auto_goes_by_the_mark_and_takes_the_rest_for_utf_8(read, encoding):
    marked = b"".join(lines_of(TEXTS, encoding, bom="\ufeff"))
    plain = b"".join(lines_of(TEXTS, "utf-8"))
    out = read({"a.jsonl": marked, "b.jsonl": plain, "c.txt": "\ufeffFüße".encode(encoding)}, encoding="auto")
    assert [row["text"] for row in out.rows] == [*TEXTS, *TEXTS, "Füße"]
    assert out.bytes_in == {"a.jsonl": len(marked), "b.jsonl": len(plain), "c.txt": len("\ufeffFüße".encode(encoding))}
    assert out.rows[0]["origin"] == "a.jsonl#0"


def test_without_being_asked_for_utf_16_is_refused_with_what_to_do(read):
    out = read({"a.jsonl": "x".encode("utf-16"), "b.json": "[1]".encode("utf-16"), "c.txt": "x".encode("utf-16")})
    assert out.failed == dict.fromkeys(("a.jsonl", "b.json"), ("text.encoding", True))
    assert out.rejects == [("text.encoding", "c.txt#0")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("lines", [False, True])
def test_so_is_a_text_of_any_of_them(encoding, lines, tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffabc".encode(encoding).removeprefix("\ufeff".encode(encoding) * 2))
    source = Files(path="*", lines=lines)
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    try:
        (page,) = source.read(split, ReadContext(folder=tmp_path))
        (found,) = [(reject.code, reject.detail) for reject in page.rejects]
    except UnitFailed as error:
        found = (error.code, error.detail)
    assert found[0] == "text.encoding"
    assert "encoding: auto" in found[1]


UNDECODABLE = {
    "a whole text in UTF-16": ("auto", {}, "hello wörld ééé".encode("utf-16") + b"\0", 0, None),
    "a line in UTF-16": ("utf-16-le", {"lines": True}, "ok\n".encode("utf-16-le") + b"\0\xd8x\0", 6, 4),
    "a line in windows-1252": ("windows-1252", {"lines": True}, b"ok\nab\xe4cdefgh\x81", 3, 10),
    "a JSON line in windows-1252": ("windows-1252", {}, b'{"text": "\xe4"}\n{"text": "\xe4\x81"}', 14, 14),
}


@pytest.mark.parametrize(("encoding", "how", "data", "at", "size"), UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_its_encoding_has_no_character_for_is_told_as_that_with_its_stored_bytes(
    encoding, how, data, at, size, tmp_path
):
    (tmp_path / ("a.jsonl" if data.startswith(b"{") else "a.txt")).write_bytes(data)
    source = Files(path="*", encoding=encoding, **how)
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    (page,) = source.read(split, ReadContext(folder=tmp_path))
    (reject,) = page.rejects
    assert (reject.code, reject.origin.partition("#")[2]) == ("text.encoding", str(at))
    assert reject.bytes == (len(data) if size is None else size)
    assert "UTF-8" not in reject.detail
    assert "has no character for" in reject.detail


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_json_csv_and_text_of_any_encoding_are_read(read, encoding):
    values = [{"text": "Füße", "n": 1}, {"text": "zwei"}]
    table = io.StringIO()
    csv.writer(table).writerows([["text", "n"], ["Füße; in\nzwei Zeilen", "1"], ["zwei", "2"]])
    stored = {
        "a.json": json.dumps(values, ensure_ascii=False).encode(encoding),
        "b.csv": table.getvalue().encode(encoding),
        "c.txt": "Füße\nund Hände".encode(encoding),
    }
    out = read(stored, encoding=encoding)
    assert [row["text"] for row in out.rows] == ["Füße", "zwei", "Füße; in\nzwei Zeilen", "zwei", "Füße\nund Hände"]
    assert out.bytes_in == {name: len(data) for name, data in stored.items()}
    width = len("a".encode(encoding)) - (2 if encoding == "utf-16" else 0)
    bom = 2 if encoding == "utf-16" else 0
    assert out.rows[0]["origin"] == f"a.json#{bom + width}"
    assert [row["origin"] for row in read(stored, encoding=encoding, lines=True, path="*.txt").rows] == [
        "c.txt#0",
        f"c.txt#{bom + width * 5}",
    ]


def test_what_cannot_be_decoded_costs_its_record_and_no_other(read):
    good = '{"text": "good"}\n'.encode("utf-16-le")
    half = '{"text": "'.encode("utf-16-le") + b"\x00\xd8" + '"}\n'.encode("utf-16-le")
    out = read({"a.jsonl": good + half + good + b"{"}, encoding="utf-16-le")
    assert [row["origin"] for row in out.rows] == ["a.jsonl#0", f"a.jsonl#{len(good + half)}"]
    assert out.rejects == [
        ("text.encoding", f"a.jsonl#{len(good)}"),
        ("text.encoding", f"a.jsonl#{len(good + half + good)}"),
    ]
    assert out.bytes_in["a.jsonl"] == len(good + half + good) + 1
    table = b"text,n\na\x81,1\nb,2\n"
    assert read({"b.csv": table}, path="*.csv", encoding="cp1252").rejects == [("text.encoding", "b.csv#7")]


MARKS = {
    "utf-8": b"\xef\xbb\xbf",
    "utf-16-le": b"\xff\xfe",
    "utf-16-be": b"\xfe\xff",
    "utf-32-le": b"\xff\xfe\0\0",
    "utf-32-be": b"\0\0\xfe\xff",
}
DECLARED = ["utf-16", "utf-32", *WIDE, "latin-1", "cp1252", "gb18030", "shift_jis"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("declared", DECLARED)
def test_a_mark_that_says_another_encoding_than_is_declared_costs_the_file(read, tmp_path, declared, mark):
    texts = {"a.txt": "words", "b.jsonl": '{"text": "words"}\n', "c.csv": "text\nwords\n"}
    files = {name: MARKS[mark] + text.encode(mark) for name, text in texts.items()}
    needs = declared in {"utf-16", "utf-32"}
    if not needs:
        files["d.txt"] = "none".encode(declared)
    out = read(files, encoding=declared)
    agrees = declared in {mark, mark[:6]} and mark != "utf-8"
    assert [row["text"] for row in out.rows] == [*["words"] * (3 * agrees), *["none"] * (not needs)]
    assert out.failed == ({} if agrees else dict.fromkeys(texts, ("text.encoding", True)))
    assert out.rejects == []
    said = [] if agrees else [said_of(tmp_path, declared)]
    assert all(declared in detail and mark in detail and "encoding: auto" in detail for detail in said)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_without_a_mark_no_order_of_bytes_is_guessed(read, tmp_path, encoding):
    declared = encoding[:6]
    out = read({"a.txt": "hello world".encode(encoding), "b.txt": b""}, encoding=declared)
    assert out.rows == []
    assert out.failed == {"a.txt": ("text.encoding", True)}
    assert f"encoding: {declared}-le or {declared}-be" in said_of(tmp_path, declared)
    assert read({"a.txt": "hello world".encode(encoding)}, encoding=encoding).rows[0]["text"] == "hello world"


def said_of(folder, declared):
    source = Files(path="a.txt", encoding=declared)
    [split] = source.plan(None, PlanContext(folder)).splits
    with pytest.raises(UnitFailed) as raised:
        list(source.read(split, ReadContext(folder=folder)))
    return raised.value.detail


def test_in_a_page_the_mark_is_believed_whatever_is_declared(read):
    page = "<!doctype html><html><body><article><p>" + "Größe und Maß der Füße, in Wörtern. " * 30 + "</p></article>"
    out = read({"a.html": ("\ufeff" + page).encode("utf-16-le")}, encoding="latin-1")
    assert out.rows[0]["text"].startswith("Größe und Maß")


def test_pages_in_a_declared_encoding_are_read_by_it(read):
    page = "<!doctype html><html><body><article><p>" + "Größe und Maß der Füße, in Wörtern. " * 30 + "</p></article>"
    out = read({"a.html": page.encode("cp1252")}, encoding="cp1252")
    assert out.rows[0]["text"].startswith("Größe und Maß")


@pytest.mark.parametrize("name", ["utf-7", "punycode", "base64", "rot13", "no-such", "unicode_escape", ""])
def test_what_is_no_encoding_of_text_is_refused(name):
    with pytest.raises(ValueError, match="encoding"):
        Files(path="a", encoding=name)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.text(st.characters(codec="utf-16-le") | st.sampled_from('\n\n{}"a'), max_size=3000),
    st.sampled_from(["utf-16-le", "utf-32-be", "gb18030", "utf-16"]),
    st.integers(1, 5000),
)
def test_every_place_is_found_again(text, encoding, size):
    data = text.encode(encoding)
    stored = Stored(encoding, 1 << 20)
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    out = b"".join(stored.blocks(iter(blocks)))
    assert out == text.encode()
    at, begin = 0, len(data) - len(text.encode("utf-16-le")) if encoding == "utf-16" else 0
    for char in text[:50]:
        assert stored.at(at) == (begin if at else 0)
        at += len(char.encode())
        begin += len(char.encode("utf-16-le" if encoding == "utf-16" else encoding))
    assert stored.at(len(out)) == len(data)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.text(st.sampled_from("aé日本\n "), max_size=6000).map(lambda text: text * 3),
    st.sampled_from(["utf-16-le", "utf-16", "shift_jis", "iso2022_jp", "gb18030", "utf-32-be"]),
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_a_place_does_not_depend_on_those_that_were_asked_for_before(text, encoding, parts, in_order, broken):
    data = text.encode(encoding, "ignore")
    data = data.replace(b"\n", b"\xff\n", 3) if broken else data

    def fresh():
        stored = Stored(encoding, 1 << 20)
        return stored, sum(map(len, stored.blocks(iter([data]))))

    stored, size = fresh()
    places = [round(part * size) for part in (sorted(parts) if in_order else parts)]
    for place in places:
        alone, _ = fresh()
        assert stored.at(place) == alone.at(place)


def test_a_line_without_end_is_passed_over_in_little_memory_and_its_place_is_known():
    good = '{"text": "good"}\n'.encode("utf-16-le")
    stored = Stored("utf-16-le", 10_000)
    noise = random.Random(1).randbytes(1 << 19).hex().encode("utf-16-le")
    made = 0
    for block in stored.blocks(iter([good, *[noise] * 20, "\n".encode("utf-16-le") + good])):
        made += len(block)
    kept = sum(len(piece.data) for piece in stored._pieces)
    assert kept < 12 << 20
    assert stored.at(len(good) // 2) == len(good)
    assert stored.at(made) == 2 * made


def test_files_of_one_folder_may_lie_in_archives_and_encodings_at_once(tmp_path):
    import gzip

    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(lines_of(TEXTS, "utf-16-le", bom="\ufeff"))))
    out = read_everything(tmp_path, encoding="auto")
    assert [row["text"] for row in out.rows] == TEXTS


def test_what_a_file_is_called_says_nothing_of_its_encoding(read):
    out = read({"a.parquet": "text,n\nFüße,1\n".encode("utf-32-le")}, format="csv", encoding="utf-32-le", delimiter=",")
    assert [row["text"] for row in out.rows] == ["Füße"]
