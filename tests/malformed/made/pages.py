"""HTML and PDF."""

from collections.abc import Iterator
from typing import Any

from tests.extract import pdfs
from tests.malformed.made.outcome import NONE, Content, Counts

WORDS = "A paragraph of the page, with enough words in it to be taken for text and nothing else by anybody. " * 4
HTML, PDF = {"format": "html"}, {"format": "pdf"}


def page(inner: str, head: str = "") -> bytes:
    return f"<html><head>{head}</head><body>{inner}</body></html>".encode()


GOOD_HTML = page(f"<p>{WORDS}</p>")
GOOD_PDF = pdfs.plain(("The first page has words",), ("and so has the second",))


def contents() -> Iterator[Content]:
    """Give all of them."""
    yield from _html()
    yield from _pdf()
    for data, kind in ((GOOD_HTML, "html"), (GOOD_PDF, "pdf")):
        for suffix in (".jsonl", ".parquet", ".json"):
            yield Content("misnamed", f"{kind}_as{suffix}", suffix, data, 1, NONE, {"file.extension": 1})
        yield Content("misnamed", f"{kind}_without_a_name", ".data", data, 1)
    yield Content("misnamed", "html_as.txt", ".txt", GOOD_HTML, 1, NONE, {"text.like_html": 1})
    yield Content("misnamed", "pdf_as.txt", ".txt", GOOD_PDF, 1, NONE, {"file.extension": 1})


def _html() -> Iterator[Content]:
    def html(fault: str, data: bytes, code: str = "", warnings: Counts = NONE, rows: int = 1, **params: Any) -> Content:
        codes = {code: 1} if code else NONE
        return Content("html", fault, ".html", data, 0 if code else rows, codes, warnings, HTML | params)

    yield html("good", GOOD_HTML)
    yield html("empty", b"", "", {"file.empty": 1}, 0)
    yield html("white_space", b" \n", "", {"html.empty": 1}, 0)
    yield html("empty_body", page(" "), "", {"html.empty": 1}, 0)
    yield html("comment_alone", b"<!-- -->", "", {"html.empty": 1}, 0)
    yield html("no_tags", WORDS.encode(), "", {"html.plain_text": 1})
    yield html("picture_alone", page("<img src=x.png>"), "html.no_text")
    yield html("deep", page("<div>" * 2500 + WORDS), "html.too_deep")
    yield html("deep_by_setting", page("<div>" * 60 + WORDS), "html.too_deep", extract={"max_depth": 50})
    yield html("attributes", page("<p " + " ".join(f"a{n}" for n in range(3000)) + f">{WORDS}"), "html.attributes")
    yield html("over_max_bytes", GOOD_HTML * 3, "size.cap", extract={"max_bytes": len(GOOD_HTML) + 9})
    yield html("over_cap", GOOD_HTML * 3, "size.cap", max_record_bytes=len(GOOD_HTML) + 9)
    yield html("shell", page("<div id=root></div><noscript>You need to enable JavaScript to run this app.</noscript><script src=a.js></script>"), "web.shell")  # fmt: skip
    yield html("login", page("<form><h1>Log in</h1><label>Password <input type=password></label></form>", "<title>x</title>"), "web.login")  # fmt: skip
    yield html("not_found", page("<h1>Sorry</h1>", "<title>404 Not Found</title>"), "web.not_found")
    others = {
        "json": b'{"text": "a"}',
        "jsonl": b'{"text": "a"}\n{"text": "b"}\n',
        "pdf": GOOD_PDF,
        "png": b"\x89PNG\r\n\x1a\n....",
        "gif": b"GIF89a....",
        "feed": b"<?xml version='1.0'?><rss><channel><title>x</title></channel></rss>",
        "nul_in_plain_words": b"plain words\0and a NUL",
    }
    for name, data in others.items():
        if name != "pdf":  # a PDF is read as one, whatever its name or the format says
            yield html(f"{name}_in_its_place", data, "type.mismatch")
    yield html("bytes_of_no_charset", b"<html><body><p>\x81\x8d\xff\xfe\x81\x8f</p>" + bytes(range(128, 256)) * 3, "text.encoding")  # fmt: skip
    yield html("few_bad_bytes", page(f"<p>{WORDS * 3} Café</p>", "<meta charset=utf-8>") + b"<p>x \xff y</p>", "", {"charset.replaced": 1})  # fmt: skip
    yield html("charset_lies", page(f"<p>Füße. {WORDS}</p>", "<meta charset=iso-8859-1>"), "", {"charset.lied": 1})
    yield html("nul_deep_in", page(f"<p>{WORDS * 30}\0\0{WORDS}</p>"), "", {"text.nul": 1})
    yield html("utf-16_marked", GOOD_HTML.decode().encode("utf-16"))


def _pdf() -> Iterator[Content]:
    def pdf(fault: str, data: bytes, code: str = "", warnings: Counts = NONE, rows: int = 1, **params: Any) -> Content:
        codes = {code: 1} if code else NONE
        return Content("pdf", fault, ".pdf", data, 0 if code else rows, codes, warnings, PDF | params)

    yield pdf("good", GOOD_PDF)
    yield pdf("empty", b"", "", {"file.empty": 1}, 0)
    for name, share in (("a_quarter", 4), ("half", 2)):
        yield pdf(f"cut_to_{name}", GOOD_PDF[: len(GOOD_PDF) // share], "file.truncated")
    yield pdf("cut_before_the_end_mark", GOOD_PDF[: GOOD_PDF.rindex(b"%%EOF")], "file.truncated")
    yield pdf("no_mark", b"words" * 300, "type.mismatch")
    yield pdf("html_in_its_place", GOOD_HTML, "type.mismatch")
    yield pdf("zeros", bytes(2000), "type.mismatch")
    yield pdf("locked", pdfs.locked(), "pdf.locked")
    yield pdf("scan", pdfs.scan(2), "pdf.scan")
    yield pdf("no_text", pdfs.build(pdfs.document(pdfs.stream(b""))), "pdf.no_text")
    yield pdf("private_use", pdfs.private_use(), "pdf.mojibake")
    yield pdf("pages_over", pdfs.many_pages(4), "size.cap", extract={"max_pages": 3})
    yield pdf("over_max_bytes", pdfs.plain(("words " * 400,)), "size.cap", extract={"max_bytes": len(GOOD_PDF) + 9})
    drawing = pdfs.stream(b"\x78\x9cno deflate at all, whatever it says", b"/Filter /FlateDecode")
    yield pdf("damaged_drawing", pdfs.build(pdfs.document(pdfs.stream(pdfs.show("Words")), drawing)), "pdf.corrupt")
    blank = pdfs.build(pdfs.document(pdfs.stream(pdfs.show("The first page has words")), pdfs.stream(b"")))
    yield pdf("blank_page", blank, "", {"pdf.blank_pages": 1})
