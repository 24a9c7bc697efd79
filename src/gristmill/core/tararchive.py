"""Tar archives as a stream of members: POSIX (ustar, pax), GNU and old ones, read forwards, never laid down on disk.

Our own because the standard library's takes a damaged header, or an archive cut between members, for the end, and says nothing.
Not here: what lies in a member, what becomes of odd members (`sources/formats/archive.py`), compression around it (`core.files`).
Invariants: the archive is read to its end mark and past it, or a `UnitFailed` names it; links, devices and names
are told and never followed; memory is bounded by a block and one header's extension (`_MAX_EXTENSION_BYTES`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gristmill.core.errors import UnitFailed
from gristmill.core.files import BLOCK_BYTES, Stream

RECORD = 512
_MAX_EXTENSION_BYTES = 1 << 20  # of a long name or a pax header
_MAX_SIZE = 1 << 60
_SUM = slice(148, 156)
_SPARSE = b"S"  # GNU's: a map of what is stored begins in the header, and may go on in blocks behind it
_MAP_GOES_ON, _MAP_GOES_ON_AGAIN = 482, 504  # where the header, and each such block, tells (tar(5), GNU tar's tar.h)


class Member(NamedTuple):
    """Something in an archive. kind: file, folder, link, special, or a code that says why it cannot be read, with its detail.

    name: as it stands there; bytes that are no text as escapes, and then `is_text` is false. blocks: its content, to be taken before the next member.
    """

    name: str
    is_text: bool
    kind: str
    size: int
    blocks: Iterator[bytes]
    detail: str = ""


_KINDS = {
    **dict.fromkeys((b"0", b"\0", b"7"), "file"),
    b"5": "folder",
    **dict.fromkeys((b"1", b"2"), "link"),
    **dict.fromkeys((b"3", b"4", b"6"), "special"),
}
_ODD = {_SPARSE: "a sparse file; pack it without --sparse", b"M": "a part of a file that begins on another volume"}
_PASSED_OVER = {b"V", b"D", b"K", b"g"}  # a label, a list of names, where a link leads, defaults for all


def is_header(block: bytes) -> bool:
    """Tell if 512 bytes are the header of a member: their sum is what they say."""
    if len(block) < RECORD or not any(block):
        return False
    told = _number(block[_SUM])
    unsigned = sum(block) - sum(block[_SUM]) + 8 * ord(" ")
    signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:RECORD])
    return told in {unsigned, signed}


def members(stream: Stream, unit: str) -> Iterator[Member]:
    """Give the members of an archive, in their order.

    Raises:
        UnitFailed: file.corrupt, file.truncated (no end mark) or file.trailing (other bytes behind it).
    """
    long_name = b""
    pax: dict[str, bytes] = {}
    while True:
        at = stream.tell()
        block = stream.exactly(RECORD)
        if len(block) < RECORD:
            raise UnitFailed(unit, "file.truncated", f"the archive has no end mark; {at + len(block)} bytes read")
        if not any(block):
            return _after(stream, unit)
        if not is_header(block):
            raise UnitFailed(unit, "file.corrupt", f"no header of a member at byte {at} of the archive")
        kind, size = block[156:157], _size(block, pax, unit, at)
        if kind in {b"L", b"x", b"X"}:
            if size > _MAX_EXTENSION_BYTES:
                raise UnitFailed(unit, "file.corrupt", f"a name or pax header of {size} bytes at byte {at}")
            data = stream.exactly(size)
            _skip(stream, -size % RECORD, unit, short=len(data) < size)
            if kind == b"L":
                long_name = data.rstrip(b"\0")
            else:
                pax = _pax(data, unit, at)
            continue
        if kind in _PASSED_OVER:
            _skip(stream, size + -size % RECORD, unit)
            continue
        if kind == _SPARSE and block[_MAP_GOES_ON]:
            _skip_map(stream, unit)
        raw = pax.get("path", long_name or _name(block))
        yield from _member(stream, unit, (raw, kind, size), sparse=any(key.startswith("GNU.sparse.") for key in pax))
        long_name, pax = b"", {}


def _member(stream: Stream, unit: str, told: tuple[bytes, bytes, int], *, sparse: bool) -> Iterator[Member]:
    raw, kind, size = told
    name, is_text = _text(raw)
    word = _KINDS.get(kind, "file.unsupported")
    if word == "file" and name.endswith("/"):
        word = "folder"
    detail = "" if kind in _KINDS else _ODD.get(kind, f"a member of type {kind!r}")
    if sparse and word == "file":
        word, detail = "file.unsupported", _ODD[_SPARSE]
    has_data = word not in {"folder", "link", "special"}  # what links say of their size is of the file they lead to
    content = _Content(stream, size if has_data else 0, unit)
    yield Member(name, is_text, word, size if has_data else 0, content.blocks(), detail)
    content.leave()


class _Content:
    """The bytes of one member."""

    def __init__(self, stream: Stream, size: int, unit: str) -> None:
        self._stream, self._left, self._unit = stream, size, unit
        self._padding = -size % RECORD

    def blocks(self) -> Iterator[bytes]:
        while self._left:
            data = self._stream.read(min(self._left, BLOCK_BYTES))
            if not data:
                raise UnitFailed(self._unit, "file.truncated", "the archive ends within a member")
            self._left -= len(data)
            yield data

    def leave(self) -> None:
        _skip(self._stream, self._left + self._padding, self._unit)


def _skip(stream: Stream, size: int, unit: str, *, short: bool = False) -> None:
    while size and not short:
        data = stream.read(min(size, BLOCK_BYTES))
        short = not data
        size -= len(data)
    if short:
        raise UnitFailed(unit, "file.truncated", "the archive ends within a member")


def _skip_map(stream: Stream, unit: str) -> None:
    """Pass over the blocks of a sparse member's map, which its size does not count."""
    goes_on = 1
    while goes_on:
        block = stream.exactly(RECORD)
        _skip(stream, 0, unit, short=len(block) < RECORD)
        goes_on = block[_MAP_GOES_ON_AGAIN]


def _after(stream: Stream, unit: str) -> None:
    """Read what follows the end mark: zeros."""
    while data := stream.read(BLOCK_BYTES):
        if data.count(0) < len(data):
            raise UnitFailed(unit, "file.trailing", f"other bytes after the end mark, before byte {stream.tell()}")


def _number(field: bytes) -> int:
    """Give a number of a header, octal or with the first bit set binary; -1 for none."""
    if field[:1] in {b"\x80", b"\xff"}:
        return int.from_bytes(field[1:], "big") - (1 << 8 * (len(field) - 1) if field[:1] == b"\xff" else 0)
    digits = field.rstrip(b" \0").lstrip(b" ").partition(b"\0")[0].strip(b" ")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return -1


def _size(block: bytes, pax: dict[str, bytes], unit: str, at: int) -> int:
    told = pax.get("size") if block[156:157] not in {b"x", b"g", b"L", b"K", b"X"} else None
    size = _number(block[124:136]) if told is None else int(told) if told.isdigit() and len(told) < 20 else -1
    if not 0 <= size <= _MAX_SIZE:
        raise UnitFailed(unit, "file.corrupt", f"the header at byte {at} gives no size")
    return size


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _pax(data: bytes, unit: str, at: int) -> dict[str, bytes]:
    """Take a pax header apart: `LENGTH KEY=VALUE` and a line end, again and again."""
    found, begin = {}, 0
    while begin < len(data):
        digits = data[begin : begin + 20].partition(b" ")[0]
        end = begin + (int(digits) if digits.isdigit() else 0)
        key, equals, value = data[begin + len(digits) + 1 : max(end - 1, begin)].partition(b"=")
        if not equals or not key or data[end - 1 : end] != b"\n":
            raise UnitFailed(unit, "file.corrupt", f"the pax header at byte {at} cannot be taken apart")
        found[key.decode("utf-8", "replace")] = value
        begin = end
    return found


def _text(raw: bytes) -> tuple[str, bool]:
    try:
        return raw.decode(), True
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), False
