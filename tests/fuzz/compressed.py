"""What is told by the content: compression, archives and formats of a file with any bytes."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib

from backports import zstd
from tests.fuzz.reading import read

from gristmill.core.files import codec_of
from gristmill.sources.files import Files
from gristmill.sources.formats.detect import HEAD_BYTES, container_of

SOURCE = Files(path="*", max_file_bytes=1 << 20, max_record_bytes=1 << 16)
LINES = b'{"text": "a"}\n{"text": "b"}\n'


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("../a.jsonl")
        info.size = len(LINES)
        tar.addfile(info, io.BytesIO(LINES))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.jsonl", LINES)
        archive.writestr("/c.txt", b"text")
    return buffer.getvalue()


SEEDS = [
    gzip.compress(LINES, mtime=0) + gzip.compress(LINES, mtime=0),
    zstd.compress(LINES),
    bz2.compress(LINES),
    lzma.compress(LINES),
    _tar(),
    gzip.compress(_tar(), mtime=0),
    _zip(),
    b"<!doctype html><p>x",
]


def _expanded(data: bytes) -> int | None:
    """Give how much comes out of it by the standard library; None of archives, whose members may be refused, and of what it cannot expand."""
    codec = codec_of(data)
    library = {"gzip": gzip, "bzip2": bz2, "xz": lzma, "zstd": zstd}.get(codec)
    try:
        inside = library.decompress(data) if library else data
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstd.ZstdError):
        return None
    return None if any(container_of(inside[:HEAD_BYTES], name) for name in ("f", "f.jsonl.gz")) else len(inside)


def one(data: bytes) -> None:
    """Read it under a name that says nothing, and under one that says something else."""
    size = _expanded(data)
    read(SOURCE, "f", data, size=size)
    read(SOURCE, "f.jsonl.gz", data, size=size)
