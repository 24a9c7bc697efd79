"""HTML: what the child process does with a page, here in this process."""

from gristmill.extract import html
from gristmill.extract.wire import Document, ExtractOptions

OPTIONS = ExtractOptions(max_bytes=1 << 20)
SEEDS = [
    (
        b"<!doctype html><html lang=de><head><title>t</title><meta charset=utf-8><link rel=canonical href=/x></head>"
        b"<body><main><h1>Head</h1><p>A paragraph of some words, and another one.</p><ul><li>a<li>b</ul></main></body></html>"
    ),
    b"<html><body><script>document.write('x')</script><noscript>needs scripts</noscript><p hidden>h</p></body></html>",
    "<meta http-equiv=Content-Type content='text/html; charset=windows-1251'><p>\u043c".encode("cp1251"),
    b"<div " * 40 + b"<p>&#x110000;&#xd800;&nbsp;&bogus;<!-- -- > --><![CDATA[x]]>",
    b"plain text, no tags",
]


def one(data: bytes) -> None:
    """Extract, with a charset from a header and without."""
    for charset in (None, "utf-16", "bogus"):
        found = html.extract(Document("html", data, charset, "http://h/p"), OPTIONS)
        assert not (found.code and found.text)
        found.text.encode("utf-8")
        assert found.code or "\0" not in found.text
