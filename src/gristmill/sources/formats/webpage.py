"""What a web server answered: the document in it to extract text from, or the code of why there is none; and the record it becomes.

Not here: asking (`net`), what the text of HTML or PDF is (`extract`), state and revisions (`sources/web.py`). Invariants: the bytes and not
the header decide what a body is; a page that is shown in place of another (an error, a log-in) is refused and never taken for the
document; everything the publisher says about use stands in `meta`, and decides nothing here.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.mapping import microseconds
from gristmill.core.source import PAGE_SCHEMA
from gristmill.extract import Document, Extracted, sniff
from gristmill.extract.charset import MAX_REPLACED, decode

Format = Literal["auto", "html", "text", "pdf"]

_SNIFF_BYTES = 4096
_PDF_BYTES = 1024  # readers look for %PDF- that far in
_HTML = re.compile(
    rb"\s*+(?:<!--.{0,2000}?-->\s*+|<\?xml[^>]{0,200}>\s*+){0,3}<(?:!doctype\s+html|html|head|body|title|meta)\b",
    re.IGNORECASE | re.DOTALL,
)
_TYPES = {"text/html": "html", "application/xhtml+xml": "html", "application/pdf": "pdf"}
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_LOGIN = re.compile(
    r"/(?:log-?in|sign-?in|sso|oauth2?|authenticate|account/login|users/sign_in|wp-login\.php)(?:/|\.|$)", re.IGNORECASE
)
_FRONT = re.compile(r"/(?:index\.\w{2,5}|home|default\.\w{2,5})?/?", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


class Refused(msgspec.Struct, frozen=True):
    """Why there is no document. code: stable; detail: quotes nothing of the page."""

    code: str
    detail: str


class Body(msgspec.Struct, frozen=True):
    """What a body is. kind: html and pdf go to extraction, text is decoded here. lied: the header says otherwise."""

    kind: Literal["html", "text", "pdf"]
    lied: bool = False


def body_of(data: bytes, content_type: str, wanted: Format) -> Body | Refused:
    """Tell what a body is: PDF and other binary formats by their first bytes, HTML by its first tag, the rest by the header.

    What only says to be HTML goes to extraction as that: it refuses JSON and feeds, and passes plain text on.
    """
    declared = content_type.partition(";")[0].strip().lower()
    says = _TYPES.get(declared) or ("text" if declared.startswith("text/") and declared != "text/xml" else None)
    head = data[:_SNIFF_BYTES]
    kind: Literal["html", "text", "pdf"] | None
    if b"%PDF-" in head[:_PDF_BYTES]:
        kind = "pdf"
    elif found := sniff.binary(data):
        return Refused("type.mismatch", f"found {found}; the header says {declared[:40] or 'nothing'}")
    elif wanted in {"html", "text"}:
        kind = "html" if wanted == "html" else "text"
    elif _HTML.match(head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")):
        kind = "html"
    elif says == "text":
        kind = "text"
    else:
        kind = "html" if says == "html" or declared in _UNTOLD or declared.endswith("xml") else None
    if kind is None or wanted not in {"auto", kind}:
        meant = "text, HTML or PDF" if wanted == "auto" else wanted
        return Refused("type.mismatch", f"expected {meant}, found {kind or 'neither'}; the header says {declared[:40]}")
    return Body(kind, lied=declared not in _UNTOLD and says != kind and wanted == "auto")


def replaced(asked: str, final: str) -> Refused | None:
    """Tell whether a redirect led to something that stands in for the page: a log-in, or the front page."""
    if asked == final:
        return None
    wanted, got = urlsplit(asked), urlsplit(final)
    if _LOGIN.search(got.path) and not _LOGIN.search(wanted.path):
        return Refused("web.login", "led to a log-in page")
    if wanted.hostname == got.hostname and _FRONT.fullmatch(got.path) and not got.query:
        deep = [part for part in wanted.path.split("/") if part]
        if len(deep) > 1 or wanted.query:
            return Refused("web.not_found", "led to the front page")
    return None


def document_of(body: Body, data: bytes, content_type: str, url: str) -> Document | Extracted:
    """Give what is to be extracted, or the text itself where it needs no extraction."""
    charset = _CHARSET.search(content_type)
    if body.kind != "text":
        return Document(body.kind, data, charset[1] if charset else None, url)
    decoded = decode(data, charset[1] if charset else None)
    if decoded.replaced > MAX_REPLACED:
        return Extracted(code="text.encoding", detail=f"{decoded.replaced:.0%} of it is not {decoded.charset}")
    return Extracted(decoded.text, meta={"charset": decoded.charset}, warnings=decoded.warnings)


def moment(headers: dict[str, str], name: str) -> datetime | None:
    """Give the time in a header, None without one that can be read."""
    try:
        when = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


class Visit(msgspec.Struct, frozen=True):
    """A page as it was found. url: its id; final: where it was; hint: when it changed as a sitemap or feed says."""

    url: str
    final: str
    status: int
    headers: dict[str, str]
    hint: str | None = None


def record(visit: Visit, extracted: Extracted, raw: bytes | None) -> pa.RecordBatch:
    """Give the row of a page. raw: the body to be kept in meta, None: it is not kept."""
    headers = visit.headers
    when = microseconds(extracted.time) if extracted.time else None
    if when is None and (modified := moment(headers, "last-modified")) is not None:
        when = microseconds(modified)
    fetched = moment(headers, "date")
    meta = _meta(visit, extracted) | (_raw(raw, extracted.meta.get("charset")) if raw is not None else {})
    row = {
        "key": visit.url,
        "text": extracted.text.replace("\0", ""),
        "origin": f"{visit.url}#0",
        "url": visit.final,
        "time": when,
        "fetched_at": None if fetched is None else microseconds(fetched),
        "lang": extracted.lang or headers.get("content-language", "").partition(",")[0].strip() or None,
        "license": meta.get("license"),
        "meta": orjson.dumps(meta, default=str).decode(),
    }
    arrays = [pa.array([row[field.name]], field.type) for field in PAGE_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=PAGE_SCHEMA)


def _meta(visit: Visit, extracted: Extracted) -> dict[str, Any]:
    """Give what is known of a page besides its text, in a fixed order; what the server says stands beside what the page says."""
    headers = visit.headers
    meta: dict[str, Any] = {
        "title": extracted.title,
        "status": visit.status,
        "content_type": headers.get("content-type"),
        "x_robots_tag": headers.get("x-robots-tag"),
        "tdm_reservation": headers.get("tdm-reservation"),
        "tdm_policy": headers.get("tdm-policy"),
        "license": _license_link(headers.get("link", "")),
        "listed_lastmod": visit.hint,
    }
    known = {name: value for name, value in meta.items() if value is not None}
    return {name: value for name, value in extracted.meta.items() if value not in (None, "")} | known


def _license_link(link: str) -> str | None:
    """Give the target of `Link: <...>; rel=license` (RFC 8288), the first if there are several."""
    found = re.search(r"<([^>]{1,2000})>[^<]{0,500}?;\s*rel=\"?(?:[^\"<]{0,100}\s)?license\b", link, re.IGNORECASE)
    return found[1] if found else None


def _raw(data: bytes, charset: str | None) -> dict[str, str]:
    """Give a body as it can stand in JSON: as text where that gives the same bytes back, else in base64."""
    if charset:
        try:
            text = data.decode(charset)
            if text.encode(charset) == data:
                return {"raw": text, "raw_charset": charset}
        except (UnicodeError, LookupError):
            pass
    return {"raw_base64": base64.b64encode(data).decode()}
