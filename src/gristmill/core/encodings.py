"""Bytes in a declared encoding as UTF-8 for the readers, with the way back from each place to the bytes that are stored.

Not here: UTF-8 itself, which the readers check (`sources/formats`); charsets that are guessed (`extract.charset`). What cannot be
decoded becomes a byte that no UTF-8 has, so that the reader refuses the record it stands in, and no other. The way back is
found by decoding a piece again up to the place, from the place before on, which is right for every encoding; pieces are kept for as long as a
record may still begin in them. Invariants: nothing is replaced or left out in silence; memory is bounded by the longest record
allowed; a place in a piece that is no longer kept is that of the last line begun in it.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

_PIECE_BYTES = 4 << 10
_NEAR_BYTES = 64  # from one record to the next, as a first guess
_MARK = "\udcff"  # written as the byte FF, which is no UTF-8
_SPOIL = "gristmill-spoil"


def _spoil(error: UnicodeError) -> tuple[str, int]:
    """Put the mark in the place of bytes that cannot be decoded."""
    assert isinstance(error, UnicodeDecodeError)
    return _MARK, error.end


codecs.register_error(_SPOIL, _spoil)
_BOMS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
UTF16 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")  # the marks of UTF-16, with those of UTF-32
WIDE = "begins with the mark of UTF-16 or UTF-32; give encoding: auto, or convert it to UTF-8"
_UTF8_BOM = b"\xef\xbb\xbf"
_NO_CHARSETS = {"utf-7", "idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}
_WIDE = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}  # names that leave the order of bytes to the mark


def bom_of(head: bytes) -> str:
    """Give the encoding that a byte order mark of UTF-16 or UTF-32 tells, or nothing."""
    return next((name for bom, name in _BOMS if head.startswith(bom)), "")


def problem(name: str) -> str:
    """Give the sentence for a name that is no encoding of text files, or nothing."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return f"{name!r} is not known; write auto or a name such as utf-16, latin-1, windows-1252 or shift_jis"
    if found.name.replace("_", "-") in _NO_CHARSETS or not found._is_text_encoding:  # noqa: SLF001 - there is no public way
        return f"{name!r} is no encoding of text files"
    return ""


def encoding_of(declared: str, head: bytes) -> str:
    """Give the encoding of a file that begins with `head`, or nothing for UTF-8. declared: a name, or `auto`: by its mark."""
    told = bom_of(head)
    if declared == "auto":
        return told
    name = codecs.lookup(declared).name
    if name in _WIDE:
        return told if told.startswith(name) else _WIDE[name]
    return "" if name in {"utf-8", "utf-8-sig"} else name


def contradiction(declared: str, head: bytes) -> str:
    """Give the sentence for a file whose byte order mark tells another encoding than is declared, or that has none and needs one, or nothing."""
    told = "utf-8" if head.startswith(_UTF8_BOM) else bom_of(head)
    name = "" if declared == "auto" else codecs.lookup(declared).name
    if (
        head and not told and name in _WIDE
    ):  # Unicode takes it for big-endian, browsers and most writers for little-endian
        return (
            f"declared as {declared}, and has no byte order mark to tell its order; give encoding: {name}-le or {name}-be, such files "
            "a source of their own"
        )
    if not told or not name or name in {told, f"{told}-sig"} or (name in _WIDE and told.startswith(name)):
        return ""
    return (
        f"declared as {declared}, and begins with the mark of {told}; give encoding: auto for files with a mark, and those "
        "without one a source of their own"
    )


class _Piece(NamedTuple):
    """Some stored bytes that begin at `start`, and come out as `length` bytes of UTF-8 from `out` on. state: of the decoder."""

    out: int
    length: int
    start: int
    data: bytes
    state: Any


class Stored:
    """Stored bytes as UTF-8. max_bytes: of the longest record."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(_SPOIL)
        self._again = codecs.getincrementaldecoder(encoding)(_SPOIL)
        self._max = max_bytes
        self._pieces: list[_Piece] = []
        self._marks: list[tuple[int, int]] = [(0, 0)]  # of places that are no longer kept
        self._out = self._in = 0
        self._ended = False
        self._kept = 0  # pieces that are no longer kept, and still in the list
        self._last: tuple[_Piece | None, int, int, Any] = (
            None,
            0,
            0,
            None,
        )  # place asked for last: its piece, bytes read of that, out, state

    def blocks(self, stored: Iterator[bytes]) -> Iterator[bytes]:
        """Give the stored bytes as UTF-8, block by block."""
        for block in stored:
            parts = [self._take(block[at : at + _PIECE_BYTES]) for at in range(0, len(block), _PIECE_BYTES)]
            yield b"".join(parts)
            self._let_go()
        rest = self._take(b"", final=True)
        self._ended = True
        if rest:
            yield rest

    def at(self, place: int) -> int:
        """Give the place in the stored bytes for one in the UTF-8; the end of what was read for one behind it."""
        if place > self._out or (place == self._out and self._ended):
            return self._in
        if not place:
            return 0
        # The piece that gives the last byte before the place: what follows may begin with the rest of a character.
        found = bisect_left(self._pieces, place, key=lambda piece: piece.out + piece.length)
        if found < self._kept or place <= self._pieces[found].out:
            return self._marks[bisect_right(self._marks, place, key=lambda mark: mark[0]) - 1][1]
        return self._within(self._pieces[found], place - self._pieces[found].out)

    def _take(self, data: bytes, *, final: bool = False) -> bytes:
        state = self._decoder.getstate()
        text = self._decoder.decode(data, final).encode("utf-8", "surrogateescape")
        self._pieces.append(_Piece(self._out, len(text), self._in, data, state))
        self._out += len(text)
        self._in += len(data)
        return text

    def _within(self, piece: _Piece, length: int) -> int:
        """Give how far one must read to get so many bytes of UTF-8 out of a piece."""
        last, begin, had, state = self._last
        if last is not piece or had > length:
            begin, had, state = 0, 0, piece.state
        elif had == length:
            return piece.start + begin
        # Records follow each other, so the place is not far from the one before.
        low, high, step = begin, len(piece.data), _NEAR_BYTES
        while low + step < high:
            if self._made(piece.data[begin : low + step], state) >= length - had:
                high = low + step
                break
            low, step = low + step, 2 * step
        while low < high:
            middle = (low + high) // 2
            if self._made(piece.data[begin:middle], state) < length - had:
                low = middle + 1
            else:
                high = middle
        made = self._made(piece.data[begin:low], state)
        self._last = piece, low, had + made, self._again.getstate()
        return piece.start + low

    def _made(self, data: bytes, state: Any) -> int:
        """Give how many bytes of UTF-8 come out of some bytes."""
        return len(self._decoded(data, state))

    def _decoded(self, data: bytes, state: Any) -> bytes:
        self._again.setstate(state)
        return self._again.decode(data).encode("utf-8", "surrogateescape")

    def _let_go(self) -> None:
        """Keep no piece that no record allowed can still begin in; of the others where their last line begins."""
        while self._kept < len(self._pieces):
            piece = self._pieces[self._kept]
            if self._out - piece.out - piece.length <= self._max + 2 * len(piece.data):
                break
            line = self._decoded(piece.data, piece.state).rfind(b"\n") + 1
            if line:
                self._marks.append((piece.out + line, self._within(piece, line)))
            self._kept += 1
        if self._kept > 1024:
            del self._pieces[: self._kept]
            self._kept = 0
            del self._marks[1:-4096]
