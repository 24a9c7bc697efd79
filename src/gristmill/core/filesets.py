"""File sets: what is new among the files of some globs since the last snapshot, and how they become splits.

Shared by all sources whose unit is a file (`sources/files.py`, `sources/warc.py`). Not here: where files lie
(`core.places`, `net`), what is in them (the sources). A unit is a file, named by its path below the fixed part of the
globs (with several globs: of all of them, so adding one in another folder renames the units), with `!//` for `!/`. Unchanged is a file whose
ETag and size, or where its place has none, whose size, mtime and sampled content are those of the last snapshot.
Invariants: the splits follow from the data alone, never from times or the number of workers; what is read is what was
planned, or `file.changed` is raised; a file that cannot be opened is neither listed nor gone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.errors import ConfigError, SourceError, UnitFailed
from gristmill.core.files import Local, sample
from gristmill.core.places import Found, Listing, Looked, Place
from gristmill.core.source import PAGE_SCHEMA, Page, ReadContext, SourcePlan, Split, State

_MIB = 1 << 20
_FILE_BYTES = 4 << 10  # what opening a file costs, as bytes read: keeps a split from holding a million tiny files
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


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file, or the range [start, end) of one, as it stands in a split. What a range counts is its format's matter."""

    unit: str
    path: str
    size: int
    mtime_ns: int
    sample: str = ""
    etag: str = ""
    format: str = ""
    start: int = 0
    end: int = -1
    parts: int = 1  # of how many such ranges the file is made

    @property
    def fingerprint(self) -> tuple[int, str] | tuple[int, int, str]:
        """What it is known by: any other value is another content."""
        return (self.size, self.etag) if self.etag else (self.size, self.mtime_ns, self.sample)


class FileSet(msgspec.Struct, frozen=True):
    """The files that some globs match in one place. split_bytes: None is 1/64 of the input within 16 to 256 MiB."""

    place: Place
    globs: list[str]
    split_bytes: int | None = None
    allow_empty: bool = False

    def check(self) -> list[str]:
        """Give the problems a user can act on; no side effect."""
        try:
            listing = self.place.list(self.globs)
        except (ConfigError, SourceError) as error:
            return [str(error)]
        failed = [*listing.failed, *self._closed(listing)]
        problems = [f'"{unit}": {code}: {detail}' for unit, code, detail in failed[:5]]
        if len(failed) > len(problems):
            problems.append(f"{len(failed) - len(problems)} more files like these")
        if not listing.found and not listing.failed and not self.allow_empty:
            problems.append(self._nothing())
        return problems

    def _closed(self, listing: Listing) -> Iterator[tuple[str, str, str]]:
        """Give the files of this machine that may not be read; of others only opening them says it."""
        if not isinstance(self.place, Local):
            return
        for found in listing.found:
            if not os.access(self.place.folder / found.path, os.R_OK):
                yield (
                    found.unit,
                    "file.unreadable",
                    f"user {os.geteuid()} may not read it; allow it, or leave the file out",
                )

    def _nothing(self) -> str:
        shown = " or ".join(f'"{glob}"' for glob in self.globs)
        below = f" below {self.place.base}" if self.place.base else ""
        return f"no file matches {shown}{below}; fix the path, or set allow_empty: true if that is expected"

    def plan(self, state: State | None, cut: Callable[[Piece, int], list[Piece]]) -> SourcePlan:
        """Compare the files there are with the committed unit table.

        cut: gives the ranges of a large file that are to be of about so many bytes, or the file as it is.

        Raises:
            ConfigError: a glob is not of this place.
            SourceError: what is there cannot be told, or no file is there (any more).
        """
        listing = self.place.list(self.globs)
        failed = [(_apart(unit), code, detail) for unit, code, detail in listing.failed]
        pieces: list[Piece] = []
        for found in sorted(found._replace(unit=_apart(found.unit)) for found in listing.found):
            digest = self._digest(found)
            if isinstance(digest, OSError):
                failed.append((found.unit, "file.unreadable", f"cannot be read: {digest.strerror or digest}"))
            else:
                pieces.append(Piece(found.unit, found.path, found.size, found.mtime_ns, digest, found.etag))
        known = _known(state)
        if not pieces and not failed and not self.allow_empty:
            if not known:
                raise SourceError(self._nothing())
            raise SourceError(
                f"all {len(known)} files of the last snapshot are gone and nothing else matches {self.globs}; fix the "
                "path or mount the data, or set allow_empty: true to withdraw all their records"
            )
        todo = [
            piece for piece in pieces if piece.unit not in known or known[piece.unit].fingerprint != piece.fingerprint
        ]
        here = {piece.unit for piece in pieces} | {unit for unit, _, _ in failed}
        return SourcePlan(
            splits=self._splits(todo, known, cut),
            listing=_table(pieces),
            replaced=[piece.unit for piece in todo if piece.unit in known],
            gone=sorted(unit for unit in known if unit not in here),
            failed=sorted(failed),
        )

    def _digest(self, found: Found) -> str | OSError:
        """Sample a file whose place says nothing of its content."""
        if found.etag:
            return ""
        try:
            with self.place.open(found.path, size=found.size) as raw:
                return sample(raw, found.size)
        except OSError as error:
            return error

    def _splits(
        self, todo: list[Piece], known: Container[str], cut: Callable[[Piece, int], list[Piece]]
    ) -> list[Split]:
        """Cut large files, pack small ones, in the order of the units."""
        total = sum(piece.size for piece in todo)
        target = self.split_bytes or min(max(total // 64, 16 * _MIB), 256 * _MIB)
        groups: list[list[Piece]] = []
        packed: list[Piece] = []
        packed_bytes = 0
        for piece in todo:
            weight = max(piece.size, _FILE_BYTES)
            if packed and (packed_bytes + weight > target or piece.size >= target):
                groups.append(packed)
                packed, packed_bytes = [], 0
            if piece.size >= target:
                groups += [[part] for part in cut(piece, target)]
            else:
                packed.append(piece)
                packed_bytes += weight
        if packed:
            groups.append(packed)
        return [_split(group, known) for group in groups]

    @contextmanager
    def opened(self, piece: Piece) -> Iterator[BinaryIO]:
        """Open a piece's file for as long as it is the planned one.

        Raises:
            UnitFailed: `file.changed` or `file.unreadable`; and what the body raises, unless the file has changed.
            Transient: its place cannot be reached now.
        """
        try:
            with self.place.open(piece.path, piece.etag, piece.size) as raw:
                self._must_be(piece)
                try:
                    yield raw
                except UnitFailed:
                    self._must_be(piece)  # a file that is being written looks damaged
                    raise
                self._must_be(piece)
        except FileNotFoundError:
            raise _changed(piece) from None
        except OSError as error:
            detail = f"cannot be read: {error.strerror or error}"
            raise UnitFailed(piece.unit, "file.unreadable", detail, advance=False) from error

    def _must_be(self, piece: Piece) -> None:
        """Check that the file is still the planned one, where its place does not see to that."""
        if self.place.pins and piece.etag:
            return
        now = self.place.look(piece.path)
        expected = Looked(piece.size, piece.mtime_ns, piece.etag)
        if now != expected and not (piece.etag and (now.size, now.etag) == (piece.size, piece.etag)):
            raise _changed(piece)


def _apart(unit: str) -> str:
    """Give a unit a name that no member of an archive has: theirs have `!/` in front, and never begin with a slash."""
    return unit.replace("!/", "!//")


def pieces_of(split: Split) -> list[Piece]:
    """Give the pieces a split is made of."""
    return msgspec.convert(split.spec["files"], list[Piece])


def in_turn(split: Split, context: ReadContext, read: Callable[[Piece], Iterator[Page]]) -> Iterator[Page]:
    """Read the pieces of a split one after the other, but for those to skip; one that fails is told by a page where that is asked for.

    Raises:
        UnitFailed: what `read` raises, where it is not.
    """
    for piece in pieces_of(split):
        if piece.unit in context.skip:
            continue
        try:
            yield from read(piece)
        except UnitFailed as error:
            if not context.go_on or error.unit != piece.unit:
                raise
            # Another one, as that holds all that its reading held for as long as it is kept.
            failed = UnitFailed(error.unit, error.code, error.detail, advance=error.advance)
            nothing = pa.RecordBatch.from_arrays(
                [pa.array([], field.type) for field in PAGE_SCHEMA], schema=PAGE_SCHEMA
            )
            yield Page(piece.unit, nothing, failed=failed)


def _known(state: State | None) -> dict[str, Piece]:
    """Give the files of the committed unit table by unit."""
    if state is None or state.units is None:
        return {}
    names = ("unit", "path", "size", "mtime_ns", "sample", "etag")
    columns = [state.units.column(name).to_pylist() for name in names]
    return {
        unit: Piece(unit, path, size, mtime_ns, digest or "", etag or "")
        for unit, path, size, mtime_ns, digest, etag in zip(*columns, strict=True)
    }


def _changed(piece: Piece) -> UnitFailed:
    detail = "changed or vanished after it was planned; it is read again next run"
    return UnitFailed(piece.unit, "file.changed", detail, advance=False)


def _split(pieces: list[Piece], known: Container[str]) -> Split:
    """Make a split; its id holds what is read and no times, so that a copied or touched file gives the same one."""
    content = [(p.unit, p.size, p.etag or p.sample, p.format, p.start, p.end) for p in pieces]
    return Split(
        id=hashlib.blake2b(orjson.dumps(content), digest_size=16).hexdigest(),
        spec={"files": msgspec.to_builtins(pieces)},
        units=[piece.unit for piece in pieces],
        bytes=sum(piece.size // piece.parts for piece in pieces),
        fresh=not any(piece.unit in known for piece in pieces),
    )


def _table(pieces: list[Piece]) -> pa.Table:
    columns = [[getattr(piece, name) for piece in pieces] for name in _LISTING.names]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _LISTING, strict=True)], schema=_LISTING)
