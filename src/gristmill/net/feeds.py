"""Feeds: the links of RSS and Atom entries, parsed by feedparser from bytes already fetched.

Not here: fetching (feedparser would do it without any cap or check); the entries' own content, for the page itself is read.
Invariants: feedparser gets a stream, never bytes or text, which it would take for the name of a file or a URL and
open; a feed that declares entities is refused; a link missing from a feed means nothing.
"""

from __future__ import annotations

import io
import time
from typing import Any

from gristmill.net.sitemaps import Listed
from gristmill.net.urls import normal

MAX_BYTES = 10 << 20
MAX_ENTRIES = 10_000


def parse(body: bytes, url: str, content_type: str = "") -> Listed:
    """Give the links of a feed's entries, with the time each was last changed (ISO 8601, UTC).

    Args:
        body: the feed.
        url: where it came from, for relative links.
        content_type: of its HTTP header, which may name the charset.
    """
    import feedparser  # type: ignore[import-untyped, unused-ignore]

    if b"<!ENTITY" in body:
        return Listed(code="feed.syntax", detail="it declares entities of its own, which are not expanded")
    headers = {"content-type": content_type} if content_type else {}
    try:
        parsed = feedparser.parse(
            io.BytesIO(body), response_headers=headers, resolve_relative_uris=False, sanitize_html=False
        )
    except Exception as error:  # it stumbles over damaged feeds in ways of its own (found by fuzzing: KeyError)
        return Listed(code="feed.syntax", detail=f"damaged: the parser gave up ({type(error).__name__})")
    if not parsed.get("version"):
        return Listed(code="feed.syntax", detail="no RSS or Atom feed")
    found: dict[str, str | None] = {}
    bad = 0
    for entry in parsed.entries[:MAX_ENTRIES]:
        link = entry.get("link")
        if not link:
            bad += 1
            continue
        try:
            found.setdefault(normal(link, url), _moment(entry))
        except ValueError:
            bad += 1
    if len(parsed.entries) > MAX_ENTRIES:
        return Listed(list(found.items()), [], bad, "size.cap", f"more than {MAX_ENTRIES} entries")
    if parsed.bozo and not parsed.entries:
        return Listed(code="feed.syntax", detail="damaged: no entry could be read")
    return Listed(list(found.items()), [], bad)


def _moment(entry: Any) -> str | None:
    for name in ("updated_parsed", "published_parsed"):
        when = dict.get(entry, name)  # its own get() lets one stand for the other, with a warning
        if when is not None:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", when)
    return None
