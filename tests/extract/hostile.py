"""HTML made to hang, swell or fool whatever reads it, with the codes that may come of it."""

from collections.abc import Callable

MIB = 1 << 20


def shared_html() -> dict[str, tuple[Callable[[], bytes], set[str]]]:
    """Give name -> (document, codes that are right; "" is a text)."""
    return {
        "20,000 nested div": (lambda: b"<div>" * 20_000 + b"deep", {"html.too_deep"}),
        "20,000 nested div, closed by others": (lambda: b"<div></x>" * 20_000 + b"deep", {"html.too_deep"}),
        "20,000 nested td in svg": (
            lambda: b"<p><svg>" + b"<td>" * 20_000 + b"deep",
            {"", "html.no_text", "extract.timeout"},
        ),
        "100,000 attributes": (
            lambda: b"<p " + b" ".join(b"a%d='x'" % i for i in range(100_000)) + b">x</p>",
            {"html.attributes"},
        ),
        "100,000 attributes that hide their number": (
            lambda: b"<p " + b" ".join(b"a%d='<>'" % i for i in range(100_000)) + b">x</p>",
            {"", "html.attributes", "extract.timeout"},
        ),
        "50 MB": (lambda: b"<p>word </p>" * (50 * MIB // 12), {"size.cap"}),
        "10 MB of paragraphs": (
            lambda: b"<p>A word or two.</p>" * (9 * MIB // 21),
            {"", "extract.timeout", "extract.memory", "extract.crash"},
        ),
        "5,000 font in p": (
            lambda: b"".join(b"<font a=%d>x<p>" % i for i in range(5000)),
            {"html.too_deep"},
        ),
        "formatting that is made again and again": (
            lambda: b"".join(b"<font a=%d>x<p>" % i for i in range(1900)),
            {"", "extract.timeout", "extract.memory", "extract.crash"},
        ),
        "half a million comments that never end": (lambda: b"<!--" * 500_000, {""}),
        "a million <": (lambda: b"<" * 1_000_000, {"", "html.no_text"}),
        "a million quotes": (lambda: b"<meta " + b"\"'" * 500_000, {"", "html.no_text"}),
        "meta without end": (lambda: b'<meta content="' * 300_000, {"", "html.no_text", "extract.timeout"}),
        "2,000,000 open b": (lambda: b"<b>a" * 2_000_000, {"html.too_deep"}),
        "3,000 nested tables": (lambda: b"<table>" * 3000 + b"x", {"html.too_deep"}),
        "spaces": (lambda: b"<html" + b" " * 5_000_000 + b">", {"html.no_text"}),
        "license links": (lambda: b"<a rel=license " * 300_000, {"html.too_deep"}),
        "select": (lambda: b"<select><option>" * 1500 + b"x", {"", "html.no_text", "web.shell"}),
        "entities": (lambda: b"<p>" + b"&amp;" * 1_500_000, {"", "extract.memory", "extract.crash"}),
        "cyclic script": (lambda: b"<script>" * 200_000 + b"<p>x", {"", "html.no_text", "web.shell"}),
        "nul bytes in tags": (lambda: b"<\0p>x</\0p>" * 1000, {"text.encoding", "type.mismatch", ""}),
        "random bytes": (
            lambda: bytes((i * i * 31 + 7 * i) % 255 + 1 for i in range(200_000)),
            {"text.encoding", "", "type.mismatch", "html.no_text"},
        ),
    }
