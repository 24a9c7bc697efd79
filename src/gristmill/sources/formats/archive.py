"""Members of zip and tar archives, each read as a file of its own whose place is `<archive>!/<member>`.

Not here: taking archives apart (`core.ziparchive`, `core.tararchive`), what is in a member (the other modules of this room, by
`content`). The archive is the unit: it changes as a whole. A member that is bad costs itself: its pages are held back until it has
ended, up to `_HELD_BYTES`; one that turns out bad after that costs the archive. Names are data and lead nowhere.
Invariants: every member is read, or rejected with a code, or counted; the first of several of one name is the one that is read;
bytes_in adds up to what came out of the members; all of it, and what `content` takes out of it in turn, is counted against one
allowance.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import pyarrow as pa

from gristmill.core.errors import UnitFailed
from gristmill.core.files import Allowance
from gristmill.core.places import key_glob
from gristmill.core.source import PAGE_SCHEMA, Page, Reject
from gristmill.core.tararchive import Member

MAX_MEMBERS = 1 << 20  # each costs some 80 bytes while its archive is read: names may stand twice
_HELD_BYTES = 64 << 20
_LONGEST_NAME = 4096
_WARNINGS = {"link": "archive.link", "special": "archive.special"}

Content = Callable[[Member, str], Iterator[Page]]


def read(
    members: Iterator[Member], unit: str, allowance: Allowance, asked: list[str], content: Content
) -> Iterator[Page]:
    """Read the members of an archive. asked: globs of names, none for all; content: reads one, at a place.

    Raises:
        UnitFailed: of `unit`: the archive is damaged, a bomb, or a member of it is bad that was half given.
    """
    wanted = [key_glob(glob) for glob in asked]
    seen: set[bytes] = set()
    passed: dict[str, int] = {}
    for member in members:
        if member.kind == "folder":
            continue
        name = member.name.removeprefix("./")
        place = f"{unit}!/{name}"
        why = _refused(member, name)
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        if not why and member.kind in _WARNINGS:
            _count(passed, _WARNINGS[member.kind])
        elif not why and not _is_asked(name, wanted):
            _count(passed, "archive.skipped")
        elif not why and digest in seen:
            why = ("archive.duplicate", "another member before it has this name")
        elif not why:
            counted = _Counted(allowance.counted(member.blocks))
            yield from _held(content(member._replace(name=name, blocks=counted.blocks()), place), unit, place, counted)
        if why:
            yield _page(unit, [Reject(why[0], place, why[1], member.size)])
        seen.add(digest)
        if len(seen) > MAX_MEMBERS:
            raise UnitFailed(unit, "size.cap", f"over {MAX_MEMBERS} members")
    yield _page(unit, [], warnings=passed if seen else {"file.empty": 1})


def _refused(member: Member, name: str) -> tuple[str, str] | None:
    """Say why a member is not even looked into."""
    parts = re.split(r"[/\\]", name)
    if not member.is_text or not name or len(name) > _LONGEST_NAME or "\0" in name:
        return "archive.name", "its name is empty, too long, holds a NUL character or is no UTF-8"
    if not parts[0] or re.fullmatch(r"[A-Za-z]:", parts[0]) or ".." in parts:
        return "archive.name", "its name is absolute or leads out of the archive"
    if member.kind not in {"file", *_WARNINGS}:
        return member.kind, member.detail
    return None


def _is_asked(name: str, wanted: list[tuple[str, re.Pattern[str]]]) -> bool:
    """Tell if a name is one of those asked for; without any, all but hidden ones and what macOS adds."""
    if wanted:
        return any(name.startswith(head) and glob.fullmatch(name, len(head)) for head, glob in wanted)
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") for part in parts) and parts[:1] != ("__MACOSX",)


class _Counted:
    """A member's blocks, and how many bytes came out of it."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.bytes = 0

    def blocks(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.bytes += len(block)
            yield block


def _held(pages: Iterator[Page], unit: str, place: str, counted: _Counted) -> Iterator[Page]:
    """Give the pages of a member once it has ended well, or a reject in their place."""
    held: list[Page] | None = []
    held_bytes = 0
    try:
        for page in pages:
            if held is None:
                yield page
                continue
            held.append(page)
            held_bytes += page.rows.nbytes
            if held_bytes > _HELD_BYTES:
                yield from held
                held = None
    except UnitFailed as error:
        if error.unit == unit:  # else the member's, by whichever spelling of its name: `./a` is `a` here
            raise
        if not error.advance:  # not the member's fault
            raise UnitFailed(unit, error.code, error.detail, advance=False) from error
        if held is None:
            detail = f"{place[len(unit) + 2 :]}: {error.detail}; over {_HELD_BYTES >> 20} MiB of it were read by then"
            raise UnitFailed(unit, error.code, detail) from None
        yield _page(unit, [Reject(error.code, place, error.detail, counted.bytes)], counted.bytes)
        return
    yield from held or ()


def _page(unit: str, rejects: list[Reject], bytes_in: int = 0, warnings: dict[str, int] | None = None) -> Page:
    return Page(unit, pa.RecordBatch.from_pylist([], PAGE_SCHEMA), rejects, bytes_in, warnings or {})


def _count(counts: dict[str, int], code: str) -> None:
    counts[code] = counts.get(code, 0) + 1
