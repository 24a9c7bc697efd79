"""The `files` source: files and globs, here or in a store, in JSON lines, JSON, Parquet, CSV, text, HTML or PDF, compressed or not.

Not here: what is new (`core.filesets`), where files lie (`core.places`, `net`), decompression (`core.files`), the formats
(`formats/`), the mapping of fields (`core.mapping`), identity and state (`engine`). A unit is a file; a record's origin
is `<unit>#<locator>`.
Invariants: the splits follow from the data alone; what is read is what was planned, or `file.changed` is raised; content
and not the name decides compression and format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal

import msgspec

from gristmill.core.errors import ConfigError, MissingExtra, UnitFailed
from gristmill.core.files import Expansion, codec_of, expand, line_range, plain
from gristmill.core.filesets import FileSet, Piece, pieces_of
from gristmill.core.mapping import Mapping, Rows
from gristmill.core.places import Options, Place
from gristmill.core.source import Page, PlanContext, ReadContext, Source, SourcePlan, Split, State
from gristmill.extract import ExtractOptions, Extractor, Kind, needs
from gristmill.net.objects import place_for
from gristmill.sources.formats import csv, documents, json, jsonl, parquet, text
from gristmill.sources.formats.detect import HEAD_BYTES, UTF16, detect, named_codec, named_format, named_suffix

_MIB = 1 << 20
_EXTRACTED: dict[str, Kind] = {"html": "html", "pdf": "pdf"}


class Files(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads files, on this machine or in one store.

    path: a path or glob (`**` for any folders), or several, from the config's folder on, or of one store: s3://, gs://,
    az://, hf://, sftp:// and others; https:// only as exact addresses. format: told by the content
    if `auto`. text, id, url, time, lang, license: the field for each column: a name, a dotted path, or a template like
    "{title}: {body}"; all other fields go to `meta` (text, HTML and PDF files have no fields and need no mapping). lines: of text files, each line is a record. delimiter: of CSV files, by default a comma, or a tab if
    they are called .tsv; their first row is the header. max_record_bytes: a
    longer one is quarantined. max_expanded_bytes, max_ratio: a compressed file over both is a bomb and fails.
    split_bytes: size of a piece of work, by default 1/64 of the input within 16 to 256 MiB. allow_empty: it is fine if
    no file is there (any more). storage: how to reach the store, such as region, endpoint and keys (docs/sources/stores.md).
    extract: how main text is taken out of HTML and PDF files, and what one may cost (docs/sources/html.md, pdf.md).
    """

    VERSION: ClassVar[int] = 1

    path: str | list[str]
    format: Literal["auto", "jsonl", "json", "parquet", "csv", "text", "html", "pdf"] = "auto"
    text: str = "text"
    id: str | None = None
    url: str | None = None
    time: str | None = None
    lang: str | None = None
    license: str | None = None
    lines: bool = False
    delimiter: str | None = None
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 * _MIB
    max_expanded_bytes: Annotated[int, msgspec.Meta(ge=1)] = 4 << 30
    max_ratio: Annotated[int, msgspec.Meta(ge=1)] = 200
    split_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allow_empty: bool = False
    storage: Options = msgspec.field(default_factory=dict)
    extract: ExtractOptions = ExtractOptions()

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = self._mapping.problems()
        if not self._globs or not all(self._globs):
            problems.append("path: empty; give a file or a glob such as data/**/*.jsonl")
        if self.format in {"text", *_EXTRACTED} and self._mapping != Mapping():
            problems.append(
                f"format: {self.format} files have no fields, so text, id, url, time, lang and license cannot be given"
            )
        if self.delimiter is not None and not re.fullmatch(r'[^"\r\n]', self.delimiter):
            problems.append("delimiter: give one character that is no quote and no line end, such as ; or |")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def _globs(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path

    @property
    def _mapping(self) -> Mapping:
        return Mapping(self.text, self.id, self.url, self.time, self.lang, self.license)

    def _files(self, folder: Path) -> FileSet:
        place = place_for(self._globs, folder, self.storage)
        return FileSet(place, self._globs, self.split_bytes, self.allow_empty)

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on; no side effect."""
        try:
            files = self._files(folder)
        except ConfigError as error:
            return [str(error)]
        extracted = _EXTRACTED.get(self.format)
        missing = needs(extracted) if extracted else None
        return ([missing] if missing else []) + files.check()

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Compare the files there are with the committed unit table.

        A file that cannot be opened now is in `failed` only: neither listed, nor gone.

        Raises:
            ConfigError: a path is a folder or cannot be used.
            MissingExtra: some of them are HTML or PDF by their names or the format, and what reads those is not installed.
            SourceError: what is there cannot be told, or no file is there (any more).
        """
        files = self._files(context.folder)
        plan = files.plan(state, lambda piece, target: self._cut(piece, target, files.place))
        named = (
            {named_format(unit) for split in plan.splits for unit in split.units} if self.format == "auto" else set()
        )
        for kind in _EXTRACTED.values():
            if kind in {self.format, *named}:
                _must_have(kind)
        return plan

    def _cut(self, piece: Piece, target: int, place: Place) -> list[Piece]:
        """Cut a large file into ranges if its bytes allow reading from the middle."""
        try:
            with place.open(piece.path, piece.etag, piece.size) as raw:
                head = raw.read(HEAD_BYTES)
                kind = self.format if self.format != "auto" else detect(head, piece.unit)[0]
                if codec_of(head):
                    return [piece]
                borders = parquet.row_groups(raw, target, piece.size) if kind == "parquet" else []
        except OSError:
            return [piece]  # reading it will say why
        if kind == "jsonl" or (kind == "text" and self.lines):
            n = -(-piece.size // target)
            borders = [(piece.size * i // n, piece.size * (i + 1) // n) for i in range(n)]
        if len(borders) < 2:
            return [piece]
        return [
            msgspec.structs.replace(piece, format=kind, start=start, end=end, parts=len(borders))
            for start, end in borders
        ]

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read a split in order.

        Raises:
            UnitFailed: a file is bad as a whole, or is not the one that was planned.
            Transient: its store cannot be reached now.
        """
        files = self._files(context.folder)
        with Extractor(self.extract) as extractor:  # starts nothing before it is asked
            for piece in pieces_of(split):
                if piece.unit not in context.skip:
                    with files.opened(piece) as raw:
                        yield from self._pages(piece, raw, context.batch_bytes, extractor)

    def _pages(self, piece: Piece, raw: BinaryIO, batch_bytes: int, extractor: Extractor) -> Iterator[Page]:
        head = raw.read(HEAD_BYTES)
        codec = codec_of(head)
        start, end = (0, piece.size) if piece.end < 0 or piece.format == "parquet" else (piece.start, piece.end)
        if codec:
            raw.seek(0)
            blocks = expand(raw, codec, piece.unit, Expansion(self.max_expanded_bytes, self.max_ratio))
            head, blocks = _peek(blocks)
        else:
            if (start, end) != (0, piece.size):
                start, end = line_range(raw, start, end, piece.size)
            blocks = plain(raw, start, end)
        found, lied = detect(head, piece.unit)
        kind = piece.format or (self.format if self.format != "auto" else found)
        # Text files have no fields: only their text is mapped.
        mapping = Mapping() if kind == "text" else documents.MAPPING if kind in _EXTRACTED else self._mapping
        rows = Rows(piece.unit, mapping, batch_bytes)
        if piece.size == 0:
            rows.warn("file.empty")
            yield rows.take(0)
            return
        if piece.start == 0 and ((lied and self.format == "auto") or named_codec(piece.unit) != codec):
            rows.warn("file.extension")
        if codec and not head:
            rows.warn("file.empty")
        if head.startswith(UTF16) and kind != "html" and (kind != "text" or self.lines):
            raise UnitFailed(
                piece.unit, "text.encoding", "begins with the mark of UTF-16 or UTF-32; convert it to UTF-8"
            )
        if kind == "jsonl":
            yield from jsonl.read(blocks, rows, start, self.max_record_bytes)
        elif kind == "json":
            yield from json.read(blocks, rows, self.max_record_bytes)
        elif kind == "csv":
            delimiter = self.delimiter or ("\t" if named_suffix(piece.unit) == ".tsv" else ",")
            yield from csv.read(blocks, rows, delimiter, self.max_record_bytes)
        elif kind == "parquet":
            if codec:
                raise UnitFailed(piece.unit, "file.unsupported", f"Parquet inside {codec}; decompress it first")
            groups = (piece.start, piece.end) if piece.end >= 0 else None
            yield from parquet.read(raw, rows, groups, piece.size, (batch_bytes, self.max_record_bytes))
        elif (extracted := _EXTRACTED.get(kind)) is not None:
            _must_have(extracted)
            limit = min(self.max_record_bytes, self.extract.max_bytes)
            yield from documents.read(blocks, rows, extracted, extractor, limit)
        elif self.lines:
            yield from text.read_lines(blocks, rows, start, self.max_record_bytes)
        else:
            yield from text.read(blocks, rows, self.max_record_bytes)


def _must_have(kind: Kind) -> None:
    missing = needs(kind)
    if missing:
        raise MissingExtra(missing)


def _peek(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Give the first bytes of a stream, and the stream with them still in it."""
    held: list[bytes] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= HEAD_BYTES:
            break
    return b"".join(held)[:HEAD_BYTES], chain(held, blocks)
