"""What bytes and text that are given as HTML really are, and whether parsing them could be costly.

Not here: decoding (`charset`), reading tags for meaning (`page`). Types go by the first bytes (magic numbers) or by what the
whole text parses as, never by a name. Invariants: everything is linear in the input; what is refused here is named by what
was found. `depth` and `attributes` are the cheap gate before parsers that are quadratic in them (resiliparse 2.0: 20,000
nested elements 8.5 s, 100,000 attributes 24 s; measured); the processor limit of the child is the wall behind it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_MAGIC = {
    b"%PDF-": "PDF",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"\xff\xd8\xff": "JPEG",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"\x7fELF": "an ELF program",
    b"MZ\x90\x00": "a Windows program",
    b"RIFF": "RIFF",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"PAR1": "Parquet",
    b"SQLite format 3": "SQLite",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"wOFF": "a font",
    b"wOF2": "a font",
    b"{\\rtf": "RTF",
    b"%!PS": "PostScript",
}
_PROBE_BYTES = 8 << 10
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff", b"<\0", b"\0<")
# What no text holds (WHATWG MIME Sniffing, 7): all controls but tab, line ends, form feed and escape.
_BINARY = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_BINARY_CHARS = 1445  # as far as browsers look
_TAG = re.compile(r"<(?:[a-zA-Z][^\s/>]*+[\s/>]|/[a-zA-Z]|!doctype\b|!--)", re.IGNORECASE)
_XML_ROOT = re.compile(
    r"\s*+(?:<\?xml[^>]{0,400}+>\s*+)?(?:<!--.{0,2000}?-->\s*+)?<(rss|feed|rdf:RDF|urlset|sitemapindex|svg)\b",
    re.DOTALL,
)
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
# Their end tags may be left out, and an open one ends where the next begins: a thousand of them are no depth.
_ENDED_BY_OTHERS = frozenset(
    [
        "html",
        "head",
        "body",
        "p",
        "li",
        "dt",
        "dd",
        "option",
        "optgroup",
        "rt",
        "rp",
        "tr",
        "td",
        "th",
        "thead",
        "tbody",
        "tfoot",
        "caption",
        "colgroup",
    ]
)
_RAW = {
    name: re.compile(f"</{name}[\\s/>]", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}
_TOKEN = re.compile(r"<(!--|/?[a-zA-Z][^\s/>]*)")
_ATTRIBUTE = re.compile(r"""[\s/]*+[^\s"'<>/=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'>]++))?""")
_SHORTEST_ATTRIBUTE = 2  # characters, with the space before it


def binary(data: bytes) -> str | None:
    """Give what these bytes are if they are no text; None if they may be."""
    head = data[:16].lstrip()
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return "MP4"
    if b"\0" in data[:_PROBE_BYTES] and not data.startswith(_WIDE_MARKS):
        return "binary data (NUL bytes)"
    return None


def controls(text: str) -> str | None:
    """Give what decoded characters without any tag are if they are no text: compressed data can look like Latin-1."""
    return "binary data (control characters)" if _BINARY.search(text, 0, _BINARY_CHARS) else None


def other(text: str) -> str | None:
    """Give what this text is if it is neither HTML nor plain text: JSON, lines of it, or a kind of XML; None if it may be."""
    start = text[:64].lstrip()[:1]
    if start in {"{", "["}:
        if _json(text) is not None:
            return "JSON"
        first = _json(text.lstrip().partition("\n")[0])  # a plain text may well begin with a line "[1]"
        return "lines of JSON" if isinstance(first, dict) and first else None
    found = _XML_ROOT.match(text)
    return f"XML ({found[1]})" if found else None


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def has_tags(text: str) -> bool:
    """Tell if there is any tag, comment or doctype in it."""
    return _TAG.search(text) is not None


def hostile(text: str, max_depth: int, max_attributes: int) -> tuple[str, str] | None:
    """Give code and detail if tags are nested deeper, or one has more attributes, than a page for people has."""
    room = _SHORTEST_ATTRIBUTE * max_attributes
    if any(_attributes(piece, max_attributes) for piece in [piece for piece in text.split(">") if len(piece) > room]):
        return "html.attributes", f"a tag with more than {max_attributes} attributes"
    starts = text.count("<")
    if starts > max_depth and starts - text.count("</") > max_depth and _too_deep(text, max_depth):
        return "html.too_deep", f"tags nested more than {max_depth} deep"
    return None


def _attributes(piece: str, limit: int) -> bool:
    """Tell if the first tag in a piece without ">" has more attributes than the limit."""
    start = _TOKEN.search(piece)
    if start is None or start[1] == "!--":  # a comment ends with ">", so all the rest is in it
        return False
    at = start.end()
    for _ in range(limit + 1):
        found = _ATTRIBUTE.match(piece, at)
        if found is None:
            return False
        at = found.end()
    return True


def _too_deep(text: str, max_depth: int) -> bool:
    """Follow the tags. An end tag that nothing was opened for, as parsers do, closes nothing."""
    is_open: dict[str, int] = {}
    depth = at = 0
    while (found := _TOKEN.search(text, at)) is not None:
        name, at = found[1].lower(), found.end()
        if name == "!--":
            at = text.find("-->", at) + 3
            if at < 3:
                return False
        elif name[0] == "/":
            if is_open.get(name[1:]):
                is_open[name[1:]] -= 1
                depth -= 1
        elif name in _RAW:
            end = _RAW[name].search(text, at)
            if end is None:
                return False
            at = end.end()
        elif name not in _VOID and name not in _ENDED_BY_OTHERS:
            is_open[name] = is_open.get(name, 0) + 1
            depth += 1
            if depth > max_depth:
                return True
    return False
