"""Files, the reading side: this machine's files, opened and fingerprinted; compression undone, lines cut.

Not here: what a format means (`sources/formats/`), what is new since the last run (`core.filesets`), globs and the
interface to where files lie (`core.places`), other places (`net`), writing (`store`, `exports`).
Invariants: what cannot be read is raised, never passed over; memory is bounded by the block and the record size
whatever a file expands to; every byte lies in exactly one line.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import msgspec
from isal import isal_zlib

from gristmill.core.errors import UnitFailed
from gristmill.core.places import Listing, Looked, list_local

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES = 1 << 20  # 256 KiB and 4 MiB are both slower for the line loop (measured)
CHUNK_BYTES = 1 << 17  # of compressed input: what is left after a member is copied, so many tiny members want it small
RATIO_FREE_BYTES = 10 << 20  # what anything may expand to: a small bomb does no harm
_SAMPLE_BYTES = 16 << 10
_WINDOW_LOG_MAX = 27  # zstd: 128 MiB; a frame that asks for more is refused, not allocated
_XZ_MEMORY_BYTES = 256 << 20  # a dictionary and little besides
_OVER_MEMORY = (
    "requires too much memory for decoding",
    "Memory usage limit exceeded",
)  # in the words of libzstd and lzma
_NO_DICTIONARY = "Dictionary mismatch"  # in those of libzstd
_PADDING = {"gzip": 1, "xz": 4}  # zeros that may stand between members and behind them come in multiples of so many


class Expansion(msgspec.Struct, frozen=True):
    """What may come out of something packed: `max_bytes`, and above `RATIO_FREE_BYTES` `max_ratio` times what went in."""

    max_bytes: int = 1 << 40
    max_ratio: int = 200

    def broken(self, made: int, stored: int) -> str:
        """Give the sentence for a bomb, or nothing."""
        if made > self.max_bytes:
            return f"over {self.max_bytes} bytes come out of it (max_file_bytes)"
        if made > RATIO_FREE_BYTES and made > self.max_ratio * stored:
            return f"{stored} bytes gave {made}: over {self.max_ratio} to one (max_ratio)"
        return ""


class Allowance:
    """What may come out of one file of `stored` bytes, counted over everything packed in it: side by side, and in each other."""

    def __init__(self, limits: Expansion, stored: int, unit: str) -> None:
        self.limits, self._stored, self._unit = limits, stored, unit
        self._made = 0

    def count(self, made: int) -> None:
        """Add bytes that came out of any layer.

        Raises:
            UnitFailed: size.cap, of the whole file: with them it is too much.
        """
        self._made += made
        if why := self.limits.broken(self._made, self._stored):
            raise UnitFailed(self._unit, "size.cap", f"all that is packed in it, together: {why}")

    def counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Give the blocks, each counted."""
        for block in blocks:
            self.count(len(block))
            yield block


class Local(msgspec.Struct, frozen=True):
    """The files of this machine, seen from the config's folder: a `Place`."""

    folder: Path
    pins: ClassVar[bool] = False

    @property
    def base(self) -> str:
        """Give the folder that relative paths start from."""
        return str(self.folder)

    def list(self, globs: list[str]) -> Listing:
        """Give every file that one of the globs matches, once, as `core.places.list_local` says."""
        return list_local(self.folder, globs)

    def look(self, path: str) -> Looked:
        """Give size and mtime_ns of a file now. Raises OSError."""
        now = (self.folder / path).stat()
        return Looked(now.st_size, now.st_mtime_ns)

    def open(self, path: str, etag: str = "", size: int | None = None) -> BinaryIO:
        """Open a regular file for reading, unbuffered. Raises OSError; never blocks on a pipe."""
        handle = os.open(self.folder / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError("not a regular file")
        return os.fdopen(handle, "rb", buffering=0)


def sample(raw: BinaryIO, size: int) -> str:
    """Digest size and up to three windows (head, middle, tail) of an open file; all of it when it is small."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    starts = [0, size // 2 - _SAMPLE_BYTES // 2, size - _SAMPLE_BYTES] if size > 3 * _SAMPLE_BYTES else [0]
    for start in starts:
        raw.seek(start)
        digest.update(raw.read(_SAMPLE_BYTES if len(starts) > 1 else 3 * _SAMPLE_BYTES))
    return digest.hexdigest()


class Inflater:
    """One gzip member (or bare deflate, with `wbits` -15), with the methods of the standard library's other decompressors."""

    def __init__(self, wbits: int = 31) -> None:
        self._inner = isal_zlib.decompressobj(wbits=wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        """What was fed beyond its end."""
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Give at most `max_length` bytes. Raises what is in `BROKEN`."""
        out = bytes(self._inner.decompress(self._inner.unconsumed_tail + data, max_length))
        # A full output may hide more behind it even when all input is taken, so ask again before feeding.
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


class Codec(NamedTuple):
    """A compression. magic: how a member begins; start: gives a decompressor, as those of the standard library, for one."""

    magic: re.Pattern[bytes]
    start: Callable[[], Any]


def zstd_decompressor(dictionary: bytes = b"") -> Any:
    """Give a decompressor of one frame, made with a dictionary or without. Raises what is in `BROKEN`."""
    known = zstd.ZstdDict(dictionary) if dictionary else None
    return zstd.ZstdDecompressor(known, {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})


CODECS = {
    "gzip": Codec(re.compile(rb"\x1f\x8b"), Inflater),
    "zstd": Codec(
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        zstd_decompressor,
    ),
    "bzip2": Codec(re.compile(rb"BZh[1-9]"), bz2.BZ2Decompressor),
    "xz": Codec(re.compile(rb"\xfd7zX"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)),
}
_MAGICS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zX"}
_MAGIC_BYTES = 4
BROKEN: Any = (zstd.ZstdError, isal_zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


def codec_of(head: bytes) -> str:
    """Give the compression of a file by its first 4 bytes: gzip, zstd, bzip2, xz, or an empty string."""
    return next((name for name, codec in CODECS.items() if codec.magic.match(head)), "")


def plain(raw: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Give the bytes [start, end) of an open file in blocks; fewer if the file has become shorter."""
    raw.seek(start)
    while start < end and (block := raw.read(min(BLOCK_BYTES, end - start))):
        start += len(block)
        yield block


def expand(raw: BinaryIO | Stream, codec: str, unit: str, limits: Expansion) -> Iterator[bytes]:
    """Give the decompressed bytes of all members of an open file, in blocks of at most `BLOCK_BYTES`.

    Raises:
        UnitFailed: file.truncated, file.trailing, file.corrupt, file.unsupported (it takes too much memory) or size.cap.
    """
    magic, start = CODECS[codec]
    member = None
    made = members = 0
    rest = b""  # what follows the last whole member, as far as it was read
    while True:
        if member is None:
            data = _lead(raw, rest, _PADDING.get(codec, 0) if members else 0)
            if not data:
                return
            if not magic.match(data):
                short = len(data) < _MAGIC_BYTES and _MAGICS[codec].startswith(data)
                code = "file.truncated" if short else "file.trailing"
                raise UnitFailed(unit, code, f"other bytes after {members} whole {codec} members, {made} bytes")
            member = start()
        elif not member.needs_input:
            data = b""
        elif not (data := raw.read(CHUNK_BYTES)):
            raise UnitFailed(unit, "file.truncated", f"the {codec} stream ends early, after {made} bytes came out")
        try:
            out = member.decompress(data, BLOCK_BYTES)
        except BROKEN as error:
            raise undone(unit, codec, error, made) from None
        made += len(out)
        if out:
            yield out  # also what is too much, so that an `Allowance` behind this one knows of it
        if why := limits.broken(made, raw.tell()):
            raise UnitFailed(unit, "size.cap", f"{codec}: {why}")
        if member.eof:
            rest, member, members = member.unused_data, None, members + 1


def undone(unit: str, codec: str, error: Exception, made: int) -> UnitFailed:
    """Give the failure of a stream of which a decompressor said `error` (`BROKEN`), after so many bytes had come out."""
    if any(words in str(error) for words in _OVER_MEMORY):
        most = f"{1 << _WINDOW_LOG_MAX - 20} MiB for zstd, {_XZ_MEMORY_BYTES >> 20} for xz"
        detail = (
            f"{codec}: its window or dictionary is larger than allowed ({most}); compress it again with a smaller one"
        )
        return UnitFailed(unit, "file.unsupported", detail)
    if _NO_DICTIONARY in str(error):
        return UnitFailed(unit, "file.unsupported", f"{codec}: made with a dictionary that it does not bring along")
    return UnitFailed(unit, "file.corrupt", f"{codec}: {error} (after {made} bytes came out)")


def _lead(raw: BinaryIO | Stream, data: bytes, padding: int) -> bytes:
    """Give `data`, with more of the file if a member's magic may lie in it, without zeros in a multiple of `padding`."""
    zeros = 0
    while True:
        bare = data.lstrip(b"\0") if padding else data
        zeros += len(data) - len(bare)
        if len(bare) >= _MAGIC_BYTES or not (more := raw.read(CHUNK_BYTES)):
            return b"\0" + bare if padding and zeros % padding else bare
        data = bare + more


class Stream:
    """Blocks of bytes, read in other portions than they come in."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._held, self._from, self._at = blocks, b"", 0, 0

    def tell(self) -> int:
        """Give how much was read."""
        return self._at

    def read(self, size: int) -> bytes:
        """Give up to `size` bytes; none only at the end."""
        while self._from == len(self._held):
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._held, self._from = block, 0
        data = self._held[self._from : self._from + size]
        self._from += len(data)
        self._at += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        """Give `size` bytes; fewer only at the end."""
        parts = []
        while size and (data := self.read(size)):
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Lines(NamedTuple):
    """Consecutive lines. start: offset of the first; end: after the last one's newline.

    lines: without newline. No lines: [start, end) is one line longer than the caller's limit, thrown away.
    """

    start: int
    lines: list[bytes]
    end: int


def lines(blocks: Iterable[bytes], start: int, max_bytes: int) -> Iterator[Lines]:
    r"""Cut blocks at b"\n" only. Lines of more than `max_bytes` that span blocks are thrown away while they pass by."""
    held: list[bytes] = []
    held_bytes = 0
    for block in blocks:
        parts = block.split(b"\n")
        tail = parts.pop()
        if parts:
            if held_bytes:
                end = start + held_bytes + len(parts[0]) + 1
                if end - 1 - start > max_bytes:
                    yield Lines(start, [], end)
                    del parts[0]
                    start, held_bytes = end, 0
                    block = block[block.index(b"\n") + 1 :]  # noqa: PLW2901 - what is left of it
                else:
                    parts[0] = b"".join([*held, parts[0]])
            if parts:
                end = start + held_bytes + len(block) - len(tail)
                yield Lines(start, parts, end)
                start = end
            held, held_bytes = [], 0
        held_bytes += len(tail)
        if held_bytes > max_bytes:
            held.clear()
        elif tail:
            held.append(tail)
    if held_bytes:
        yield Lines(start, [b"".join(held)] if held_bytes <= max_bytes else [], start + held_bytes)


def line_range(raw: BinaryIO, start: int, end: int, size: int) -> tuple[int, int]:
    """Give the byte range of the lines that begin in [start, end) of an open file of `size` bytes.

    Ranges that share borders give ranges that share borders, so that together they cover the file exactly once.
    """
    first = _after_newline(raw, start, end)
    if first >= end:
        return end, end  # empty; wherever the line that covers it ends is another range's matter
    return first, _after_newline(raw, end, size)


def _after_newline(raw: BinaryIO, at: int, stop: int) -> int:
    """Give the first line start at or after `at`, or `stop` when there is none before it."""
    if at == 0:
        return 0
    at -= 1
    for block in plain(raw, at, stop):
        found = block.find(b"\n")
        if found >= 0:
            return min(at + found + 1, stop)
        at += len(block)
    return stop
