"""From what became of visits to web pages to pages of records: what is new, what is as it was, what is gone, what failed and why.

Not here: visiting (`net/polite.py`), what a body is (`webpage.py`), what is kept of a URL between runs (`sources/web.py`, by the notes made here). Invariants:
one page for each visit, in order; a failure leaves the record and what is known of its URL alone; a page is gone only when it was not found on
two days, by the server's own clock; the time of planning stands in for a clock the server does not tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import msgspec
import pyarrow as pa

from gristmill.core.source import PAGE_SCHEMA, Outcome, Page, Reject
from gristmill.extract import Document, Extracted, ExtractOptions, Extractor
from gristmill.sources.formats import webpage
from gristmill.sources.formats.webpage import Format, Refused, Visit

DURATION = r"^[1-9]\d{0,5}[smhdw]$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NOT_FOUND = frozenset({404, 410})
_NO_ROWS = pa.RecordBatch.from_pylist([], schema=PAGE_SCHEMA)


class Due(msgspec.Struct, frozen=True, array_like=True):
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
        instead = webpage.replaced(due.url, arrived.final)
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
        body = webpage.body_of(arrived.body, content_type, keeping.format)
        if isinstance(body, Refused):
            return _bad(due, arrived, body, warnings)
        if body.lied:
            warnings["type.lied"] = 1
        return _Pending(due, arrived, webpage.document_of(body, arrived.body, content_type, arrived.final), warnings)

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
        rows = webpage.record(visit, extracted, arrived.body if self._keeping.keep_raw else None)
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
        day = (webpage.moment(arrived.headers, "date") or self._keeping.planned).date().isoformat()
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
