"""Sitemaps: the URLs that a site lists of itself (sitemaps.org protocol 0.9), parsed from bytes already fetched.

XML url sets, indexes of sitemaps, and plain text lists; gzip by its first bytes. Not here: fetching, depth and loops (`net/lists.py`).
Invariants: no entity is expanded, nothing is fetched by the parser, memory is bounded by `MAX_BYTES` and `MAX_URLS`;
what was listed before the damage is given along with its code, because a URL missing from a sitemap means nothing.
"""

from __future__ import annotations

import io
import re
from typing import Any

import msgspec

from gristmill.net.decode import BadEncoding, Decoder, Oversize
from gristmill.net.urls import normal

MAX_BYTES = 50 << 20  # both limits: sitemaps.org, "Sitemap file requirements"
MAX_URLS = 50_000
_MAX_RATIO = 1000  # sitemaps are all alike, and compress well


class Listed(msgspec.Struct, frozen=True):
    """What one file lists. urls: (URL, when it changed as the file says, as written, or None). children: sitemaps of an index.

    invalid: how many entries were no URLs. code, detail: what is wrong with the file from some place on; "": nothing.
    """

    urls: list[tuple[str, str | None]] = []
    children: list[str] = []
    invalid: int = 0
    code: str = ""
    detail: str = ""


def parse(body: bytes, url: str) -> Listed:
    """Give what a sitemap lists. url: where it came from, for relative references."""
    code, detail = "", ""
    if body.startswith(b"\x1f\x8b"):
        try:
            decoder = Decoder("gzip", MAX_BYTES, _MAX_RATIO)
            decoder.feed(body)
            body = decoder.finish()
        except Oversize as error:
            return Listed(code="size.cap", detail=str(error))
        except BadEncoding as error:
            return Listed(code="sitemap.gzip", detail=str(error))
    if len(body) > MAX_BYTES:
        return Listed(code="size.cap", detail=f"{len(body)} bytes, over {MAX_BYTES}")
    head = body[:1024].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")
    if not head:
        return Listed(code="sitemap.empty", detail="no bytes in it")
    if head.startswith(b"<"):
        # an empty line before the declaration is common, and no XML
        entries, children, code, detail = _xml(body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n"))
    else:
        entries, children, code, detail = _lines(body)
    urls, bad = _normal(entries, url)
    nested, worse = _normal([(child, None) for child in children], url)
    return Listed(urls, [child for child, _ in nested], bad + worse, code, detail)


def _normal(entries: list[tuple[str, str | None]], base: str) -> tuple[list[tuple[str, str | None]], int]:
    """Give the entries with their URLs in normal form, each once, and how many were none."""
    found: dict[str, str | None] = {}
    bad = 0
    for text, changed in entries:
        try:
            found.setdefault(normal(text, base), changed)
        except ValueError:
            bad += 1
    return list(found.items()), bad


def _lines(body: bytes) -> tuple[list[tuple[str, str | None]], list[str], str, str]:
    """Read a text sitemap: a URL a line, UTF-8."""
    try:
        lines = [line.strip() for line in body.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        return [], [], "text.encoding", f"not UTF-8 at byte {error.start}"
    if not all(re.match(r"https?://", line, re.IGNORECASE) for line in lines[:10]):
        return [], [], "sitemap.syntax", "neither XML nor a list of URLs"
    over = len(lines) > MAX_URLS
    said = ("size.cap", f"{len(lines)} URLs; {MAX_URLS} are read") if over else ("", "")
    return [(line, None) for line in lines[:MAX_URLS]], [], *said


def _xml(body: bytes) -> tuple[list[tuple[str, str | None]], list[str], str, str]:
    """Read a url set or an index as it streams by."""
    from lxml import etree  # type: ignore[import-untyped, unused-ignore]

    urls: list[tuple[str, str | None]] = []
    children: list[str] = []
    events = etree.iterparse(
        io.BytesIO(body),
        events=("start", "end"),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    root: Any = None
    try:
        for event, element in events:
            name = _local(element)
            if root is None:
                root = element
                if name not in {"urlset", "sitemapindex"}:
                    return [], [], "sitemap.syntax", f"the root is <{name[:20]}>; write a feed under feeds"
            if event == "start" or element.getparent() is not root:
                continue
            if name in {"url", "sitemap"}:
                if len(urls) + len(children) >= MAX_URLS:
                    return urls, children, "size.cap", f"more than {MAX_URLS} entries; the first {MAX_URLS} are read"
                place = _text(element, "loc") or ""
                if name == "url":
                    urls.append((place, _text(element, "lastmod")))
                else:
                    children.append(place)
            element.clear()
            while element.getprevious() is not None:
                del root[0]
    except etree.XMLSyntaxError as error:
        return urls, children, "sitemap.syntax", f"damaged at line {error.lineno}; what stands before it is read"
    return urls, children, "", ""


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Any, name: str) -> str | None:
    """Give the text of the child of this name, None without one."""
    for child in element:
        if _local(child) == name:
            return (child.text or "").strip() or None
    return None
