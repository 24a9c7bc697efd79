r"""WARC files: cut into records, one gzip or zstd member each, all in one, or not compressed; what is damaged is named.

Not here: what a record says (`sources/warc.py`), header fields (`core.messages`). The cutting is our own, and not fastwarc's
(2.0.1, tried on sample files of web-archive projects): with its defaults that ends in silence after the first record of
a file with plain line feeds; in its quirks mode it hands out records of a wrong length, and the half of a cut one, as if they
were whole; and it cannot tell how many bytes it took, so that no one could say that nothing is missing.
Locator of a record: where it begins in the file; in a compressed file where its member begins, plus the number of records
that stand before it in that member: the offset that CDX indexes have, for the usual one record a member.
Invariants: the sizes of records and damages add up to the decompressed size; a damage is one member or one stretch between
two records, and costs no other record; a record is given only after the checksum of its member was seen, unless the member
is larger than a record may be; memory is bounded by that size, whatever a file expands to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from gristmill.core.files import BLOCK_BYTES, BROKEN, CHUNK_BYTES, CODECS, codec_of, plain, undone, zstd_decompressor
from gristmill.core.messages import fields_of

MAX_HEADER_BYTES = 64 << 10
_MAX_DICTIONARY_BYTES = 64 << 20
_SCAN_BYTES = 1 << 20
_PROBE_BYTES = 256 << 10  # compressed bytes that surely hold the first block of a member
_START = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n")
_NEXT = re.compile(rb"\nWARC/\d+\.\d+[ \t]*\r?\n")
_NEXT_BYTES = 64  # as much of the pattern above may lie before a border
_HEAD_END = re.compile(rb"\n\r?\n")
_BREAKS = re.compile(rb"[\r\n]*")
_MAGIC = b"WARC/"
_MEMBERS = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}
_DICTIONARY = b"\x5d\x2a\x4d\x18"  # the skippable frame with the dictionary (iipc: zstd WARC, 0.1)


class Record(NamedTuple):
    """A whole record. headers: by lower-case name; block: its bytes, where they were read to; size: with header and what ends it."""

    locator: int
    headers: dict[str, str]
    block: memoryview
    size: int


class Damage(NamedTuple):
    """A stretch that is no record. size: the decompressed bytes in it; stored: its bytes in the file, 0 unknown.

    whole: it speaks of the file: what should follow is missing, or what came before is in doubt.
    """

    code: str
    locator: int
    detail: str
    size: int
    stored: int = 0
    whole: bool = False


class Caps(NamedTuple):
    """max_record_bytes: of one record's block. max_ratio: of a member that is larger, between what came out and went in."""

    max_record_bytes: int
    max_ratio: int


class _Broken(Exception):
    """A member cannot be decompressed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def read(raw: BinaryIO, size: int, caps: Caps) -> Iterator[Record | Damage]:
    """Give all there is in an open file of `size` bytes, in order. A file that is cut ends with `file.truncated`."""
    codec = codec_of(raw.read(4))
    raw.seek(0)
    if codec:
        yield from _Members(raw, size, codec, caps).read()
        return
    for item in _Cutter(plain(raw, 0, size), caps.max_record_bytes, size).read():
        if isinstance(item, Record):
            yield item
            continue
        detail = f"{item.detail}; bytes {item.locator} to {item.locator + item.size} of the file"
        cut = item.code == "cut"
        yield Damage("file.truncated" if cut else item.code, item.locator, detail, item.size, item.size, cut)


def _breaks(data: bytes, at: int) -> int:
    """Count the line ends that stand at a place."""
    found = _BREAKS.match(data, at)
    return found.end() - at if found else 0


class _Cutter:
    """Cuts one stream of decompressed bytes into records. Locators are offsets in the stream."""

    def __init__(self, blocks: Iterator[bytes], max_record_bytes: int, total: int | None = None) -> None:
        self._blocks = blocks
        self._max = max_record_bytes
        self._total = total  # the size of the stream, where it is known
        self._data = b""
        self._at = 0  # in the data
        self._base = 0  # of the data in the stream

    @property
    def _here(self) -> int:
        return self._base + self._at

    def read(self) -> Iterator[Record | Damage]:
        """Give records and damages; one with the code `cut` at the end, if the stream ends inside a record."""
        begin = 0
        self._pass_breaks()
        while self._fill(1):
            yield self._one(begin)
            begin = self._here
        if begin < self._here:
            yield Damage("warc.header", begin, "nothing but line ends", self._here - begin)

    def _fill(self, n: int) -> bool:
        """Have at least `n` bytes in hand from here on, if there are as many."""
        have = len(self._data) - self._at
        if have >= n:
            return True
        parts = [self._data[self._at :]] if have else []  # of one block alone `join` makes no copy
        while have < n and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            have += len(block)
        self._base, self._at, self._data = self._here, 0, b"".join(parts)
        return have >= n

    def _pass_breaks(self) -> None:
        """Go past line ends."""
        while self._fill(1):
            self._at += _breaks(self._data, self._at)
            if self._at < len(self._data):
                return

    def _header(self) -> tuple[int, dict[str, str]] | tuple[None, str]:
        """Give the length and the fields of the record header here; None and what is wrong if there is none."""
        self._fill(MAX_HEADER_BYTES)
        if not _START.match(self._data, self._at):
            return None, "no record begins here"
        end = _HEAD_END.search(self._data, self._at, self._at + MAX_HEADER_BYTES)
        if end is None:
            return None, f"no record header ends within {MAX_HEADER_BYTES} bytes"
        fields = fields_of(self._data[self._at : end.start()])
        length = fields.get("content-length", "")
        if "warc-type" not in fields or not (length.isascii() and length.isdigit() and len(length) < 19):
            return None, "a record header without WARC-Type or Content-Length"
        return end.end() - self._at, fields

    def _one(self, begin: int) -> Record | Damage:
        """Take one record, or the stretch up to the next; `begin`: where the line ends before it begin."""
        header, fields = self._header()
        if header is None:
            left = len(self._data) - self._at
            begun = self._data.startswith(_MAGIC, self._at) or _MAGIC.startswith(self._data[self._at :])
            if left < MAX_HEADER_BYTES and begun and _HEAD_END.search(self._data, self._at) is None:
                return self._resync(begin, "cut", f"the header of a record is cut after {left} bytes", 1)
            return self._resync(begin, "warc.header", str(fields), 1)
        assert isinstance(fields, dict)
        length = int(fields["content-length"])
        said = f"a record has {length} bytes by its Content-Length"
        if self._total is not None and (left := self._total - self._here - header) < length:
            return self._resync(begin, "cut", f"{said}, {left} are left", header)
        if length > self._max:
            return self._pass_over(begin, header, length)
        if not self._fill(header + length):
            return self._resync(begin, "cut", f"{said}, {len(self._data) - header} are left", header)
        follows = self._following(header + length)
        if follows is None:
            return self._resync(begin, "warc.length", f"{said}, and no record follows there", header)
        start, at = self._at + header, self._here
        block = memoryview(self._data)[start : start + length]
        self._at += follows
        return Record(at, fields, block, self._here - begin)

    def _following(self, end: int) -> int | None:
        """Give how far from here the next record (or the stream's end) is from a block's `end`; None: something else is there."""
        while True:
            end += _breaks(self._data, self._at + end)
            if self._at + end < len(self._data) or not self._fill(end + 1):
                break
        self._fill(end + len(_MAGIC))
        magic = self._data[self._at + end : self._at + end + len(_MAGIC)]
        return end if _MAGIC.startswith(magic) else None

    def _pass_over(self, begin: int, header: int, length: int) -> Damage:
        """Let a record go by that is larger than one may be."""
        size = f"a record of {length} bytes, over max_record_bytes"
        at, left = self._here, header + length
        while left and self._fill(1):
            step = min(left, len(self._data) - self._at)
            self._at += step
            left -= step
        if left:
            return Damage("cut", at, f"{size}, {left} of them are missing", self._here - begin)
        follows = self._following(0)
        if follows is None:
            return self._resync(begin, "warc.length", f"{size}, and no record follows it", 0)
        self._at += follows
        return Damage("size.cap", at, size, self._here - begin)

    def _resync(self, begin: int, code: str, detail: str, skip: int) -> Damage:
        """Go to the next record, at least `skip` bytes from here. A record cut short before another has a wrong length."""
        at = max(self._at + skip - 1, 0)
        while True:
            found = _NEXT.search(self._data, at)
            if found:
                self._at = found.start() + 1
                if self._header()[0] is not None:
                    return Damage("warc.length" if code == "cut" else code, begin, detail, self._here - begin)
                at = self._at
                continue
            self._at = max(at, len(self._data) - _NEXT_BYTES)
            if not self._fill(len(self._data) - self._at + 1):
                self._at = len(self._data)
                return Damage(code, begin, detail, self._here - begin)
            at = self._at


class _Members:
    """Reads the members of a compressed file, one after the other."""

    def __init__(self, raw: BinaryIO, size: int, codec: str, caps: Caps) -> None:
        self._raw, self._size, self._codec, self._caps = raw, size, codec, caps
        self._hold_bytes = caps.max_record_bytes + MAX_HEADER_BYTES
        self._dictionary = b""
        self._header = b""  # of the last whole member, or the first one
        self._made = 0  # decompressed bytes of the member at hand
        self._data = b""  # of the file, read and not used
        self._read_to = 0  # where in the file it ends

    @property
    def _at(self) -> int:
        return self._read_to - len(self._data)

    def _more(self) -> bool:
        data = self._raw.read(CHUNK_BYTES)
        self._read_to += len(data)
        self._data += data
        return bool(data)

    def read(self) -> Iterator[Record | Damage]:
        """Give the records and damages of all members."""
        magic = CODECS[self._codec].magic
        while self._lead():
            if magic.match(self._data):
                yield from self._member()
            elif len(self._data) < 4 and _MEMBERS[self._codec].startswith(self._data):
                yield self._gap(self._at, "file.truncated", f"a {self._codec} member is cut in its first bytes")
            else:
                yield self._gap(self._at, "file.trailing", f"other bytes than a {self._codec} member")

    def _lead(self) -> bool:
        """Tell if something follows; padding by zeros, as tapes and devices have it after gzip, is nothing."""
        while True:
            if self._codec == "gzip" and self._at:
                self._data = self._data.lstrip(b"\0")
            if len(self._data) >= 4 or not self._more():
                return bool(self._data)

    def _member(self) -> Iterator[Record | Damage]:
        """Give what is in the member that begins here."""
        start, header = self._at, _header(self._codec, self._data)
        self._header = self._header or header
        blocks = self._blocks(start)
        held: list[bytes] = []
        held_bytes = 0
        try:
            for block in blocks:
                held.append(block)
                held_bytes += len(block)
                if held_bytes > self._hold_bytes:
                    break
        except _Broken as broken:
            yield self._gap(start, broken.code, broken.detail, held_bytes)
            return
        # Where all was held the member is whole and its checksum is right; `blocks` is at its end.
        self._header = header
        cutter = _Cutter(chain([b"".join(held)] if held else [], blocks), self._caps.max_record_bytes)
        place = f"; in the {self._codec} member at byte {start} of the file"
        before = given = 0
        try:
            for item in cutter.read():
                if isinstance(item, Record):
                    yield item._replace(locator=start + before)
                else:
                    code = "warc.length" if item.code == "cut" else item.code
                    yield Damage(code, start + before, item.detail + place, item.size, item.size)
                before += 1
                given += item.size
        except _Broken as broken:
            yield self._gap(start, broken.code, broken.detail, self._made - given, before)._replace(whole=True)

    def _blocks(self, start: int) -> Iterator[bytes]:
        """Give the decompressed bytes of the member that begins here, and be at its end after. Raises _Broken."""
        member = self._decompressor()
        made = self._made = 0
        while not member.eof:
            data = b""
            if member.needs_input:
                if not self._data and not self._more():
                    raise _Broken("file.truncated", f"the {self._codec} stream ends early, after {made} bytes came out")
                data, self._data = self._data, b""
            try:
                out = member.decompress(data, BLOCK_BYTES)
            except BROKEN as error:
                failed = undone("", self._codec, error, made)  # a window over the limit is no damage
                raise _Broken(failed.code, failed.detail) from None
            made = self._made = made + len(out)
            if made > self._hold_bytes and made > self._caps.max_ratio * (self._read_to - start):
                raise _Broken("size.cap", f"a {self._codec} member expands over max_ratio, to more than {made} bytes")
            if out:
                yield out
        self._data = member.unused_data + self._data

    def _decompressor(self) -> Any:
        if self._codec != "zstd":
            return CODECS[self._codec].start()
        if self._at == 0 and self._data.startswith(_DICTIONARY):
            self._dictionary = self._read_dictionary()
        return zstd_decompressor(self._dictionary)

    def _read_dictionary(self) -> bytes:
        """Give the dictionary that a zstd WARC begins with, itself compressed or not; nothing if it cannot be had."""
        while len(self._data) < 8 and self._more():
            pass
        size = int.from_bytes(self._data[4:8], "little")
        while size <= _MAX_DICTIONARY_BYTES and len(self._data) < 8 + size and self._more():
            pass
        content = self._data[8 : 8 + size]
        try:
            if content.startswith(_MEMBERS["zstd"]):
                content = zstd_decompressor().decompress(content, _MAX_DICTIONARY_BYTES)
            zstd_decompressor(content)
        except BROKEN:
            return b""  # each member will say that it cannot be read
        return content

    def _gap(self, start: int, code: str, detail: str, size: int = 0, before: int = 0) -> Damage:
        """Go to the next member with a record, after `start`; give what lies between. `size`: bytes that came out of it."""
        end = self._next(start + 1)
        if code == "file.truncated" and end < self._size:
            code = "file.corrupt"
        self._raw.seek(end)
        self._data, self._read_to = b"", end
        detail = f"{detail}; bytes {start} to {end} of the file"
        return Damage(code, start + before, detail, size, end - start, code == "file.truncated")

    def _next(self, at: int) -> int:
        """Find the next member that begins with a record, from `at` on; the file's size if there is none."""
        magic = _MEMBERS[self._codec]
        while at < self._size:
            self._raw.seek(at)
            data = self._read_fully(_SCAN_BYTES + _PROBE_BYTES)
            found = data.find(magic)
            while 0 <= found < _SCAN_BYTES:
                if self._is_member(data[found : found + _PROBE_BYTES]):
                    return at + found
                found = data.find(magic, found + 1)
            if len(data) <= _SCAN_BYTES:
                break
            at += _SCAN_BYTES
        return self._size

    def _read_fully(self, n: int) -> bytes:
        parts: list[bytes] = []
        while n > 0 and (data := self._raw.read(n)):
            parts.append(data)
            n -= len(data)
        return b"".join(parts)

    def _is_member(self, data: bytes) -> bool:
        """Tell if these compressed bytes begin a member: one with a record in it, or with a header as those before have it.

        The second is for members damaged near their begin; chance gives such a header once in 2**40 bytes.
        """
        if self._header and _header(self._codec, data) == self._header:
            return True
        try:
            return bool(self._decompressor().decompress(data, len(_MAGIC)) == _MAGIC)
        except BROKEN:
            return False


def _header(codec: str, data: bytes) -> bytes:
    """Give what the members of one writer have in common, as a rule: magic number, flags, and what made them."""
    if codec == "gzip":
        return data[:4] + data[8:10]  # between them stands a time (RFC 1952)
    if (
        codec == "zstd" and len(data) > 4
    ):  # without the two bits that tell how the size is written (RFC 8878, 3.1.1.1.1)
        return data[:4] + bytes([data[4] & 0x3F])
    return data[:4]
