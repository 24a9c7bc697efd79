"""Zip archives as a stream of members, by their central directory; never laid down on disk, never all names in memory.

Not here: what lies in a member, what becomes of odd members (`sources/formats/archive.py`). Our own because the standard library's
makes an object of every entry before the first is read, and believes a name that its local header contradicts. Known methods:
stored, deflate, bzip2, zstd. Invariants: the directory must end where the file does and members must not overlap, or a
`UnitFailed` names the archive; what comes out of a member has the size and the checksum that were told, or a `UnitFailed` with
the member's place says so.
"""

from __future__ import annotations

import bz2
import re
import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from isal import isal_zlib

from gristmill.core.errors import UnitFailed
from gristmill.core.files import BLOCK_BYTES, BROKEN, CHUNK_BYTES, Expansion, Inflater, plain, undone, zstd_decompressor
from gristmill.core.tararchive import Member

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_MAX_COMMENT_BYTES = (1 << 16) - 1
_FULL_16, _FULL_32 = (1 << 16) - 1, (1 << 32) - 1
_ENCRYPTED, _UTF8 = 1 | 1 << 6 | 1 << 13, 1 << 11
_UNIX = {3, 19}  # systems whose modes stand in the external attributes
_METHODS: dict[int, tuple[str, Callable[[], Any]]] = {
    8: ("deflate", lambda: Inflater(-15)),
    12: ("bzip2", bz2.BZ2Decompressor),
    93: ("zstd", zstd_decompressor),
}
# Documents and programs are zips too, by these members: reading their parts as text would make nonsense of them.
_DOCUMENT = re.compile(
    rb"\[Content_Types\]\.xml|mimetype|META-INF/MANIFEST\.MF|AndroidManifest\.xml|.*\.dist-info/RECORD"
)


class Entry(NamedTuple):
    """A member as the directory tells it. is_text: its name is what it is told to be. start: of its local header."""

    raw_name: bytes
    name: str
    is_text: bool
    kind: str
    detail: str
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    start: int


class Directory(NamedTuple):
    """Where the entries stand."""

    start: int
    end: int
    entries: int


def members(raw: BinaryIO, size: int, unit: str, limits: Expansion, max_members: int) -> Iterator[Member]:
    """Give the members of an archive of `size` bytes, in the order of its directory.

    Raises:
        UnitFailed: of `unit`: file.truncated, file.trailing, file.corrupt, file.unsupported or size.cap (too many members).
    """
    found = _directory(raw, size, unit)
    if found.entries > max_members:
        raise UnitFailed(unit, "size.cap", f"{found.entries} members; {max_members} are the most")
    _look_over(raw, found, unit)
    for entry in _entries(raw, found, unit):
        kind, detail = (entry.kind, entry.detail) if entry.kind != "file" else _why_not(raw, entry)
        blocks = _content(raw, entry, f"{unit}!/{entry.name}", limits) if kind == "file" else iter(())
        yield Member(entry.name, entry.is_text, kind, entry.size, blocks, detail)


def _directory(raw: BinaryIO, size: int, unit: str) -> Directory:
    """Find the directory by the record that ends the file."""
    tail_bytes = min(size, _END.size + _MAX_COMMENT_BYTES)
    tail = b"".join(plain(raw, size - tail_bytes, size))
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise UnitFailed(unit, "file.truncated", f"no end of a zip directory in {size} bytes")
    _, disk, first, here, count, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        code = "file.trailing" if at + _END.size + comment < len(tail) else "file.truncated"
        raise UnitFailed(unit, code, "the zip directory does not end where the file does")
    end = size - len(tail) + at
    narrow = disk, first, here, count, length, start
    # Between both may be the wide one though all numbers fit: Python writes it from 2 GiB on, Info-ZIP for what it reads from a pipe.
    if _FULL_16 in narrow[:4] or _FULL_32 in narrow[4:] or start + length != end:
        disk, first, here, count, length, start, end = _wide(raw, end, narrow, unit)
    if disk or first or here != count:
        raise UnitFailed(unit, "file.unsupported", "a part of a zip in several files")
    if start + length != end:
        raise UnitFailed(
            unit, "file.corrupt", f"the zip directory is not where it should be, at {start} of {size} bytes"
        )
    return Directory(start, end, count)


def _wide(raw: BinaryIO, end: int, narrow: tuple[int, ...], unit: str) -> tuple[int, ...]:
    """Give the numbers of a zip64 record where there is one, and where the directory ends."""
    at = max(end - _LOCATOR_64.size, 0)
    data = b"".join(plain(raw, at, end))
    if len(data) < _LOCATOR_64.size or not data.startswith(b"PK\6\7"):
        return (*narrow, end)
    _, _, where, disks = _LOCATOR_64.unpack(data)
    record = b"".join(plain(raw, where, min(where + _END_64.size, at))) if where < at else b""
    if len(record) < _END_64.size or not record.startswith(b"PK\6\6") or disks > 1:
        raise UnitFailed(unit, "file.corrupt", "the zip64 record is not where it should be")
    _, _, _, _, disk, first, here, count, length, start = _END_64.unpack(record)
    return disk, first, here, count, length, start, where


def _entries(raw: BinaryIO, found: Directory, unit: str) -> Iterator[Entry]:
    """Read the directory, some of it at a time, as members are read from the same file in between."""
    held, begin, at, left = b"", 0, found.start, found.entries
    broken = UnitFailed(unit, "file.corrupt", "the zip directory cannot be taken apart")
    while left:
        there = len(held) - begin
        if there < _ENTRY.size or there < _ENTRY.size + sum(_ENTRY.unpack_from(held, begin)[12:15]):
            more = b"".join(plain(raw, at, min(at + CHUNK_BYTES, found.end)))
            if not more:
                raise broken
            held, begin, at = held[begin:] + more, 0, at + len(more)
            continue
        fields = _ENTRY.unpack_from(held, begin)
        if fields[0] != b"PK\1\2":
            raise broken
        name_end = begin + _ENTRY.size + fields[12]
        extra_end = name_end + fields[13]
        yield _entry(fields, held[begin + _ENTRY.size : name_end], held[name_end:extra_end])
        begin, left = extra_end + fields[14], left - 1
    if begin != len(held) or at != found.end:
        raise broken


def _entry(fields: tuple[Any, ...], raw_name: bytes, extra: bytes) -> Entry:
    _, _, system, _, _, flags, method, _, _, crc, stored, size, _, _, _, _, _, attributes, start = fields
    size, stored, start = _wide_sizes(extra, size, stored, start)
    name, is_text = _name(raw_name, flags)
    kind = detail = ""
    mode = (attributes >> 16) & 0o170000 if system in _UNIX else 0
    if name.endswith("/") and not size:
        kind = "folder"
    elif mode == 0o120000:
        kind = "link"
    elif mode not in {0, 0o100000} and not size:  # what Info-ZIP reads from a pipe it stores as one, with its content
        kind = "special"
    elif flags & _ENCRYPTED or method == 99:
        kind, detail = "archive.encrypted", "its content is encrypted"
    elif method and method not in _METHODS:
        kind, detail = "file.unsupported", f"compressed by method {method} of zip; known are 0, 8, 12 and 93"
    return Entry(raw_name, name, is_text, kind or "file", detail, flags, method, crc, stored, size, start)


def _wide_sizes(extra: bytes, size: int, stored: int, start: int) -> tuple[int, int, int]:
    """Give the numbers that do not fit 32 bits from the zip64 field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            data = extra[at + 4 : at + 4 + length]
            wide = iter([int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - 7, 8)])
            size, stored, start = (next(wide, told) if told == _FULL_32 else told for told in (size, stored, start))
        at += 4 + length
    return size, stored, start


def _name(raw_name: bytes, flags: int) -> tuple[str, bool]:
    """Give a name as text, and if it is one: UTF-8 (many write it without saying so), else the old code page 437, unless UTF-8 is what it says it is."""
    try:
        return raw_name.decode(), True
    except UnicodeDecodeError:
        is_told = bool(flags & _UTF8)
        return raw_name.decode("utf-8", "backslashreplace") if is_told else raw_name.decode("cp437"), not is_told


def _look_over(raw: BinaryIO, found: Directory, unit: str) -> None:
    """Refuse a document or program, and members that overlap (one stretch of bytes as many members is a bomb)."""
    starts, sizes = array("q"), array("q")
    for entry in _entries(raw, found, unit):
        if _DOCUMENT.fullmatch(entry.raw_name):
            raise UnitFailed(unit, "file.unsupported", "a document or program packed as zip, no archive of files")
        end = entry.start + _LOCAL.size + len(entry.raw_name) + entry.stored
        if end > found.start:
            raise UnitFailed(unit, "file.corrupt", f"a member lies outside of the archive, from byte {entry.start} on")
        starts.append(entry.start)
        sizes.append(end - entry.start)
    last = 0
    for at in sorted(range(len(starts)), key=starts.__getitem__):
        if starts[at] < last:
            raise UnitFailed(unit, "file.corrupt", f"members overlap at byte {starts[at]}")
        last = starts[at] + sizes[at]


def _why_not(raw: BinaryIO, entry: Entry) -> tuple[str, str]:
    """Compare the two headers of a member: `file`, or a code and detail."""
    data = b"".join(plain(raw, entry.start, entry.start + _LOCAL.size + len(entry.raw_name)))
    if len(data) < _LOCAL.size or not data.startswith(b"PK\3\4"):
        return "file.corrupt", f"no header of a member at byte {entry.start} of the archive"
    _, _, _, flags, method, *_, name_bytes, _ = _LOCAL.unpack_from(data)
    same_name = name_bytes == len(entry.raw_name) and data[_LOCAL.size :] == entry.raw_name
    if not same_name or method != entry.method or (flags ^ entry.flags) & _ENCRYPTED:
        return "file.corrupt", f"its header at byte {entry.start} says something else than the directory"
    return "file", ""


def _content(raw: BinaryIO, entry: Entry, place: str, limits: Expansion) -> Iterator[bytes]:
    """Give the bytes of one member.

    Raises:
        UnitFailed: of `place`: file.corrupt, file.truncated, file.trailing, file.unsupported or size.cap.
    """
    head = b"".join(plain(raw, entry.start, entry.start + _LOCAL.size))
    begin = entry.start + _LOCAL.size + sum(_LOCAL.unpack(head)[-2:])
    packed = plain(raw, begin, begin + entry.stored)
    made = crc = 0
    for block in _unpacked(packed, entry, place) if entry.method else packed:
        made += len(block)
        crc = isal_zlib.crc32(block, crc)
        yield block  # also what is too much, so that the archive's `Allowance` knows of it
        if why := limits.broken(made, entry.stored):
            raise UnitFailed(place, "size.cap", why)
        if made > entry.size:
            break
    if made != entry.size or crc != entry.crc:
        what = f"{made} bytes came out, {entry.size} were told" if made != entry.size else "the checksum is another"
        raise UnitFailed(place, "file.corrupt", what)


def _unpacked(packed: Iterator[bytes], entry: Entry, place: str) -> Iterator[bytes]:
    name, start = _METHODS[entry.method]
    member, made = start(), 0
    while not member.eof:
        data = next(packed, b"") if member.needs_input else b""
        if member.needs_input and not data:
            raise UnitFailed(place, "file.truncated", f"the {name} stream does not end")
        try:
            out = member.decompress(data, BLOCK_BYTES)
        except BROKEN as error:
            raise undone(place, name, error, made) from None
        made += len(out)
        if out:
            yield out
    if member.unused_data or next(packed, b""):
        raise UnitFailed(place, "file.trailing", f"other bytes follow the {name} stream")
