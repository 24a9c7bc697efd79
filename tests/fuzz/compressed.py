"""What is told by the content: compression, archives and formats of a file with any bytes."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

from backports import zstd
from tests.fuzz.reading import read

from gristmill.sources.files import Files

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


def one(data: bytes) -> None:
    """Read it under a name that says nothing, and under one that says something else."""
    read(SOURCE, "f", data, stored=False)
    read(SOURCE, "f.jsonl.gz", data, stored=False)
