"""The `files` source: files and globs, here or in a store, in JSON lines, JSON, Parquet, CSV, text, HTML or PDF, compressed, in archives, or not.

Not here: what is new (`core.filesets`), where files lie (`core.places`, `net`), decompression (`core.files`), encodings
(`core.encodings`), archives and formats (`formats/`), the mapping of fields (`core.mapping`), identity and state (`engine`). A unit
is a file; a record's origin is `<unit>#<locator>`, in an archive `<unit>!/<member>#<locator>`, and no unit has such a name.
Invariants: the splits follow from the data alone; what is read is what was planned, or `file.changed` is raised; content
and not the name decides compression and format.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal, NamedTuple

import msgspec

from gristmill.core import encodings, tararchive, ziparchive
from gristmill.core.errors import ConfigError, MissingExtra, UnitFailed
from gristmill.core.files import Allowance, Expansion, Stream, codec_of, expand, line_range, plain
from gristmill.core.filesets import FileSet, Piece, in_turn
from gristmill.core.mapping import MAX_DEPTH, Mapping, Rows, Where
from gristmill.core.places import Options, Place
from gristmill.core.source import Page, PlanContext, ReadContext, Source, SourcePlan, Split, State, UnitRead
from gristmill.core.tararchive import Member
from gristmill.extract import ExtractOptions, Extractor, Kind, needs
from gristmill.net.objects import place_for
from gristmill.sources.formats import archive, csv, documents, incomplete, json, jsonl, parquet, text
from gristmill.sources.formats.detect import (
    HEAD_BYTES,
    container_of,
    detect,
    named_codec,
    named_container,
    named_format,
    named_suffix,
    peek,
    text_like,
)

_MIB = 1 << 20
_MOST_IN_MEMORY = 64 * _MIB  # of Parquet that lies where only forwards can be read
_MOST_COLUMNS = 4096  # of those whose kind is remembered
_BINARY = {"parquet", "html", "pdf"}  # or with a way of its own to tell the encoding
_BY_RECORD = {"jsonl", "json", "csv"}  # what stands before a cut is whole
_EXTRACTED: dict[str, Kind] = {"html": "html", "pdf": "pdf"}


class Files(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads files, on this machine or in one store.

    path: a path or glob (`**` for any folders), or several, from the config's folder on, or of one store: s3://, gs://,
    az://, hf://, sftp:// and others; https:// only as exact addresses. format: told by the content
    if `auto`. text, id, url, time, lang, license: the field for each column: a name, a dotted path, or a template like
    "{title}: {body}"; all other fields go to `meta` (text, HTML and PDF files have no fields and need no mapping). lines: of text files, each line is a record. delimiter: of CSV files, one ASCII character, by default a comma, or a tab if
    they are called .tsv; their first row is the header. encoding: of text, JSON and CSV; auto: told by a byte order mark,
    else UTF-8. members: of zip and tar archives, globs for the files in them that are read, by default all but
    hidden ones. max_record_bytes: a longer one is quarantined. max_depth: of objects and lists in each other.
    max_file_bytes, max_ratio: of what comes out of a compressed file, or of an archive with all that is packed in it (the ratio above 10 MiB).
    split_bytes: size of a piece of work, by default 1/64 of the input within 16 to 256 MiB. allow_empty: it is fine if
    no file is there (any more). incomplete: what becomes of a compressed file of records (no archive) that is cut short: it is set aside, or what stands before the cut is kept. storage: how to reach the store, such as region, endpoint and keys (docs/sources/stores.md).
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
    encoding: str = "utf-8"
    members: str | list[str] | None = None
    max_depth: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)] = MAX_DEPTH
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 40
    max_ratio: Annotated[int, msgspec.Meta(ge=1)] = 200
    split_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allow_empty: bool = False
    incomplete: Literal["fail", "keep"] = "fail"
    storage: Options = msgspec.field(default_factory=dict)
    extract: ExtractOptions = ExtractOptions()

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = self.mapping.problems()
        if not self.globs or not all(self.globs):
            problems.append("path: empty; give a file or a glob such as data/**/*.jsonl")
        if self.format in {"text", *_EXTRACTED} and self.mapping != Mapping():
            problems.append(
                f"format: {self.format} files have no fields, so text, id, url, time, lang and license cannot be given"
            )
        if self.delimiter is not None and not (
            self.delimiter.isascii() and re.fullmatch(r'[^\0"\r\n]', self.delimiter)
        ):
            problems.append(
                "delimiter: give one ASCII character that is no quote, line end or NUL, such as ; or |; write files that "
                "are cut at another anew with one of these"
            )
        if self.encoding != "auto" and (odd := encodings.problem(self.encoding)):
            problems.append(f"encoding: {odd}")
        if self.members is not None and not all(self.asked):
            problems.append("members: empty; give a glob such as **/*.jsonl")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def globs(self) -> list[str]:
        """What files it reads."""
        return [self.path] if isinstance(self.path, str) else self.path

    @property
    def asked(self) -> list[str]:
        """The globs for members of archives; none for all."""
        return [self.members] if isinstance(self.members, str) else self.members or []

    @property
    def limits(self) -> Expansion:
        """What may come out of something packed."""
        return Expansion(self.max_file_bytes, self.max_ratio)

    @property
    def mapping(self) -> Mapping:
        """Which field becomes which column."""
        return Mapping(self.text, self.id, self.url, self.time, self.lang, self.license)

    def _files(self, folder: Path) -> FileSet:
        place = place_for(self.globs, folder, self.storage)
        return FileSet(place, self.globs, self.split_bytes, self.allow_empty)

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
        columns = state.doc.get("columns") if state is not None else None
        if not columns:
            return plan
        splits = [msgspec.structs.replace(split, spec=split.spec | {"columns": columns}) for split in plan.splits]
        return msgspec.structs.replace(plan, splits=splits)

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        """Give the next state; it knows what the columns of Parquet files held when they were first seen. Pure."""
        after = super().fold(state, plan, reads, seq)
        columns: dict[str, str] = dict(after.doc.get("columns", {}))
        for read in sorted(reads, key=lambda read: (read.unit, read.lo)):
            for name, kind in read.note.get("columns", {}).items():
                if len(columns) < _MOST_COLUMNS:
                    columns.setdefault(name, kind)
        return State(after.doc | {"columns": columns}, after.units) if columns else after

    def _cut(self, piece: Piece, target: int, place: Place) -> list[Piece]:
        """Cut a large file into ranges if its bytes allow reading from the middle."""
        try:
            with place.open(piece.path, piece.etag, piece.size) as raw:
                head = raw.read(HEAD_BYTES)
                kind = self.format if self.format != "auto" else detect(head, piece.unit)[0]
                if codec_of(head) or container_of(head, piece.unit) or encodings.encoding_of(self.encoding, head):
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
        columns = dict(split.spec.get("columns", {}))
        with Extractor(self.extract) as extractor:  # starts nothing before it is asked

            def pages(piece: Piece) -> Iterator[Page]:
                known = dict(columns)
                try:
                    with files.opened(piece) as raw:
                        allowance = Allowance(self.limits, piece.size, piece.unit)
                        reading = _Reading(self, piece.unit, context.batch_bytes, extractor, columns, allowance)
                        yield from self._pages(piece, raw, reading)
                except UnitFailed:
                    columns.clear()  # those of a file that is not taken say nothing
                    columns.update(known)
                    raise

            yield from in_turn(split, context, pages)

    def _pages(self, piece: Piece, raw: BinaryIO, reading: _Reading) -> Iterator[Page]:
        head = raw.read(HEAD_BYTES)
        codec = codec_of(head)
        start, end = (0, piece.size) if piece.end < 0 or piece.format == "parquet" else (piece.start, piece.end)
        if codec:
            raw.seek(0)
            head, blocks = peek(expand(raw, codec, piece.unit, self.limits), late=self.incomplete == "keep")
        else:
            if (start, end) != (0, piece.size):
                start, end = line_range(raw, start, end, piece.size)
            blocks = plain(raw, start, end)
        container = container_of(head, piece.unit)
        if container:
            yield from reading.archive(piece, raw, container, codec, blocks)
            return
        groups = (piece.start, piece.end) if piece.end >= 0 else None
        behind = raw if not codec else None
        file = _File(
            piece.unit, piece.unit, piece.size, head, blocks, codec, behind, start, piece.format, groups
        )  # fmt: skip
        yield from reading.file(file, is_first=piece.start == 0)


class _File(NamedTuple):
    """What is read as a file: one, a range of one, or a member of an archive.

    place: what origins begin with; size: as it is stored; raw: to read anywhere in, None where that is not possible; start: of the
    range; format, groups: as planned.
    """

    place: str
    name: str
    size: int
    head: bytes
    blocks: Iterator[bytes]
    codec: str
    raw: BinaryIO | None = None
    start: int = 0
    format: str = ""
    groups: tuple[int, int] | None = None


class _Reading(NamedTuple):
    """How the files of one unit are read."""

    source: Files
    unit: str
    batch_bytes: int
    extractor: Extractor
    columns: dict[str, str]  # of Parquet files before
    allowance: Allowance  # of all that comes out of the unit, but for its own compression, which `expand` counts

    def archive(
        self, piece: Piece, raw: BinaryIO, container: str, codec: str, blocks: Iterator[bytes]
    ) -> Iterator[Page]:
        """Read an archive."""
        source = self.source
        if named_container(piece.unit) != container or named_codec(piece.unit) != codec:
            rows = Rows(piece.unit, Mapping(), self.batch_bytes)
            rows.warn("file.extension")
            yield rows.take(0)
        if container == "zip":
            if codec:
                raise UnitFailed(piece.unit, "archive.nested", f"a zip inside {codec}; decompress it first")
            found = ziparchive.members(raw, piece.size, piece.unit, source.limits, archive.MAX_MEMBERS)
        else:
            found = tararchive.members(Stream(blocks), piece.unit)
        yield from archive.read(found, piece.unit, self.allowance, source.asked, self._member)

    def _member(self, member: Member, place: str) -> Iterator[Page]:
        head, blocks = peek(member.blocks)
        codec = codec_of(head)
        if codec:
            expanded = expand(Stream(blocks), codec, place, self.source.limits)
            head, blocks = peek(self.allowance.counted(expanded))
        if container_of(head, member.name):
            raise UnitFailed(place, "archive.nested", "an archive inside an archive; take it out first")
        yield from self.file(_File(place, member.name, member.size, head, blocks, codec), is_first=True)

    def file(self, file: _File, *, is_first: bool) -> Iterator[Page]:
        """Read a file. is_first: not a later range of one."""
        source, head, blocks = self.source, file.head, file.blocks
        found, lied = detect(head, file.name)
        is_binary = head.startswith((b"PAR1", b"%PDF-"))  # whatever it is called
        encoding = "" if is_binary else encodings.encoding_of(source.encoding, head)
        if encoding:
            head = b"".join(encodings.Stored(encoding, len(head)).blocks(iter([head])))
            found, lied = detect(head, file.name)
        kind = file.format or (source.format if source.format != "auto" else found)
        stored = encodings.Stored(encoding, source.max_record_bytes) if encoding and kind not in _BINARY else None
        if stored is not None:
            blocks = stored.blocks(blocks)
        # Text files have no fields: only their text is mapped.
        mapping = Mapping() if kind == "text" else documents.MAPPING if kind in _EXTRACTED else source.mapping
        where = Where(file.place, stored.at if stored is not None else None, source.max_depth)
        rows = Rows(self.unit, mapping, self.batch_bytes, where)
        if file.size == 0:
            rows.warn("file.empty")
            yield rows.take(0)
            return
        like = text_like(head) if kind == "text" and is_first and source.format == "auto" else ""
        if like == "html":
            rows.warn("text.like_html")
        elif like == "json":
            rows.warn("text.like_json")
        wrong_codec = named_codec(file.name) != file.codec
        if is_first and ((lied and source.format == "auto") or wrong_codec or named_container(file.name)):
            rows.warn("file.extension")
        if file.codec and not head:  # of what is decoded, more may come
            head, blocks = peek(blocks)
        if file.codec and not head:
            rows.warn("file.empty")
            yield rows.take(0)
            return
        if head.startswith(encodings.UTF16) and kind != "html" and (kind != "text" or source.lines):
            raise UnitFailed(file.place, "text.encoding", encodings.WIDE)
        if stored is not None and (odd := encodings.contradiction(source.encoding, file.head)):
            raise UnitFailed(file.place, "text.encoding", odd)
        file = file._replace(head=head)
        if (
            source.incomplete == "keep"
            and file.codec
            and file.place == self.unit
            and (kind in _BY_RECORD or (kind == "text" and source.lines))
        ):
            yield from incomplete.keep(blocks, rows, lambda some: self._records(file, some, rows, kind, encoding))
        else:
            yield from self._records(file, blocks, rows, kind, encoding)

    def _records(self, file: _File, blocks: Iterator[bytes], rows: Rows, kind: str, encoding: str) -> Iterator[Page]:
        source, limit = self.source, self.source.max_record_bytes
        if kind == "jsonl":
            yield from jsonl.read(blocks, rows, file.start, limit)
        elif kind == "json":
            yield from json.read(blocks, rows, limit)
        elif kind == "csv":
            delimiter = source.delimiter or ("\t" if named_suffix(file.name) == ".tsv" else ",")
            yield from csv.read(blocks, rows, delimiter, limit)
        elif kind == "parquet":
            raw, size = (file.raw, file.size) if file.raw is not None else _in_memory(blocks, file)
            yield from parquet.read(
                raw, rows, file.groups, size, (self.batch_bytes, limit), self.allowance, self.columns
            )
        elif (extracted := _EXTRACTED.get(kind)) is not None:
            _must_have(extracted)
            most = min(limit, source.extract.max_bytes)
            yield from documents.read(blocks, rows, extracted, self.extractor, most, encoding or None)
        elif source.lines:
            yield from text.read_lines(blocks, rows, file.head, file.start, limit)
        else:
            yield from text.read(blocks, rows, limit)


def _in_memory(blocks: Iterator[bytes], file: _File) -> tuple[BinaryIO, int]:
    """Give a file that can only be read forwards as one that can be read anywhere in."""
    out = io.BytesIO()
    for block in blocks:
        if out.tell() + len(block) > _MOST_IN_MEMORY:
            where = f"inside {file.codec or 'an archive'}"
            detail = f"Parquet of over {_MOST_IN_MEMORY >> 20} MiB {where}; take it out first"
            raise UnitFailed(file.place, "file.unsupported", detail)
        out.write(block)
    return out, out.tell()


def _must_have(kind: Kind) -> None:
    missing = needs(kind)
    if missing:
        raise MissingExtra(missing)
