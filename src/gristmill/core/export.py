"""Export: a derived copy of a snapshot; of one in chunks, the ledger that says which chunk holds which records, its manifest.

Not here: copies that are rows of a table (`core.load`), file formats (`exports/`), when exports are made (`engine`). Words: a *chunk* is one file holding the
live records of one interval of `ord`; the *ledger* is the list of chunks of one snapshot, kept in its manifest.
Invariants: the ledger is a function of the previous ledger, the records added and the records withdrawn; a chunk whose
records change gets a new name (`chunk_00003.r7.jsonl.zst`) and no name is ever used for other records again, so no
published file ever changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from gristmill.core.batch import TABLE_SCHEMA, Int64s
from gristmill.core.errors import ConfigError, StoreError, naming
from gristmill.core.places import Options
from gristmill.core.shards import Cutter

DOCS_PER_CHUNK = 10_000

# Some rows in ascending order: the `ord` of each, and its `row_bytes` (needed only where bytes_per_chunk is set).
Rows: TypeAlias = tuple[Int64s, Int64s | None]


class Chunk(msgspec.Struct, frozen=True):
    """One file of an export. Its records: the live ones with first_ord <= ord <= last_ord; `docs` of them."""

    index: int
    name: str
    docs: int
    first_ord: int
    last_ord: int


class Ledger(msgspec.Struct, frozen=True):
    """All chunks of an export of one snapshot, in order of `ord`; indices below `next_index` have been used before."""

    chunks: list[Chunk] = []
    next_index: int = 0

    @property
    def docs(self) -> int:
        """The records in all chunks."""
        return sum(chunk.docs for chunk in self.chunks)


class Written(msgspec.Struct, frozen=True):
    """What is known of a chunk's file: its size, its size before compression, its digest."""

    bytes: int
    raw_bytes: int
    sha256: str


class ManifestChunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chunk as the export's manifest lists it."""

    name: str
    docs: int
    bytes: int
    raw_bytes: int
    sha256: str
    first_ord: int
    last_ord: int


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`manifest.json` of an export: what is there, made by which `Export.digest`. Swapping it in is the commit."""

    version: Literal[1] = 1
    export: str
    snapshot: int
    format: str
    compression: str
    config: str
    docs: int
    chunks: list[ManifestChunk]


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all exports. A part is a `FileExport` (chunks in a folder) or a `Load` (`core.load`: rows of a table)."""

    VERSION: ClassVar[int] = 1
    FORMAT: ClassVar[str] = ""

    def fingerprint(self) -> dict[str, Any]:
        """Give what decides the copy, given its records; no secret, as it is kept in manifests.

        If it changes, all of the copy is out of date.
        """
        return {"format": self.FORMAT, "version": self.VERSION, "params": msgspec.to_builtins(self)}

    def digest(self) -> str:
        """Give a short digest of `fingerprint`, in hex."""
        return hashlib.sha256(msgspec.json.encode(self.fingerprint(), order="sorted")).hexdigest()[:16]

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on, and advice, which begins with `NOTE`; no side effect."""
        return []


class FileExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all chunked exports.

    path: the folder, here or on an object store (s3://bucket/folder). storage: how to reach the store, if not as the dataset's. docs_per_chunk: records a file (default 10,000, but no limit where bytes_per_chunk is given).
    bytes_per_chunk: serialised bytes a file before compression; a chunk closes before the record that would push it
    over. Both null: one file. prefix, digits: of the file names. mode: append keeps finished chunks and adds new ones;
    full deals all records out anew.
    """

    path: str
    docs_per_chunk: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType | None = msgspec.UNSET
    bytes_per_chunk: Annotated[int, msgspec.Meta(ge=1)] | None = None
    prefix: str = "chunk_"
    digits: Annotated[int, msgspec.Meta(ge=1, le=12)] = 5
    mode: Literal["append", "full"] = "append"
    storage: Options = {}

    def __post_init__(self) -> None:
        """Refuse a folder or prefix that cannot be a path; a reader of configs adds the place to the message."""
        if not self.path or "\0" in self.path:
            raise ValueError(f"path: {self.path!r} is no folder name; name the folder the chunks go to")
        unsafe = any(sign in self.prefix for sign in ("/", "\\", "..")) or self.prefix.startswith(".")
        if unsafe or not self.prefix.isprintable():
            raise ValueError(f"prefix: {self.prefix!r} is no safe start of a file name; use letters, digits, _ or -")

    @property
    def max_docs(self) -> int | None:
        """The most records a chunk may hold, None for no limit."""
        if isinstance(self.docs_per_chunk, msgspec.UnsetType):
            return DOCS_PER_CHUNK if self.bytes_per_chunk is None else None
        return self.docs_per_chunk

    @property
    def codec(self) -> str:
        """The compression by its one name, such as `zst`."""
        raise NotImplementedError

    @property
    def suffix(self) -> str:
        """The end of a chunk's file name, such as `.jsonl.zst`."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Give what decides the bytes and names of a chunk, given its records.

        If it changes, every chunk is out of date: deal all rows anew from `Ledger([], old.next_index)`.
        """
        cutting = {"path", "storage", "docs_per_chunk", "bytes_per_chunk", "mode"}
        params = {key: value for key, value in msgspec.to_builtins(self).items() if key not in cutting}
        return {"format": self.FORMAT, "version": self.VERSION, "params": params}

    def row_bytes(self, rows: pa.RecordBatch) -> Int64s:
        """Give the serialised size of each row before compression, in bytes."""
        raise NotImplementedError

    def write(self, file: BinaryIO, rows: Iterator[pa.RecordBatch]) -> int:
        """Write one chunk; give its size before compression in bytes. Same rows, same bytes, however they are batched."""
        raise NotImplementedError

    def count(self, path: Path) -> int:
        """Read a finished chunk through to its end and give its records.

        Raises:
            StoreError: the file is damaged.
        """
        raise NotImplementedError

    def name(self, index: int, revision: int | None = None) -> str:
        """Give the file name of chunk `index`; `revision` is the snapshot that changed it.

        Raises:
            ConfigError: the index does not fit into `digits`.
        """
        if index >= 10**self.digits:
            raise ConfigError(
                f"export {self.path!r}: chunk number {index} does not fit into digits: {self.digits}; "
                f"set digits: {len(str(index))} (or larger chunks) and export to a new path"
            )
        middle = "" if revision is None else f".r{revision}"
        return f"{self.prefix}{index:0{self.digits}d}{middle}{self.suffix}"

    def owns(self, name: str) -> bool:
        """Tell if a file name could be a chunk's of this export; what it does not own it must never delete."""
        pattern = rf"{re.escape(self.prefix)}\d{{{self.digits}}}(\.r\d+)?{re.escape(self.suffix)}"
        return re.fullmatch(pattern, name, re.ASCII) is not None


def check_columns(columns: list[str] | None) -> None:
    """Refuse a list of columns that is empty, names one twice, or names one the table does not have."""
    if columns is None:
        return
    unknown = sorted(set(columns) - set(TABLE_SCHEMA.names))
    if unknown or not columns or len(set(columns)) < len(columns):
        found = f"{unknown[0]!r} is none of the table's" if unknown else "empty" if not columns else "one stands twice"
        raise ValueError(f"columns: {found}; choose from {', '.join(TABLE_SCHEMA.names)}")


def extend(export: FileExport, ledger: Ledger, added: Iterable[Rows], removed: Int64s, seq: int) -> Ledger:
    """Give the ledger of snapshot `seq` in mode append: chunks shrink, new rows go into new chunks (or the one file).

    Args:
        export: its limits and names.
        ledger: of the parent snapshot; empty if the export is new, and then `added` is every live row.
        added: the new rows; their ords are greater than any in the ledger.
        removed: sorted ords that are in the ledger and no longer live.
        seq: the new snapshot.

    Raises:
        StoreError: the ledger does not hold what is said to be removed, or holds what is said to be added.
        ConfigError: a chunk's number does not fit into `digits`.
    """
    shrunk = _without(export, ledger, removed, seq)
    end = ledger.chunks[-1].last_ord if ledger.chunks else -1
    new = _groups(Cutter(export.max_docs, export.bytes_per_chunk), added, end)
    if export.max_docs is None and export.bytes_per_chunk is None:
        return _one_file(export, ledger, shrunk, next(new, None), seq)
    index = ledger.next_index
    for docs, first, last in new:
        shrunk.append(Chunk(index, export.name(index), docs, first, last))
        index += 1
    return Ledger(shrunk, index)


def deal(export: FileExport, ledger: Ledger, live: Iterable[Rows], removed: Int64s, seq: int) -> Ledger:
    """Give the ledger of snapshot `seq` in mode full: all `live` rows are dealt anew; unchanged chunks keep their names.

    Args:
        export: its limits and names.
        ledger: of the parent snapshot; empty if the export is new.
        live: every live row of the new snapshot, ascending.
        removed: sorted ords that were live in the parent and no longer are.
        seq: the new snapshot.

    Raises:
        StoreError: the rows do not ascend.
        ConfigError: a chunk's number does not fit into `digits`.
    """
    before = {chunk.index: chunk for chunk in ledger.chunks}
    chunks: list[Chunk] = []
    for docs, first, last in _groups(Cutter(export.max_docs, export.bytes_per_chunk), live, -1):
        index = len(chunks)
        old = before.get(index)
        # Same count in the same interval and nothing taken out of it: nothing was put in either.
        if old and (old.docs, old.first_ord, old.last_ord) == (docs, first, last) and not _within(removed, old):
            chunks.append(old)
        else:
            chunks.append(Chunk(index, _fresh_name(export, ledger, index, seq), docs, first, last))
    return Ledger(chunks, max(ledger.next_index, len(chunks)))


def restore(head: Ledger, target: Ledger) -> Ledger:
    """Give the ledger of a rollback from `head` to `target`: its chunks, and no used number is free again."""
    return Ledger(target.chunks, max(head.next_index, target.next_index))


def manifest_bytes(export: FileExport, name: str, seq: int, ledger: Ledger, files: Mapping[str, Written]) -> bytes:
    """Give `manifest.json` of the export called `name` at snapshot `seq`; `files` by chunk name. Holds no times."""
    chunks = [
        ManifestChunk(chunk.name, chunk.docs, file.bytes, file.raw_bytes, file.sha256, chunk.first_ord, chunk.last_ord)
        for chunk in ledger.chunks
        for file in (files[chunk.name],)
    ]
    manifest = ExportManifest(
        export=name,
        snapshot=seq,
        format=export.FORMAT,
        compression=export.codec,
        config=export.digest(),
        docs=ledger.docs,
        chunks=chunks,
    )
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def read_manifest(path: Path, place: str = "") -> ExportManifest | None:
    """Read an export's `manifest.json`; None if there is none. place: what it is called for people, if not by its path.

    Raises:
        StoreError: it is damaged, or of a version this gristmill does not know.
    """
    try:
        with naming(path):
            return msgspec.json.decode(path.read_bytes(), type=ExportManifest)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StoreError(
            f"{place or path}: not an export manifest of version 1 ({error}); "
            "upgrade gristmill, or delete the file to have the export made anew"
        ) from error


def _groups(cutter: Cutter, rows: Iterable[Rows], end: int) -> Iterator[tuple[int, int, int]]:
    """Cut rows into groups: (docs, first ord, last ord) of each. All ords must ascend, from above `end` on."""
    docs, first = 0, -1
    for ords, sizes in rows:
        if not len(ords):
            continue
        if int(ords[0]) <= end or not bool(np.all(ords[1:] > ords[:-1])):
            raise StoreError(f"rows for an export do not ascend after ord {end}; run `gristmill verify`")
        start = 0
        for cut in [*cutter.cuts(len(ords), sizes), len(ords)]:
            if start < cut:
                first = int(ords[start]) if docs == 0 else first
                docs += cut - start
                end = int(ords[cut - 1])
            if cut < len(ords):
                yield docs, first, end
                docs = 0
            start = cut
    if docs:
        yield docs, first, end


def _within(removed: Int64s, chunk: Chunk) -> int:
    low, high = np.searchsorted(removed, [chunk.first_ord, chunk.last_ord + 1])
    return int(high - low)


def _without(export: FileExport, ledger: Ledger, removed: Int64s, seq: int) -> list[Chunk]:
    """Take the removed rows out of the chunks: those concerned get a new name, empty ones go."""
    if not bool(np.all(removed[1:] > removed[:-1])):
        raise ValueError("removed ords must be sorted and each stand once")
    kept: list[Chunk] = []
    found = 0
    for chunk in ledger.chunks:
        gone = _within(removed, chunk)
        found += gone
        if gone > chunk.docs:
            raise StoreError(f"chunk {chunk.name} holds {chunk.docs} records, {gone} are to go; run `gristmill verify`")
        if gone == 0:
            kept.append(chunk)
        elif gone < chunk.docs:
            name = export.name(chunk.index, seq)
            kept.append(msgspec.structs.replace(chunk, name=name, docs=chunk.docs - gone))
    if found != len(removed):
        raise StoreError(f"{len(removed) - found} withdrawn records are in no chunk; run `gristmill verify`")
    return kept


def _one_file(
    export: FileExport, ledger: Ledger, kept: list[Chunk], new: tuple[int, int, int] | None, seq: int
) -> Ledger:
    """Put all there is into the one file; it keeps its name only if nothing changes."""
    if new is None and len(kept) <= 1:
        return Ledger(kept, ledger.next_index)
    docs, first, last = new or (0, kept[0].first_ord, kept[-1].last_ord)
    docs += sum(chunk.docs for chunk in kept)
    first = kept[0].first_ord if kept else first
    return Ledger([Chunk(0, _fresh_name(export, ledger, 0, seq), docs, first, last)], max(1, ledger.next_index))


def _fresh_name(export: FileExport, ledger: Ledger, index: int, seq: int) -> str:
    """Name a chunk whose records are new under this number; the number alone only where it was never used."""
    return export.name(index, seq if index < ledger.next_index else None)
