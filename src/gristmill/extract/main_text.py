"""The main text of a page: by resiliparse, by trafilatura, or by the default, which is made of both.

The default: resiliparse's main content, of the page's declared article where there is one, as blocks; blocks that are mostly
links, and what stands before and behind the text proper, are left out (`blocks`); where the result is short, fluffy, or much
less than resiliparse found, trafilatura is asked. Not here: bytes and charsets, what the page says of itself.
Invariants: a result depends on the page alone: trafilatura's memory of paragraphs seen before (`deduplicate`) stays off, so
order and worker make no difference; readers' comments, alternative texts of images and article meta lines are left out (they
cost more precision than they bring recall: measured, docs/sources/html.md).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gristmill.extract import blocks

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree

_DOCUMENT = re.compile(r"<(?:html|body)\b", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^>]{0,4000}>", re.IGNORECASE)
_HEAD_END = re.compile(r"</head\s*>", re.IGNORECASE)
_HEAD = re.compile(r"<(?:html|head|title|meta|link|!doctype)\b", re.IGNORECASE)
_DEEPER = "<div><div><div>"  # resiliparse 2.0 takes every list less deep than that for navigation
_PROLOG = re.compile(r"\s*<\?xml[^>]{0,400}\?>")
# Where pages keep their article: schema.org, HTML5, and what the common publishing systems call it.
_ARTICLE_NAMES = (
    "entry-content post-content article-content article-body post-body story-body article__body article__content "
    "post__content post-entry article-text story-content content-body single-content articleBody article_body "
    "td-post-content blog-post post_content article_text postcontent postbody node-content field-name-body rich-text"
)
_ARTICLE = ",".join(
    ['[itemprop="articleBody"]'] + [f'[class~="{name}"],[id="{name}"]' for name in _ARTICLE_NAMES.split()]
)
_CONTAINERS = (_ARTICLE, "article", "main,[role=main]")
_MAX_CONTAINERS = 20  # candidates looked at; a listing has an article for each entry
_SKIP = ("nav", "footer", "aside", "button", "form", "[role=navigation]", "[role=complementary]", "[role=contentinfo]")
_MIN_CONTAINER_CHARS, _MIN_CONTAINER_SHARE = 200, 0.3  # less than that of the whole is a teaser, not the text
_SHORT_CHARS = 500
_MAX_FLUFF, _MIN_KEPT = 0.1, 0.8
_MAX_ASKED_CHARS = 1_000_000  # trafilatura takes over a second for a larger page
_MIN_AGREED = 0.3  # of the first text; trafilatura's that is shorter has lost it


class Main(NamedTuple):
    """A text and the packages that made it."""

    text: str
    extractors: tuple[str, ...]


def load(extractor: str) -> None:
    """Import what this extractor needs (0.2 s for trafilatura)."""
    import resiliparse.extract.html2text
    import resiliparse.parse.html  # noqa: F401

    if extractor != "resiliparse":
        import trafilatura  # noqa: F401


def main_text(source: str, extractor: str, url: str | None) -> Main:
    """Extract the main text of a page or a fragment of one."""
    if extractor == "trafilatura":
        return Main(by_trafilatura(source, url), ("trafilatura",))
    if extractor == "resiliparse":
        return Main(by_resiliparse(source), ("resiliparse",))
    found, whole_chars = _article(source)
    text = blocks.text(found.kept)
    looks_good = (
        len(text) >= _SHORT_CHARS and len(text) >= _MIN_KEPT * whole_chars and blocks.fluff(found.kept) <= _MAX_FLUFF
    )
    if looks_good or len(source) > _MAX_ASKED_CHARS:
        return Main(text, ("resiliparse",))
    other = by_trafilatura(source, url, fast=True)
    if len(other) > _MIN_AGREED * len(text):
        return Main(other, ("resiliparse", "trafilatura"))
    return Main(text, ("resiliparse",))


def by_resiliparse(source: str) -> str:
    """Extract by resiliparse's rules, about 2 ms a page."""
    from resiliparse.extract.html2text import extract_plain_text

    page = _deepened(source)
    return extract_plain_text(page, main_content=True, comments=False, post_meta=False, alt_texts=False).strip()


def by_trafilatura(source: str, url: str | None, *, fast: bool = False) -> str:
    """Extract by trafilatura's rules, about 20 ms a page; `fast`: without its comparisons with other extractors."""
    import trafilatura

    prolog = _PROLOG.match(source)  # lxml refuses text that declares an encoding
    page = source[prolog.end() :] if prolog else source
    if not _DOCUMENT.search(page):  # it gives nothing for a fragment
        page = f"<html><body>{page}</body></html>"
    return (trafilatura.extract(page, url=url, include_comments=False, deduplicate=False, fast=fast) or "").strip()


def all_text(source: str) -> str:
    """Give all a reader without scripts sees, navigation and notes for browsers without scripts too."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(source, noscript=True).strip()


def _deepened(source: str) -> str:
    """Give the page with its body three elements deeper, so that the lists of a plain page are kept."""
    start = _BODY.search(source, max(source.find("<body"), 0)) or _HEAD_END.search(source)
    if start is None and _HEAD.search(source):
        return source
    at = start.end() if start else 0
    return f"{source[:at]}{_DEEPER}{source[at:]}"


def _article(source: str) -> tuple[blocks.Found, int]:
    """Give the blocks of the page's article, and how many characters resiliparse takes for main content of the page."""
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(_deepened(source))
    whole = blocks.read(_minimal(tree))
    whole_chars = blocks.chars(whole.all)
    if tree.document is None:
        return whole, whole_chars
    for selector in _CONTAINERS:
        containers = list(tree.document.query_selector_all(selector))
        if selector == "article" and len(containers) > 1:  # a listing, or teasers of others
            continue
        found = [blocks.read(_minimal(_DEEPER + container.html)) for container in containers[:_MAX_CONTAINERS]]
        best = max(found, key=lambda one: blocks.chars(one.all), default=None)
        if best and blocks.chars(best.all) > max(_MIN_CONTAINER_CHARS, _MIN_CONTAINER_SHARE * whole_chars):
            return best, whole_chars
    return whole, whole_chars


def _minimal(page: str | HTMLTree) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(
        page,
        preserve_formatting="minimal_html",
        links=True,
        main_content=True,
        comments=False,
        post_meta=False,
        alt_texts=False,
        skip_elements=_SKIP,
    )
