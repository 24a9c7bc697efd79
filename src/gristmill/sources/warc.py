"""The `warc` source: pages and texts out of web archives (WARC, WET, WAT), here or in a store.

Not here: what is new (`core.filesets`), where files lie (`core.places`, `net`), cutting a file into records and damages
(`formats/warc.py`), HTTP (`core.messages`, `net.decode`), the main text (`extract`). A unit is a file; a record's origin is
`<unit>#<offset>`. Records of other types, statuses and media types than asked for are passed over and counted as warnings
(`warc.request`, `warc.status`, `warc.mime`, ...); all else that gives no row is a reject.
Invariants: every byte of a file is in one page; a damaged record costs no other; a record whose digest or length is wrong
is never given; rows, rejects and pages follow from the file and the parameters alone.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal, NamedTuple

import msgspec

from gristmill.core.errors import ConfigError, UnitFailed
from gristmill.core.files import BROKEN, CODECS, codec_of
from gristmill.core.filesets import FileSet, Piece, in_turn
from gristmill.core.mapping import microseconds
from gristmill.core.messages import DIGEST_FIELDS, Response, Stretch, digest_state, media_type, parse_response
from gristmill.core.pages import PageMaker
from gristmill.core.places import Options
from gristmill.core.source import Page, PlanContext, ReadContext, Reject, Source, SourcePlan, Split, State
from gristmill.extract import Document, Extracted, ExtractOptions, Extractor, needs
from gristmill.net.decode import BadEncoding, Oversize
from gristmill.net.objects import place_for
from gristmill.net.stored import decoded, text_of
from gristmill.sources.formats import warc
from gristmill.sources.formats.detect import named_codec

EXTRA = "web"

_MIB = 1 << 20
_IDLE_BYTES = 8 * _MIB  # of records without a page to extract, after which the pages before them are given
_HTML = ("text/html", "application/xhtml+xml")
_PDF = "application/pdf"
_EARLY = 16  # damages and no record: what begins so is no web archive
_KINDS = {"response", "resource", "conversion", "metadata", "request", "revisit", "warcinfo", "continuation"}
_KEPT_HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-language")

Payload = Literal["html", "pdf", "text"]


class Warc(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads web archives.

    path: a file or glob, or several, as for `files`; compression goes by content. records: the types that are read:
    `response` (pages as fetched), `conversion` (texts of WET files), `resource`, `metadata` (JSON of WAT files).
    statuses: HTTP statuses that are read. mime: media types of responses and resources that are read, as the crawler
    identified them, else as the header says. format: what they are read as; auto goes by the media type. extract: how text is
    taken out of HTML and PDF. keep_raw: keep the body in `meta.raw`, as base64. id: what names a record: `record`, its
    WARC-Record-ID; `url`, so that the capture read last stands; `origin`, its place. incomplete: what becomes of a file that is
    cut short: `fail` sets it aside as a whole, `keep` takes the records before the cut. verify_digests: refuse a record
    whose digest is not that of its bytes. max_record_bytes: a larger record or body is quarantined. max_ratio: a member or
    body over this ratio, if it is large, is a bomb. max_file_bytes: of what comes out of a file.
    split_bytes: size of a piece of work, by default 1/64 of the input within 16 to 256 MiB. allow_empty: it is fine if no
    file is there (any more). storage: how to reach the store (docs/sources/stores.md).
    """

    VERSION: ClassVar[int] = 1

    path: str | list[str]
    records: list[Literal["response", "conversion", "resource", "metadata"]] = msgspec.field(
        default_factory=lambda: ["response", "conversion"]
    )
    statuses: list[int] = msgspec.field(default_factory=lambda: [200])
    mime: list[str] = msgspec.field(default_factory=lambda: [*_HTML, _PDF])
    format: Literal["auto", "html", "pdf", "text"] = "auto"
    extract: ExtractOptions = ExtractOptions()
    keep_raw: bool = False
    id: Literal["record", "url", "origin"] = "record"
    incomplete: Literal["fail", "keep"] = "fail"
    verify_digests: bool = True
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 * _MIB
    max_ratio: Annotated[int, msgspec.Meta(ge=1)] = 200
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 40
    split_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allow_empty: bool = False
    storage: Options = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        is_given = self.globs and all(self.globs)
        problems = [] if is_given else ["path: empty; give a file or a glob such as crawl/**/*.warc.gz"]
        if not self.records:
            problems.append("records: empty, so nothing would be read; name a type, such as response")
        problems += [
            f'mime: "{name}" is no media type; write it like text/html, in lower case'
            for name in self.mime
            if media_type(name) != name or "/" not in name
        ]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def globs(self) -> list[str]:
        """What files it reads."""
        return [self.path] if isinstance(self.path, str) else self.path

    def _files(self, folder: Path) -> FileSet:
        return FileSet(place_for(self.globs, folder, self.storage), self.globs, self.split_bytes, self.allow_empty)

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on; no side effect."""
        problems = []
        if {"response", "resource"}.intersection(self.records) and self.format != "text":
            kinds: list[Literal["html", "pdf"]] = ["html", "pdf"] if _PDF in self.mime else ["html"]
            missing = (needs(kind) for kind in ([self.format] if self.format != "auto" else kinds))
            problems += list(dict.fromkeys(filter(None, missing)))
        try:
            return problems + self._files(folder).check()
        except ConfigError as error:
            return [*problems, str(error)]

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Compare the files there are with the committed unit table; a file is never cut into ranges.

        Raises:
            ConfigError: a path is a folder or cannot be used.
            SourceError: what is there cannot be told, or no file is there (any more).
        """
        return self._files(context.folder).plan(state, lambda piece, _: [piece])

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read a split in order.

        Raises:
            UnitFailed: a file is bad as a whole, or is not the one that was planned.
            Transient: its store cannot be reached now.
        """
        files = self._files(context.folder)
        with Extractor(self.extract) as extractor:

            def pages(piece: Piece) -> Iterator[Page]:
                with files.opened(piece) as raw:
                    yield from _Reading(self, piece, extractor, context.batch_bytes).pages(raw)

            yield from in_turn(split, context, pages)


class _Item(NamedTuple):
    """What became of one record or damage: a row, a reject, a row whose text is yet to be extracted, or nothing."""

    size: int
    row: dict[str, Any] | None = None
    reject: Reject | None = None
    document: Document | None = None
    warnings: tuple[str, ...] = ()


class _Reading:
    """One file being read."""

    def __init__(self, source: Warc, piece: Piece, extractor: Extractor, batch_bytes: int) -> None:
        self._source, self._piece, self._extractor = source, piece, extractor
        self._page = PageMaker(piece.unit, batch_bytes, versioned=source.id == "url")
        self._queue: deque[_Item] = deque()  # items whose turn has not come: a page before them is being extracted

    def pages(self, raw: BinaryIO) -> Iterator[Page]:
        """Give the pages of an open file."""
        if self._piece.size == 0:
            self._page.passed(0, ["file.empty"])
            yield self._page.take()
            return
        if named_codec(self._piece.unit) != codec_of(raw.read(4)):
            self._page.passed(0, ["file.extension"])
        raw.seek(0)
        items = self._items(raw)
        for item in items:
            if item.document is None:
                self._add(item)
            else:
                for result in self._extractor.extract_many(self._documents(item, items)):
                    self._finish(result)
                    if self._page.full:
                        yield self._page.take()
                self._pass_on()
            if self._page.full:
                yield self._page.take()
        if self._page.due:
            yield self._page.take()

    def _add(self, item: _Item) -> None:
        """Add what became of one record or damage."""
        self._page.passed(item.size, item.warnings)
        if item.reject is not None:
            self._page.reject(item.reject)
        elif item.row is not None:
            self._page.add(item.row, item.row.pop("locator"))

    def _items(self, raw: BinaryIO) -> Iterator[_Item]:
        """Judge what is in the file. What has no record at all fails as a whole."""
        source, unit = self._source, self._piece.unit
        early: list[warc.Damage] = []  # before the first record
        begun, made = False, 0
        for found in warc.read(raw, self._piece.size, warc.Caps(source.max_record_bytes, source.max_ratio)):
            if isinstance(found, warc.Damage) and not begun and len(early) < _EARLY:
                early.append(found)
                continue
            if isinstance(found, warc.Damage) and not begun:
                break
            for damage in early if not begun else ():
                yield self._damaged(damage)
            begun, made = True, made + found.size
            if (most := source.max_file_bytes) < made:
                raise UnitFailed(unit, "size.cap", f"over {most} bytes come out of it (max_file_bytes)")
            yield self._judge(found) if isinstance(found, warc.Record) else self._damaged(found)
        if not begun and early:
            raise _no_warc(raw, unit, early)
        if not begun:  # members, or frames to be skipped, with nothing in them
            yield _Item(0, warnings=("file.empty",))

    def _damaged(self, found: warc.Damage) -> _Item:
        if found.whole and self._source.incomplete == "fail":
            raise UnitFailed(self._piece.unit, found.code, found.detail)
        return self._reject(found.size, found.code, found.locator, found.detail, found.stored)

    def _documents(self, first: _Item, items: Iterator[_Item]) -> Iterator[Document]:
        """Give this page and those that follow it to the extractor, until a long stretch has none."""
        idle = 0
        item: _Item | None = first
        while item is not None:
            self._queue.append(item)
            if item.document is not None:
                idle = 0
                yield item.document
            else:
                idle += item.size
            item = next(items, None) if idle < _IDLE_BYTES else None

    def _pass_on(self) -> None:
        """Take what stands at the head of the queue and waits for nothing."""
        while self._queue and self._queue[0].document is None:
            self._add(self._queue.popleft())

    def _finish(self, result: Extracted) -> None:
        """Take the text that was extracted for the first waiting row."""
        self._pass_on()
        item = self._queue.popleft()
        row = item.row
        assert row is not None
        warnings = (*item.warnings, *result.warnings)
        if result.code:
            reject = self._reject(item.size, result.code, row["locator"], result.detail, row["bytes"])
            self._add(reject._replace(warnings=warnings))
        elif not result.text:
            self._add(_Item(item.size, warnings=warnings))
        else:
            said = {"title": result.title, "date": result.time} | row["meta"] | result.meta
            row |= {"text": result.text, "lang": result.lang, "meta": said | row.pop("signals")}
            self._add(_Item(item.size, row, warnings=warnings))
        self._pass_on()

    def _reject(self, size: int, code: str, locator: int, detail: str, stored: int) -> _Item:
        return _Item(size, reject=Reject(code, f"{self._piece.unit}#{locator}", detail, stored))

    def _judge(self, record: warc.Record) -> _Item:
        """Say what a record is to be."""
        source, headers = self._source, record.headers
        kind = headers["warc-type"].lower()
        if kind not in source.records:
            return _Item(record.size, warnings=(f"warc.{kind}" if kind in _KINDS else "warc.other_type",))
        response = None
        if kind == "response":
            if not headers.get("content-type", "application/http").lower().startswith("application/http"):
                return _Item(record.size, warnings=("warc.not_http",))
            response = parse_response(record.block)
        body = response.body if response else record.block
        digest = digest_state(headers, record.block, body) if source.verify_digests else "unchecked"
        if digest == "bad":
            return self._bad(record, "warc.digest", "the bytes are not those its digest was made of")
        mime = media_type(headers.get("warc-identified-payload-type", ""))
        if kind == "response":
            if response is None:
                return self._bad(record, "warc.http", "a response record without an HTTP response")
            if response.status not in source.statuses:
                return _Item(record.size, warnings=("warc.status",))
            mime = mime or response.mime
        mime = mime or media_type(headers.get("content-type", "") if kind != "response" else "") or _sniffed(body)
        if kind in {"response", "resource"} and mime not in source.mime:
            return _Item(record.size, warnings=("warc.mime",))
        if "warc-segment-number" in headers:
            return self._bad(record, "warc.segment", "a part of a segmented record, which is not put together")
        return self._row(record, response, body, mime, digest)

    def _row(self, record: warc.Record, response: Response | None, body: Stretch, mime: str, digest: str) -> _Item:
        source, headers = self._source, record.headers
        row = self._columns(record, response, mime, digest)
        warnings = ["warc.truncated"] if "warc-truncated" in headers else []
        if source.verify_digests and digest == "unchecked" and any(headers.get(name) for name in DIGEST_FIELDS):
            warnings.append("warc.digest_unknown")
        if response is not None and response.cut:
            warnings.append("warc.cut_headers")
        if source.id != "origin" and row["key"] is None:
            warnings.append("warc.no_url" if source.id == "url" else "warc.no_record")
        if row["fetched_at"] is None:
            warnings.append("time.unparsed")
        if response is not None:
            try:
                body, lied = decoded(response, source.max_record_bytes, source.max_ratio)
            except Oversize as error:
                return self._bad(record, "size.cap", f"the body is {error}")
            except BadEncoding as error:
                return self._bad(record, "warc.encoding", f"the body cannot be decoded: {error}")
            warnings += lied
        form: Payload = "text"
        if source.format != "auto":
            form = source.format
        elif mime == _PDF:
            form = "pdf"
        elif mime in _HTML:
            form = "html"
        charset = response.charset if response else None
        if source.keep_raw:
            row["meta"]["raw"] = base64.b64encode(body).decode()
        if form != "text":
            document = Document(form, bytes(body), charset, row["url"])
            return _Item(record.size, row, document=document, warnings=tuple(warnings))
        text = text_of(body, charset)
        if text is None:
            return self._bad(record, "text.encoding", f"the text is not {(charset or 'UTF-8')[:40]}")
        if not text:
            return _Item(record.size, warnings=(*warnings, "warc.empty"))
        row["text"] = text
        row["meta"] |= row.pop("signals")
        return _Item(record.size, row, warnings=tuple(warnings))

    def _columns(self, record: warc.Record, response: Response | None, mime: str, digest: str) -> dict[str, Any]:
        """Give a row without its text, and what extraction must not overwrite as `signals`."""
        source, headers = self._source, record.headers
        url = headers.get("warc-target-uri", "").removeprefix("<").removesuffix(">").strip() or None
        own = headers.get("warc-record-id", "").strip("<> ") or None
        moment = _time(headers.get("warc-date", ""))
        meta: dict[str, Any] = {"status": response.status if response else None, "mime": mime or None, "digest": digest}
        if "warc-truncated" in headers:
            meta["truncated"] = headers["warc-truncated"]
        if source.id == "origin" and own:
            meta["record_id"] = own
        if "warc-identified-content-language" in headers:
            meta["identified_language"] = headers["warc-identified-content-language"]
        signals = {}
        if response is not None:
            signals = {
                name.replace("-", "_"): response.headers[name] for name in _KEPT_HEADERS if name in response.headers
            }
            meta["http_charset"] = response.charset
        key = {"record": own, "url": url, "origin": None}[source.id]
        return {
            "key": key,
            "locator": record.locator,
            "bytes": len(record.block),
            "url": url,
            # A page that is crawled again with the same text is no revision of itself.
            "time": None if source.id == "url" else moment,
            "fetched_at": moment,
            "lang": None,
            "meta": meta,
            "signals": signals,
        }

    def _bad(self, record: warc.Record, code: str, detail: str) -> _Item:
        return self._reject(record.size, code, record.locator, detail, len(record.block))


def _no_warc(raw: BinaryIO, unit: str, early: list[warc.Damage]) -> UnitFailed:
    """Say what a file is that has no record at all."""
    raw.seek(0)
    head = raw.read(4096)
    codec = codec_of(head)
    try:
        head = CODECS[codec].start().decompress(head, 64) if codec else head
    except BROKEN:
        head = b"WARC/"  # it may have been one
    if head.startswith(b"filedesc:"):
        return UnitFailed(unit, "file.unsupported", "an ARC file; convert it to WARC, as warcio recompress does")
    code = early[0].code if not head or head.startswith(b"WARC/") else "type.mismatch"
    return UnitFailed(unit, code, f"no WARC record can be read: {early[0].detail}")


def _sniffed(body: Stretch) -> str:
    """Give a media type to what has none: PDF and HTML by how they begin."""
    head = bytes(body[:1024]).lstrip(b"\xef\xbb\xbf \t\r\n")
    return _PDF if head.startswith(b"%PDF-") else _HTML[0] if head.startswith(b"<") else "application/octet-stream"


def _time(text: str) -> int | None:
    """Give a WARC-Date as microseconds since 1970; WARC 1.1 allows one that ends after the year or month."""
    return microseconds(text + {4: "-01-01", 7: "-01"}.get(len(text), ""))
