"""What a web server answered becomes a page of a source: a record, unchanged, gone, or bad with a code that says why.

Not here: asking (`net`), what the text of HTML or PDF is (`extract`), what is kept of a URL between runs (`net/urltable.py`, by the notes made here).
Invariants: one page for each visit, in order; the bytes and not the header decide what a body is; a page shown in place of another (an error, a log-in)
is never taken for it; a failure leaves the record and what is known of its URL alone; a page is gone only when it was not found on two days, by the
server's own clock (the time of planning where it tells none); what a publisher says about use stands in `meta`, and decides nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.mapping import microseconds
from gristmill.core.source import PAGE_SCHEMA, Outcome, Page, Reject
from gristmill.extract import Document, Extracted, ExtractOptions, Extractor, sniff
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
    if found := sniff.controls(decoded.text):
        return Extracted(code="type.mismatch", detail=f"expected text, found {found}")
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
    meta = _meta(visit, extracted)
    if raw is not None:
        meta["raw"] = base64.b64encode(raw).decode()
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


DURATION = r"^[1-9]\d{0,4}[smhdw]$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NOT_FOUND = frozenset({404, 410})
_NO_ROWS = pa.RecordBatch.from_pylist([], schema=PAGE_SCHEMA)


class Due(msgspec.Struct, frozen=True):
    """A URL to visit, and what was known of it: validators, hashes of its body and text, and on which day it was first not found.

    live: it has a record. gone: it had one, which was withdrawn. hint: when it changed as a sitemap or feed says.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    body_hash: str | None = None
    text_hash: str | None = None
    misses: int = 0
    last_miss_day: str | None = None
    gone: bool = False
    hint: str | None = None

    @property
    def live(self) -> bool:
        """Whether it has a record."""
        return self.text_hash is not None

    def conditions(self) -> dict[str, str]:
        """Give the headers that ask for it only if it has changed (RFC 9110, 13)."""
        if not self.live:
            return {}
        conditions = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in conditions.items() if value}


class Arrived(msgspec.Struct, frozen=True):
    """What came of a visit: an answer of the server, or skipped (nothing was asked for) or code and detail of a failure."""

    final: str
    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""
    notes: tuple[str, ...] = ()
    skipped: str = ""
    code: str = ""
    detail: str = ""


class Keeping(msgspec.Struct, frozen=True):
    """How pages are judged. planned: the time of planning. recheck: a known page is due again after that, None: at once.

    keep_raw: the body goes into meta. withdraw_disallowed: a page that robots.txt forbids loses its record.
    """

    format: Format
    planned: datetime
    recheck: str | None = None
    keep_raw: bool = False
    withdraw_disallowed: bool = False

    @property
    def next_due(self) -> str | None:
        """When a page that was seen now is due again."""
        if self.recheck is None:
            return None
        return (self.planned + timedelta(seconds=int(self.recheck[:-1]) * _SECONDS[self.recheck[-1]])).isoformat()


class _Pending(msgspec.Struct, frozen=True):
    """A visit whose text is still to be looked at."""

    due: Due
    arrived: Arrived
    document: Document | Extracted
    warnings: dict[str, int]


class Judge:
    """Judges visits. A context manager: it owns the process that extracts text."""

    def __init__(self, options: ExtractOptions, keeping: Keeping) -> None:
        self._extractor, self._keeping = Extractor(options), keeping

    def __enter__(self) -> Self:
        """The process starts with the first document."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._extractor.close()

    def pages(self, visits: Sequence[tuple[Due, Arrived]]) -> Iterator[Page]:
        """Give one page for each visit, in order; their texts are extracted ahead."""
        looked = [self._look(due, arrived) for due, arrived in visits]
        documents = [
            each.document for each in looked if isinstance(each, _Pending) and isinstance(each.document, Document)
        ]
        extracted = self._extractor.extract_many(documents)
        for each in looked:
            if isinstance(each, Page):
                yield each
            elif isinstance(each.document, Extracted):
                yield self._judge(each, each.document)
            else:
                yield self._judge(each, next(extracted))
        for _ in extracted:  # let it end
            raise AssertionError("an extraction without a visit")

    def _look(self, due: Due, arrived: Arrived) -> Page | _Pending:
        """Decide what can be decided without the text."""
        keeping, status = self._keeping, arrived.status
        if arrived.skipped:
            if arrived.skipped == "robots.disallowed" and keeping.withdraw_disallowed and due.live:
                return self._gone(due, arrived, arrived.skipped)
            return _page(due, "bad", warnings={arrived.skipped: 1})
        if arrived.code:
            return _bad(due, arrived, Refused(arrived.code, arrived.detail))
        if status == 304 and due.live:
            return _page(due, "unchanged", self._note(due, arrived, due.body_hash, due.text_hash))
        if status in _NOT_FOUND:
            return self._not_found(due, arrived)
        if not 200 <= status < 300 or status == 206:
            return _bad(due, arrived, Refused(f"http.{status}", f"the server answered {status}"))
        instead = replaced(due.url, arrived.final)
        if instead is not None:
            return _bad(due, arrived, instead)
        warnings = dict.fromkeys(arrived.notes, 1)
        if not arrived.body.strip():
            return _page(due, "bad", warnings=warnings | {"html.empty": 1}, bytes_in=len(arrived.body))
        body_hash = _digest(arrived.body)
        if body_hash == due.body_hash and due.live:
            note = self._note(due, arrived, body_hash, due.text_hash)
            return _page(due, "unchanged", note, warnings=warnings, bytes_in=len(arrived.body))
        content_type = arrived.headers.get("content-type", "")
        body = body_of(arrived.body, content_type, keeping.format)
        if isinstance(body, Refused):
            return _bad(due, arrived, body, warnings)
        if body.lied:
            warnings["type.lied"] = 1
        return _Pending(due, arrived, document_of(body, arrived.body, content_type, arrived.final), warnings)

    def _judge(self, pending: _Pending, extracted: Extracted) -> Page:
        """Decide by the text."""
        due, arrived, size = pending.due, pending.arrived, len(pending.arrived.body)
        warnings = pending.warnings | dict.fromkeys(extracted.warnings, 1)
        if extracted.code:
            return _bad(due, arrived, Refused(extracted.code, extracted.detail), warnings)
        if not extracted.text.strip():
            return _page(due, "bad", warnings=warnings | {"html.empty": 1}, bytes_in=size)
        if "\0" in extracted.text:
            warnings["text.nul"] = 1
        text_hash = _digest(extracted.text.encode("utf-8", "surrogatepass"))
        note = self._note(due, arrived, _digest(arrived.body), text_hash)
        if text_hash == due.text_hash:
            return _page(due, "unchanged", note, warnings=warnings, bytes_in=size)
        visit = Visit(due.url, arrived.final, arrived.status, arrived.headers, due.hint)
        rows = record(visit, extracted, arrived.body if self._keeping.keep_raw else None)
        return Page(due.url, rows, [], size, warnings, note=note)

    def _note(self, due: Due, arrived: Arrived, body_hash: str | None, text_hash: str | None) -> dict[str, Any]:
        """Give what is to be known of a URL that was seen."""
        not_modified = arrived.status == 304  # may leave its validators out (RFC 9110, 15.4.5)
        return {
            "etag": arrived.headers.get("etag") or (due.etag if not_modified else None),
            "last_modified": arrived.headers.get("last-modified") or (due.last_modified if not_modified else None),
            "body_hash": body_hash,
            "text_hash": text_hash,
            "http_status": 200 if not_modified else arrived.status,
            "misses": 0,
            "last_miss_day": None,
            "next_due": self._keeping.next_due,
        }

    def _not_found(self, due: Due, arrived: Arrived) -> Page:
        """Take a page for gone on the second day it is not found; the first may be an accident."""
        day = (moment(arrived.headers, "date") or self._keeping.planned).date().isoformat()
        if due.gone or (due.misses and due.last_miss_day != day):
            return self._gone(due, arrived, "web.gone")
        note = {"http_status": arrived.status, "misses": 1, "last_miss_day": day, "next_due": None}
        refused = Refused(f"http.{arrived.status}", "not found; withdrawn if it is not found on another day either")
        return _bad(due, arrived, refused, note=note)

    def _gone(self, due: Due, arrived: Arrived, code: str) -> Page:
        """Withdraw a page. Its validators are forgotten: if it comes back, it comes whole."""
        forgotten = dict.fromkeys(("etag", "last_modified", "body_hash", "text_hash", "last_miss_day"))
        note = {**forgotten, "http_status": arrived.status, "misses": 0, "next_due": self._keeping.next_due}
        return _page(due, "gone", note, warnings={code: 1}, bytes_in=len(arrived.body))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _page(
    due: Due,
    outcome: Outcome,
    note: dict[str, Any] | None = None,
    *,
    rejects: Sequence[Reject] = (),
    warnings: dict[str, int] | None = None,
    bytes_in: int = 0,
) -> Page:
    return Page(due.url, _NO_ROWS, list(rejects), bytes_in, warnings or {}, outcome=outcome, note=note or {})


def _bad(
    due: Due,
    arrived: Arrived,
    refused: Refused,
    warnings: dict[str, int] | None = None,
    note: dict[str, Any] | None = None,
) -> Page:
    size = len(arrived.body)
    reject = Reject(refused.code, f"{due.url}#0", refused.detail, size)
    return _page(due, "bad", note, rejects=[reject], warnings=warnings, bytes_in=size)
