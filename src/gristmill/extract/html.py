"""HTML as bytes becomes its main text, or a code that says why not.

Not here: each question has its module: `sniff` (is it HTML, is it safe to parse), `charset`, `main_text`, `page` (what it says
of itself, is it a page at all). Invariants: nothing reaches a parser before `sniff` has passed it; a page with a body never
becomes an empty text in silence; text without any tag is plain text and keeps its lines.
"""

from __future__ import annotations

import functools
import html
from importlib.metadata import version
from typing import Any

from gristmill.extract import charset, page, sniff
from gristmill.extract.main_text import all_text, main_text
from gristmill.extract.wire import Document, Extracted, ExtractOptions, refused

_SEEN_CHARS = 5000  # how far to look for a note that scripts are needed


def extract(document: Document, options: ExtractOptions) -> Extracted:
    """Extract the main text of a page."""
    if not document.data.strip():
        return Extracted(warnings=["html.empty"])
    if found := sniff.binary(document.data):
        return refused("type.mismatch", f"expected HTML, found {found}")
    decoded = charset.decode(document.data, document.charset)
    if decoded.replaced > charset.MAX_REPLACED:
        detail = f"{decoded.replaced:.1%} of the characters cannot be decoded, read as {decoded.charset}"
        return refused("text.encoding", detail)
    source = decoded.text.replace("\0", "")
    warnings = [*decoded.warnings, *(["text.nul"] if len(source) < len(decoded.text) else [])]
    if found := sniff.other(source):
        return refused("type.mismatch", f"expected HTML, found {found}")
    told = page.says(source)
    meta: dict[str, Any] = told.meta | {"charset": decoded.charset}
    if not sniff.has_tags(source):
        if found := sniff.controls(source):
            return refused("type.mismatch", f"expected HTML, found {found}")
        text = "\n".join(line.rstrip() for line in html.unescape(source).splitlines()).strip()
        return Extracted(text, meta=meta | {"extractor": "none"}, warnings=[*warnings, "html.plain_text"])
    if bad := sniff.hostile(source, options.max_depth, options.max_attributes):
        return refused(*bad)
    main = main_text(source, options.extractor, document.url)
    if len(main.text) < page.SHORT_CHARS:
        seen = all_text(source)[:_SEEN_CHARS]
        if bad := page.no_page(source, seen, told.title or "", document.url or ""):
            return refused(*bad)
    if not main.text:
        empty = page.why_empty(source, seen)
        return refused(*empty) if empty else Extracted(meta=meta, warnings=[*warnings, "html.empty"])
    meta["extractor"] = " + ".join(f"{name} {_version(name)}" for name in main.extractors)
    return Extracted(_well_formed(main.text), told.title, told.lang, told.time, meta, warnings=warnings)


@functools.cache
def _version(package: str) -> str:
    return version(package)


def _well_formed(text: str) -> str:
    """Give the text with NULs left out and what UTF-8 cannot hold (lone surrogates) replaced."""
    text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
