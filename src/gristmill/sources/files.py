"""The `files` source: local files and globs, in JSON lines, JSON, Parquet or text, compressed or not.

Not here: listing, opening, decompression (`core.files`), the formats (`formats/`), the mapping of fields
(`core.mapping`), identity and state (`engine`). A unit is a file, named by its path below the fixed part of the globs
(with several globs: of all of them, so adding one in another folder renames the units). A record's origin is
`<unit>#<locator>`. Unchanged is a file whose size, mtime and sampled content are those of the last snapshot.
Invariants: the splits follow from the data alone; what is read is what was planned, or `file.changed` is raised; content
and not the name decides compression and format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.errors import ConfigError, SourceError, UnitFailed
from gristmill.core.files import (
    Expansion,
    Found,
    Listing,
    Local,
    codec_of,
    expand,
    line_range,
    local_path,
    plain,
    sample,
)
from gristmill.core.mapping import Mapping, Rows
from gristmill.core.source import Page, PlanContext, ReadContext, Source, SourcePlan, Split, State
from gristmill.sources.formats import json, jsonl, parquet, text

_MIB = 1 << 20
_HEAD_BYTES = 64 << 10  # what a format is told by
_FILE_BYTES = 4 << 10  # what opening a file costs, as bytes read: keeps a split from holding a million tiny files
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_CODEC_NAMES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_FORMAT_NAMES = {
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".txt", ".md", ".text", ".rst"), "text"),
}
_LISTING = pa.schema(
    [
        pa.field("unit", pa.string()),
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("sample", pa.string()),
    ]
)


class _Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file, or a range of one, as it stands in a split: bytes, or row groups when `format` is parquet."""

    unit: str
    path: str
    size: int
    mtime_ns: int
    sample: str
    format: str = ""
    start: int = 0
    end: int = -1

    parts: int = 1  # of how many such ranges the file is made


class Files(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads local files.

    path: a path or glob (`**` for any folders), or several, from the config's folder on. format: told by the content
    if `auto`. text, id, url, time, lang, license: the field for each column: a name, a dotted path, or a template like
    "{title}: {body}"; all other fields go to `meta` (plain text files have no fields and need no mapping). lines: of text files, each line is a record. max_record_bytes: a
    longer one is quarantined. max_expanded_bytes, max_ratio: a compressed file over both is a bomb and fails.
    split_bytes: size of a piece of work, by default 1/64 of the input within 16 to 256 MiB. allow_empty: it is fine if
    no file is there (any more).
    """

    VERSION: ClassVar[int] = 1

    path: str | list[str]
    format: Literal["auto", "jsonl", "json", "parquet", "text"] = "auto"
    text: str = "text"
    id: str | None = None
    url: str | None = None
    time: str | None = None
    lang: str | None = None
    license: str | None = None
    lines: bool = False
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 * _MIB
    max_expanded_bytes: Annotated[int, msgspec.Meta(ge=1)] = 4 << 30
    max_ratio: Annotated[int, msgspec.Meta(ge=1)] = 200
    split_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = self._mapping.problems()
        if not self._globs or not all(self._globs):
            problems.append("path: empty; give a file or a glob such as data/**/*.jsonl")
        if self.format == "text" and self._mapping != Mapping():
            problems.append(
                "format: text files have no fields, so text, id, url, time, lang and license cannot be given"
            )
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def _globs(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path

    @property
    def _mapping(self) -> Mapping:
        return Mapping(self.text, self.id, self.url, self.time, self.lang, self.license)

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on; no side effect."""
        try:
            listing = self._list(folder)
        except (ConfigError, SourceError) as error:
            return [str(error)]
        problems = [f'"{unit}": {code}: {detail}' for unit, code, detail in listing.failed[:5]]
        if len(listing.failed) > len(problems):
            problems.append(f"{len(listing.failed) - len(problems)} more files like these")
        if not listing.found and not listing.failed and not self.allow_empty:
            problems.append(self._nothing(folder))
        return problems

    def _nothing(self, folder: Path) -> str:
        shown = " or ".join(f'"{glob}"' for glob in self._globs)
        return f"no file matches {shown} below {folder}; fix the path, or set allow_empty: true if that is expected"

    def _list(self, folder: Path) -> Listing:
        for glob in self._globs:
            if (folder / local_path(glob)).is_dir():
                raise ConfigError(f'path "{glob}" is a folder; write "{glob.rstrip("/")}/**/*" for all files below it')
        return Local(folder).list(self._globs)

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Compare the files there are with the committed unit table.

        A file that cannot be opened now is in `failed` only: neither listed, nor gone.

        Raises:
            ConfigError: a path is a folder or not local.
            SourceError: a folder cannot be listed, or no file is there (any more).
        """
        folder = context.folder
        local = Local(folder)
        listing = self._list(folder)
        failed = list(listing.failed)
        pieces: list[_Piece] = []
        for found in listing.found:
            digest = _digest(local, found)
            if isinstance(digest, OSError):
                failed.append((found.unit, "file.unreadable", f"cannot be read: {digest.strerror or digest}"))
            else:
                pieces.append(_Piece(found.unit, found.path, found.size, found.mtime_ns, digest))
        known: dict[str, tuple[int, int, str]] = {}
        if state is not None and state.units is not None:
            columns = [state.units.column(name).to_pylist() for name in ("unit", "size", "mtime_ns", "sample")]
            known = {unit: (size, mtime, digest) for unit, size, mtime, digest in zip(*columns, strict=True)}
        if not pieces and not failed and not self.allow_empty:
            if not known:
                raise SourceError(self._nothing(folder))
            raise SourceError(
                f"all {len(known)} files of the last snapshot are gone and nothing else matches {self._globs}; fix the "
                "path or mount the data, or set allow_empty: true to withdraw all their records"
            )
        todo = [piece for piece in pieces if known.get(piece.unit) != (piece.size, piece.mtime_ns, piece.sample)]
        here = {piece.unit for piece in pieces} | {unit for unit, _, _ in failed}
        return SourcePlan(
            splits=self._splits(todo, known.keys(), local),
            listing=_table(pieces),
            replaced=[piece.unit for piece in todo if piece.unit in known],
            gone=sorted(unit for unit in known if unit not in here),
            failed=sorted(failed),
        )

    def _splits(self, todo: list[_Piece], known: Any, local: Local) -> list[Split]:
        """Cut large files, pack small ones, in the order of the units."""
        total = sum(piece.size for piece in todo)
        target = self.split_bytes or min(max(total // 64, 16 * _MIB), 256 * _MIB)
        groups: list[list[_Piece]] = []
        packed: list[_Piece] = []
        packed_bytes = 0
        for piece in todo:
            weight = max(piece.size, _FILE_BYTES)
            if packed and (packed_bytes + weight > target or piece.size >= target):
                groups.append(packed)
                packed, packed_bytes = [], 0
            if piece.size >= target:
                groups += [[part] for part in self._cut(piece, target, local)]
            else:
                packed.append(piece)
                packed_bytes += weight
        if packed:
            groups.append(packed)
        return [_split(group, known) for group in groups]

    def _cut(self, piece: _Piece, target: int, local: Local) -> list[_Piece]:
        """Cut a large file into ranges if its bytes allow reading from the middle."""
        try:
            with local.open(piece.path) as raw:
                head = raw.read(_HEAD_BYTES)
                kind = self.format if self.format != "auto" else _detect(head, piece.unit)[0]
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
        """
        local = Local(context.folder)
        for piece in msgspec.convert(split.spec["files"], list[_Piece]):
            if piece.unit not in context.skip:
                yield from self._read_piece(piece, local, context.batch_bytes)

    def _read_piece(self, piece: _Piece, local: Local, batch_bytes: int) -> Iterator[Page]:
        try:
            with local.open(piece.path) as raw:
                _must_be(piece, local)
                try:
                    yield from self._pages(piece, raw, batch_bytes)
                except UnitFailed:
                    _must_be(piece, local)  # a file that is being written looks damaged
                    raise
                _must_be(piece, local)
        except FileNotFoundError:
            raise _changed(piece) from None
        except OSError as error:
            detail = f"cannot be read: {error.strerror or error}"
            raise UnitFailed(piece.unit, "file.unreadable", detail, advance=False) from error

    def _pages(self, piece: _Piece, raw: BinaryIO, batch_bytes: int) -> Iterator[Page]:
        head = raw.read(_HEAD_BYTES)
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
        found, lied = _detect(head, piece.unit)
        kind = piece.format or (self.format if self.format != "auto" else found)
        # Text files have no fields: only their text is mapped.
        rows = Rows(piece.unit, Mapping() if kind == "text" else self._mapping, batch_bytes)
        if piece.size == 0:
            rows.warn("file.empty")
            yield rows.take(0)
            return
        if piece.start == 0 and (
            (lied and self.format == "auto") or _CODEC_NAMES.get(_suffix(piece.unit), "") != codec
        ):
            rows.warn("file.extension")
        if head.startswith(_UTF16) and (kind != "text" or self.lines):
            raise UnitFailed(
                piece.unit, "text.encoding", "begins with the mark of UTF-16 or UTF-32; convert it to UTF-8"
            )
        if kind == "jsonl":
            yield from jsonl.read(blocks, rows, start, self.max_record_bytes)
        elif kind == "json":
            yield from json.read(blocks, rows, self.max_record_bytes)
        elif kind == "parquet":
            if codec:
                raise UnitFailed(piece.unit, "file.unsupported", f"Parquet inside {codec}; decompress it first")
            groups = (piece.start, piece.end) if piece.end >= 0 else None
            yield from parquet.read(raw, rows, groups, piece.size, (batch_bytes, self.max_record_bytes))
        elif self.lines:
            yield from text.read_lines(blocks, rows, start, self.max_record_bytes)
        else:
            yield from text.read(blocks, rows, self.max_record_bytes)


def _digest(local: Local, found: Found) -> str | OSError:
    try:
        with local.open(found.path) as raw:
            return sample(raw, found.size)
    except OSError as error:
        return error


def _must_be(piece: _Piece, local: Local) -> None:
    """Check that the file is still the planned one."""
    if local.stat(piece.path) != (piece.size, piece.mtime_ns):
        raise _changed(piece)


def _changed(piece: _Piece) -> UnitFailed:
    detail = "changed or vanished after it was planned; it is read again next run"
    return UnitFailed(piece.unit, "file.changed", detail, advance=False)


def _split(pieces: list[_Piece], known: Any) -> Split:
    """Make a split; its id holds what is read and no times, so that a copied or touched file gives the same one."""
    content = [(p.unit, p.size, p.sample, p.format, p.start, p.end) for p in pieces]
    return Split(
        id=hashlib.blake2b(orjson.dumps(content), digest_size=16).hexdigest(),
        spec={"files": msgspec.to_builtins(pieces)},
        units=[piece.unit for piece in pieces],
        bytes=sum(piece.size // piece.parts for piece in pieces),
        fresh=not any(piece.unit in known for piece in pieces),
    )


def _table(pieces: list[_Piece]) -> pa.Table:
    columns = [[getattr(p, name, None) for p in pieces] for name in _LISTING.names]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _LISTING, strict=True)], schema=_LISTING)


def _peek(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Give the first bytes of a stream, and the stream with them still in it."""
    held: list[bytes] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= _HEAD_BYTES:
            break
    return b"".join(held)[:_HEAD_BYTES], chain(held, blocks)


def _suffix(unit: str) -> str:
    return PurePosixPath(unit).suffix.lower()


def _detect(head: bytes, unit: str) -> tuple[str, bool]:
    """Tell the format by the first decompressed bytes, and if the name claims another one.

    A name ending in .txt or .md is believed unless the bytes are Parquet: prose may begin with a bracket. A .json whose
    first line is a whole object followed by another is read as JSON lines, which survive a bad line.
    """
    name = PurePosixPath(unit)
    claimed = _FORMAT_NAMES.get((PurePosixPath(name.stem) if _suffix(unit) in _CODEC_NAMES else name).suffix.lower())
    bare = head.removeprefix(_BOM).lstrip()
    if head.startswith(b"PAR1"):
        return "parquet", claimed not in {None, "parquet"}
    if claimed == "text" or bare[:1] not in {b"[", b"{"}:
        return claimed or "text", False
    first, _, rest = bare.partition(b"\n")
    rest = rest.lstrip()
    whole = _is_json(first)
    if bare.startswith(b"["):
        kind = "jsonl" if whole and rest else "json"
    elif claimed == "json":
        kind = "jsonl" if whole and rest.startswith(b"{") else "json"
    elif claimed == "jsonl" or whole or len(first) == len(bare) >= _HEAD_BYTES // 2:
        kind = "jsonl"  # also when the first line is too long to see its end
    else:
        kind = "json"
    return kind, claimed not in {None, kind} and (claimed, kind) != ("json", "jsonl")


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
