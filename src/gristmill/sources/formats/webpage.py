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
from gristmill.extract import Document, Extracted
from gristmill.extract.charset import MAX_REPLACED, decode

Format = Literal["auto", "html", "text", "pdf"]

_SNIFF_BYTES = 4096
_PDF_BYTES = 1024  # readers look for %PDF- that far in
_HTML = re.compile(
    rb"\s*(?:<!--.{0,2000}?-->\s*)*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html|head|body|title|meta|script|link|div|p|h1|article|main|table)\b",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(rb"<[a-zA-Z!/][^>]{0,1000}>")
_XML = re.compile(rb"\s*<(?:\?xml|rss|feed|urlset|sitemapindex|svg)\b", re.IGNORECASE)
_BINARY = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"PK\x03\x04",
    b"RIFF",
    b"\x1f\x8b",
    b"\x7fELF",
    b"OggS",
    b"ID3",
    b"BZh",
    b"Rar!",
    b"7z\xbc\xaf",
)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_LOGIN = re.compile(
    r"/(?:log-?in|sign-?in|sso|oauth2?|authenticate|account/login|users/sign_in|wp-login\.php)(?:/|\.|$)", re.IGNORECASE
)
_NOT_FOUND = re.compile(
    r"\s*(?:(?:error\s*)?(?:404|410)\b|(?:(?:oops|sorry)\W+)?(?:the\s+|this\s+)?(?:page|document|file|article|site)\s+(?:was\s+|is\s+|could\s*n.t\s+be\s+|could\s+not\s+be\s+|cannot\s+be\s+|can't\s+be\s+)?(?:not\s+(?:be\s+)?found|found\s+not|no\s+longer\s+(?:available|exists)|does\s*n.t\s+exist|does\s+not\s+exist|missing)"
    r"|not\s+found\b|page\s+(?:introuvable|non\s+trouv)|seite\s+(?:wurde\s+)?nicht\s+gefunden|p[aá]gina\s+n[oã]o?\s+(?:encontrada|existe)|pagina\s+(?:niet\s+gevonden|non\s+trovata))",
    re.IGNORECASE,
)
_NOT_FOUND_CHARS = 1500  # an article about a missing page is longer than the notice of one
_HOME = re.compile(r"/(?:index\.\w{2,5}|home|default\.\w{2,5})?/?", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


class Refused(msgspec.Struct, frozen=True):
    """Why there is no document. code: stable; detail: quotes nothing of the page."""

    code: str
    detail: str


class Body(msgspec.Struct, frozen=True):
    """What a body is. kind: html and pdf go to extraction, text is decoded here. lied: the header says otherwise."""

    kind: Literal["html", "text", "pdf"]
    lied: bool = False


def body_of(body: bytes, content_type: str, wanted: Format) -> Body | Refused:
    """Tell what a body is by its bytes, its header deciding only what they leave open."""
    declared = content_type.partition(";")[0].strip().lower()
    found = _found(body[:_SNIFF_BYTES], declared)
    if found not in {"html", "text", "pdf"} or (wanted not in {"auto", found} and (wanted, found) != ("html", "text")):
        meant = "text, HTML or PDF" if wanted == "auto" else wanted
        return Refused(
            "type.mismatch", f"expected {meant}, found {found}; the header says {declared[:40] or 'nothing'}"
        )
    says = {"text/html": "html", "application/xhtml+xml": "html", "application/pdf": "pdf"}.get(declared)
    if says is None and declared.startswith("text/"):
        says = "text"
    kind: Any = "html" if wanted == "html" else found
    return Body(kind, lied=bool(declared) and declared != "application/octet-stream" and says != kind)


def _found(head: bytes, declared: str) -> str:
    """Name what the first bytes are."""
    if b"%PDF-" in head[:_PDF_BYTES]:
        return "pdf"
    wide = head.startswith(_BOMS[1:]) or head[:2] in {b"<\0", b"\0<"}
    if head.startswith(_BINARY) or (b"\0" in head and not wide):
        return "binary data"
    plain = head.replace(b"\0", b"") if wide else head
    for bom in _BOMS:
        plain = plain.removeprefix(bom)
    if _HTML.match(plain):
        return "html"
    if _XML.match(plain):
        return "html" if b"<html" in plain.lower() else "XML"
    if plain.lstrip()[:1] in {b"{", b"["} and not _TAG.search(plain) and (declared.endswith("json") or _is_json(plain)):
        return "JSON"
    if declared in {"text/html", "application/xhtml+xml", ""} and _TAG.search(plain):
        return "html"
    if declared.startswith(("image/", "audio/", "video/", "font/")):
        return "text where the header says media"
    return "text"


def _is_json(head: bytes) -> bool:
    """Tell whether a beginning is that of JSON: whole, or a key in quotes."""
    try:
        orjson.loads(head)
    except orjson.JSONDecodeError:
        return re.match(rb"\s*(?:\[\s*)?\{\s*\"[^\"\n]{1,200}\"\s*:", head) is not None
    return True


def replaced(asked: str, final: str) -> Refused | None:
    """Tell whether a redirect led to something that stands in for the page: a log-in, or the front page."""
    if asked == final:
        return None
    wanted, got = urlsplit(asked), urlsplit(final)
    if _LOGIN.search(got.path) and not _LOGIN.search(wanted.path):
        return Refused("web.login", "led to a log-in page")
    if (
        wanted.hostname == got.hostname
        and _HOME.fullmatch(got.path)
        and not got.query
        and not _HOME.fullmatch(wanted.path)
    ):
        deep = [part for part in wanted.path.split("/") if part]
        if len(deep) > 1 or wanted.query:
            return Refused("web.soft_404", "led to the front page")
    return None


def missing(extracted: Extracted) -> Refused | None:
    """Tell whether a page with status 200 says that there is none."""
    if len(extracted.text) > _NOT_FOUND_CHARS:
        return None
    if _NOT_FOUND.match(extracted.title or "") or _NOT_FOUND.match(extracted.text[:200]):
        return Refused("web.soft_404", "status 200, but the page says that it was not found")
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
