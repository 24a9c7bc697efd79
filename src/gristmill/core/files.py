"""Files, the reading side: list them, fingerprint them, open them, undo their compression, cut them into lines.

Not here: what a format means (`sources/formats/`), what is new since the last run (`sources/files.py`), writing
(`store`, `exports`). `Local` is the one small interface to where files lie (list, stat, open); an object store gets a
second class with the same three methods. Local files go by `os` and not by obstore, whose LocalStore fails the whole
listing on one odd name (newline, non-UTF-8) and cuts times to microseconds (tried: 0.12).
Invariants: what cannot be read is named in `Listing.failed` or raised, never passed over; memory is bounded by the
block and the record size whatever a file expands to; every byte lies in exactly one line.
"""

from __future__ import annotations

import bz2
import fnmatch
import hashlib
import lzma
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from isal import isal_zlib

from gristmill.core.errors import ConfigError, SourceError, UnitFailed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES = 1 << 20  # 256 KiB and 4 MiB are both slower for the line loop (measured)
_CHUNK_BYTES = 1 << 17  # of compressed input: what is left after a member is copied, so many tiny members want it small
_SAMPLE_BYTES = 16 << 10
_WINDOW_LOG_MAX = 27  # zstd: 128 MiB; a frame that asks for more is refused, not allocated


class Found(NamedTuple):
    """A regular file. unit: its path below the fixed part of the globs; path: as to open it, from the config folder."""

    unit: str
    path: str
    size: int
    mtime_ns: int


class Listing(NamedTuple):
    """What the globs match, both sorted by unit. failed: (unit, code, detail)."""

    found: list[Found]
    failed: list[tuple[str, str, str]]


class Expansion(msgspec.Struct, frozen=True):
    """When a compressed file counts as a bomb: more than `max_bytes` came out AND more than `max_ratio` times the input."""

    max_bytes: int = 4 << 30
    max_ratio: int = 200


class Local(msgspec.Struct, frozen=True):
    """The files of this machine, seen from the config's folder."""

    folder: Path

    def list(self, globs: list[str]) -> Listing:
        """Give every file that one of the globs matches, once.

        `*`, `?`, `[abc]` match within a name, `**` any number of folders (symbolic links are followed, loops are
        not). Names that start with a dot are matched only by a pattern that does too, as in a shell.

        Raises:
            ConfigError: a glob is not a local path.
            SourceError: a folder cannot be listed, so nobody can say what is gone.
        """
        given = [local_path(glob) for glob in globs]
        walks = [_fixed_part(os.path.abspath(self.folder / path)) for path in given]  # noqa: PTH100 - lexical on purpose
        root = os.path.commonpath([head for head, _ in walks])
        # A relative config stays relative in state and splits, so that its folder can be moved or mounted elsewhere.
        near = not any(os.path.isabs(path) for path in given)  # noqa: PTH117
        place = os.path.relpath(root, self.folder) if near else root
        prefix = "" if place == "." else place.rstrip("/") + "/"
        paths: dict[str, bool] = {}
        for head, parts in walks:
            for path, named in _walk(head, parts):
                paths[path] = paths.get(path, False) or named
        found, failed = [], []
        for path, named in paths.items():
            unit = path[len(root.rstrip("/")) + 1 :]  # pathlib and relpath are 10x slower, on a million files
            item = _look(unit, prefix + unit, path, named)
            if isinstance(item, Found):
                found.append(item)
            elif item is not None:
                failed.append(item)
        return Listing(sorted(found), sorted(failed))

    def stat(self, path: str) -> tuple[int, int]:
        """Give size and mtime_ns of a file now. Raises OSError."""
        now = (self.folder / path).stat()
        return now.st_size, now.st_mtime_ns

    def open(self, path: str) -> BinaryIO:
        """Open a regular file for reading, unbuffered. Raises OSError; never blocks on a pipe."""
        handle = os.open(self.folder / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError("not a regular file")
        return os.fdopen(handle, "rb", buffering=0)


def local_path(glob: str) -> str:
    """Give the local path or glob that the config's `glob` means: plain, `~`, or file://.

    Raises:
        ConfigError: it has another scheme.
    """
    scheme, mark, rest = glob.partition("://")
    if not mark or not scheme.isalnum():
        return os.path.expanduser(glob)  # noqa: PTH111 - it may hold glob characters
    host, slash, tail = rest.partition("/")
    if scheme == "file" and slash and host in {"", "localhost"}:
        return os.fsdecode(unquote_to_bytes("/" + tail))
    raise ConfigError(
        f'path "{scheme}://…": the files source reads local paths and file:///absolute/paths only; '
        "copy or mount the data locally and give that path"
    )


def _fixed_part(glob: str) -> tuple[str, tuple[str, ...]]:
    """Cut an absolute glob into the folder before the first wildcard, and the segments after it."""
    head, last = os.path.split(glob)
    if os.path.lexists(glob) or not _is_glob(glob):  # a file may really be called "a[1].txt"
        return head, (re.escape(last),)
    segments = glob.split("/")
    wild = next(i for i, segment in enumerate(segments) if _is_glob(segment))
    parts = segments[wild:] + (["*"] if last == "**" else [])
    return "/".join(segments[:wild]) or "/", tuple(p if p == "**" else fnmatch.translate(p) for p in parts)


def _is_glob(text: str) -> bool:
    return any(char in text for char in "*?[")


def _walk(head: str, parts: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Give each path that matches, and whether a folder of that name would be an odd thing to find."""
    named = "**" not in parts and re.search(r"[^:]\\\.", parts[-1]) is not None  # it asks for an extension
    todo: list[tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]] = [(head, parts, ())]
    while todo:
        folder, (part, *rest), above = todo.pop()
        if part == "**":
            here = _identity(folder)
            if here is None or here in above:  # vanished, or a link to a folder above: a loop
                continue
            inner = [entry.path for entry in _entries(folder) if not entry.name.startswith(".") and _is_folder(entry)]
            todo += [(path, (part, *rest), (*above, here)) for path in inner]
            todo.append((folder, tuple(rest), above))
            continue
        for entry in _entries(folder):
            hidden = entry.name.startswith(".") and not part.startswith(("(?s:\\.", "\\."))
            if hidden or not re.fullmatch(part, entry.name):
                continue
            if not rest:
                yield entry.path, named
            elif _is_folder(entry):
                todo.append((entry.path, tuple(rest), above))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; as a file it is reported
        return False


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        now = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return now.st_dev, now.st_ino


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceError(
            f'folder "{printable(folder)}" cannot be listed ({error.strerror}): nobody can say which of its files are '
            "gone; allow reading it, or give a path that leaves it out"
        ) from error


def _look(unit: str, where: str, path: str, named: bool) -> Found | tuple[str, str, str] | None:
    """Give what lies at `path`: a regular file, a failure (unit, code, detail), or None for a plain folder."""
    try:
        f"{unit}{where}".encode()
    except UnicodeEncodeError:
        return printable(unit), "file.name", "the file name is not valid UTF-8; rename the file"
    try:
        now = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return unit, "file.unreadable", f"cannot be looked at: {error.strerror}"
    if stat.S_ISREG(now.st_mode):
        return Found(unit, where, now.st_size, now.st_mtime_ns)
    if stat.S_ISDIR(now.st_mode) and not named:
        return None
    return unit, "file.unreadable", "is a folder, pipe, socket or device, not a regular file"


def printable(name: str) -> str:
    """Give a file name as valid text; bytes that are not UTF-8 are shown as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def sample(raw: BinaryIO, size: int) -> str:
    """Digest size and up to three windows (head, middle, tail) of an open file; all of it when it is small."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    starts = [0, size // 2 - _SAMPLE_BYTES // 2, size - _SAMPLE_BYTES] if size > 3 * _SAMPLE_BYTES else [0]
    for start in starts:
        raw.seek(start)
        digest.update(raw.read(_SAMPLE_BYTES if len(starts) > 1 else 3 * _SAMPLE_BYTES))
    return digest.hexdigest()


class _Member:
    """One gzip member, with the methods of the standard library's zstd, bz2 and lzma decompressors."""

    def __init__(self) -> None:
        self._inner = isal_zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = bytes(self._inner.decompress(self._inner.unconsumed_tail + data, max_length))
        # A full output may hide more behind it even when all input is taken, so ask again before feeding.
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


class _Codec(NamedTuple):
    magic: re.Pattern[bytes]
    start: Callable[[], Any]


_CODECS = {
    "gzip": _Codec(re.compile(rb"\x1f\x8b"), _Member),
    "zstd": _Codec(
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}),
    ),
    "bzip2": _Codec(re.compile(rb"BZh[1-9]"), bz2.BZ2Decompressor),
    "xz": _Codec(re.compile(rb"\xfd7zX"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20)),
}
_MAGICS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zX"}
_MAGIC_BYTES = 4
_BROKEN: Any = (zstd.ZstdError, isal_zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


def codec_of(head: bytes) -> str:
    """Give the compression of a file by its first 4 bytes: gzip, zstd, bzip2, xz, or an empty string."""
    return next((name for name, codec in _CODECS.items() if codec.magic.match(head)), "")


def plain(raw: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Give the bytes [start, end) of an open file in blocks; fewer if the file has become shorter."""
    raw.seek(start)
    while start < end and (block := raw.read(min(BLOCK_BYTES, end - start))):
        start += len(block)
        yield block


def expand(raw: BinaryIO, codec: str, unit: str, limits: Expansion) -> Iterator[bytes]:
    """Give the decompressed bytes of all members of an open file, in blocks of at most `BLOCK_BYTES`.

    Raises:
        UnitFailed: file.truncated, file.trailing, file.corrupt or size.cap.
    """
    magic, start = _CODECS[codec]
    member = None
    made = members = 0
    rest = b""  # what follows the last whole member, as far as it was read
    while True:
        if member is None:
            data = _lead(raw, rest, padded=members > 0 and codec == "gzip")
            if not data:
                return
            if not magic.match(data):
                short = len(data) < _MAGIC_BYTES and _MAGICS[codec].startswith(data)
                code = "file.truncated" if short else "file.trailing"
                raise UnitFailed(unit, code, f"other bytes after {members} whole {codec} members, {made} bytes")
            member = start()
        elif not member.needs_input:
            data = b""
        elif not (data := raw.read(_CHUNK_BYTES)):
            raise UnitFailed(unit, "file.truncated", f"the {codec} stream ends early, after {made} bytes came out")
        try:
            out = member.decompress(data, BLOCK_BYTES)
        except _BROKEN as error:
            raise UnitFailed(unit, "file.corrupt", f"{codec}: {error} (after {made} bytes came out)") from None
        made += len(out)
        if made > limits.max_bytes and made > limits.max_ratio * raw.tell():
            detail = f"{raw.tell()} bytes of {codec} gave {made} bytes: over max_expanded_bytes and max_ratio"
            raise UnitFailed(unit, "size.cap", detail)
        if out:
            yield out
        if member.eof:
            rest, member, members = member.unused_data, None, members + 1


def _lead(raw: BinaryIO, data: bytes, *, padded: bool) -> bytes:
    """Give `data`, with more of the file if a member's magic may lie in it, without the padding of tapes and devices."""
    while True:
        data = data.lstrip(b"\0") if padded else data
        if len(data) >= _MAGIC_BYTES or not (more := raw.read(_CHUNK_BYTES)):
            return data
        data += more


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
