"""Inputs that no table of ours foresaw: what looks like text and is none, what is cut, what says two things at once."""

import zlib

import pytest
from tests.extract import pdfs
from tests.extract.pdfs import build, document, flate, show, stream

from gristmill.extract import Document, ExtractOptions, html, pdf
from gristmill.extract.charset import decode
from gristmill.extract.wire import Extracted

WORDS = "A paragraph of the page, with enough words in it to be taken for text and nothing else by anybody. " * 4


def extract(data: bytes, charset: str | None = None) -> Extracted:
    return html.extract(Document("html", data, charset), ExtractOptions())


def page(inner: str, head: str = "") -> bytes:
    return f"<html><head>{head}</head><body>{inner}</body></html>".encode()


# --- what is no text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (
            bytes([0x1B, 0xFF, 0xFF, 0x07, 0x80, 0x88, 0xFF, 0x12]) * 100,
            "type.mismatch",
        ),  # nobody said that it is brotli
        (b"CWS\x0a" + bytes(range(1, 255)) * 4, "text.encoding"),  # a compressed Flash film
        (b"%!PS-Adobe-3.0\n/Helvetica findfont", "type.mismatch"),
        (b'{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n', "type.mismatch"),
    ],
    ids=["brotli", "flash", "postscript", "lines of JSON"],
)
def test_binary_in_disguise_is_refused_though_it_has_no_nul(data, code):
    assert extract(data).code == code


@pytest.mark.parametrize("text", ["[1]\nA note.", "{}\nwords", "Fish\fand\tchips\r\n", "\x1b[1mbold\x1b[0m words"])
def test_text_that_only_begins_oddly_is_text(text):
    found = extract(text.encode())
    assert (found.code, found.warnings) == ("", ["html.plain_text"])


def test_nuls_deep_in_a_page_are_taken_out_and_counted():
    found = extract(page(f"<p>{WORDS * 30}\0\0{WORDS}</p>"))
    assert (found.code, found.warnings) == ("", ["text.nul"])
    assert "\0" not in found.text


# --- comments are no tags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comment", ["<!-- {} -->", "<!-- {}", "<!--{}\n-->"])
def test_a_long_comment_is_no_tag_with_many_attributes(comment):
    found = extract(page(f"<p>{WORDS}</p>" + comment.format("words in it " * 3000)))
    assert (found.code, found.text) == ("", WORDS.strip())


@pytest.mark.parametrize("before", ["", "<!-- a note -->", "<!-->", "<!--->"])
def test_a_tag_with_many_attributes_is_seen_behind_a_comment(before):
    assert extract(page(f"{before}<p {'a ' * 3000}>{WORDS}</p>")).code == "html.attributes"


# --- charsets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["é", "—", "😀", "中"])
def test_a_page_that_is_cut_inside_a_character_is_still_read_as_what_it_is(tail):
    data = (f"<p>Café. {WORDS}" + tail).encode()[:-1]
    decoded = decode(data)
    assert (decoded.charset, decoded.warnings) == ("utf-8", ["charset.replaced"])
    assert decoded.text == f"<p>Café. {WORDS}\ufffd"


def test_latin1_that_ends_in_a_letter_with_an_accent_is_no_cut_utf8():
    assert decode("Un café noir, et un autre café".encode("latin-1")).text == "Un café noir, et un autre café"


@pytest.mark.parametrize(
    ("charset", "meta", "bytes_are", "read_as"),
    [
        ("utf-8", "iso-8859-1", "latin-1", "cp1252"),
        ("iso-8859-1", "utf-8", "utf-8", "utf-8"),
        ("utf-16", "utf-8", "utf-8-sig", "utf-8"),
        ("utf-8", "utf-8", "utf-16", "utf-16-le"),
        ("koi8-r", "windows-1251", "koi8-r", "koi8-r"),
        ("zlib_codec", "hex", "utf-8", "utf-8"),  # Python has codecs of these names; they are no charsets
        ("unicode_escape", "idna", "utf-8", "utf-8"),
    ],
)
def test_header_and_page_that_say_two_things(charset, meta, bytes_are, read_as):
    sample = "Привет, Мир. " if bytes_are == "koi8-r" else "Café, déjà vu. "
    found = extract(page(f"<p>{sample * 20}</p>", f"<meta charset={meta}>").decode().encode(bytes_are), charset)
    assert (found.code, found.meta["charset"]) == ("", read_as)
    assert found.text.startswith(sample.strip())


def test_bytes_of_two_charsets_are_read_as_the_one_that_is_told_with_the_others_marked_and_counted():
    data = page(f"<p>Café {WORDS}</p>" * 5) + page(f"<p>Café {WORDS}</p>" * 5).decode().encode("latin-1")
    found = extract(data, "utf-8")
    assert (found.meta["charset"], found.warnings) == ("utf-8", ["charset.replaced"])
    assert (found.text.count("Café"), found.text.count("Caf\ufffd")) == (5, 5)


# --- PDF -----------------------------------------------------------------------------------------------------------


def read(data: bytes) -> Extracted:
    return pdf.extract(Document("pdf", data), ExtractOptions())


FIRST = stream(show("The first page has words"))
LINES = show(*(f"Line {n} of the second page" for n in range(200)))


@pytest.mark.parametrize(
    "second",
    [
        stream(b"\x78\x9cno deflate at all, whatever it says", b"/Filter /FlateDecode"),
        stream(zlib.compress(LINES)[:400], b"/Filter /FlateDecode"),
        stream(zlib.compress(LINES)[:400], b"/Filter [/FlateDecode]"),
    ],
    ids=["garbage", "cut", "cut, in a list"],
)
def test_a_page_whose_drawing_is_damaged_spoils_the_document(second):
    """The library draws as much of it as there is, or nothing, and says nothing."""
    found = read(build(document(FIRST, second)))
    assert (found.code, found.text) == ("pdf.corrupt", "")
    assert "Line" not in found.detail


def test_a_drawing_with_a_wrong_checksum_only_is_whole():
    found = read(build(document(FIRST, stream(zlib.compress(show("Second"))[:-4], b"/Filter /FlateDecode"))))
    assert (found.code, found.text) == ("", "The first page has words\n\nSecond")


def test_damage_in_what_holds_no_text_costs_nothing():
    broken = zlib.compress(bytes(5000))[:10]
    picture = pdfs.PICTURE + b" /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(broken), broken)
    assert read(build(document(FIRST, flate(show("Second")), more={5: picture}))).code == ""


def test_pages_with_nothing_on_them_are_counted():
    missing = {number: body for number, body in document(FIRST, FIRST).items() if number != 13}
    found = read(build(missing))
    assert (found.text, found.warnings, found.meta["pages"]) == ("The first page has words", ["pdf.blank_pages"], 2)
    assert read(build(document(FIRST, stream(b"abc", b"/Filter /NoSuch")))).warnings == ["pdf.blank_pages"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: b"x" * 500 + data, ""),
        (lambda data: b"x" * 2000 + data, "type.mismatch"),
        (lambda data: data + bytes(5000), ""),
        (lambda data: data.replace(b"%%EOF", b""), "file.truncated"),
        (lambda data: data.replace(b"startxref\n", b"startxref\n9"), ""),
        (lambda data: data[: len(data) // 2] + b"\n%%EOF\n", "pdf.corrupt"),
        (lambda data: data.replace(b"/Count 3", b"/Count 5"), "pdf.corrupt"),
        (lambda data: data.replace(b"/Kids [10 0 R", b"/Kids [99 0 R"), "pdf.corrupt"),
    ],
    ids=["junk before", "much junk before", "zeros behind", "no end", "wrong table", "cut", "count", "no page"],
)
def test_structures_that_are_not_as_they_say(change, code):
    whole = pdfs.plain(("One page",), ("Two page",), ("Three page",))
    found = read(change(whole))
    assert (found.code, found.text) == (code, "" if code else "One page\n\nTwo page\n\nThree page")


def test_looking_for_damage_takes_linear_time():
    hostile = [b">>stream\n" * 300_000, b"<</Length 1000000>>stream\nendstream\n" * 30_000 + bytes(4_000_000)]
    for data in hostile:
        assert pdf._damaged(data) == ""
